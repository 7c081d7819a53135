"""The commands beside a living daemon, a dead one, a foreign one: which way they go, and that they say so."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from aiohttp import web
from psycopg import sql

from syncd.runtime.embedded import EmbeddedPostgres
from tests.acceptance.daemon import TOKEN, Daemon, free_port, pages_stored, runs_ended, serving, starting
from tests.acceptance.processes import until
from tests.acceptance.scene import Scene, Start

IDLE = {"EMAG_SYNC_STARTUP_DELAY_SECONDS": "3600"}
AWAY = {"DATABASE_URL": f"postgresql://nobody@127.0.0.1:1/none_{os.getpid()}"}
"""Of this test process alone: its daemon is found by the name."""


async def call(scene: Scene, *arguments: str, code: int = 0, **settings: str) -> subprocess.CompletedProcess[str]:
    done = await asyncio.to_thread(scene.program.call, *arguments, "--config", str(scene.program.config), **settings)
    assert done.returncode == code, done.stdout + done.stderr
    assert TOKEN not in done.stdout + done.stderr
    return done


async def facts(scene: Scene, *arguments: str, code: int = 0, **settings: str) -> Any:
    return json.loads((await call(scene, *arguments, "--json", code=code, **settings)).stdout)


def at(daemon: Daemon | int, token: str = TOKEN) -> dict[str, str]:
    """Settings of an operator's shell that lead to this daemon."""
    port = daemon if isinstance(daemon, int) else daemon.port
    return {"EMAG_SYNC_CONTROL_PORT": str(port), "EMAG_SYNC_CONTROL_TOKEN": token}


async def test_the_commands_go_through_the_daemon_where_it_answers(start: Start) -> None:
    """Each says so; who asked is kept; the daemon acts at once, and what it did stands in the ledger."""
    scene = await start(offers=2050, faults=["hang:page=4:times=forever"])
    async with serving(scene, EMAG_SYNC_CONCURRENCY="1", EMAG_SYNC_REQUEST_TIMEOUT_SECONDS="600", **IDLE) as daemon:
        (asked,) = await facts(scene, "trigger", "--max-pages", "20", **at(daemon))
        assert (asked["queued"], asked["via"]) == (True, "daemon")
        assert asked["way"] == f"through the daemon at 127.0.0.1:{daemon.port}"
        await pages_stored(scene, 1)
        (living,) = await facts(scene, "trigger", code=75, **at(daemon))
        assert (living["queued"], living["sync_id"]) == (False, asked["sync_id"])
        explained = await call(scene, "explain", asked["sync_id"][:23], **at(daemon))
        assert "It is at work: read." in explained.stdout
        ended = await facts(scene, "cancel", asked["sync_id"], **at(daemon))
        assert (ended["asked"], ended["via"]) == (True, "daemon")
        assert (await runs_ended(scene, 1))[0][1:] == ("cancelled", "cancelled")
        await call(scene, "cancel", asked["sync_id"], code=1, **at(daemon))
        held = await facts(scene, "pause", "--reason", "inventory", **at(daemon))
        assert (held["paused"], held["via"]) == (["emag/main/offers"], "daemon")
        refused = await call(scene, "trigger", code=1, **at(daemon))
        assert re.search(r"paused by cli:\S+@\S+ since \S+ \S+ UTC: inventory; nothing was queued", refused.stderr)
        resumed = await facts(scene, "resume", "main", **at(daemon))
        assert (resumed["resumed"], resumed["paused"], resumed["via"]) == (1, [], "daemon")
        stopped = await facts(scene, "stop", **at(daemon))
        assert (stopped["via"], stopped["not_reached"], stopped["exit_code"]) == ("daemon", [], 0)
        assert TOKEN not in daemon.log
    who = {row[0] for row in scene.query("SELECT initiated_by FROM run")}
    assert all(re.fullmatch(r"cli:\S+@\S+", one) for one in who)


