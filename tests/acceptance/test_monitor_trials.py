"""Random workers under a monitor that is restarted now and then: the healthy are left alone, the sick recovered once.

Every trial is a process of its own at a marketplace of its own; eight at a time share a ledger and its monitor. The
seed is printed, and `SEED=… make prove` repeats it.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.marketplaces import Marketplaces, marketplaces
from tests.acceptance.matrix import wedged
from tests.acceptance.monitoring import watching
from tests.acceptance.processes import ended, running, until
from tests.acceptance.scene import Scene, Start

SIDE_BY_SIDE = 8
THRESHOLD_SECONDS = 12
LEASE = {"EMAG_SYNC_LEASE_SECONDS": "5"}
WATCH = LEASE | {
    "EMAG_SYNC_MONITOR_INTERVAL": "1",
    "EMAG_SYNC_STUCK_THRESHOLD_HOURS": f"{THRESHOLD_SECONDS / 3600:.6f}",
}
OFFERS = 650
OF_ACCOUNT = "JOIN stream s USING (stream_id) JOIN account a USING (account_id) WHERE a.name = %s"


@dataclass
class Trial:
    """One worker. moment: when it is told to drain; page: after which it falls sick."""

    kind: str
    faults: list[str] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    moment: float = 0.0
    page: int = 2

    @property
    def is_sick(self) -> bool:
        return self.kind in SICK


HEALTHY = ("slow", "limited", "failing", "draining", "quick")
SICK = ("killed", "frozen", "hanging", "deaf")


def draw(chance: random.Random, kind: str) -> Trial:
    """A trial of this kind, its details by chance; nothing healthy stores no page for half of the threshold."""
    trial = Trial(kind, settings={"EMAG_SYNC_CONCURRENCY": str(chance.randint(1, 4)), **LEASE})
    page = chance.randint(2, 6)
    if kind == "slow":
        trial.faults = [f"slow:page=all:seconds={chance.uniform(0.2, 1.5):.2f}"]
    elif kind == "limited":
        trial.faults = [f"429:page={page}:times={chance.randint(1, 2)}:retry_after={chance.randint(1, 14)}"]
    elif kind == "failing":
        trial.faults = [f"{chance.choice([500, 502, 503])}:page={page}:times={chance.randint(1, 2)}"]
    elif kind == "draining":
        trial.faults = [f"slow:page=all:seconds={chance.uniform(0.2, 2.0):.2f}"]
        trial.moment = chance.uniform(1.0, 5.0)
    elif kind == "hanging":
        trial.faults = [f"hang:page={max(4, page)}-99:times=forever"]
        trial.settings["EMAG_SYNC_REQUEST_TIMEOUT_SECONDS"] = "600"
    elif kind in ("killed", "frozen"):
        trial.faults = [f"slow:page=all:seconds={chance.uniform(0.3, 0.6):.2f}"]
        trial.page = chance.randint(1, 3)
    return trial


@asynccontextmanager
async def restarted_at_random(scene: Scene, tmp_path: Path, chance: random.Random) -> AsyncIterator[None]:
    """A monitor of this ledger, killed or told to stop every few seconds, with another one in its place."""
    done = asyncio.Event()

    async def watch() -> None:
        while not done.is_set():
            async with watching(scene, tmp_path, **WATCH) as monitor:
                try:
                    async with asyncio.timeout(chance.uniform(4, 20)):
                        await done.wait()
                except TimeoutError:
                    if chance.random() < 0.5:
                        monitor.process.send_signal(signal.SIGTERM)
                        assert await asyncio.to_thread(monitor.process.wait, 15) == 0

    watching_on = asyncio.create_task(watch())
    try:
        yield
    finally:
        done.set()
        await watching_on


async def play(scene: Scene, markets: Marketplaces, number: int, trial: Trial) -> None:
    """From the beginning to what must have come of it."""
    account, stream = f"t{number}", f"emag/t{number}/offers"
    await asyncio.to_thread(markets.ask, number, "faults", {"faults": trial.faults})
    start = wedged(scene, "deaf", stream, **trial.settings) if trial.kind == "deaf" else running(
        scene, stream, **trial.settings
    )  # fmt: skip
    async with start as process:
        if trial.is_sick:
            await fall_sick(scene, account, trial, process)
        else:
            if trial.kind == "draining":
                await asyncio.sleep(trial.moment)  # the moment itself
                process.send_signal(signal.SIGTERM)
            exit_code, facts = await ended(process, 120)  # type: ignore[arg-type]
            assert exit_code in ((0, 3, 143, -15) if trial.kind == "draining" else (0,)), (trial, facts)
    rescues = scene.query(f"SELECT c.cause, c.outcome FROM rescue c {OF_ACCOUNT} AND cause <> 'not_started'", account)
    assert len(rescues) == (1 if trial.is_sick else 0), (trial, rescues)
    await asyncio.to_thread(markets.ask, number, "faults", {"faults": []})
    facts = await asyncio.to_thread(scene.program.sync, stream, timeout=120.0, **LEASE)
    assert (facts["exit_code"], facts["status"]) == (0, "complete"), (trial, facts)
    assert scene.query(f"SELECT count(*) FROM record {OF_ACCOUNT}", account) == [(OFFERS,)]


async def fall_sick(scene: Scene, account: str, trial: Trial, process: subprocess.Popen[Any]) -> None:
    """Until the monitor is done with it, and the old process is gone."""
    stored = f"SELECT 1 FROM sweep_page p JOIN run r USING (run_id) {OF_ACCOUNT} AND p.page >= %s"
    await until(lambda: scene.query(stored, account, trial.page), f"{trial}: a page", 60, pause_seconds=0.2)
    if trial.kind in ("killed", "frozen"):
        process.send_signal(signal.SIGKILL if trial.kind == "killed" else signal.SIGSTOP)
    over = f"SELECT 1 FROM rescue c {OF_ACCOUNT} AND c.ended_at IS NOT NULL"
    await until(lambda: scene.query(over, account), f"{trial}: recovered", 90, pause_seconds=0.2)
    if trial.kind == "frozen":
        process.send_signal(signal.SIGCONT)
    expected = {"killed": -9, "frozen": 70, "hanging": 1, "deaf": 70}[trial.kind]
    assert await asyncio.to_thread(process.wait, 60) == expected


async def run_trials(start: Start, tmp_path: Path, count: int, sick_share: float) -> None:
    seed = int(os.environ.get("SEED") or random.randrange(1 << 32))
    print(f"seed {seed}")
    chance = random.Random(seed)
    kinds = [chance.choice(SICK if chance.random() < sick_share else HEALTHY) for _ in range(count)]
    with marketplaces(SIDE_BY_SIDE, offers=OFFERS, per_second=None, per_minute=None) as markets:
        for first in range(0, count, SIDE_BY_SIDE):
            trials = [draw(chance, kind) for kind in kinds[first : first + SIDE_BY_SIDE]]
            scene = await start(offers=1)
            accounts = {f"t{number}": number for number in range(len(trials))}
            markets.configure(scene, accounts, calls_per_second="1000")
            async with restarted_at_random(scene, tmp_path, chance), asyncio.TaskGroup() as group:
                for number, trial in enumerate(trials):
                    group.create_task(play(scene, markets, number, trial))
            sick = sum(trial.is_sick for trial in trials)
            counted = "SELECT coalesce(sum(value), 0) FROM accumulator WHERE metric = %s AND detail <> 'not_started'"
            assert scene.query(counted, "recovered_syncs") == scene.query(counted, "stuck_syncs") == [(sick,)]
            print(f"{first + len(trials)} of {count} done", flush=True)
    print(f"{count} trials: {dict(Counter(kinds))}")


async def test_a_few_random_workers(start: Start, tmp_path: Path) -> None:
    """As many as fit side by side."""
    await run_trials(start, tmp_path, SIDE_BY_SIDE, sick_share=0.4)


@pytest.mark.prove
@pytest.mark.timeout(3600)
async def test_two_hundred_random_healthy_workers_are_left_alone(start: Start, tmp_path: Path) -> None:
    await run_trials(start, tmp_path, 200, sick_share=0.0)


@pytest.mark.prove
@pytest.mark.timeout(1800)
async def test_forty_random_sick_workers_among_others_are_recovered_once_each(start: Start, tmp_path: Path) -> None:
    await run_trials(start, tmp_path, 64, sick_share=0.6)
