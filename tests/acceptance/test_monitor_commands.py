"""The monitor's commands and functions, as real processes, on a run that is really frozen."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from typing import Any

from tests.acceptance.processes import ended, running, until
from tests.acceptance.scene import Scene, Start, outcome
from tests.postgres import state_of

LEASE = {"EMAG_SYNC_LEASE_SECONDS": "5"}


async def monitor(scene: Scene, *arguments: str, **settings: str) -> tuple[int, Any]:
    """Exit code, and what it printed as JSON."""
    done = await asyncio.to_thread(scene.program.monitor, *arguments, "--json", **settings)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


async def test_a_frozen_run_is_listed_ended_and_writes_nothing_when_it_wakes(start: Start) -> None:
    scene = await start(offers=1150, faults=["slow:page=all:seconds=0.15"])
    async with running(scene, **LEASE) as process:
        await until(lambda: scene.query("SELECT 1 FROM sweep_page WHERE page > 2"), "three pages are stored")
        process.send_signal(signal.SIGSTOP)
        await until(lambda: state_of(process.pid) == "T", "the process has stopped")
        await until(lambda: scene.query("SELECT 1 FROM lease WHERE expires_at < clock_timestamp()"), "the lease lapses")
        code, found = await monitor(scene, "stuck", **LEASE)
        assert code == 1
        [run] = found["stuck"]
        assert run["cause"] == "lease_lost"
        assert {"sessions", "locks"} <= run["forensics"].keys()
        assert (await monitor(scene, "health", **LEASE))[0] == 1
        code, recovered = await monitor(scene, "recover", run["run_id"][:13], "--resume", **LEASE)
        assert code == 0
        [one] = recovered["recovered"]
        assert (one["run_id"], one["cause"]) == (run["run_id"], "lease_lost")
        told = json.loads(scene.program.call("explain", run["run_id"], "--json").stdout)
        assert told["rescue"]["successor"] == one["successor"]
        assert {"sessions", "locks"} <= told["rescue"]["forensics"].keys()
        pages = scene.query("SELECT count(*) FROM sweep_page")
        process.send_signal(signal.SIGCONT)
        exit_code, _ = await ended(process)
    assert exit_code == 70
    assert scene.query("SELECT count(*) FROM sweep_page") == pages
    scene.sandbox.faults.clear()
    resumed = await scene.sync()
    assert outcome(resumed) == (0, "complete", "end_of_data")
    assert resumed["sync_id"] == one["successor"]
    assert scene.live == scene.served
    assert scene.query("SELECT why, starts_with(found_by, 'cli:') FROM rescue")[0][1]


async def test_the_emergency_reset_ends_every_open_run(start: Start) -> None:
    scene = await start(offers=1150, faults=["slow:page=2-99:seconds=5"])
    async with running(scene) as process:
        await until(lambda: scene.query("SELECT 1 FROM sweep_page"), "a page is stored")
        assert await monitor(scene, "stuck") == (0, {"stuck": []})
        assert await monitor(scene, "recover") == (0, {"recovered": []})
        done = await asyncio.to_thread(scene.program.monitor, "recover", "--older-than-hours", "0")
        assert done.stdout == "Recovered 1 stuck syncs\n"
        exit_code, _ = await ended(process)
    assert exit_code == 70
    assert scene.query("SELECT status, cause FROM run") == [("failed", "no_progress")]


async def test_the_functions_that_scripts_used(start: Start) -> None:
    scene = await start(offers=120)
    assert outcome(await scene.sync())[0] == 0
    script = (
        "import json, monitor as m;"
        "print(json.dumps([m.find_stuck_syncs(), m.cleanup_stuck_syncs(max_age_hours=0), m.get_sync_health_status()]))"
    )
    environment = scene.program.environment
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    stuck, cleaned, health = json.loads(done.stdout)
    assert (stuck, cleaned, health["status"], health["stuck"]) == ([], 0, "healthy", 0)
    assert health["sentence"].startswith("All good: emag/main/offers finished")
    assert health["streams"]["emag/main/offers"]["records"] == 120


async def test_prune_says_what_it_deleted_and_a_missing_schema_points_to_migrate(start: Start, database: str) -> None:
    scene = await start(offers=20)
    assert (await monitor(scene, "prune"))[1] == {"runs": 0, "changes": 0, "quarantined": 0, "pages": 0}
    nowhere = {"DATABASE_URL": database, "DB_SCHEMA": "nowhere", "PATH": os.environ["PATH"]}
    code, said = await monitor(scene, "health", **nowhere)
    assert code == 78
    assert "syncd migrate" in said
