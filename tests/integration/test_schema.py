"""A schema of another release: one that only added to ours goes on working, so that an upgrade can be taken back."""

from __future__ import annotations

import psycopg
import pytest

from syncd.contract.errors import SchemaError
from syncd.ledger.schema import OLDEST_VERSION, SCHEMA_VERSION, TERMS, check_schema, migrate
from syncd.runtime.postgres import Postgres

NEWER = "9999"


def _become(database: str, version: str, terms: str | None) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE sync.schema_version SET version_num = %s", [version])
        comment = "NULL" if terms is None else f"'{terms}'"
        connection.execute(f"COMMENT ON TABLE sync.schema_version IS {comment}")


async def _refusal(database: str) -> str:
    """Why this release will not work there; '' where it does."""
    async with Postgres(database, "sync") as postgres:
        try:
            await check_schema(postgres)
        except SchemaError as error:
            return str(error)
    return ""


async def test_a_newer_schema_that_only_added_is_worked_with_and_left_as_it_is(database: str) -> None:
    _become(database, NEWER, TERMS.format(version=NEWER, oldest=SCHEMA_VERSION))
    assert await _refusal(database) == ""
    assert migrate(database) == NEWER
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT version_num FROM sync.schema_version").fetchall() == [(NEWER,)]


TAKES_AWAY = TERMS.format(version=NEWER, oldest=NEWER)
OF_ANOTHER_VERSION = TERMS.format(version="9998", oldest=SCHEMA_VERSION)


@pytest.mark.parametrize("terms", [None, "a remark", TAKES_AWAY, OF_ANOTHER_VERSION])
async def test_a_newer_schema_that_does_not_name_us_is_refused(database: str, terms: str | None) -> None:
    _become(database, NEWER, terms)
    assert "install the release that made it" in await _refusal(database)
    with pytest.raises(SchemaError, match="install the release that made it"):
        migrate(database)


async def test_an_older_schema_is_refused(database: str) -> None:
    _become(database, "0001", None)
    assert "run `syncd migrate`" in await _refusal(database)


def test_a_migrated_schema_says_which_release_is_the_oldest_for_it(database: str) -> None:
    with psycopg.connect(database) as connection:
        row = connection.execute("SELECT obj_description('sync.schema_version'::regclass, 'pg_class')").fetchone()
    assert row == (TERMS.format(version=SCHEMA_VERSION, oldest=OLDEST_VERSION),)
