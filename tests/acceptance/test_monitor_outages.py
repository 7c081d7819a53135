"""The monitor without its database: it keeps running, says so, and recovers by itself what got stuck meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.acceptance.daemon import pages_stored
from tests.acceptance.guard import LEASE, Guard, guarding
from tests.acceptance.processes import running, until
from tests.acceptance.scene import SceneWithServer, Start
from tests.postgres import freeze, restart, thaw

ENDED = "SELECT status, cause FROM run WHERE completed_at IS NOT NULL"
SAYS_SO = {"stopped": "reach PostgreSQL", "frozen": "no answer in time", "read-only": "PostgreSQL is read-only"}


@contextmanager
def away(scene: SceneWithServer, how: str) -> Iterator[None]:
    """The server is stopped, frozen, or takes no writes."""
    if how == "read-only":
        _set_read_only(scene, "on")
    else:
        scene.server.stop() if how == "stopped" else freeze(scene.server)
    try:
        yield
    finally:
        if how == "read-only":
            _set_read_only(scene, "off")
        else:
            scene.server.start() if how == "stopped" else thaw(scene.server)


def _set_read_only(scene: SceneWithServer, value: str) -> None:
    options = "-c default_transaction_read_only=off"
    with psycopg.connect(scene.program.database, autocommit=True, options=options) as connection:
        connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
        connection.execute("SELECT pg_reload_conf()")


async def keeps_running(guard: Guard, how: str) -> None:
    """And says so: probes, metrics, page, the line of status, and one line in the log."""
    await guard.shows("emag_sync_monitor_status", 0)
    assert await guard.metric("emag_sync_up") == (1 if how == "read-only" else 0)
    offers = [line for line in (await guard.get("/metrics"))[1].splitlines() if "offers_processed_total{" in line]
    assert bool(offers) == (how == "read-only"), "absent, not 0"
    assert (await guard.get("/livez"))[0] == 200
    await guard.status_has(SAYS_SO[how])
    assert guard.status.startswith("not watching ")
    assert "last check " in guard.status
    told = "Not watched just now: PostgreSQL is read-only" if how == "read-only" else "The ledger cannot be read"
    page = await guard.page()
    assert page.startswith(told)
    assert SAYS_SO[how] in page


@pytest.mark.parametrize("how", ["stopped", "frozen", "read-only"])
async def test_a_database_that_is_away_is_told_and_what_got_stuck_meanwhile_is_recovered(
    scene: SceneWithServer, how: str
) -> None:
    """The sync dies while nobody can look; the watchdog is fed all the time; one line at each end of the outage."""
    async with guarding(scene, WATCHDOG_USEC="1000000") as guard:
        async with running(scene, **LEASE) as worker:
            await pages_stored(scene, 2)
            await guard.shows("emag_sync_monitor_status", 1)
            with away(scene, how):
                worker.kill()
                fed = guard.heard.count("WATCHDOG=1")
                await keeps_running(guard, how)
                await until(lambda: guard.heard.count("WATCHDOG=1") > fed + 3, "the watchdog is fed")
        await until(lambda: scene.query(ENDED), "the dead run is ended")
        await guard.shows("emag_sync_monitor_status", 1)
        await guard.shows("emag_sync_up", 1)
        await until(lambda: guard.said("database.came_back"), "the end of the outage is said")
        assert len(guard.said("database.went_away")) == len(guard.said("database.came_back")) == 1, guard.log
        assert scene.query(ENDED) == [("failed", "lease_lost")]
        assert scene.query("SELECT initiated_by FROM run WHERE status = 'queued'") == [("monitor",)]
        assert "Traceback" not in guard.log
        await guard.status_has("1 run open, 0 stuck, last check ")


async def test_a_database_that_is_not_there_at_the_start_is_no_reason_not_to_be_ready(scene: SceneWithServer) -> None:
    """READY, the port and the page are there at once; the watch begins when the database comes."""
    with away(scene, "stopped"):
        async with guarding(scene) as guard:
            assert guard.heard[0] == "READY=1"
            await keeps_not_seen(guard)
            scene.server.start()
            await guard.shows("emag_sync_monitor_status", 1)
            await guard.status_has("0 runs open, 0 stuck, last check ")
            assert (await guard.get("/readyz"))[0] == 200
            assert guard.heard.count("READY=1") == 1


async def keeps_not_seen(guard: Guard) -> None:
    """Nothing has been seen yet."""
    assert await guard.metric("emag_sync_up") == 0
    await guard.status_has("not watching ")
    assert "last check" not in guard.status
    assert (await guard.get("/livez"))[0] == 200
    assert (await guard.get("/readyz"))[0] == 503


async def test_a_database_that_restarts_is_hardly_noticed(scene: SceneWithServer) -> None:
    """Its sessions are gone; the next looks make new ones."""
    async with guarding(scene) as guard:
        await guard.shows("emag_sync_monitor_status", 1)
        for _ in range(3):
            looks = len(guard.said("tick.done"))
            await asyncio.to_thread(restart, scene.server)
            await until(lambda looks=looks: len(guard.said("tick.done")) > looks, "the next look")
        await guard.shows("emag_sync_monitor_status", 1)
        assert guard.process.poll() is None
        assert len(guard.said("database.went_away")) <= 3, guard.log
        assert "Traceback" not in guard.log


@pytest.mark.parametrize(("version", "advice"), [("0001", "run `syncd migrate`"), ("9999", "install the release")])
async def test_a_schema_of_another_release_is_said_once_and_waited_for(start: Start, version: str, advice: str) -> None:
    """At the start as well as later, without an exit: somebody must notice when it is mended."""
    scene = await start(offers=20)
    ((ours,),) = scene.query("SELECT version_num FROM schema_version")
    scene.query("UPDATE schema_version SET version_num = %s RETURNING 1", version)
    async with guarding(scene) as guard:
        await guard.status_has(f"is at version {version}")
        await guard.status_has(advice)
        assert (await guard.get("/livez"))[0] == 200
        assert await guard.metric("emag_sync_monitor_status") == 0
        scene.query("UPDATE schema_version SET version_num = %s RETURNING 1", ours)
        await until(lambda: guard.said("ledger.usable_again"), "it is usable again")
        await guard.shows("emag_sync_monitor_status", 1)
        assert len(guard.said("ledger.unusable")) == 1, guard.log
        assert not guard.said("database.went_away")


@pytest.mark.parametrize("how", ["frozen", pytest.param("stopped", marks=pytest.mark.prove)])
async def test_sigterm_does_not_wait_for_the_database(scene: SceneWithServer, how: str) -> None:
    """Exit 0 within seconds, with a scrape's statement under way that does not come back."""
    loop = asyncio.get_running_loop()
    async with guarding(scene) as guard:
        await guard.shows("emag_sync_monitor_status", 1)
        with away(scene, how):
            await guard.status_has("not watching ")
            scrape = asyncio.create_task(guard.get("/metrics"))
            await guard.get("/livez")
            told_at = loop.time()
            guard.process.terminate()
            assert await guard.ended(10) == 0
            assert loop.time() - told_at < 5
            await asyncio.wait({scrape})
            assert scrape.exception() is None or isinstance(scrape.exception(), OSError)
        assert "STOPPING=1" in guard.heard
        assert "Traceback" not in guard.log
