"""One stream in a real ledger, claimed and written by the test itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from hashlib import sha256
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from syncd.contract.records import Page
from syncd.contract.runs import Busy, Caps, Claim, ClaimRequest, Owner, Paused, Sweep
from syncd.contract.words import Stream
from syncd.ledger import accounts, claims
from syncd.ledger.accumulators import Recorder
from syncd.ledger.sweeps import open_sweep
from syncd.runtime.postgres import Postgres
from syncd.runtime.process import current_owner, proven_dead
from syncd.warehouse.pages import PageStore
from tests.postgres import wait_until as wait_until_sync

STREAM = Stream("emag", "main", "offers")
CAPS = Caps(max_pages=100, max_requests=500, timeout_seconds=7200)
PAGE_SIZE = 100


def with_schema(conninfo: str, **options: str) -> str:
    """The conninfo with our schema as the search path, and further session settings."""
    settings = " ".join(f"-c {name}={value}" for name, value in {"search_path": "sync", **options}.items())
    return psycopg.conninfo.make_conninfo(conninfo, options=settings)


def select(conninfo: str, query: str, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:
    """The rows of a query, over a connection of its own."""
    with psycopg.connect(with_schema(conninfo), autocommit=True, row_factory=dict_row) as connection:
        return connection.execute(query, parameters).fetchall()


def scalar(conninfo: str, query: str, parameters: Sequence[object] = ()) -> Any:
    """The first value of a query's first row."""
    with psycopg.connect(with_schema(conninfo), autocommit=True) as connection:
        row = connection.execute(query, parameters).fetchone()
    return None if row is None else row[0]


def execute(conninfo: str, statement: str, parameters: Sequence[object] = ()) -> int:
    """Do it; how many rows it touched."""
    with psycopg.connect(with_schema(conninfo), autocommit=True) as connection:
        return connection.execute(statement, parameters).rowcount


def wait_until_waiting(conninfo: str, sessions: int = 1, *, on: str = "%") -> None:
    """Returns when so many sessions of this database wait for a lock, with statements like `on`."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND wait_event_type = 'Lock' AND query ILIKE %s"
    )
    with psycopg.connect(conninfo, autocommit=True) as connection:
        wait_until_sync(
            lambda: connection.execute(query, [on]).fetchone()[0] >= sessions,  # type: ignore[index]
            f"{sessions} sessions wait for a lock on {on}",
        )


def offer(key: str, **fields: object) -> bytes:
    """A document as an API would send it."""
    return json.dumps({"id": int(key) if key.isdecimal() else key, "name": f"offer {key}", **fields}).encode()


def page_of(number: int, keys: Iterable[int | str], **fields: object) -> Page:
    """A page whose records carry these fields; none for the empty page after the last."""
    names = [str(key) for key in keys]
    documents = [offer(key, **fields) for key in names]
    hashes = [sha256(document).digest()[:16] for document in documents]
    return Page(number, names, documents, hashes, len(names), sum(map(len, documents)))


class Stand:
    """The stream emag/main/offers in one database, as one process would see it."""

    def __init__(self, conninfo: str, postgres: Postgres) -> None:
        self.conninfo = conninfo
        self.postgres = postgres

    async def try_claim(
        self, *, owner: Owner | None = None, lease_seconds: float = 60.0, force: bool = False
    ) -> Claim | Busy | Paused:
        request = ClaimRequest(STREAM, owner or current_owner(), CAPS, lease_seconds, "test", force)
        return await claims.claim(self.postgres, request, proven_dead=proven_dead)

    async def claim(self, *, owner: Owner | None = None, lease_seconds: float = 60.0) -> Claim:
        claim = await self.try_claim(owner=owner, lease_seconds=lease_seconds)
        assert isinstance(claim, Claim), claim
        return claim

    async def take_over(self, *, owner: Owner | None = None) -> Claim:
        """Let the lease lapse by the database's clock, and claim as the next process would."""
        self.lapse()
        return await self.claim(owner=owner)

    def lapse(self) -> None:
        execute(self.conninfo, "UPDATE lease SET expires_at = clock_timestamp() - interval '1 second'")

    async def open_sweep(self, claim: Claim) -> Sweep:
        connection = await self.postgres.connect("open a sweep", writer=True)
        async with connection:
            return await open_sweep(connection, claim, page_size=PAGE_SIZE, fresh=False)

    @asynccontextmanager
    async def writer(self, claim: Claim) -> AsyncIterator[Writer]:
        """The claim's page store, and the sweep that it writes to."""
        async with self.writer_of(claim, await self.open_sweep(claim)) as writer:
            yield writer

    @asynccontextmanager
    async def writer_of(self, claim: Claim, sweep: Sweep) -> AsyncIterator[Writer]:
        """The same for a sweep that is already known."""
        recorder = Recorder(claim.stream_id)
        store = PageStore(self.postgres, claim, recorder, batch_size=1000)
        try:
            yield Writer(store, recorder, sweep)
        finally:
            await store.close()

    def run(self, claim: Claim) -> dict[str, Any]:
        (row,) = select(self.conninfo, "SELECT * FROM run WHERE run_id = %s", [claim.run_id])
        return row

    def count(self, table: str) -> int:
        return int(scalar(self.conninfo, f"SELECT count(*) FROM {table}"))


