"""Which ledger this is: programs that see the same identity work on the same rows, whichever way they got there."""

from __future__ import annotations

from hashlib import sha256

from syncd.contract.errors import DatabaseAwayError, FatalError
from syncd.runtime.postgres import Postgres

_HEXADECIMAL_DIGITS = 16


async def load_ledger_id(postgres: Postgres) -> str:
    """The same for one schema of one database of one server; another after a dump is restored elsewhere."""
    async with postgres.connection("look which ledger this is") as connection:
        cursor = await connection.execute(
            "SELECT d.oid::text, n.oid::text FROM pg_database d, pg_namespace n"
            " WHERE d.datname = current_database() AND n.nspname = %s",
            [postgres.schema],
        )
        parts = await cursor.fetchone() or ("", "")
    return sha256("/".join([await _server_id(postgres), *parts]).encode()).hexdigest()[:_HEXADECIMAL_DIGITS]


async def _server_id(postgres: Postgres) -> str:
    """Made at initdb; '' where an administrator has closed pg_control_system() to us."""
    try:
        async with postgres.connection("look which server this is") as connection:
            cursor = await connection.execute("SELECT system_identifier::text FROM pg_control_system()")
            row = await cursor.fetchone()
    except DatabaseAwayError:
        raise
    except FatalError:
        return ""
    return str(row[0]) if row else ""
