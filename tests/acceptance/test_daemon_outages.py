"""`syncd serve` without its database for a while, and beside another daemon."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from syncd.ledger.schema import migrate
from syncd.sandbox import Sandbox
from tests.acceptance.daemon import overlaps, pages_stored, runs_ended, serving
from tests.acceptance.processes import RUNNING, assert_each_page_took_effect_once, until
from tests.acceptance.scene import Scene, Start
from tests.postgres import freeze, restart, temporary_postgres, thaw
from tests.program import Program

SHORT_LEASE = {"EMAG_SYNC_LEASE_SECONDS": "5", "EMAG_SYNC_CONCURRENCY": "1"}
SLOW = ["slow:page=all:seconds=0.3"]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """A server of its own, and a sandbox that takes a moment over each page."""
    with temporary_postgres() as server:
        migrate(server.conninfo())
        async with Sandbox(offers=1150, per_second=None, per_minute=None, faults=SLOW) as sandbox:
            program = Program(server.conninfo(), sandbox.base_url, config=tmp_path / "syncd.toml")
            made = Scene(sandbox, program)
            made.configure({})
            made.server = server  # type: ignore[attr-defined]
            yield made


async def test_an_outage_shorter_than_the_lease_is_outlived_and_said_once(scene: Scene) -> None:
    """The run goes on; the port answers meanwhile; one line when it begins, one when it ends."""
    async with serving(scene, EMAG_SYNC_CONCURRENCY="1") as daemon:
        await pages_stored(scene, 2)
        await asyncio.to_thread(scene.server.stop)  # type: ignore[attr-defined]
        await until(lambda: daemon.said("database.went_away"), "the outage is said")
        assert (await daemon.call("GET", "/livez"))[0] == 200
        await asyncio.sleep(4)  # the outage: the scheduler looks once or twice
        scene.server.start()  # type: ignore[attr-defined]
        rows = await runs_ended(scene, 1)
        await until(lambda: daemon.said("database.came_back"), "the end of the outage is said")
        assert rows[0][1:] == ("complete", "end_of_data")
        assert len(daemon.said("database.went_away")) == 1, daemon.log
        assert len(daemon.said("database.came_back")) == 1, daemon.log
        assert len(daemon.said("library.logged")) <= 2, daemon.log
        assert daemon.heard.count("READY=1") == 1
    assert_each_page_took_effect_once(scene)


@pytest.mark.parametrize("how", ["stopped", pytest.param("frozen", marks=pytest.mark.prove)])
async def test_an_outage_longer_than_the_lease_ends_the_run_and_not_the_daemon(scene: Scene, how: str) -> None:
    """lease_lost, and claimed anew when the database is back; also where connections stay open and say nothing."""
    async with serving(scene, **SHORT_LEASE) as daemon:
        await pages_stored(scene, 2)
        server = scene.server  # type: ignore[attr-defined]
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


@pytest.mark.prove  # long
async def test_a_database_that_restarts_again_and_again_is_survived(scene: Scene) -> None:
    async with serving(scene, **SHORT_LEASE) as daemon:
        for stored in (2, 5, 8):
            await pages_stored(scene, stored)
            await asyncio.to_thread(restart, scene.server)  # type: ignore[attr-defined]
        rows = await runs_ended(scene, 1)
        assert rows[-1][1:] == ("complete", "end_of_data")
        assert daemon.process.poll() is None
    assert_each_page_took_effect_once(scene)


@pytest.mark.prove  # long
async def test_sigterm_while_the_database_is_away_ends_within_the_lease(scene: Scene) -> None:
    async with serving(scene, **SHORT_LEASE) as daemon:
        await pages_stored(scene, 2)
        await asyncio.to_thread(scene.server.stop)  # type: ignore[attr-defined]
        daemon.process.terminate()
        assert await daemon.ended(25) == 0
    scene.server.start()  # type: ignore[attr-defined]
    async with serving(scene):
        assert (await runs_ended(scene, 2))[1][1:] == ("complete", "end_of_data")


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
