"""Two monitors at once, a monitor that comes late, and successors where nothing may begin by itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.acceptance.daemon import serving
from tests.acceptance.monitoring import watching
from tests.acceptance.processes import RUNNING, running, until
from tests.acceptance.scene import Start
from tests.streams import make_lapsed_runs

LEASE = {"EMAG_SYNC_LEASE_SECONDS": "5"}
RUNS = 100


async def test_two_monitors_recover_a_hundred_stuck_runs_once_each_also_those_of_before_their_start(
    start: Start, tmp_path: Path
) -> None:
    scene = await start(offers=20)
    make_lapsed_runs(scene.program.database, 10, "away")
    async with watching(scene, tmp_path, **LEASE) as one, watching(scene, tmp_path, **LEASE) as other:
        make_lapsed_runs(scene.program.database, RUNS - 10)
        await until(
            lambda: scene.query("SELECT count(*) FROM rescue WHERE ended_at IS NOT NULL") == [(RUNS,)],
            "all are recovered", pause_seconds=0.2,
        )  # fmt: skip
        await asyncio.sleep(1.2)  # what a port shows may be a second old
        for watch in (one, other):
            metrics = await watch.metrics()
            for name in ("stuck", "recovered"):
                total = sum(
                    value for key, value in metrics.items() if key.startswith(f"emag_sync_{name}_syncs_total{{")
                )
                assert total == RUNS
        logs = [watch.log.read_text().count("event=run.recovered") for watch in (one, other)]
    print(f"recovered by each: {logs}")
    assert sum(logs) == RUNS
    assert scene.query("SELECT count(*), count(DISTINCT stream_id) FROM run WHERE status = 'queued'") == [(RUNS, RUNS)]
    assert scene.query("SELECT DISTINCT status, cause FROM run WHERE completed_at IS NOT NULL") == [
        ("failed", "lease_lost")
    ]


async def test_where_nothing_begins_by_itself_the_checkpoint_waits_and_a_run_by_hand_goes_on(
    start: Start, tmp_path: Path
) -> None:
    """Neither does the monitor queue a successor then, nor does the daemon take one that was queued before."""
    scene = await start(offers=750, faults=["slow:page=all:seconds=0.2"])
    off = {"DISABLE_AUTO_SYNC": "true", "EMAG_SYNC_CONCURRENCY": "1", **LEASE}
    async with watching(scene, tmp_path, **LEASE), running(scene, EMAG_SYNC_CONCURRENCY="1", **LEASE) as process:
        await until(lambda: scene.query("SELECT 1 FROM sweep_page WHERE page >= 2"), "two pages", pause_seconds=0.1)
        process.kill()
        queued = "SELECT run_id FROM run WHERE status = 'queued'"
        ((successor,),) = await until(lambda: scene.query(queued), "a successor is queued", pause_seconds=0.1)
    async with watching(scene, tmp_path, **off), serving(scene, **off) as daemon:
        cancelled = "SELECT cancel_requested_by FROM run WHERE run_id = %s AND status = 'cancelled'"
        rows = await until(lambda: scene.query(cancelled, successor), "it is withdrawn", pause_seconds=0.1)
        assert rows == [("DISABLE_AUTO_SYNC",)]
        assert (await daemon.call("POST", "/sync", {}))[0] == 202
        await until(lambda: scene.query(RUNNING), "the run by hand begins", pause_seconds=0.1)
        await daemon.kill()
        died = "SELECT outcome FROM rescue WHERE ended_at IS NOT NULL ORDER BY found_at DESC LIMIT 1"
        await until(lambda: "nothing begins by itself" in scene.query(died)[0][0], "it is ended", pause_seconds=0.1)
        assert scene.query(queued) == []
    ((checkpoint,),) = scene.query("SELECT checkpoint_page FROM sweep WHERE ended_at IS NULL")
    before = len(scene.pages_read)
    assert (await scene.sync(DISABLE_AUTO_SYNC="true"))["status"] == "complete"
    assert scene.pages_read[before] == checkpoint
