"""`syncd serve` and a ledger that takes no writes, is gone, or is another release's: said once, waited for."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql

from syncd.ledger.schema import migrate
from tests.acceptance.daemon import Daemon, pages_stored, runs_ended, serving
from tests.acceptance.processes import RUNNING, assert_each_page_took_effect_once, until
from tests.acceptance.scene import Scene, Start
from tests.fault_proxy import FaultProxy

SLOW = ["slow:page=all:seconds=0.3"]
ONE_AT_A_TIME = {"EMAG_SYNC_CONCURRENCY": "1"}
SHORT_LEASE = ONE_AT_A_TIME | {"EMAG_SYNC_LEASE_SECONDS": "5"}
LOOKS_SECONDS = 5
"""The scheduler has looked at least twice more."""


def administer(scene: Scene, *statements: str) -> None:
    """As a superuser in the scene's database, whatever its settings are; DATABASE is its name."""
    with psycopg.connect(
        scene.program.database, options="-c default_transaction_read_only=off", autocommit=True
    ) as connection:
        name = sql.Identifier(connection.info.dbname).as_string(connection)
        for statement in statements:
            connection.execute(statement.replace("DATABASE", f"DATABASE {name}"))  # type: ignore[arg-type]


@contextmanager
def read_only(scene: Scene) -> Iterator[None]:
    """Every session that begins in this block is read-only, and those of before it end."""
    end_sessions = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    administer(scene, "ALTER DATABASE SET default_transaction_read_only = on", end_sessions)
    try:
        yield
    finally:
        administer(scene, "ALTER DATABASE RESET default_transaction_read_only")


async def health(daemon: Daemon) -> tuple[int, str]:
    """Status, and what is said of the database."""
    status, document = await daemon.call("GET", "/health")
    return status, next(check["detail"] for check in document["checks"] if check["name"] == "database")


async def is_shown(daemon: Daemon, trouble: str) -> None:
    """In the status line and in /health; it stays READY and its watchdog is fed."""
    await until(lambda: any("STATUS" in text and trouble in text for text in daemon.heard), f"STATUS: {trouble}", 15)
    status, detail = await health(daemon)
    assert (status, trouble in detail) == (503, True), detail
    assert daemon.heard.count("READY=1") == 1


async def is_well(daemon: Daemon) -> None:
    heard = len(daemon.heard)
    await until(lambda: any("STATUS" in text and "waiting" not in text for text in daemon.heard[heard:]), "STATUS", 15)
    assert (await health(daemon)) == (200, "the ledger answers")


async def test_a_database_that_is_read_only_for_a_moment_is_waited_for(start: Start) -> None:
    """The run goes on, although each of its sessions was read-only in between."""
    scene = await start(offers=850, faults=SLOW)
    async with serving(scene, **ONE_AT_A_TIME) as daemon:
        await pages_stored(scene, 2)
        with read_only(scene):
            await is_shown(daemon, "read-only")
        rows = await runs_ended(scene, 1)
        assert rows[0][1:] == ("complete", "end_of_data")
        await until(lambda: daemon.said("database.came_back"), "its end is said")
        assert len(daemon.said("database.went_away")) == len(daemon.said("database.came_back")) == 1, daemon.log
        await is_well(daemon)
    assert_each_page_took_effect_once(scene)


async def test_a_database_that_stays_read_only_costs_the_run_and_no_more(start: Start) -> None:
    """For longer than the lease: the run ends, none begins, one line is said, and all goes on by itself."""
    scene = await start(offers=850, faults=SLOW)
    async with serving(scene, WATCHDOG_USEC="1000000", **SHORT_LEASE) as daemon:
        await pages_stored(scene, 2)
        with read_only(scene):
            await until(lambda: "cause=lease_lost" in "".join(daemon.said("run.ended")), "the run gives up")
            fed, calls = daemon.heard.count("WATCHDOG=1"), len(scene.sandbox.log)
            async with daemon.idling():
                await asyncio.sleep(LOOKS_SECONDS)
            await is_shown(daemon, "read-only")
            assert daemon.heard.count("WATCHDOG=1") - fed >= LOOKS_SECONDS
            assert len(scene.sandbox.log) == calls
            assert len(daemon.said("database.went_away")) == 1, daemon.log
        rows = await runs_ended(scene, 2)
        assert [row[1:] for row in rows] == [("failed", "lease_lost"), ("complete", "end_of_data")]
        await is_well(daemon)
        assert len(daemon.said("run.started")) == 2
    assert_each_page_took_effect_once(scene)


