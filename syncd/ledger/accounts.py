"""Accounts and streams as the ledger knows them: registered once, pinned to a login, paused by hand."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from psycopg.rows import class_row

from syncd.contract.errors import ConfigError
from syncd.contract.words import Stream
from syncd.ledger import pauses
from syncd.runtime.postgres import Connection, Postgres

_REGISTER = f"""
WITH a AS (
    INSERT INTO account (source, name) VALUES (%(source)s, %(account)s)
    ON CONFLICT (source, name) DO UPDATE SET name = excluded.name RETURNING account_id),
standing AS MATERIALIZED ({pauses.STANDING}),
s AS (
    INSERT INTO stream (account_id, resource, paused_at, paused_by, pause_reason)
    SELECT account_id, %(resource)s, paused_at, paused_by, pause_reason FROM a LEFT JOIN standing ON true
    ON CONFLICT (account_id, resource) DO UPDATE SET resource = excluded.resource RETURNING stream_id)
INSERT INTO lease (stream_id) SELECT stream_id FROM s ON CONFLICT DO NOTHING
"""

_REGISTERED = """
SELECT 1 FROM lease JOIN stream s USING (stream_id) JOIN account a USING (account_id)
 WHERE a.source = %s AND a.name = %s AND s.resource = %s
"""

_CONFIRM = """
UPDATE account SET host = %(host)s, username_hash = %(hash)s, breaker_failures = 0, breaker_open_until = NULL
 WHERE source = %(source)s AND name = %(account)s
"""


async def register(postgres: Postgres, stream: Stream) -> None:
    """Make the stream's rows where they are not there yet; paused, where everything is."""
    async with postgres.connection(f"register {stream}") as connection:
        # Looked for first: the upsert below would wait for every page that is being written.
        cursor = await connection.execute(_REGISTERED, [stream.source, stream.account, stream.resource])
        if await cursor.fetchone() is not None:
            return
        await connection.execute(
            _REGISTER, {"source": stream.source, "account": stream.account, "resource": stream.resource}
        )


async def pin_identity(postgres: Postgres, stream: Stream, *, host: str, username: str) -> None:
    """Tie the account to its login at first use; ConfigError where it was another one before.

    A sandbox URL on a production stream must not overwrite real offers.
    """
    username_hash = _username_hash(username)
    async with postgres.connection(f"check the identity of {stream}") as connection, connection.transaction():
        cursor = await connection.execute(
            "SELECT host, username_hash FROM account WHERE source = %s AND name = %s FOR UPDATE",
            [stream.source, stream.account],
        )
        row = await cursor.fetchone()
        if row is None or row[0] is None:
            await _store_identity(connection, stream, host, username_hash)
        elif row[0] != host or row[1] != username_hash:
            what = f"host {row[0]}, now {host}" if row[0] != host else "another user name"
            raise ConfigError(
                [
                    f"account {stream.source}.{stream.account}: its offers came from {what}: nothing was read; "
                    f"if that is meant, run `syncd check --confirm-account {stream.account}`"
                ]
            )


async def confirm_identity(postgres: Postgres, stream: Stream, *, host: str, username: str) -> None:
    """The operator agrees that the account now belongs to this login; its open sweep ends."""
    await register(postgres, stream)
    async with postgres.connection(f"confirm the identity of {stream}") as connection, connection.transaction():
        await connection.execute(
            """
            UPDATE sweep SET ended_at = clock_timestamp(), ended_by = 'superseded'
             WHERE ended_at IS NULL AND stream_id IN (
                   SELECT stream_id FROM stream JOIN account a USING (account_id) WHERE a.source = %s AND a.name = %s)
            """,
            [stream.source, stream.account],
        )
        await _store_identity(connection, stream, host, _username_hash(username))


async def _store_identity(connection: Connection, stream: Stream, host: str, username_hash: bytes) -> None:
    await connection.execute(
        _CONFIRM, {"host": host, "hash": username_hash, "source": stream.source, "account": stream.account}
    )


def _username_hash(username: str) -> bytes:
    return sha256(b"syncd account\n" + username.encode()).digest()


async def registered_streams(postgres: Postgres) -> list[Stream]:
    """Every stream of the ledger, by name."""
    async with postgres.connection("list the streams") as connection:
        cursor = connection.cursor(row_factory=class_row(Stream))
        await cursor.execute(
            "SELECT a.source, a.name AS account, s.resource"
            "  FROM stream s JOIN account a USING (account_id) ORDER BY 1, 2, 3"
        )
        return await cursor.fetchall()


@dataclass(frozen=True, slots=True)
class Ids:
    """The ledger's numbers for one stream."""

    account_id: int
    stream_id: int


async def load_ids(postgres: Postgres, stream: Stream) -> Ids:
    """The numbers of a registered stream."""
    async with postgres.connection(f"look up {stream}") as connection:
        cursor = connection.cursor(row_factory=class_row(Ids))
        await cursor.execute(
            "SELECT account_id, stream_id FROM stream JOIN account a USING (account_id)"
            " WHERE a.source = %s AND a.name = %s AND resource = %s",
            [stream.source, stream.account, stream.resource],
        )
        ids = await cursor.fetchone()
    assert ids is not None  # noqa: S101  # registered by the caller
    return ids
