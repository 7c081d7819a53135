"""Pages become records: nothing else in the system writes them.

A batch of pages is planned first and written second. Planning reads: the hashes that differ, and for
these the old documents (the fence makes this safe: whoever changes a record in between has taken our
lease, and our write is refused). Writing is one fenced transaction:

    lock the lease row → manifest, checkpoint, counters → new records → changed records → change log → quarantine

Where nothing changed, the hashes travel and the documents do not, and the whole transaction is one
statement. A page's manifest row is written once a run: where it is already there, an earlier commit whose
answer was lost did everything, and the replay writes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncCursor

from syncd.contract.errors import FatalError, LeaseLostError
from syncd.contract.records import Page
from syncd.contract.runs import BatchResult, Claim, Sweep
from syncd.ledger import accumulators, fence
from syncd.ledger.accumulators import Recorder
from syncd.runtime.postgres import Connection, Postgres, translated
from syncd.warehouse.batch import Batch
from syncd.warehouse.fields import COLUMN_NAMES, COLUMN_TYPES
from syncd.warehouse.planning import BatchPlan, LogRow, plan_batch
from syncd.warehouse.quarantine import keep_rejected

# One statement, so that a batch that changes nothing costs one round trip. `held` locks first; the
# manifest decides whether this is a replay; everything else hangs on it. `accumulated` reads `counted` so
# that the run is locked before the counters, as everywhere: left alone, PostgreSQL runs them last one first.
# A wait that lasts stays declared: this page came before the call that waits.
_BOOK = f"""
WITH held AS MATERIALIZED ({fence.LOCK.strip()}),
manifest AS (
    INSERT INTO sweep_page (sweep_id, pass, page, run_id, fence, received, keyless, keys)
    SELECT %(sweep_id)s, %(pass)s, p.page, %(run_id)s, %(fence)s, p.received, p.keyless,
           coalesce((SELECT array_agg(k.key ORDER BY k.ord)
                       FROM unnest(%(seen_keys)b::text[], %(seen_pages)b::int4[]) WITH ORDINALITY AS k(key, page, ord)
                      WHERE k.page = p.page), '{{}}')
      FROM held, unnest(%(pages)b::int4[], %(received)b::int4[], %(keyless)b::int4[]) AS p(page, received, keyless)
    ON CONFLICT DO NOTHING RETURNING page),
applied AS MATERIALIZED (
    SELECT (SELECT count(*) FROM held) AS held,
           (SELECT count(*) FROM held) > 0 AND ((SELECT count(*) FROM manifest) > 0 OR %(unlisted)s) AS fresh),
checkpoint AS (
    UPDATE sweep SET checkpoint_page = greatest(checkpoint_page, %(last_page)s), checkpoint_at = clock_timestamp()
      FROM applied WHERE fresh AND NOT %(unlisted)s AND sweep_id = %(sweep_id)s),
counted AS (
    UPDATE run SET progress_at = clock_timestamp(), progress_seq = progress_seq + 1, phase = 'read',
           wait_until = CASE WHEN wait_until > clock_timestamp() THEN wait_until END,
           wait_reason = CASE WHEN wait_until > clock_timestamp() THEN wait_reason END,
           requests = %(requests)s, errors = %(errors)s,
           last_page = CASE WHEN %(unlisted)s THEN last_page ELSE %(last_page)s END,
           pages = pages + %(new_pages)s, fetched = fetched + %(fetched)s, inserted = inserted + %(inserted)s,
           updated = updated + %(updated)s, unchanged = unchanged + %(unchanged)s, revived = revived + %(revived)s,
           quarantined = quarantined + %(quarantined)s, duplicates = duplicates + %(duplicates)s,
           field_faults = field_faults + %(field_faults)s
      FROM applied WHERE fresh AND run_id = %(run_id)s RETURNING run_id),
