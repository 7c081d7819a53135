"""The monitor's commands and functions, as real processes, on a run that is really frozen."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from syncd.runtime.embedded import EmbeddedPostgres
from tests.acceptance.matrix import faketime
from tests.acceptance.monitoring import watching
from tests.acceptance.processes import ended, running, until
from tests.acceptance.scene import Scene, Start, outcome
from tests.postgres import freeze, state_of, thaw
from tests.program import Program

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
    scene = await start(offers=1150, faults=["hang:page=2-99:times=forever"])
    async with running(scene, EMAG_SYNC_LEASE_SECONDS="20") as process:
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
    assert health["sentence"].startswith("All good: main finished")
    assert health["streams"]["emag/main/offers"]["records"] == 120


async def test_runs_are_chosen_by_id_by_age_or_all(start: Start) -> None:
    """Ended by hand nothing succeeds them but with --resume; an id that fits none or many ends nothing."""
    scene = await start()
    for source in ("emag/main/offers", "emag/fbe/offers", "emag/third/offers"):
        _queue(scene, source)
    ids = [str(run_id) for (run_id,) in scene.query("SELECT run_id FROM run ORDER BY queued_at")]
    code, said = await monitor(scene, "recover", "0", ids[0])
    assert (code, scene.query("SELECT 1 FROM run WHERE completed_at IS NOT NULL")) == (1, [])
    assert "0: not the beginning of exactly one open run's id" in said["error"]
    assert await monitor(scene, "recover", "--older-than-hours", "1") == (0, {"recovered": []})
    code, done = await monitor(scene, "recover", ids[1], "--resume")
    assert [(one["run_id"], one["cause"]) for one in done["recovered"]] == [(ids[1], "not_started")]
    assert [(one["run_id"],) for one in done["recovered"]] != [(done["recovered"][0]["successor"],)]
    assert scene.query("SELECT count(*) FROM run WHERE status = 'queued'") == [(3,)]
    done = await asyncio.to_thread(scene.program.monitor, "recover", "--older-than-hours", "0", "-v")
    assert (done.returncode, done.stdout) == (0, "Recovered 3 stuck syncs\n")
    assert scene.query("SELECT count(*) FROM run WHERE status = 'queued'") == [(0,)]
    assert scene.query("SELECT DISTINCT status FROM run") == [("failed",)]


async def test_an_empty_id_is_a_mistake_although_it_fits_the_only_run(start: Start) -> None:
    """`recover "$RUN"` with a variable that was not set."""
    scene = await start()
    _queue(scene, "emag/main/offers")
    code, said = await monitor(scene, "recover", "")
    assert (code, scene.query("SELECT 1 FROM run WHERE completed_at IS NOT NULL")) == (1, [])
    assert '"": not the beginning of exactly one open run' in said["error"]


def _queue(scene: Scene, name: str) -> None:
    source, account, resource = name.split("/")
    scene.query(
        """
        WITH a AS (INSERT INTO account (source, name) VALUES (%s, %s) RETURNING account_id),
             s AS (INSERT INTO stream (account_id, resource) SELECT account_id, %s FROM a RETURNING stream_id),
             l AS (INSERT INTO lease (stream_id) SELECT stream_id FROM s)
        INSERT INTO run (stream_id, initiated_by) SELECT stream_id, 'test' FROM s RETURNING run_id
        """,
        source, account, resource,
    )  # fmt: skip


@pytest.mark.parametrize("how", ["stopped", "frozen"])
async def test_without_the_database_every_command_says_so_and_ends_with_1(
    own_postgres: EmbeddedPostgres, how: str
) -> None:
    """Within half a minute, with the reason, without a traceback; --json has it, too."""
    began = asyncio.get_running_loop().time()
    program = Program(own_postgres.conninfo(), "http://127.0.0.1:1/api-3")
    commands = [("stuck",), ("recover",), ("prune",), ("health",)][: None if how == "stopped" else 1]
    own_postgres.stop() if how == "stopped" else freeze(own_postgres)
    try:
        done = await asyncio.gather(*(asyncio.to_thread(program.monitor, *one, "--json") for one in commands))
        called = await asyncio.to_thread(_call_function, program, "find_stuck_syncs()") if how == "stopped" else ""
    finally:
        if how == "frozen":
            thaw(own_postgres)
    assert asyncio.get_running_loop().time() - began < 30
    for one in done:
        assert one.returncode == 1, one
        assert "PostgreSQL" in json.loads(one.stdout)["error"]
        assert "PostgreSQL" in one.stderr
        assert "Traceback" not in one.stderr
    assert how == "frozen" or "DatabaseAwayError" in called


def _call_function(program: Program, call: str) -> str:
    """What it ends with."""
    script = f"import monitor\ntry:\n  print(monitor.{call})\nexcept Exception as error:\n  print(type(error).__name__)"
    command = [sys.executable, "-c", script]
    return subprocess.run(command, env=program.environment, capture_output=True, text=True, check=True).stdout


async def test_the_functions_work_inside_a_running_event_loop(start: Start) -> None:
    """Whoever calls them there waits for them; in a thread nobody does."""
    scene = await start()
    _queue(scene, "emag/main/offers")
    script = """
import asyncio, json, monitor
async def work():
    health = monitor.get_sync_health_status()
    stuck = await asyncio.to_thread(monitor.find_stuck_syncs)
    return [health["status"], [(one["account_type"], one["status"], one["cause"]) for one in stuck],
            monitor.cleanup_stuck_syncs(), monitor.cleanup_stuck_syncs(max_age_hours=0)]
print(json.dumps(asyncio.run(work())))
"""
    environment = scene.program.environment | {"EMAG_SYNC_STUCK_THRESHOLD_HOURS": "0.0000001"}
    command = [sys.executable, "-c", script]
    done = await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["unhealthy", [["main", "queued", "not_started"]], 1, 0]
    assert scene.query("SELECT status, cause FROM run") == [("failed", "not_started")]


async def test_prune_says_what_it_deleted_and_a_missing_schema_points_to_migrate(start: Start, database: str) -> None:
    scene = await start(offers=20)
    assert (await monitor(scene, "prune"))[1] == {"runs": 0, "changes": 0, "quarantined": 0, "pages": 0}
    nowhere = {"DATABASE_URL": database, "DB_SCHEMA": "nowhere", "PATH": os.environ["PATH"]}
    code, said = await monitor(scene, "health", **nowhere)
    assert code == 78
    assert "syncd migrate" in said["error"]


async def test_a_wrong_clock_of_the_monitors_own_host_makes_no_data_old(start: Start, tmp_path: Path) -> None:
    """Ages are by the database's clock: with 30 hours of its own it said stale, and told so."""
    scene = await start(offers=100)
    assert outcome(await scene.sync()) == (0, "complete", "end_of_data")
    fake = {"LD_PRELOAD": faketime(), "FAKETIME": "+30h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    code, found = await monitor(scene, "health", **fake)
    assert (code, found["status"], found["streams"]["emag/main/offers"]["stale"]) == (0, "healthy", False)
    async with watching(scene, tmp_path, **fake) as watch:
        _, text = await watch.get("/", Accept="text/plain")
    assert text.startswith("All good: main finished ")
    assert " h ago" not in text