class Writer:
    """Stores pages of one sweep for one claim."""

    def __init__(self, store: PageStore, recorder: Recorder, sweep: Sweep) -> None:
        self.page_store = store
        self.recorder = recorder
        self.sweep = sweep

    async def store(self, *pages: Page, overlap_page: int = 0) -> Any:
        return await self.page_store.store(self.sweep, pages, overlap_page=overlap_page)


@asynccontextmanager
async def open_stand(conninfo: str, *, through: str | None = None) -> AsyncIterator[Stand]:
    """The stream, registered. `through`: the way that syncd itself takes to the database, where it is another."""
    async with Postgres(through or conninfo, "sync") as postgres:
        await accounts.register(postgres, STREAM)
        yield Stand(conninfo, postgres)


HELD = 42
"""Advisory lock that statements wait for while a test holds it."""


@contextmanager
def held_open(stand: Stand, table: str, operation: str) -> Iterator[psycopg.Connection[Any]]:
    """Statements with this operation on this table wait in the server until the block ends, or commits."""
    execute(
        stand.conninfo,
        f"""
        CREATE OR REPLACE FUNCTION wait_here() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_advisory_xact_lock_shared({HELD}); RETURN NULL; END $$;
        CREATE TRIGGER wait_here AFTER {operation} ON {table} FOR EACH STATEMENT EXECUTE FUNCTION wait_here();
        """,
    )
    with psycopg.connect(with_schema(stand.conninfo)) as holder:
        holder.execute("SELECT pg_advisory_xact_lock(%s)", [HELD])
        yield holder


async def waiting(stand: Stand, statement: str, *tasks: asyncio.Task[Any]) -> bool:
    """Whether a session waits for a lock with such a statement; False where a task ended first."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND wait_event_type = 'Lock' AND query LIKE %s"
    )
    async with await AsyncConnection.connect(stand.conninfo, autocommit=True) as connection, asyncio.timeout(10):
        while not any(task.done() for task in tasks):
            cursor = await connection.execute(query, [f"%{statement}%"])
            (count,) = await cursor.fetchone() or (0,)
            if count:
                return True
            await asyncio.sleep(0.01)
    return False


def make_lapsed_runs(conninfo: str, count: int, name: str = "account") -> None:
    """So many streams of accounts `name-0001` and so on, each with a run whose lease has lapsed; the first are the
    oldest."""
    execute(
        conninfo,
        """
        WITH a AS (INSERT INTO account (source, name) SELECT 'emag', %s || '-' || lpad(n::text, 4, '0')
                     FROM generate_series(1, %s) n RETURNING account_id),
        s AS (INSERT INTO stream (account_id, resource) SELECT account_id, 'offers' FROM a RETURNING stream_id),
        l AS (INSERT INTO lease (stream_id) SELECT stream_id FROM s)
        INSERT INTO run (stream_id, status, fence, initiated_by, queued_at, started_at, progress_at)
        SELECT stream_id, 'running', 1, 'test', clock_timestamp() - interval '1 day' + interval '1 second' * stream_id,
               clock_timestamp(), clock_timestamp() FROM s
        """,
        [name, count],
    )
    execute(
        conninfo,
        "UPDATE lease l SET run_id = r.run_id, fence = 1, expires_at = clock_timestamp() - interval '1 second'"
        "  FROM run r WHERE r.stream_id = l.stream_id AND r.status = 'running' AND l.run_id IS NULL",
    )