accumulated AS ({accumulators.ADD.format(condition=", counted")})
SELECT held, fresh FROM applied
"""

_NEW_COLUMNS = ("stream_id", "key", "hash", "document", *COLUMN_NAMES, "updated_run")
# json_recv takes the text's bytes: sent as bytea they pass through untouched.
_NEW_TYPES = ("int8", "text", "bytea", "bytea", *COLUMN_TYPES, "uuid")
_COPY_NEW = f"COPY record ({', '.join(_NEW_COLUMNS)}) FROM STDIN (FORMAT BINARY)"

_UPDATE = f"""
UPDATE record r SET hash = u.hash, document = convert_from(u.document, 'UTF8')::json,
       {", ".join(f"{name} = u.{name}" for name in COLUMN_NAMES)},
       updated_run = %(run_id)s, updated_at = clock_timestamp(), missing_since = NULL, absent_sweep = NULL
  FROM unnest(%(key)b::text[], %(hash)b::bytea[], %(document)b::bytea[],
              {", ".join(f"%({name})b::{kind}[]" for name, kind in zip(COLUMN_NAMES, COLUMN_TYPES, strict=True))})
       AS u(key, hash, document, {", ".join(COLUMN_NAMES)})
 WHERE r.stream_id = %(stream_id)s AND r.key = u.key
"""

_SEEN_AGAIN = """
UPDATE record r SET absent_sweep = NULL, missing_since = NULL,
       updated_at = CASE WHEN missing_since IS NULL THEN updated_at ELSE clock_timestamp() END
  FROM unnest(%(keys)b::text[]) AS u(key) WHERE r.stream_id = %(stream_id)s AND r.key = u.key
