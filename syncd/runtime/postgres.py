"""Connections to PostgreSQL, and what its errors mean to us.

Adapters above speak SQL; nothing above them knows psycopg's classes. Errors are told apart by
SQLSTATE, never by text:

    DatabaseAwayError   no answer, cut, restarting, timed out, deadlocked: reconnect and replay.
                        After a COMMIT it means *unknown*, not *failed*.
    SchemaError         our tables are not there
    FatalError          anything else: a fault of ours or of the database's set-up
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NoReturn

import psycopg
from psycopg import AsyncConnection, conninfo, sql
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from syncd.contract.errors import DatabaseAwayError, FatalError, RowHeldError, SchemaError
from syncd.contract.words import Cause
from syncd.runtime.outage import outage

Connection = AsyncConnection[TupleRow]

CONNECT_TIMEOUT_SECONDS = 5
RECONNECT_SECONDS = 2.0

# A writer that stops answering inside its transaction keeps the lease row locked; the server ends it,
# so that a takeover never waits longer than this.
WRITER_LIMITS = {
    "statement_timeout": "5s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "5s",
}

# The same for every short transaction (claim, release, books): frozen between two of its statements, a
# process would hold the lease row or its run's row for as long as nobody wakes it.
POOL_LIMITS = {"idle_in_transaction_session_timeout": "5s"}

READ_ONLY = "25006"  # a standby, or an administrator's hand
ROW_HELD = "55P03"  # lock_timeout

_AWAY_STATES = {
    READ_ONLY,
    "25P03",  # idle in transaction for too long: we were frozen
    "25P04",  # transaction_timeout
    "40001",
    "40P01",
    "53100",
    "53200",
    "53300",
    "57014",  # statement_timeout
    "57P01",
    "57P02",
    "57P03",
    "57P05",
}
_MISSING_STATES = {"3F000", "42P01", "42703", "42883"}


@contextmanager
def translated(doing: str, connection: Connection | None = None) -> Iterator[None]:
    """Raise our errors instead of psycopg's; `doing` says what was tried, `connection` over which one of our own.

    A cancel can get lost below us: psycopg tells of a connection that broke at that moment, its pool tries the
    next one, `asyncio.wait_for` (before Python 3.12) prefers a result that has just come. Whoever then goes on
    would run for ever, and whoever waits for its end, too.
    """
    try:
        yield
    except psycopg.Error as error:
        if _is_being_cancelled():
            raise asyncio.CancelledError from error
        if connection is not None and error.sqlstate == READ_ONLY:
            drop_session(connection)
        _raise_ours(doing, error)
    if _is_being_cancelled():
        raise asyncio.CancelledError


def drop_session(connection: Connection) -> None:
    """Its holder, or the pool, makes a new one: a session stays read-only although the database no longer is."""
    connection.pgconn.finish()


async def wait_for_locks_at_most(connection: Connection, seconds: float) -> None:
    """For the rest of this transaction: RowHeldError where another session holds a lock for longer."""
    # at least a millisecond: 0 would wait for ever
    await connection.execute(f"SET LOCAL lock_timeout = {max(1, round(seconds * 1000))}")


def _is_being_cancelled() -> bool:
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no event loop: a blocking connection
        return False
    return task is not None and task.cancelling() > 0


def _raise_ours(doing: str, error: psycopg.Error) -> NoReturn:
    if isinstance(error, PoolTimeout):
        why = f" ({outage.reason})" if outage.reason is not None else ""
        raise DatabaseAwayError(f"{doing}: no connection to PostgreSQL in time{why}") from error
    state = error.sqlstate
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if state == ROW_HELD:
        raise RowHeldError(f"{doing}: {text} (SQLSTATE {state})") from error
    if state in _AWAY_STATES or (state is not None and state.startswith("08")):
        raise DatabaseAwayError(f"{doing}: {text} (SQLSTATE {state})") from error
    if state is None and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        raise DatabaseAwayError(f"{doing}: {text}") from error
    if state in _MISSING_STATES:
        raise SchemaError(f"{doing}: {text}: run `syncd migrate`", cause=Cause.DATABASE) from error
    raise FatalError(f"{doing}: {text} (SQLSTATE {state})", cause=Cause.DATABASE) from error


def application_name(program: str) -> str:
    """How our sessions name themselves in pg_stat_activity: `syncd 4711@host`, as the lease names its owner."""
    return f"{program} {os.getpid()}@{socket.gethostname()}"[:63]  # PostgreSQL keeps no more


class Postgres:
    """One database as one process uses it: a pool for short statements, connections of their own
    for the lease and for the page writer.

    conninfo is a libpq connection string and may hold a password: it is never printed. pool_wait_seconds: after
    so long without a connection from the pool a statement is not begun.
    """

    def __init__(
        self, conninfo_: str, schema: str, *, pool_max: int = 10, pool_wait_seconds: float = CONNECT_TIMEOUT_SECONDS
    ) -> None:
        self.schema = schema
        self._conninfo = conninfo_
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            self._with_options(POOL_LIMITS),
            min_size=0,
            max_size=pool_max,
            timeout=pool_wait_seconds,
            # the pool waits longer and longer between attempts, and whoever asks meanwhile waits with it
            reconnect_timeout=RECONNECT_SECONDS,
            kwargs={"autocommit": True},
            check=AsyncConnectionPool.check_connection,
            open=False,
        )

    def __repr__(self) -> str:
        return f"Postgres(schema={self.schema!r})"

    async def __aenter__(self) -> Postgres:
        await self._pool.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close(timeout=2)

    def _with_options(self, settings: dict[str, str]) -> str:
        """The connection string with our session settings in it, so that no connection is ever
        seen without them. `search_path` names our schema alone: nobody else's objects can stand in."""
        params: dict[str, Any] = conninfo.conninfo_to_dict(self._conninfo)
        # jit: over millions of runs the planner's estimates ask for it, and it took longer than the query itself
        session = {"search_path": self.schema, "client_encoding": "UTF8", "jit": "off", **settings}
        options = " ".join(f"-c {name}={value}" for name, value in session.items())
        given = params.pop("options", None)
        params.pop("client_encoding", None)
        params.setdefault("application_name", application_name("syncd"))
        params.setdefault("connect_timeout", CONNECT_TIMEOUT_SECONDS)
        params.setdefault("tcp_user_timeout", 10_000)
        params["options"] = f"{given} {options}" if given else options
        return conninfo.make_conninfo(**params)

    @asynccontextmanager
    async def connection(self, doing: str) -> AsyncIterator[Connection]:
        """A pooled connection in autocommit mode, for short statements."""
        with translated(doing):
            async with self._pool.connection() as connection:
                with translated(doing, connection):  # in here: the pool must not get such a session back
                    yield connection

    async def connect(self, doing: str, *, writer: bool = False) -> Connection:
        """A connection of the caller's own, in autocommit mode; `writer` sets the server-side limits."""
        with translated(doing):
            return await AsyncConnection.connect(
                self._with_options(WRITER_LIMITS if writer else {}), autocommit=True, prepare_threshold=2
            )

    def pool_stats(self) -> dict[str, int]:
        """How the pool stands: pool_size, pool_available, requests_waiting and psycopg_pool's other counts."""
        return self._pool.get_stats()

    def connect_sync(self) -> psycopg.Connection[TupleRow]:
        """A blocking connection, for migrations."""
        with translated("connect"):
            return psycopg.connect(self._with_options({}))

    @property
    def schema_identifier(self) -> sql.Identifier:
        """The schema's name, quoted."""
        return sql.Identifier(self.schema)
