"""`syncd serve`: starts, schedules, drains, and comes back after a kill."""

from __future__ import annotations

import asyncio
import re
import signal

import psycopg
import pytest

from tests.acceptance.daemon import free_port, overlaps, pages_stored, run_began, runs_ended, serving, starting
from tests.acceptance.processes import RUNNING, assert_each_page_took_effect_once, held_open, until, waiting
from tests.acceptance.scene import Start
from tests.postgres import temporary_postgres

SLOW = ["slow:page=all:seconds=0.3"]
TWO = {"EMAG_FBE_API_USERNAME": "sandbox", "EMAG_FBE_API_PASSWORD": "sandbox"}


async def test_runs_begin_after_the_startup_delay_and_then_by_their_interval(start: Start) -> None:
    """Two accounts side by side, three times each, never two runs of a stream at once."""
    scene = await start(settings=TWO)
    assert scene.program.config is not None
    section = f'[accounts.emag.{{}}]\nbase_url = "{scene.sandbox.base_url}"\ncalls_per_second = 1000\n'
    scene.program.config.write_text(section.format("main") + section.format("fbe"))
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with serving(scene, EMAG_SYNC_STARTUP_DELAY_SECONDS="2", EMAG_SYNC_INTERVAL_SECONDS="1") as daemon:
        await until(lambda: scene.query("SELECT 1 FROM run"), "the first run")
        assert loop.time() - began >= 2
        await runs_ended(scene, 6, 30)
        daemon.process.terminate()
        assert await daemon.ended() == 0
    ended = scene.query("SELECT stream_id, cause, initiated_by FROM run WHERE completed_at IS NOT NULL")
    by_stream = [[row[1:] for row in ended if row[0] == stream] for stream in {row[0] for row in ended}]
    assert len(by_stream) == 2
    assert all(
        len(rows) >= 2 and set(rows) - {("shutdown", "scheduler")} == {("end_of_data", "scheduler")}
        for rows in by_stream
    ), ended
    assert overlaps(scene) == 0
    gaps = scene.query(
        "SELECT extract(epoch FROM started_at - lag(completed_at) OVER (PARTITION BY stream_id ORDER BY started_at))"
        " FROM run"
    )
    assert all(gap is None or 0.89 <= gap < 6 for (gap,) in gaps), gaps


async def test_a_schema_of_another_release_ends_with_78_and_never_says_ready(start: Start) -> None:
    scene = await start()
    with psycopg.connect(scene.program.database, autocommit=True) as connection:
        connection.execute("UPDATE sync.schema_version SET version_num = '9999'")
    async with starting(scene) as daemon:
        assert await daemon.ended() == 78
        assert "READY=1" not in daemon.heard
        assert "install the release" in daemon.log
        assert "Traceback" not in daemon.log


async def test_a_taken_control_port_is_said_clearly_and_never_says_ready(start: Start) -> None:
    scene = await start()
    port = free_port()
    async with (
        serving(scene, EMAG_SYNC_STARTUP_DELAY_SECONDS="60", EMAG_SYNC_CONTROL_PORT=str(port)),
        starting(scene, EMAG_SYNC_CONTROL_PORT=str(port)) as second,
    ):
        assert await second.ended() not in (0, 143)
        assert "READY=1" not in second.heard
        assert str(port) in second.log
        assert "Traceback" not in second.log


async def test_a_database_that_is_not_there_yet_is_waited_for_visibly(start: Start) -> None:
    """STATUS and EXTEND_TIMEOUT_USEC, watchdog fed meanwhile; READY when it comes, and said once each way."""
    from syncd.ledger.schema import migrate

    scene = await start()
    with temporary_postgres() as server:
        migrate(server.conninfo())
        scene.program.database = server.conninfo()
        server.stop()
        async with starting(scene, WATCHDOG_USEC="1000000") as daemon:
            # said before the first attempt, then with its reason: well before the 5 s that the pool would take
            await until(lambda: any("EXTEND_TIMEOUT_USEC=" in text for text in daemon.heard), "EXTEND_TIMEOUT_USEC")
            first = next(text for text in daemon.heard if text.startswith("STATUS="))
            assert first.startswith("STATUS=waiting for PostgreSQL at ")
            assert "No such file" not in first
            await until(lambda: daemon.said("database.went_away"), "why", 4)
            await until(lambda: [text for text in daemon.heard if "No such file" in text], "why, in the status", 4)
            assert "READY=1" not in daemon.heard
            assert "WATCHDOG=1" in daemon.heard
            server.start()
            await daemon.ready()
            assert len(daemon.said("database.went_away")) == len(daemon.said("database.came_back")) == 1
            assert (await runs_ended(scene, 1))[0][1:] == ("complete", "end_of_data")
        server.stop()
        async with starting(scene) as daemon:
            await until(lambda: any("EXTEND" in text for text in daemon.heard), "it waits")
            daemon.process.terminate()
            assert await daemon.ended(10) == 0