"""


@dataclass(frozen=True, slots=True)
class Compared:
    """Some pages and what storing them will do."""

    batch: Batch
    plan: BatchPlan


class PageStore:
    """Writes the pages of one run, over a connection of its own that it opens again when it is cut."""

    def __init__(
        self, postgres: Postgres, claim: Claim, recorder: Recorder, *, batch_size: int, ignored: Collection[str] = ()
    ) -> None:
        self._postgres = postgres
        self._claim = claim
        self._recorder = recorder
        self._batch_size = batch_size
        self._ignored = frozenset(ignored)
        self._connection: Connection | None = None
        self._reading: Connection | None = None
        self._comparing = asyncio.Lock()
        self._unheard: dict[accumulators.Delta, float] | None = None

    async def connection(self) -> Connection:
        """The writer's connection, with the server-side limits set."""
        if self._connection is None or self._connection.closed or self._connection.broken:
            self._connection = await self._postgres.connect("connect to write pages", writer=True)
        return self._connection

    async def close(self) -> None:
        """Close the connections."""
        for connection in (self._connection, self._reading):
            if connection is not None:
                await connection.close()

    async def compare(self, pages: Sequence[Page]) -> Compared:
        """Plan what storing these pages will do; nothing is written. Over a connection of its own, so that it
        can be done while other pages are being written, as long as they share no key with these.

        FatalError: too much of a page cannot be stored.
        """
        batch = Batch(pages)
        async with self._comparing:  # a replay compares, too
            if self._reading is None or self._reading.closed or self._reading.broken:
                self._reading = await self._postgres.connect("connect to compare pages", writer=True)
            with translated(f"compare {batch.name}"):
                return Compared(batch, await plan_batch(self._reading, self._claim.stream_id, batch, self._ignored))

    async def store(
        self,
        sweep: Sweep,
        pages: Sequence[Page],
        *,
        overlap_page: int = 0,
        listed: bool = True,
        compared: Compared | None = None,
    ) -> BatchResult:
        """Store whole pages, in one fenced transaction.

        overlap_page  a page that an earlier run already stored: read again, not counted again
        listed=False  part of a page (--limit): records are stored, manifest and checkpoint stay
        compared      what `compare` found for these pages, where nothing was written to their keys since

        LeaseLostError: stop, nothing was written. DatabaseAwayError: unknown, call again with the same pages
        and without `compared`.
        """
        connection = await self.connection()
        compared = compared or await self.compare(pages)
        batch, plan = compared.batch, compared.plan
        plan.result.pages = sum(page.number != overlap_page for page in pages)
        # A replay carries what its first attempt carried, no more: that one may have been committed unheard.
        collected = self._recorder.drain() if self._unheard is None else self._unheard
        deltas = collected | record_deltas(plan.result)
        self._unheard = collected
        try:
            fresh = await self._write(connection, sweep, batch, plan, deltas, listed=listed)
        except (LeaseLostError, FatalError):
            self._recorder.restore(collected)
            self._unheard = None
            raise
        self._unheard = None
        plan.result.already_applied = not fresh
        return plan.result

    async def _write(
        self,
        connection: Connection,
        sweep: Sweep,
        batch: Batch,
        plan: BatchPlan,
        deltas: dict[accumulators.Delta, float],
        *,
        listed: bool,
    ) -> bool:
        parameters = self._book_parameters(sweep, batch, plan, deltas, listed=listed)
        doing = f"store {batch.name}"
        if not plan.writes_records:
            with translated(doing, connection):
                return await self._book(await connection.execute(_BOOK, parameters), doing)
        async with fence.fenced(connection, self._claim, doing):
            cursor = await connection.execute(_BOOK, parameters)
            if not await self._book(cursor, doing):
                return False
            await self._write_records(cursor, plan)
        return True

    async def _book(self, cursor: AsyncCursor[Any], doing: str) -> bool:
        held, fresh = await cursor.fetchone() or (0, False)
        if not held:
            raise fence.lost(self._claim, doing)
        return bool(fresh)

    async def _write_records(self, cursor: AsyncCursor[Any], plan: BatchPlan) -> None:
        claim = self._claim
        for rows in _chunks(plan.new, self._batch_size):
            async with cursor.copy(_COPY_NEW) as copy:
                copy.set_types(_NEW_TYPES)
                for row in rows:
                    await copy.write_row((claim.stream_id, *row, claim.run_id))
        for rows in _chunks(plan.changed, self._batch_size):
            names = ("key", "hash", "document", *COLUMN_NAMES)
            columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
            await cursor.execute(_UPDATE, {**columns, "run_id": claim.run_id, "stream_id": claim.stream_id})
        if plan.seen_again:
            await cursor.execute(_SEEN_AGAIN, {"keys": plan.seen_again, "stream_id": claim.stream_id})
        if plan.log:
            await write_log(cursor, claim, plan.log)
        if plan.rejected:
            await keep_rejected(cursor, claim, plan.rejected)

    def _book_parameters(
        self, sweep: Sweep, batch: Batch, plan: BatchPlan, deltas: dict[accumulators.Delta, float], *, listed: bool
    ) -> dict[str, object]:
        result = plan.result
        return {
            "stream_id": self._claim.stream_id,
            "fence": self._claim.fence,
            "run_id": self._claim.run_id,
            "sweep_id": sweep.sweep_id,
            "pass": sweep.pass_number,
            "unlisted": not listed,
            **batch.manifest(listed=listed),
            "requests": self._recorder.requests,
            "errors": self._recorder.errors,
            "new_pages": result.pages if listed else 0,
            "fetched": result.fetched,
            "inserted": result.inserted,
            "updated": result.updated,
            "unchanged": result.unchanged,
            "revived": result.revived,
            "quarantined": result.quarantined,
            "duplicates": result.duplicates,
            "field_faults": result.field_faults,
            **accumulators.parameters(deltas),
        }


def _chunks(rows: list[tuple[Any, ...]], size: int) -> Iterator[list[tuple[Any, ...]]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


def record_deltas(result: BatchResult) -> dict[accumulators.Delta, float]:
    """What one batch adds to the accumulators."""
    outcomes = {
        "inserted": result.inserted,
        "updated": result.updated,
        "unchanged": result.unchanged,
        "revived": result.revived,
        "quarantined": result.quarantined,
    }
    deltas: dict[accumulators.Delta, float] = {("records", "", name): n for name, n in outcomes.items() if n}
    return deltas | ({("offers_processed", "", ""): result.fetched} if result.fetched else {})


async def write_log(cursor: AsyncCursor[Any], claim: Claim, log: Sequence[LogRow]) -> None:
    """Append to the change log, inside the caller's fenced transaction: (key, kind, field, old, new)."""
    async with cursor.copy(
        "COPY change (stream_id, key, run_id, kind, field, old, new) FROM STDIN (FORMAT BINARY)"
    ) as copy:
        copy.set_types(("int8", "text", "uuid", "text", "text", "bytea", "bytea"))
        for key, kind, name, old, new in log:
            await copy.write_row((claim.stream_id, key, claim.run_id, kind, name, old, new))
