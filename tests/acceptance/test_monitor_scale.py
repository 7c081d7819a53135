"""Ten million finished runs and 500 open ones: what a scrape and a look of the watch cost. A few GB in /var/tmp."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import aiohttp
import pytest

from monitor.recovery import Rescuer
from monitor.watch import Patience
from syncd.ledger.schema import migrate
from syncd.runtime.embedded import EmbeddedPostgres
from syncd.runtime.postgres import Postgres
from tests.acceptance.monitoring import Watch, watching
from tests.acceptance.scene import Scene
from tests.big_ledger import fill
from tests.integration.test_long_history import LABELS
from tests.program import Program

FINISHED, STREAMS = 10_000_000, 500
SECONDS, PAUSE_SECONDS = 60.0, 0.2
MOST_SCRAPE_SECONDS, MOST_LOOK_SECONDS = 0.010, 0.050


@pytest.fixture
def big(own_postgres: EmbeddedPostgres) -> str:
    migrate(own_postgres.conninfo())
    began = time.monotonic()
    fill(own_postgres.conninfo(), finished=FINISHED, streams=STREAMS, labels=LABELS)
    print(f"\n{FINISHED:,} runs written in {time.monotonic() - began:.0f} s")
    return own_postgres.conninfo()


def held_up(process: int | str = "self") -> float:
    """So long its main thread was ready to run and others had the cores, in seconds, until now: the kernel's word."""
    return int(Path(f"/proc/{process}/schedstat").read_text().split()[1]) / 1e9


async def scrapes(watch: Watch, seconds: float, taken: list[float], net: list[float]) -> None:
    """One Prometheus; how long each answer took, to its last byte, and without what other processes took of it."""
    pid = watch.process.pid
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    async with aiohttp.ClientSession() as session:
        while loop.time() < until:
            began, lost = loop.time(), held_up() + held_up(pid)
            async with session.get(f"{watch.url}/metrics") as answer:
                body = await answer.read()
            taken.append(loop.time() - began)
            net.append(max(0.0, taken[-1] - (held_up() + held_up(pid) - lost)))
            assert b"\nemag_sync_up 1.0\n" in body
            await asyncio.sleep(PAUSE_SECONDS)


def spoken(name: str, taken: list[float]) -> str:
    by_time = [1000 * one for one in sorted(taken)]
    p50, p99 = by_time[len(by_time) // 2], by_time[int(0.99 * (len(by_time) - 1))]
    return f"{name}: {len(taken)} times, p50 {p50:.1f} ms, p99 {p99:.1f} ms, most {by_time[-1]:.1f} ms"


@pytest.mark.prove
async def test_ten_million_runs_slow_neither_the_scrape_nor_the_watch(
    big: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = Scene(None, Program(big, "http://127.0.0.1:1"))  # type: ignore[arg-type]  # nobody calls a marketplace
    taken: list[float] = []
    net: list[float] = []
    async with watching(scene, tmp_path) as watch:
        await scrapes(watch, 1.0, [], [])
        await asyncio.gather(*(scrapes(watch, SECONDS, taken, net) for _ in range(2)))
    looks = []
    async with Postgres(big, "sync") as postgres:
        rescuer = Rescuer(postgres, lambda _: Patience(3600, 30, 60), lambda: True)
        for _ in range(100):
            began, lost = time.monotonic(), held_up()
            assert len((await rescuer.look()).verdicts) == STREAMS
            looks.append(time.monotonic() - began - (held_up() - lost))
    with capsys.disabled():
        print(f"\n{spoken('scrape', taken)}\n{spoken('without what others took', net)}\n{spoken('look', looks)}")
    assert sorted(net)[int(0.99 * (len(net) - 1))] < MOST_SCRAPE_SECONDS
    assert sorted(looks)[len(looks) // 2] < MOST_LOOK_SECONDS
