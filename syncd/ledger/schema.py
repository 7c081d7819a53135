"""The schema of our tables: brought to this release by `syncd migrate`, checked by everything else.

Alembic keeps the book (table `schema_version`); each revision is a file of plain SQL. Alembic and
SQLAlchemy are imported inside `migrate` only: the daemons never carry them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from syncd.contract.errors import DatabaseAwayError, SchemaError
from syncd.contract.words import Cause
from syncd.runtime.postgres import Connection, Postgres, drop_session, translated

SCHEMA_VERSION = "0005"
OUR_TABLES = (
    "account",
    "stream",
    "sweep",
    "run",
    "lease",
    "sweep_page",
    "api_budget",
    "accumulator",
    "consent",
    "idempotency",
    "rescue",
    "standing_pause",
    "run_day",
    "notice",
    "activity",
    "record",
    "change",
    "quarantine",
    "emag_product_offers",
    "emag_offer_syncs",
)
_MIGRATION_LOCK = 0x73796E6364  # "syncd": two migrations at once would both see the old version


def migrate(conninfo: str, schema: str = "sync") -> str:
    """Bring the schema to this release, in one transaction; return the version before ('' for none).

    Raises SchemaError where the schema holds tables of our names that we did not make, where the
    database is not UTF-8, or where it is newer than this release.
    """
    postgres = Postgres(conninfo, schema)
    with postgres.connect_sync() as connection, translated("migrate"), _alembic(connection, schema) as upgrade:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_MIGRATION_LOCK])
        encoding = _scalar(connection, "SHOW server_encoding")
        if encoding != "UTF8":
            raise SchemaError(f"the database's encoding is {encoding}, expected UTF8: create it with ENCODING 'UTF8'")
        before = _version_to_start_from(connection, schema)
        if before != SCHEMA_VERSION:
            connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(postgres.schema_identifier))
            upgrade()
        return before


@contextmanager
def _alembic(connection: psycopg.Connection[tuple[object, ...]], schema: str) -> Iterator[Callable[[], None]]:
    """Yield the call that upgrades inside the connection's open transaction.

    SQLAlchemy asks a new connection about itself and rolls back: that is over before we begin ours.
    """
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine
    from sqlalchemy.pool import StaticPool

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["schema"] = schema
    engine = create_engine("postgresql+psycopg://", creator=lambda: connection, poolclass=StaticPool)
    with engine.connect() as bound:
        config.attributes["connection"] = bound
        yield lambda: command.upgrade(config, SCHEMA_VERSION)
        bound.commit()
        connection.commit()


def _version_to_start_from(connection: psycopg.Connection[tuple[object, ...]], schema: str) -> str:
    """The version that stands in the database; '' where ours is not there yet."""
    rows = connection.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relname = ANY(%s)",
        [schema, [*OUR_TABLES, "schema_version"]],
    ).fetchall()
    present = {str(name) for (name,) in rows}
    if "schema_version" not in present:
        if present:
            raise SchemaError(
                f'schema "{schema}" holds tables that syncd did not make ({", ".join(sorted(present))}): '
                "nothing was changed; set DB_SCHEMA to a schema of its own"
            )
        return ""
    query = sql.SQL("SELECT version_num FROM {}.schema_version").format(sql.Identifier(schema))
    version = str(_scalar(connection, query))
    if version > SCHEMA_VERSION:
        raise _wrong_version(schema, version)
    return version


def _scalar(connection: psycopg.Connection[tuple[object, ...]], query: str | sql.Composed) -> object:
    row = connection.execute(query).fetchone()
    assert row is not None  # noqa: S101  # every query of ours here yields a row
    return row[0]


def _wrong_version(schema: str, found: str) -> SchemaError:
    return SchemaError(
        f'schema "{schema}" is at version {found}, this release needs {SCHEMA_VERSION}: '
        + ("run `syncd migrate`" if found < SCHEMA_VERSION else "install the release that made it, or a newer one"),
        cause=Cause.DATABASE,
    )


async def check_schema(postgres: Postgres) -> None:
    """Raise SchemaError unless the schema is exactly this release's."""
    async with postgres.connection("read the schema version") as connection:
        await _check_version(postgres, connection)


async def check_ledger(postgres: Postgres) -> None:
    """As `check_schema`, and DatabaseAwayError where the database takes no writes just now."""
    async with postgres.connection("look at the ledger") as connection:
        try:
            await check_writable(connection)
        except DatabaseAwayError:
            drop_session(connection)
            raise
        await _check_version(postgres, connection)


async def check_writable(connection: Connection) -> None:
    """DatabaseAwayError where PostgreSQL takes no writes just now."""
    with translated("ask whether PostgreSQL takes writes"):
        cursor = await connection.execute("SELECT current_setting('transaction_read_only')::bool")
        row = await cursor.fetchone()
    if row is not None and row[0]:
        raise DatabaseAwayError("PostgreSQL is read-only")


async def _check_version(postgres: Postgres, connection: Connection) -> None:
    cursor = await connection.execute(
        "SELECT to_regclass('schema_version') IS NOT NULL,"
        " (SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = %s), current_user",
        [postgres.schema],
    )
    row = await cursor.fetchone()
    if row is not None and row[1] is False:
        raise SchemaError(
            f'role "{row[2]}" may not use schema "{postgres.schema}": grant it to that role, or connect as its owner'
        )
    if row is None or not row[0]:
        raise SchemaError(f'schema "{postgres.schema}" holds no tables of syncd: run `syncd migrate`')
    cursor = await connection.execute("SELECT version_num FROM schema_version")
    row = await cursor.fetchone()
    found = row[0] if row else ""
    if found != SCHEMA_VERSION:
        raise _wrong_version(postgres.schema, found)
