"""PostgreSQL restarts, stops, freezes, or is not what it should be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from syncd.ledger.schema import migrate
from syncd.sandbox import Sandbox
from tests.acceptance.processes import assert_each_page_took_effect_once, ended, running, until
from tests.acceptance.scene import Scene, outcome
from tests.postgres import freeze, restart, temporary_postgres, thaw
from tests.program import Program

SHORT_LEASE = {"EMAG_SYNC_LEASE_SECONDS": "5"}


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """A server of its own, and a sandbox that takes a moment over each page."""
    with temporary_postgres() as server:
        migrate(server.conninfo())
        async with Sandbox(
            offers=1150, per_second=None, per_minute=None, faults=["slow:page=all:seconds=0.15"]
        ) as sandbox:
            program = Program(server.conninfo(), sandbox.base_url, config=tmp_path / "syncd.toml")
            made = Scene(sandbox, program)
            made.configure({})
            made.server = server  # type: ignore[attr-defined]
            yield made


async def pages_are_stored(scene: Scene, at_least: int = 2) -> None:
    await until(
        lambda: scene.query("SELECT count(*) FROM sweep_page")[0][0] >= at_least, f"{at_least} pages are stored"
    )


async def test_a_database_that_restarts_is_waited_for(scene: Scene) -> None:
    """Twice in one run, each time for less than the lease: the run goes on and is complete."""
    async with running(scene) as process:
        for stored in (2, 6):
            await pages_are_stored(scene, stored)
            await asyncio.to_thread(restart, scene.server)  # type: ignore[attr-defined]
        exit_code, facts = await ended(process)
    assert (exit_code, facts["cause"]) == (0, "end_of_data")
    assert len(scene.query("SELECT 1 FROM run")) == 1
    assert_each_page_took_effect_once(scene)


async def test_a_database_that_freezes_for_a_moment_is_waited_for(scene: Scene) -> None:
    """Connections stay open and nothing answers; then everything does."""
    async with running(scene) as process:
        await pages_are_stored(scene)
        await asyncio.to_thread(freeze, scene.server)  # type: ignore[attr-defined]
        await asyncio.sleep(2)  # the pause itself
        thaw(scene.server)  # type: ignore[attr-defined]
        exit_code, facts = await ended(process)
    assert (exit_code, facts["cause"]) == (0, "end_of_data")
    assert_each_page_took_effect_once(scene)


async def test_a_run_whose_database_stays_away_ends_by_itself(scene: Scene) -> None:
    """Within the lease and a few seconds, with exit 70; the next run closes it and completes."""
    async with running(scene, **SHORT_LEASE) as process:
        await pages_are_stored(scene)
        await asyncio.to_thread(scene.server.stop)  # type: ignore[attr-defined]
        exit_code, facts = await ended(process, 25)
    assert exit_code == 70, facts
    said = await asyncio.to_thread(scene.program.call, "run", "--config", str(scene.program.config))
    assert said.returncode == 1
    assert "PostgreSQL" in said.stderr
    assert "Traceback" not in said.stderr
    scene.server.start()  # type: ignore[attr-defined]
    assert outcome(await scene.sync()) == (0, "complete", "end_of_data")
    assert_each_page_took_effect_once(scene)


async def test_a_run_whose_database_freezes_for_longer_ends_by_itself(scene: Scene) -> None:
    """Not even the end of a session is heard of; the process ends all the same, with exit 70."""
    async with running(scene, **SHORT_LEASE) as process:
        await pages_are_stored(scene)
        await asyncio.to_thread(freeze, scene.server)  # type: ignore[attr-defined]
        try:
            exit_code, facts = await ended(process, 40)
        finally:
            thaw(scene.server)  # type: ignore[attr-defined]
    assert exit_code == 70, facts
    assert outcome(await scene.sync()) == (0, "complete", "end_of_data")
    assert_each_page_took_effect_once(scene)


def test_a_database_without_our_schema_is_a_matter_of_configuration(empty_database: str) -> None:
    """Exit 78, and the command that mends it."""
    done = Program(empty_database, "http://127.0.0.1:1/api-3").call("run")
    assert done.returncode == 78
    assert 'schema "sync" holds no tables of syncd: run `syncd migrate`' in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("version", "advice"), [("0001", "run `syncd migrate`"), ("9999", "install the release")])
def test_a_schema_of_another_release_is_a_matter_of_configuration(database: str, version: str, advice: str) -> None:
    """Exit 78; both versions are named, and what to do."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE sync.schema_version SET version_num = %s", [version])
    done = Program(database, "http://127.0.0.1:1/api-3").call("run")
    assert done.returncode == 78
    assert f'schema "sync" is at version {version}' in done.stderr
    assert advice in done.stderr


def test_a_database_that_is_down_before_the_run_is_said_clearly() -> None:
    """Exit 1, nothing begun, no traceback."""
    with temporary_postgres() as server:
        conninfo = server.conninfo()
        server.stop()
        done = Program(conninfo, "http://127.0.0.1:1/api-3").call("run")
    assert done.returncode == 1
    assert "PostgreSQL" in done.stderr
    assert "Traceback" not in done.stderr
    print(done.stderr)
