"""Deletes what is older than the retention: runs, and with each its changes, quarantine, pages and rescue.

The oldest runs first, some at a time, in batches of rows that last a moment; each is followed by a pause PAUSES times
as long as it took, so that at most a quarter of the database's attention goes here.

Never touched: an open run; the newest run of a stream, the last complete one, the last one that has begun and is no
plan (the metrics show it); a run whose sweep is open, or is the one whose keys the next sweep is compared with; one
whose consent is not used yet. Counters are never lowered: what leaves the quarantine is counted.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import LiteralString
from uuid import UUID

from psycopg.rows import scalar_row

from syncd.ledger.accumulators import count_out_of_quarantine
from syncd.runtime.postgres import Connection, Postgres

BATCH_ROWS = 1000
BATCH_RUNS = 100
PAUSES = 3

_NEEDED = """
SELECT n.run_id FROM stream s CROSS JOIN LATERAL (
       (SELECT run_id FROM run WHERE stream_id = s.stream_id ORDER BY queued_at DESC LIMIT 1) UNION ALL
       (SELECT run_id FROM run WHERE stream_id = s.stream_id AND status <> 'queued' AND NOT dry_run
         ORDER BY queued_at DESC LIMIT 1) UNION ALL
       (SELECT run_id FROM run WHERE stream_id = s.stream_id AND status = 'complete' AND NOT dry_run
         ORDER BY queued_at DESC LIMIT 1) UNION ALL
       (SELECT run_id FROM run JOIN (SELECT sweep_id FROM sweep
                                      WHERE stream_id = s.stream_id AND keys_digest IS NOT NULL
                                      ORDER BY started_at DESC LIMIT 1) w USING (sweep_id))) n
UNION ALL SELECT run_id FROM consent WHERE used_at IS NULL
UNION ALL SELECT run_id FROM lease WHERE run_id IS NOT NULL
"""

# Ids are UUIDs of version 7, in the order of time: the primary key finds the old ones, and reads no newer ones. Not by
# clock_timestamp(), which may differ from row to row: with it every run was read.
_OLD_RUNS = """
SELECT r.run_id FROM run r
 WHERE r.run_id > %(after)s AND r.completed_at < statement_timestamp() - make_interval(days => %(days)s)
   AND r.run_id < (lpad(to_hex(floor(extract(epoch FROM statement_timestamp() - make_interval(days => %(days)s)) * 1000
                   )::bigint), 12, '0') || repeat('0', 20))::uuid
   AND (r.sweep_id IS NULL OR (SELECT ended_at FROM sweep WHERE sweep.sweep_id = r.sweep_id) IS NOT NULL)
   AND r.run_id <> ALL (%(needed)s)
 ORDER BY r.run_id LIMIT %(most)s
"""

_DELETES: dict[str, LiteralString] = {
    "changes": "DELETE FROM change WHERE change_id IN"
    " (SELECT change_id FROM change WHERE run_id = ANY(%s) LIMIT %s) RETURNING stream_id",
    "quarantined": "DELETE FROM quarantine WHERE quarantine_id IN"
    " (SELECT quarantine_id FROM quarantine WHERE run_id = ANY(%s) LIMIT %s) RETURNING stream_id",
    "pages": "DELETE FROM sweep_page WHERE ctid = ANY"
    " (ARRAY(SELECT ctid FROM sweep_page WHERE run_id = ANY(%s) LIMIT %s)) RETURNING 0",
}

# A sweep goes with its last run.
_DELETE_RUNS = """
WITH gone AS (DELETE FROM run WHERE run_id = ANY(%s) AND completed_at IS NOT NULL RETURNING sweep_id)
SELECT sweep_id FROM gone
"""
_DELETE_SWEEPS = """
DELETE FROM sweep w WHERE sweep_id = ANY(%s) AND ended_at IS NOT NULL
   AND NOT EXISTS (SELECT FROM run WHERE run.sweep_id = w.sweep_id)
"""


@dataclass(slots=True)
class Pruned:
    """How many rows are gone."""

    runs: int = 0
    changes: int = 0
    quarantined: int = 0
    pages: int = 0


async def prune(postgres: Postgres, *, older_than_days: int) -> Pruned:
    """Delete what is older. DatabaseAwayError ends it half done; the next call goes on."""
    pruned = Pruned()
    after = UUID(int=0)
    while True:
        async with _batch(postgres, "look for old runs") as connection:
            needed = await (await connection.cursor(row_factory=scalar_row).execute(_NEEDED)).fetchall()
            parameters = {"after": after, "days": older_than_days, "needed": needed, "most": BATCH_RUNS}
            found = await (await connection.cursor(row_factory=scalar_row).execute(_OLD_RUNS, parameters)).fetchall()
        if found:
            await _prune_runs(postgres, found, pruned)
            after = found[-1]
        if len(found) < BATCH_RUNS:
            return pruned


@asynccontextmanager
async def _batch(postgres: Postgres, doing: str) -> AsyncIterator[Connection]:
    """One transaction, and the pause after it."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with postgres.connection(doing) as connection, connection.transaction():
        yield connection
    await asyncio.sleep(PAUSES * (loop.time() - began))


async def _prune_runs(postgres: Postgres, runs: Sequence[UUID], pruned: Pruned) -> None:
    for name, statement in _DELETES.items():
        while count := await _delete(postgres, name, statement, runs):
            setattr(pruned, name, getattr(pruned, name) + count)
            if count < BATCH_ROWS:
                break
    async with _batch(postgres, "prune runs") as connection:
        sweeps = await (await connection.execute(_DELETE_RUNS, [list(runs)])).fetchall()
        ids = sorted({sweep_id for (sweep_id,) in sweeps if sweep_id is not None})
        if ids:
            await connection.execute(_DELETE_SWEEPS, [ids])
    pruned.runs += len(sweeps)


async def _delete(postgres: Postgres, name: str, statement: LiteralString, runs: Sequence[UUID]) -> int:
    async with _batch(postgres, f"prune {name}") as connection:
        cursor = connection.cursor(row_factory=scalar_row)
        streams = await (await cursor.execute(statement, [list(runs), BATCH_ROWS])).fetchall()
        if name == "quarantined":
            for stream_id, count in sorted(Counter(streams).items()):
                await count_out_of_quarantine(cursor, stream_id, count)
    return len(streams)