@pytest.mark.parametrize(
    ("token", "said"),
    [("", "no EMAG_SYNC_CONTROL_TOKEN is set here"), ("a-token-of-somebody-else", "HTTP 401, it has another token")],
)
async def test_without_the_right_token_they_go_straight_and_say_why(start: Start, token: str, said: str) -> None:
    """And it takes effect all the same."""
    scene = await start()
    async with serving(scene, **IDLE) as daemon:
        done = await call(scene, "trigger", **at(daemon, token))
        assert said in done.stdout
        assert "straight on the ledger" in done.stdout
        assert (await runs_ended(scene, 1))[0][1] == "complete"


async def test_a_daemon_without_a_token_is_told_apart(start: Start) -> None:
    """403: the sentence names the setting on the daemon's side."""
    scene = await start()
    async with serving(scene, EMAG_SYNC_CONTROL_TOKEN="", **IDLE) as daemon:
        done = await facts(scene, "pause", "--reason", "why", **at(daemon))
        assert done["via"] == "ledger"
        assert "it has no token set (EMAG_SYNC_CONTROL_TOKEN)" in done["way"]


async def test_the_daemon_of_another_database_is_left_alone(start: Start) -> None:
    """Same port, same token, another ledger: nothing is changed there."""
    scene, another_scene = await start(), await start()
    async with serving(another_scene, **IDLE) as daemon:
        done = await facts(scene, "stop", **at(daemon))
        assert (done["via"], done["exit_code"]) == ("ledger", 0)
        assert "works on another database" in done["way"]
        assert not another_scene.query("SELECT 1 FROM stream WHERE paused_at IS NOT NULL")


@asynccontextmanager
async def stranger(seen: list[str]) -> AsyncIterator[int]:
    """Something else on the port, which says 200 to everything."""

    async def answer(request: web.BaseRequest) -> web.Response:
        seen.append(f"{request.method} {request.path} {request.headers.get('Authorization')}")
        return web.json_response({"status": "ready", "ledger": "0"})

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield site.port
    finally:
        await runner.cleanup()


async def test_the_token_goes_to_nobody_but_a_daemon_of_ours(start: Start) -> None:
    """A program that took the port sees one question without it."""
    scene = await start()
    seen: list[str] = []
    async with stranger(seen) as port:
        (done,) = await facts(scene, "trigger", **at(port))
    assert (done["via"], seen) == ("ledger", ["GET /readyz None"])
    assert "is not a daemon of ours" in done["way"]


async def test_with_the_daemon_down_they_go_straight_on_the_ledger(start: Start) -> None:
    """trigger, its explanation, --force on a paused stream, status, runs."""
    scene = await start(offers=250)
    nowhere = at(free_port())
    (asked,) = await facts(scene, "trigger", **nowhere)
    assert (asked["queued"], asked["via"]) == (True, "ledger")
    assert "(nothing listens)" in asked["way"]
    explained = await call(scene, "explain", asked["sync_id"], **nowhere)
    assert "here is none to be seen" in explained.stdout
    assert (await facts(scene, "cancel", asked["sync_id"], **nowhere))["status"] == "cancelled"
    await call(scene, "pause", "main", "--reason", "stocktaking", **nowhere)
    assert "stocktaking" in (await call(scene, "trigger", code=1, **nowhere)).stderr
    (forced,) = await facts(scene, "trigger", "--force", **nowhere)
    assert forced["queued"] is True
    explained = await call(scene, "explain", forced["sync_id"], **nowhere)
    assert "stocktaking" in explained.stdout
    assert "nothing begins until `syncd resume`" in explained.stdout
    assert f"run {forced['sync_id']} came after it" in (await call(scene, "explain", asked["sync_id"])).stdout
    (shown,) = await facts(scene, "status", **nowhere)
    assert (shown["state"], shown["via"], shown["paused"]["reason"]) == ("queued", "ledger", "stocktaking")
    assert "no daemon answers" in shown["daemon"]
    assert [run["sync_id"] for run in await facts(scene, "runs", "--status", "cancelled")] == [asked["sync_id"]]
    await call(scene, "pause", "nobody", "--reason", "why", code=1, **nowhere)


