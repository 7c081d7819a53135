"""A process that is stopped for longer than its lease, and goes on when its stream has another holder."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.acceptance.processes import (
    RUNNING,
    assert_each_page_took_effect_once,
    ended,
    held_open,
    running,
    until,
    waiting,
    written_after,
)
from tests.acceptance.scene import Scene, Start, outcome
from tests.postgres import state_of

LEASE = {"EMAG_SYNC_LEASE_SECONDS": "5"}


async def frozen_and_overtaken(scene: Scene, moment: str) -> None:
    """Freeze a run at this moment, let another process finish, wake the first."""
    async with running(scene, **LEASE) as process:
        if moment == "between statements":
            await until(lambda: scene.query("SELECT 1 FROM sweep_page WHERE page > 2"), "three pages are stored")
            process.send_signal(signal.SIGSTOP)
        else:
            table = "record" if moment == "inside a transaction" else "sweep_page"
            async with held_open(scene, table, "INSERT OR UPDATE"):
                await until(lambda: waiting(scene), "a page is held open in the server")
                process.send_signal(signal.SIGSTOP)
                await until(lambda: state_of(process.pid) == "T", "the process has stopped")
        ((old, fence),) = scene.query("SELECT run_id, fence FROM run WHERE status = 'running'")
        await until(lambda: scene.query("SELECT 1 FROM lease WHERE expires_at < clock_timestamp()"), "the lease lapses")
        scene.sandbox.catalogue.change(0.5)  # what the frozen process has in its hands is out of date
        successor = await scene.sync(**LEASE)
        assert outcome(successor) == (0, "complete", "end_of_data"), successor
        assert scene.query("SELECT status, cause FROM run WHERE run_id = %s", old) == [("failed", "lease_lost")]
        assert outcome(await scene.sync(**LEASE))[0] == 0  # the pages before the checkpoint
        before = snapshot(scene)
        process.send_signal(signal.SIGCONT)
        exit_code, facts = await ended(process)
    assert (exit_code, facts.get("cause")) == (70, "lease_lost"), facts
    assert snapshot(scene) == before, "the old process wrote after it woke"
    ((taken_at,),) = scene.query("SELECT started_at FROM run WHERE run_id = %s", successor["sync_id"])
    late = written_after(scene, old, fence, taken_at)
    assert not late, f"committed after the takeover: {late}"
    assert_each_page_took_effect_once(scene)


def snapshot(scene: Scene) -> list[tuple[object, ...]]:
    """Every row that only a holder may write, with the transaction that wrote it."""
    tables = ("record", "sweep_page", "change", "quarantine", "sweep", "run", "lease", "consent")
    return [
        (table, *row)
        for table in tables
        for row in scene.query(f"SELECT ctid::text, xmin::text FROM {table} t ORDER BY 1")
    ]


@pytest.mark.parametrize("moment", ["between statements", "inside a transaction", "inside the one statement"])
async def test_a_process_frozen_longer_than_its_lease_writes_nothing_when_it_wakes(start: Start, moment: str) -> None:
    """SIGSTOP, another process claims and finishes, SIGCONT: 0 rows of the old one, exit code 70."""
    scene = await start(offers=1150)
    if moment == "inside the one statement":  # a page that changes nothing is one statement
        assert outcome(await scene.sync())[0] == 0
    scene.sandbox.faults.add("slow:page=all:seconds=0.3")
    await frozen_and_overtaken(scene, moment)


async def test_a_process_frozen_for_less_than_its_lease_goes_on(start: Start) -> None:
    """A long pause is no loss: the lease still stands, and nobody is told anything."""
    scene = await start(offers=450, faults=["slow:page=all:seconds=0.1"])
    async with running(scene) as process:
        ((run_id,),) = await until(lambda: scene.query(RUNNING), "the run has claimed")
        process.send_signal(signal.SIGSTOP)
        await until(lambda: state_of(process.pid) == "T", "the process has stopped")
        await asyncio.sleep(1)  # the pause itself
        assert (await scene.sync())["exit_code"] == 75
        process.send_signal(signal.SIGCONT)
        exit_code, facts = await ended(process)
    assert (exit_code, facts["sync_id"]) == (0, str(run_id))
    assert_each_page_took_effect_once(scene)