async def test_a_killed_daemon_resumes_its_run_at_once(start: Start) -> None:
    """Twice; within 5 s of READY, whatever the start-up delay, from the checkpoint on; nothing is lost or doubled."""
    scene = await start(offers=1150, faults=SLOW)
    later = {"EMAG_SYNC_CONCURRENCY": "1", "EMAG_SYNC_STARTUP_DELAY_SECONDS": "3600"}
    for kills, delay in ((1, {"EMAG_SYNC_STARTUP_DELAY_SECONDS": "0"}), (2, {})):
        async with serving(scene, **(later | delay)) as daemon:
            await run_began(scene, kills)
            await pages_stored(scene, 3 * kills)
            await daemon.kill()
    asked = len(scene.list_calls)
    async with serving(scene, **later):
        await run_began(scene, 3)
        rows = await runs_ended(scene, 3)
    assert [row[1:] for row in rows] == [("failed", "lease_lost")] * 2 + [("complete", "end_of_data")]
    assert scene.list_calls[asked].page >= 6
    assert scene.query("SELECT DISTINCT initiated_by FROM run") == [("scheduler",)]
    assert_each_page_took_effect_once(scene)


async def test_a_crash_loop_does_not_storm_the_marketplace(start: Start) -> None:
    """Killed again and again before anything is stored: a few runs at once, then none until the backoff is over."""
    scene = await start(faults=["hang:page=all:times=forever"])
    for kills in range(1, 5):
        async with serving(scene) as daemon:
            await until(lambda kills=kills: len(scene.query("SELECT 1 FROM run")) == kills, f"run {kills}")
            await daemon.kill()
    for _ in range(2):
        async with serving(scene) as daemon:
            await until(lambda: not scene.query(RUNNING), "the dead run is closed")
            await asyncio.sleep(3)  # the scheduler has looked again
    assert len(scene.query("SELECT 1 FROM run")) == 4
    assert scene.query("SELECT failures, next_attempt_at > clock_timestamp() FROM stream") == [(3, True)]


async def test_sigterm_stores_the_pages_received_and_exits_0(start: Start) -> None:
    """partial/shutdown; the watchdog is fed while it drains; the next start goes on at its slot."""
    scene = await start(offers=1150, faults=["hang:page=5-12:times=forever"])
    loop = asyncio.get_running_loop()
    async with serving(scene, EMAG_SYNC_BATCH_SIZE="100") as daemon:
        await pages_stored(scene, 4)
        await until(lambda: 5 in scene.pages_read, "page 5 is asked for")
        told_at = loop.time()
        daemon.process.terminate()
        assert await daemon.ended() == 0
        assert loop.time() - told_at < 3
        assert daemon.heard.count("STOPPING=1") == 1
        assert daemon.heard.index("STOPPING=1") > daemon.heard.index("READY=1")
        assert "Traceback" not in daemon.log
    assert scene.query("SELECT status, cause, pages FROM run") == [("partial", "shutdown", 4)]
    scene.sandbox.faults.clear()
    async with serving(scene) as daemon:
        await asyncio.sleep(2)  # its slot is an hour away: nothing begins
        assert not scene.query(RUNNING)
        status, answer = await daemon.call("POST", "/sync", {})
        assert status == 202, answer
        rows = await runs_ended(scene, 2)
    assert rows[1][1:] == ("complete", "end_of_data")
    assert scene.live == scene.served


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_at_once(start: Start, number: signal.Signals) -> None:
    """Although a page is held in the database; the lease is left to lapse, and the next start closes the run."""
    scene = await start(offers=450)
    async with serving(scene) as daemon, held_open(scene, "record", "INSERT"):
        await until(lambda: waiting(scene), "a page is held open in the server")
        daemon.process.send_signal(number)
        await until(lambda: "STOPPING=1" in daemon.heard, "it drains")
        assert daemon.process.poll() is None
        daemon.process.send_signal(number)
        assert await daemon.ended(2) == 128 + number
    async with serving(scene):
        rows = await runs_ended(scene, 2)
    assert [row[1:] for row in rows] == [("failed", "lease_lost"), ("complete", "end_of_data")]
    assert scene.live == scene.served


async def test_the_status_line_is_that_of_the_contract(start: Start) -> None:
    """`emag/main/offers page 118/410 28% 2.9 req/s ETA 6m`."""
    scene = await start(offers=2050, faults=SLOW)
    async with serving(scene, EMAG_SYNC_CONCURRENCY="1") as daemon:
        form = re.compile(r"STATUS=emag/main/offers page \d+/21 \d+% \d+\.\d req/s ETA \d+[sm]")
        await until(lambda: any(form.fullmatch(text) for text in daemon.heard), "a status line")
        assert all(re.match(r"(STATUS|READY|EXTEND_TIMEOUT_USEC)=", text) for text in daemon.heard), daemon.heard
