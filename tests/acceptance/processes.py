"""Processes that a test stops, freezes or kills, and what each of their pages must have left behind."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.acceptance.scene import Scene

RUNNING = "SELECT run_id FROM run WHERE status = 'running'"
HELD = 42
"""Advisory lock that statements wait for while a test holds it."""


async def until(condition: Any, what: str, seconds: float = 30.0, *, pause_seconds: float = 0.01) -> Any:
    """Poll until it holds, with the sandbox at work meanwhile; its value."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not (value := condition()):
        assert loop.time() < deadline, f"{what}: not within {seconds:.0f} s"
        await asyncio.sleep(pause_seconds)
    return value


async def hung_up_early(process: subprocess.Popen[Any]) -> None:
    """SIGHUP while it still loads its program, as soon as that ignores it."""

    def ignores_it() -> bool:
        assert process.poll() is None
        status = Path(f"/proc/{process.pid}/status").read_text()
        return bool(int(status.split("SigIgn:")[1].split()[0], 16) >> (signal.SIGHUP - 1) & 1)

    await until(ignores_it, "SIGHUP is ignored", pause_seconds=0.001)
    process.send_signal(signal.SIGHUP)


@asynccontextmanager
async def running(scene: Scene, *arguments: str, **settings: str) -> AsyncIterator[subprocess.Popen[str]]:
    """`syncd run --json` beside the test; killed at the end where it still lives."""
    command = ("run", "--json", "--config", str(scene.program.config), *arguments)
    with scene.program.started(*command, PYTHONFAULTHANDLER="1", **settings) as process:
        yield process


async def ended(process: subprocess.Popen[str], seconds: float = 30.0) -> tuple[int, dict[str, Any]]:
    """Its exit code, and the facts of its stream where it printed any; what it logged as `stderr`."""
    try:
        stdout, stderr = await asyncio.to_thread(process.communicate, timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # where it hangs
        _, stderr = await asyncio.to_thread(process.communicate)
        raise AssertionError(f"not ended within {seconds:.0f} s:\n{stderr}") from None
    return process.returncode, (json.loads(stdout)["syncs"][0] if stdout else {}) | {"stderr": stderr}


@asynccontextmanager
async def held_open(scene: Scene, table: str, operation: str) -> AsyncIterator[None]:
    """Statements with this operation on this table wait in the server until the block ends."""
    async with await psycopg.AsyncConnection.connect(
        scene.program.database, options="-c search_path=sync", autocommit=True
    ) as holder:
        await holder.execute(
            f"""
            CREATE OR REPLACE FUNCTION wait_here() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_advisory_xact_lock_shared({HELD}); RETURN NULL; END $$;
            DROP TRIGGER IF EXISTS wait_here ON {table};
            CREATE TRIGGER wait_here AFTER {operation} ON {table} FOR EACH STATEMENT EXECUTE FUNCTION wait_here();
            """
        )
        await holder.execute("SELECT pg_advisory_lock(%s)", [HELD])
        yield


def waiting(scene: Scene) -> bool:
    """Whether a statement of syncd waits in the server for the test."""
    query = (
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
        " AND wait_event_type = 'Lock' AND wait_event = 'advisory'"
    )
    return bool(scene.query(query))


# Every row that a run wrote last, and when that was committed.
_WRITTEN_BY = """
SELECT 'record ' || key, pg_xact_commit_timestamp(xmin) AS at FROM record WHERE updated_run = %(run)s
UNION ALL SELECT 'page ' || page, pg_xact_commit_timestamp(xmin) FROM sweep_page WHERE run_id = %(run)s
UNION ALL SELECT 'page ' || page, pg_xact_commit_timestamp(xmin) FROM sweep_page WHERE fence = %(fence)s
UNION ALL SELECT 'change ' || change_id, pg_xact_commit_timestamp(xmin) FROM change WHERE run_id = %(run)s
UNION ALL SELECT 'quarantine ' || quarantine_id, pg_xact_commit_timestamp(xmin) FROM quarantine WHERE run_id = %(run)s
"""


def written_after(scene: Scene, run_id: object, fence: int, moment: object) -> list[str]:
    """The rows of this run, or under its fence, that were committed after this moment of the database's clock."""
    text = _WRITTEN_BY.replace("%(run)s", f"'{run_id}'").replace("%(fence)s", str(fence))
    return [name for name, at in scene.query(text) if at > moment]


def assert_each_page_took_effect_once(scene: Scene) -> None:
    """Table, change log, manifest and counters tell one story."""
    served = scene.served
    assert scene.live == served
    assert scene.query("SELECT count(*) FROM record") == scene.query("SELECT sum(inserted) FROM run")
    (last_sweep,) = scene.query("SELECT sweep_id FROM run ORDER BY started_at DESC LIMIT 1")
    assert scene.query("SELECT sum(pages) FROM run WHERE sweep_id = %s", *last_sweep) == scene.query(
        "SELECT count(DISTINCT page) FROM sweep_page WHERE sweep_id = %s", *last_sweep
    )
    logged = dict(scene.query("SELECT run_id, count(DISTINCT key) FROM change WHERE kind = 'updated' GROUP BY 1"))
    counted = dict(scene.query("SELECT run_id, updated FROM run WHERE updated > 0"))
    assert logged == counted
    history: dict[tuple[str, str], str] = {}
    for key, field, old, new in scene.query("SELECT key, field, old::text, new::text FROM change ORDER BY change_id"):
        assert old != new, f"{key}.{field} changed from {old} to itself"
        assert history.setdefault((key, field), old) == old, f"{key}.{field}: the log has a change twice, or lacks one"
        history[key, field] = new
    for (key, field), newest in history.items():
        assert json.loads(newest) == json.loads(served[key])[field]
