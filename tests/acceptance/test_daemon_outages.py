"""`syncd serve` without its database for a while, and beside another daemon."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.acceptance.daemon import overlaps, pages_stored, runs_ended, serving
from tests.acceptance.processes import RUNNING, assert_each_page_took_effect_once, until
from tests.acceptance.scene import SceneWithServer, Start
from tests.postgres import freeze, restart, thaw

SHORT_LEASE = {"EMAG_SYNC_LEASE_SECONDS": "5", "EMAG_SYNC_CONCURRENCY": "1"}
MOST_CALLS_A_MINUTE = 60 / 0.3 * 2
"""The sandbox takes 0.3 s over a page, and two are called at a time now and then; more would be a storm."""
LOOKS_SECONDS = 3
"""The scheduler has looked at least once more, or is at it."""
SLOW = ["slow:page=all:seconds=0.3"]


async def test_an_outage_shorter_than_the_lease_is_outlived_and_said_once(scene: SceneWithServer) -> None:
    """The run goes on; the port answers meanwhile; one line when it begins, one when it ends."""
    async with serving(scene, EMAG_SYNC_CONCURRENCY="1") as daemon:
        await pages_stored(scene, 2)
        await asyncio.to_thread(scene.server.stop)
        await until(lambda: daemon.said("database.went_away"), "the outage is said")
        async with daemon.idling():
            await asyncio.sleep(4)  # the outage: the scheduler looks once or twice
        calls = len(scene.sandbox.log)
        scene.server.start()
        rows = await runs_ended(scene, 1)
        await until(lambda: daemon.said("database.came_back"), "the end of the outage is said")
        assert rows[0][1:] == ("complete", "end_of_data")
        assert len(daemon.said("database.went_away")) == 1, daemon.log
        assert len(daemon.said("database.came_back")) == 1, daemon.log
        assert not daemon.said("library.logged"), daemon.log
        assert daemon.heard.count("READY=1") == 1
        assert len(scene.sandbox.log) - calls <= 13, "the pages that were left, and little else"
    assert_each_page_took_effect_once(scene)


@pytest.mark.parametrize("how", ["stopped", pytest.param("frozen", marks=pytest.mark.prove)])
async def test_an_outage_longer_than_the_lease_ends_the_run_and_not_the_daemon(
    scene: SceneWithServer, how: str
) -> None:
    """lease_lost, and claimed anew when the database is back; also where connections stay open and say nothing."""
    async with serving(scene, **SHORT_LEASE) as daemon:
        await pages_stored(scene, 2)
        server = scene.server
        await asyncio.to_thread(server.stop if how == "stopped" else freeze, *([] if how == "stopped" else [server]))
        try:
            await until(lambda: "cause=lease_lost" in "".join(daemon.said("run.ended")), "the run gives up", 30)
            await asyncio.sleep(2)
            assert daemon.process.poll() is None
        finally:
            server.start() if how == "stopped" else thaw(server)
        rows = await runs_ended(scene, 2, 30)
        assert [row[1:] for row in rows] == [("failed", "lease_lost"), ("complete", "end_of_data")]
        assert len(daemon.said("database.went_away")) == 1, daemon.log
        assert "Traceback" not in daemon.log
        daemon.process.terminate()
        assert await daemon.ended() == 0
    assert_each_page_took_effect_once(scene)


async def test_a_lost_lease_is_taken_up_soon_also_where_its_end_could_be_stored(scene: SceneWithServer) -> None:
    """The process stands still for longer than its lease; then it finds the database well, and says what it lost."""
    async with serving(scene, **SHORT_LEASE) as daemon:
        await pages_stored(scene, 2)
        daemon.process.send_signal(signal.SIGSTOP)
        await until(lambda: scene.query("SELECT 1 FROM lease WHERE expires_at < clock_timestamp()"), "it has lapsed")
        daemon.process.send_signal(signal.SIGCONT)
        rows = await runs_ended(scene, 2, 40)
        assert [row[1:] for row in rows] == [("failed", "lease_lost"), ("complete", "end_of_data")]
    assert_each_page_took_effect_once(scene)


async def survive_restarts(scene: SceneWithServer, *, times: int, every_seconds: float) -> None:
    """The daemon goes on reading over and over; afterwards one undisturbed sync proves that nothing is amiss."""
    settings = {"EMAG_SYNC_LEASE_SECONDS": "10", "EMAG_SYNC_INTERVAL_SECONDS": "1"}
    loop = asyncio.get_running_loop()
    async with serving(scene, **settings) as daemon:
        await pages_stored(scene, 2)
        began, cpu_before, calls = loop.time(), daemon.cpu_seconds, len(scene.sandbox.log)
        for restarts in range(1, times + 1):
            await asyncio.to_thread(restart, scene.server)
            scene.sandbox.catalogue.change(0.1)
            at = began + restarts * every_seconds
            await until(lambda at=at: loop.time() >= at, "the next restart", every_seconds + 30)
        seconds = loop.time() - began
        share = (daemon.cpu_seconds - cpu_before) / seconds
        a_minute = 60 * (len(scene.sandbox.log) - calls) / seconds
        print(f"{times} restarts in {seconds:.0f} s: {a_minute:.0f} calls a minute, {share:.0%} of a core")
        complete = len(scene.query("SELECT 1 FROM run WHERE status = 'complete'"))
        await until(lambda: len(scene.query("SELECT 1 FROM run WHERE status = 'complete'")) >= complete + 2, "two more")
        daemon.process.terminate()
        assert await daemon.ended() == 0
        assert daemon.heard.count("READY=1") == 1
        assert len(daemon.said("database.went_away")) <= times, daemon.log
        assert "Traceback" not in daemon.log
    assert overlaps(scene) == 0
    assert a_minute <= MOST_CALLS_A_MINUTE
    assert share < 0.5
    causes = {cause for _, _, cause in await runs_ended(scene, 2)}
    assert causes <= {"end_of_data", "lease_lost", "database", "shutdown"}, causes
    assert_each_page_took_effect_once(scene)


async def test_a_database_that_restarts_again_and_again_is_survived(scene: SceneWithServer) -> None:
    """Converges: runs are completed in between or afterwards, and the tables equal what was served."""
    await survive_restarts(scene, times=3, every_seconds=4)


@pytest.mark.prove
async def test_a_database_that_restarts_every_ten_seconds_for_three_minutes_is_survived(scene: SceneWithServer) -> None:
    """The real case."""
    await survive_restarts(scene, times=18, every_seconds=10)


@contextmanager
def out_of_reach(scene: SceneWithServer, how: str) -> Iterator[None]:
    """The server is stopped, or every process of it is."""
    scene.server.stop() if how == "stopped" else freeze(scene.server)
    try:
        yield
    finally:
        scene.server.start() if how == "stopped" else thaw(scene.server)


@pytest.mark.parametrize("how", ["stopped", "frozen"])
async def test_sigterm_while_the_database_is_away_is_not_waited_out(scene: SceneWithServer, how: str) -> None:
    """A lease is 60 s long, and the drain has a bound of its own: exit 0 and a line that says why; then as kill -9."""
    loop = asyncio.get_running_loop()
    async with serving(scene, EMAG_SYNC_CONCURRENCY="1") as daemon:
        await pages_stored(scene, 2)
        with out_of_reach(scene, how):
            told_at = loop.time()
            daemon.process.terminate()
            assert await daemon.ended(25) == 0
            assert loop.time() - told_at < 10
        assert len(daemon.said("drain.abandoned")) == 1, daemon.log
        assert "Traceback" not in daemon.log
    async with serving(scene):
        rows = await runs_ended(scene, 2)
    assert [row[1:] for row in rows] == [("failed", "lease_lost"), ("complete", "end_of_data")]
    assert_each_page_took_effect_once(scene)


@pytest.mark.parametrize("how", [pytest.param("stopped", marks=pytest.mark.prove), "frozen"])
async def test_sigterm_to_an_idle_daemon_does_not_wait_for_the_database(scene: SceneWithServer, how: str) -> None:
    loop = asyncio.get_running_loop()
    async with serving(scene, EMAG_SYNC_STARTUP_DELAY_SECONDS="3600") as daemon:
        with out_of_reach(scene, how):
            await asyncio.sleep(LOOKS_SECONDS)
            told_at = loop.time()
            daemon.process.terminate()
            assert await daemon.ended(25) == 0
            assert loop.time() - told_at < 6


async def test_two_daemons_on_one_database_share_a_stream(start: Start) -> None:
    """Only one runs it, by one interval; when that one is killed the other takes over at once on this host."""
    scene = await start(offers=450, faults=SLOW)
    settings = {"EMAG_SYNC_CONCURRENCY": "1", "EMAG_SYNC_INTERVAL_SECONDS": "2"}
    async with serving(scene, **settings) as one, serving(scene, **settings) as other:
        await runs_ended(scene, 3, 40)
        assert overlaps(scene) == 0
        gaps = scene.query(
            "SELECT extract(epoch FROM started_at - lag(completed_at) OVER (ORDER BY started_at)) FROM run"
        )
        assert all(gap is None or gap >= 1.79 for (gap,) in gaps), gaps
        await until(lambda: scene.query(RUNNING), "a run")
        (pid,) = scene.query("SELECT owner_pid FROM lease WHERE run_id IS NOT NULL")[0]
        holder = one if one.process.pid == pid else other
        heir = other if holder is one else one
        await holder.kill()
        await until(lambda: heir.said("run.took_over"), "the other takes over", 10)
        await until(lambda: not scene.query(RUNNING), "its run ends")
    causes = [cause for _, _, cause in await runs_ended(scene, 5)]
    assert causes.count("lease_lost") == 1
    assert set(causes) == {"lease_lost", "end_of_data"}
    assert_each_page_took_effect_once(scene)


@pytest.mark.prove  # long
async def test_a_frozen_daemon_loses_its_stream_to_another_and_survives(start: Start) -> None:
    """SIGSTOP for longer than the lease, as on another host: taken over when it lapses, nothing written twice."""
    scene = await start(offers=1150, faults=SLOW)
    async with serving(scene, **SHORT_LEASE) as one:
        await pages_stored(scene, 2)
        one.process.send_signal(signal.SIGSTOP)
        async with serving(scene, EMAG_SYNC_LEASE_SECONDS="5") as other:
            await until(lambda: other.said("run.took_over"), "taken over after the lease", 20)
            one.process.send_signal(signal.SIGCONT)
            rows = await runs_ended(scene, 2, 30)
            assert [row[2] for row in rows] == ["lease_lost", "end_of_data"]
            await until(lambda: one.said("run.ended") or one.process.poll() is not None, "the frozen run ends")
            assert one.process.poll() is None, one.log
    assert overlaps(scene) == 0
    assert_each_page_took_effect_once(scene)