async def test_stop_ends_the_local_daemon_where_the_ledger_does_not_answer(start: Start) -> None:
    """Exit 1, and what was not reached; the daemon of another database stays."""
    scene = await start()
    async with starting(scene, **AWAY, **IDLE) as away, serving(scene, **IDLE) as other:
        await until(lambda: "STATUS=waiting for PostgreSQL" in "\n".join(away.heard), "it waits for its database")
        said = (await call(scene, "stop", code=1, **AWAY)).stderr
        assert "not reached: the ledger" in said
        assert "nothing was paused" in said
        assert f"the daemon of this machine (process {away.process.pid}) has ended after SIGTERM" in said
        assert await away.ended() == 0
        assert other.process.poll() is None


async def test_stop_ends_a_local_daemon_that_does_not_answer(start: Start) -> None:
    """Frozen: the ledger holds the pause, and the process ends as soon as it wakes. A healthy one stays."""
    scene = await start()
    async with serving(scene, **IDLE) as daemon:
        done = await facts(scene, "stop", **at(free_port()))
        assert (done["exit_code"], done["signalled"]) == (0, [])
        daemon.process.send_signal(signal.SIGSTOP)
        with scene.program.started("stop", "--json", **at(daemon)) as stop:
            await until(lambda: _has_pending_sigterm(daemon.process.pid), "SIGTERM waits for it", 60)
            daemon.process.send_signal(signal.SIGCONT)
            out, _ = await asyncio.to_thread(stop.communicate, timeout=60)
        assert stop.returncode == 1
        done = json.loads(out)
        assert done["paused"] == ["emag/main/offers"]
        assert done["not_reached"] == [f"the daemon of this machine (process {daemon.process.pid}): it does not answer"]
        assert await daemon.ended() == 0
    assert scene.query("SELECT 1 FROM stream WHERE paused_at IS NOT NULL")


def _has_pending_sigterm(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    match = re.search(r"^ShdPnd:\s*([0-9a-f]+)", status, re.MULTILINE)
    return match is not None and bool(int(match[1], 16) >> (signal.SIGTERM - 1) & 1)


async def test_the_watched_table_lives_while_the_ledger_is_away(start: Start, cluster: EmbeddedPostgres) -> None:
    """On a terminal: a table that moves, a word when the database goes, 130 at Ctrl-C, the cursor back."""
    scene = await start(offers=2050, faults=["hang:page=4:times=forever"])
    terminal, its_end = pty.openpty()
    name = scene.query("SELECT current_database()")[0][0]
    async with serving(scene, EMAG_SYNC_INTERVAL_SECONDS="3600", EMAG_SYNC_STARTUP_DELAY_SECONDS="0"):
        watch = subprocess.Popen(
            [sys.executable, "-m", "syncd", "status", "--watch", "--interval", "0.2"],
            env=scene.program.environment | {"TERM": "xterm", "COLUMNS": "160", "LINES": "30"},
            stdin=its_end, stdout=its_end, stderr=its_end, start_new_session=True,
        )  # fmt: skip
        os.close(its_end)
        seen = ""

        async def see(pattern: str) -> None:
            nonlocal seen
            async with asyncio.timeout(90):
                while not re.search(pattern, seen):
                    seen += (await asyncio.to_thread(os.read, terminal, 65536)).decode("utf-8", "replace")
            seen = ""

        try:
            await see(r"running: read.*\d+/21")
            with psycopg.connect(cluster.conninfo(), autocommit=True) as connection:
                connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(name)))
                connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            await see(r"the ledger does not answer.*this is how it was at")
        finally:
            watch.send_signal(signal.SIGINT)
            code = await asyncio.to_thread(watch.wait, 20)
            os.close(terminal)
    assert code == 130
