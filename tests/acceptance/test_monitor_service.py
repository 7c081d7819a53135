"""`sync-monitor serve` under systemd: what it says of itself, what it heeds, how it ends."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
from aiohttp import web

from tests.acceptance.daemon import pages_stored
from tests.acceptance.guard import LEASE, guard_started, guarding
from tests.acceptance.processes import hung_up_early, running, until
from tests.acceptance.scene import Start
from tests.acceptance.test_daemon_watchdog import BLOCKS, WATCHDOG_SECONDS, starve
from tests.journald import Journald

NOTICE, WARNING, DEBUG = "5", "4", "7"
STATUS = re.compile(r"\d+ runs? open, \d+ stuck, last check \d+s ago")
HANGS = ["hang:page=3-99:times=forever"]
LONG_LEASE = {"EMAG_SYNC_LEASE_SECONDS": "3600"}
DATABASE_PASSWORD, TOKEN, WEBHOOK, PING = "canary-db-Zy9", "canary-token-16-chars", "canary-hook", "canary-ping"


@asynccontextmanager
async def listener() -> AsyncIterator[tuple[str, list[Any]]]:
    """An HTTP server of ours: its URL, and the documents that were posted there."""
    heard: list[Any] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        heard.append(await request.json() if request.can_read_body else request.path_qs)
        return web.Response()

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{site.port}", heard
    finally:
        await runner.cleanup()


async def test_it_says_ready_feeds_the_watchdog_and_shows_one_line(start: Start) -> None:
    """`2 runs open, 0 stuck, last check 4s ago`; nothing but ASCII goes to systemd; exit 0 at SIGTERM."""
    scene = await start(offers=450, faults=HANGS)
    async with guarding(scene, WATCHDOG_USEC="1000000") as guard, running(scene):
        await pages_stored(scene, 1)
        await guard.status_has("1 run open, 0 stuck, last check ")
        assert STATUS.fullmatch(guard.status)
        await until(lambda: guard.heard.count("WATCHDOG=1") > 3, "the watchdog is fed")
        assert all(re.match(r"(STATUS|READY|WATCHDOG)=", text) for text in guard.heard), guard.heard
        guard.process.terminate()
        assert await guard.ended(5) == 0
        assert guard.heard.count("STOPPING=1") == 1
        assert len(guard.said("monitor.stopping")) == 1
        assert "Traceback" not in guard.log


async def test_a_monitor_whose_loop_hangs_is_not_heard_of(start: Start, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCKS)
    scene = await start()
    settings = {
        "WATCHDOG_USEC": str(int(WATCHDOG_SECONDS * 1e6)),
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    async with guarding(scene, **settings) as guard:
        await until(lambda: guard.heard.count("WATCHDOG=1") > 1, "the watchdog is fed")
        guard.process.send_signal(signal.SIGUSR1)
        await starve(guard)
        assert guard.process.poll() is None


async def test_a_reload_before_the_monitor_listens_to_it_does_no_harm(start: Start) -> None:
    async with guard_started(await start(offers=20)) as guard:
        await hung_up_early(guard.process)
        await guard.ready()


async def test_a_reload_changes_patience_interval_successors_and_who_is_told(start: Start) -> None:
    """One SIGHUP: a run that was only slow is stuck now, nothing succeeds it, and the webhook hears of it."""
    scene = await start(offers=450, faults=HANGS)
    config = scene.program.config
    assert config is not None
    account = config.read_text()
    async with listener() as (url, heard), guarding(scene, **LONG_LEASE) as guard, running(scene, **LONG_LEASE):
        await pages_stored(scene, 1)
        await until(lambda: guard.said("tick.done"), "the first look")
        config.write_text(
            "[sync]\nstuck_threshold_hours = 0.0005\nmonitor_interval = 1\ndisable_auto_sync = true\n"
            f'webhook_url = "{url}/hook"\nmetrics_address = "127.0.0.2"\n{account}'
        )
        looks = len(guard.said("tick.done"))
        guard.process.send_signal(signal.SIGHUP)
        await guard.ready(2)
        await until(lambda: guard.said("run.stuck"), "the run is stuck")
        await until(lambda: guard.said("run.recovered"), "and ended")
        await until(lambda: len(guard.said("tick.done")) > looks + 4, "a look a second")
        await until(lambda: "emag/main/offers" in str(heard), "the webhook is called")
        assert "not resumed" in guard.said("run.recovered")[0]
        assert len(guard.said("config.needs_restart")) == len(guard.said("sync.disabled")) == 1
        assert guard.heard.index("READY=1") < [text[:9] for text in guard.heard].index("RELOADING")
    assert scene.query("SELECT status, initiated_by LIKE 'cli:%%' FROM run") == [("failed", True)]


async def test_a_reload_with_problems_keeps_what_was(start: Start) -> None:
    """Each problem is named; READY follows all the same, and the old port goes on."""
    scene = await start()
    config = scene.program.config
    assert config is not None
    good = config.read_text()
    async with guarding(scene) as guard:
        config.write_text(f'[sync]\nmonitor_interval = "often"\nmax_pagse = 1\n{good}')
        guard.process.send_signal(signal.SIGHUP)
        await guard.ready(2)
        said = guard.said("config.refused")
        assert len(said) == 2
        assert "monitor_interval" in "".join(said)
        assert "max_pages" in "".join(said), "did you mean"
        assert len(guard.said("config.kept")) == 1
        assert (await guard.get("/livez"))[0] == 200
        config.write_text(good)
        guard.process.send_signal(signal.SIGHUP)
        await guard.ready(3)
        assert len(guard.said("config.reloaded")) == 1


async def test_a_configuration_that_cannot_be_read_now_stops_nothing(start: Start) -> None:
    """The file is a pipe that nobody writes to, as a disk that hangs: the watch goes on, and SIGTERM ends it."""
    scene = await start()
    config = scene.program.config
    assert config is not None
    async with guarding(scene) as guard:
        config.unlink()
        os.mkfifo(config)
        guard.process.send_signal(signal.SIGHUP)
        await until(lambda: [text for text in guard.heard if text.startswith("RELOADING=1")], "it reloads")
        looks = len(guard.said("tick.done"))
        await until(lambda: len(guard.said("tick.done")) > looks, "the watch goes on")
        guard.process.terminate()
        assert await guard.ended(5) == 0
        assert guard.heard.count("READY=1") == 1


async def test_sigterm_does_not_wait_for_a_rescue_under_way(start: Start) -> None:
    """The lease row is held by somebody; half a rescue leaves nothing, and the next monitor does it whole."""
    scene = await start(offers=450, faults=HANGS)
    loop = asyncio.get_running_loop()
    async with running(scene, **LEASE) as worker:
        await pages_stored(scene, 1)
        worker.kill()
        await until(lambda: worker.poll() is not None, "the worker is dead")
    with psycopg.connect(scene.program.database, options="-c search_path=sync") as holder:
        holder.execute("SELECT FROM lease FOR UPDATE")
        async with guarding(scene) as guard:
            waiting = (
                "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%FOR UPDATE OF l%%'"
            )
            await until(lambda: scene.query(waiting), "the rescue waits for the lease row")
            told_at = loop.time()
            guard.process.terminate()
            assert await guard.ended(10) == 0
            assert loop.time() - told_at < 4
            assert "Traceback" not in guard.log
    assert scene.query("SELECT status FROM run") == [("running",)]
    async with guarding(scene):
        await until(lambda: scene.query("SELECT 1 FROM run WHERE initiated_by = 'monitor'"), "it is succeeded")
    assert scene.query("SELECT cause FROM run WHERE completed_at IS NOT NULL") == [("lease_lost",)]


async def test_a_second_signal_ends_at_once(start: Start) -> None:
    """Both wait for a process that is stopped: it wakes, begins to end, and leaves."""
    scene = await start()
    async with guarding(scene) as guard:
        guard.process.send_signal(signal.SIGSTOP)
        guard.process.send_signal(signal.SIGTERM)
        guard.process.send_signal(signal.SIGINT)
        guard.process.send_signal(signal.SIGCONT)
        assert await guard.ended(5) in (128 + signal.SIGINT, 128 + signal.SIGTERM)


async def test_problems_of_the_configuration_end_it_with_78_and_a_taken_port_with_1(start: Start) -> None:
    scene = await start()
    async with guard_started(scene, EMAG_SYNC_MONITOR_INTERVAL="soon", EMAG_SYNC_METRICS_PORT="many") as guard:
        assert await guard.ended() == 78
        assert guard.log.startswith("sync-monitor: 2 problems in the configuration:")
        assert guard.heard == []
    async with guarding(scene) as first, guard_started(scene, EMAG_SYNC_METRICS_PORT=str(first.port)) as second:
        assert await second.ended() == 1
        assert f"metrics port 127.0.0.1:{first.port}: cannot listen there" in second.log
        assert "READY=1" not in second.heard
        assert "Traceback" not in second.log


async def test_the_journal_names_each_stuck_run_and_hides_every_secret(start: Start, tmp_path: Path) -> None:
    """A WARNING with id, stream, start, cause and rung; quiet looks at DEBUG."""
    scene = await start(offers=450, faults=HANGS)
    journald = Journald(tmp_path / "journal")
    journald.listen()
    database = psycopg.conninfo.make_conninfo(scene.program.database, password=DATABASE_PASSWORD)
    secret = {
        "DATABASE_URL": database,
        "EMAG_SYNC_CONTROL_TOKEN": TOKEN,
        "EMAG_SYNC_WEBHOOK_URL": f"http://127.0.0.1:1/{WEBHOOK}",
        "EMAG_SYNC_PING_URL": f"http://127.0.0.1:1/{PING}",
        "DISABLE_AUTO_SYNC": "true",
    }
    try:
        async with guarding(scene, journal=journald.path, **secret) as guard:
            async with running(scene, **LEASE) as worker:
                await pages_stored(scene, 1)
                worker.kill()
            await until(lambda: journald.said("run.recovered"), "the run is recovered")
            said = f"{journald.heard} {guard.heard} {guard.log} {await guard.get('/status.json')} {await guard.page()}"
            await until(lambda: not guard.status.startswith("1 run open"), "the status follows")
            guard.process.terminate()
            assert await guard.ended(5) == 0
            await until(lambda: journald.said("monitor.stopping"), "its end is in the journal")
    finally:
        journald.close()
    ((run_id, started_at),) = scene.query("SELECT run_id::text, started_at FROM run")
    for event in ("run.stuck", "run.recovered"):
        (entry,) = journald.said(event)
        assert entry["PRIORITY"] == WARNING
        of_the_run = [entry[name] for name in ("SYNC_RUN_ID", "SYNC_STREAM", "SYNC_ACCOUNT", "SYNC_CAUSE")]
        assert of_the_run == [run_id, "emag/main/offers", "main", "lease_lost"]
    (stuck,) = journald.said("run.stuck")
    assert f'started="{started_at}"'[:30] in stuck["MESSAGE"]
    assert "rung=" in stuck["MESSAGE"]
    assert {entry["PRIORITY"] for entry in journald.said("tick.done")} == {DEBUG}
    assert [entry["PRIORITY"] for entry in journald.said("monitor.ready")] == [NOTICE]
    assert "auto-sync disabled via DISABLE_AUTO_SYNC" in journald.said("sync.disabled")[0]["MESSAGE"]
    assert {entry["SYSLOG_IDENTIFIER"] for entry in journald.heard} == {"sync-monitor"}
    assert all("MESSAGE_ID" in entry for entry in journald.heard)
    for text in (DATABASE_PASSWORD, TOKEN, WEBHOOK, PING):
        assert text not in said, text


async def test_a_broken_daemon_does_not_take_it_down(start: Start, tmp_path: Path) -> None:
    """Modules of the daemon that cannot even be imported."""
    broken = (
        "syncd.app",
        "syncd.cli",
        "syncd.control",
        "syncd.daemon",
        "syncd.engine",
        "syncd.sources",
        "syncd.warehouse",
    )
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules |= dict.fromkeys({broken!r})\n")
    scene = await start()
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    async with guarding(scene, PYTHONPATH=path) as guard:
        await guard.shows("emag_sync_monitor_status", 1)