def rename_away(scene: Scene) -> Callable[[], None]:
    administer(scene, "ALTER SCHEMA sync RENAME TO elsewhere")
    return lambda: administer(scene, "ALTER SCHEMA elsewhere RENAME TO sync")


def drop(scene: Scene) -> Callable[[], None]:
    administer(scene, "DROP SCHEMA sync CASCADE")
    return lambda: migrate(scene.program.database) and None


@pytest.mark.parametrize("take_away", [pytest.param(rename_away, marks=pytest.mark.prove), drop])
async def test_a_ledger_that_is_gone_is_said_once_and_waited_for(
    start: Start, take_away: Callable[[Scene], Callable[[], None]]
) -> None:
    """In the middle of a run. Given back, or made anew and empty, all goes on by itself."""
    scene = await start(offers=850, faults=SLOW)
    async with serving(scene, **SHORT_LEASE) as daemon:
        await pages_stored(scene, 2)
        give_back = take_away(scene)
        await until(lambda: daemon.said("ledger.unusable"), "it is said")
        await until(lambda: daemon.said("run.ended"), "the run ends")
        await is_shown(daemon, "holds no tables of syncd: run `syncd migrate`")
        calls = len(scene.sandbox.log)
        async with daemon.idling():
            await asyncio.sleep(LOOKS_SECONDS)
        assert len(scene.sandbox.log) == calls
        give_back()
        await until(lambda: daemon.said("ledger.usable_again"), "it is usable again")
        assert (await daemon.call("POST", "/sync", {}))[0] in (202, 409)
        await until(lambda: scene.live == scene.served and not scene.query(RUNNING), "all is stored")
        assert len(daemon.said("ledger.unusable")) == len(daemon.said("ledger.usable_again")) == 1, daemon.log
        assert "Traceback" not in daemon.log
        await is_well(daemon)
    assert scene.query("SELECT status FROM run ORDER BY started_at DESC LIMIT 1") == [("complete",)]


async def test_under_another_releases_schema_nothing_begins(start: Start) -> None:
    """An upgrade is under way: `migrate` has run, the new release is not started yet."""
    scene = await start()
    async with serving(scene, EMAG_SYNC_INTERVAL_SECONDS="1") as daemon:
        await runs_ended(scene, 1)
        administer(scene, "UPDATE sync.schema_version SET version_num = '9999'")
        await is_shown(daemon, "is at version 9999")
        await until(lambda: not scene.query(RUNNING), "what ran has ended")
        count = scene.query("SELECT count(*) FROM run")
        async with daemon.idling():
            await asyncio.sleep(LOOKS_SECONDS)
        assert scene.query("SELECT count(*) FROM run") == count
        daemon.process.terminate()
        assert await daemon.ended() == 0


@pytest.mark.parametrize("statement", [b"INSERT INTO account", b"SELECT host, username_hash"])
async def test_a_database_that_vanishes_while_accounts_are_registered_is_asked_again(
    start: Start, statement: bytes
) -> None:
    scene = await start()
    async with FaultProxy(scene.program.database) as proxy:
        proxy.cut_before(statement)
        async with serving(scene, DATABASE_URL=proxy.conninfo) as daemon:
            assert proxy.cuts == 1
            assert len(daemon.said("database.went_away")) == len(daemon.said("database.came_back")) == 1, daemon.log
            assert (await runs_ended(scene, 1))[0][1:] == ("complete", "end_of_data")
            assert "Traceback" not in daemon.log


async def test_an_account_that_a_reload_brings_while_the_database_is_away_is_served_later(start: Start) -> None:
    """READY at once, and no second SIGHUP is needed."""
    scene = await start()
    path = scene.program.config
    assert path is not None
    path.with_name("emag-other-password").write_text("sandbox")
    async with (
        FaultProxy(scene.program.database) as proxy,
        serving(scene, DATABASE_URL=proxy.conninfo, CREDENTIALS_DIRECTORY=str(path.parent)) as daemon,
    ):
        await runs_ended(scene, 1)
        with path.open("a") as file:
            file.write(
                f'[accounts.emag.other]\nbase_url = "{scene.sandbox.base_url}"\nusername = "sandbox"\n'
                "calls_per_second = 1000\n"
            )
        proxy.cut_before(b"INSERT INTO account")
        daemon.process.send_signal(signal.SIGHUP)
        await daemon.ready(2)
        assert proxy.cuts == 1
        await runs_ended(scene, 2)
        assert not daemon.said("account.refused"), daemon.log
