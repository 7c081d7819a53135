"""What the other side sends is shown escaped, and no secret is shown at all, whatever goes wrong."""

from __future__ import annotations

import asyncio
import base64
import subprocess
from dataclasses import replace

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.acceptance.scene import Scene, Start, outcome

PASSWORD = 'canary-Pa55/w\u00f6rd"{}'
DATABASE_PASSWORD = "canary-db-Zy9"
USER = "canary-user"
FAULTS = [
    None, "401:page=all:times=forever", "403:page=2", "hostile_error:page=2:times=forever", "redirect:page=2",
    "html:page=2:times=forever", "truncated:page=2:times=forever", "reset:page=2:times=forever",
    "500:page=count:times=forever", "gzip_bomb:page=1", "hostile_text:page=1", "no_id:page=1",
]  # fmt: skip


def secrets() -> list[str]:
    token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    return [PASSWORD, token, DATABASE_PASSWORD]


def assert_clean(done: subprocess.CompletedProcess[str]) -> None:
    """No secret, and nothing that a terminal would obey."""
    for text in (done.stdout, done.stderr):
        for secret in secrets():
            assert secret not in text
        strange = {char for char in text if not char.isprintable() and char not in "\n"}
        assert not strange, (strange, text)


async def run(scene: Scene, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ("run", "--config", str(scene.program.config), *arguments)
    return await asyncio.to_thread(scene.program.call, *command, EMAG_SYNC_MAX_ATTEMPTS="2")


@pytest.fixture
async def canary(start: Start) -> Scene:
    """Every secret is a canary; the database has a role with a password (which a local server does not check)."""
    scene = await start(offers=250, username=USER, password=PASSWORD)
    conninfo = make_conninfo(**{**conninfo_to_dict(scene.program.database), "password": DATABASE_PASSWORD})
    scene.program = replace(scene.program, username=USER, password=PASSWORD, database=conninfo)
    return scene


@pytest.mark.parametrize(
    "verbosity",
    [pytest.param((), marks=pytest.mark.prove), ("-vv",), pytest.param(("-vv", "--json"), marks=pytest.mark.prove)],
)
async def test_no_path_shows_a_secret_or_a_control_character(canary: Scene, verbosity: tuple[str, ...]) -> None:
    """Every fault, with all that the log has to say."""
    for fault in FAULTS:
        canary.sandbox.faults.clear()
        if fault is not None:
            canary.sandbox.faults.add(fault)
        done = await run(canary, "--fresh", *verbosity)
        assert done.returncode in ((0,) if fault is None else (0, 1)), done.stderr
        assert_clean(done)
    assert canary.query("SELECT count(*), count(error_message) FROM run") == [(len(FAULTS), len(FAULTS) - 3)]
    shown = canary.query("SELECT string_agg(error_message, ' '), string_agg(initiated_by, ' ') FROM run")
    assert not any(secret in str(shown) for secret in secrets())


async def test_a_database_that_is_not_there_is_told_without_its_password(canary: Scene) -> None:
    """Wrong port, wrong database, wrong host."""
    right = conninfo_to_dict(canary.program.database)
    for wrong in ({"port": "1"}, {"dbname": "nowhere"}, {"host": "nowhere.invalid"}):
        canary.program.database = make_conninfo(**{**right, **wrong})
        done = await run(canary, "-vv")
        assert done.returncode not in (0, 3)
        assert done.stderr
        assert_clean(done)


async def test_hostile_text_is_stored_as_served_and_shown_escaped(canary: Scene) -> None:
    """ANSI and HTML in a name belong into the table; in a message they are spelt out."""
    canary.sandbox.faults.add("hostile_text:page=1")
    facts = await canary.sync()
    assert outcome(facts) == (0, "complete", "end_of_data")
    with psycopg.connect(canary.program.database) as connection:
        query = "SELECT name FROM sync.record WHERE name LIKE '%<script>%'"
        [(name,)] = connection.execute(query).fetchall()
    assert "\x1b[31m" in name
    canary.sandbox.faults.clear()
    canary.sandbox.faults.add("hostile_error:page=1:times=forever")
    done = await run(canary)
    assert done.returncode == 1
    assert "\\u001b[31mRo" in done.stdout
    assert_clean(done)
