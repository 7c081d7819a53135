"""Deletes what is older than the retention: runs, and with each its changes, quarantine, pages and rescue.

Run by run, the oldest first, in batches that last a moment and are followed by a pause as long as they took, so
that at most half of the database's attention goes here. Never an open run, nor the newest or the last complete
run of a stream, nor one whose sweep is open. Counters are never lowered: what leaves the quarantine is counted.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import LiteralString
from uuid import UUID

from syncd.ledger import accumulators
from syncd.runtime.postgres import Connection, Postgres

BATCH_ROWS = 1000
BATCH_RUNS = 100

# Ids are UUIDs of version 7, in the order of time: the primary key finds the old ones, and reads no newer ones.
_OLD_RUNS = f"""
SELECT r.run_id, r.stream_id FROM run r LEFT JOIN sweep w USING (sweep_id)
 WHERE r.run_id > %(after)s AND r.completed_at < clock_timestamp() - make_interval(days => %(days)s)
   AND r.run_id < (lpad(to_hex(floor(extract(epoch FROM clock_timestamp() - make_interval(days => %(days)s)) * 1000
                   )::bigint), 12, '0') || repeat('0', 20))::uuid
   AND (w.sweep_id IS NULL OR w.ended_at IS NOT NULL)
   AND NOT EXISTS (SELECT FROM lease l WHERE l.run_id = r.run_id)
   AND r.run_id <> ALL (ARRAY(SELECT n.run_id FROM stream s CROSS JOIN LATERAL (
           (SELECT run_id FROM run WHERE stream_id = s.stream_id ORDER BY queued_at DESC LIMIT 1) UNION ALL
           (SELECT run_id FROM run WHERE stream_id = s.stream_id AND status = 'complete' AND NOT dry_run
             ORDER BY queued_at DESC LIMIT 1)) n))
 ORDER BY r.run_id LIMIT {BATCH_RUNS}
"""

_DELETES: dict[str, LiteralString] = {
    "changes": "DELETE FROM change WHERE change_id IN (SELECT change_id FROM change WHERE run_id = %s LIMIT %s)",
    "quarantined": "DELETE FROM quarantine WHERE quarantine_id IN"
    " (SELECT quarantine_id FROM quarantine WHERE run_id = %s LIMIT %s)",
    "pages": "DELETE FROM sweep_page WHERE ctid = ANY (ARRAY(SELECT ctid FROM sweep_page WHERE run_id = %s LIMIT %s))",
}


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
        async with postgres.connection("look for old runs") as connection:
            cursor = await connection.execute(_OLD_RUNS, {"after": after, "days": older_than_days})
            found = await cursor.fetchall()
        for run_id, stream_id in found:
            await _prune_run(postgres, run_id, stream_id, pruned)
            after = run_id
        if len(found) < BATCH_RUNS:
            return pruned


async def _prune_run(postgres: Postgres, run_id: UUID, stream_id: int, pruned: Pruned) -> None:
    for name, statement in _DELETES.items():
        while count := await _delete(postgres, name, statement, run_id, stream_id):
            setattr(pruned, name, getattr(pruned, name) + count)
            if count < BATCH_ROWS:
                break
    async with postgres.connection("prune a run") as connection, connection.transaction():
        await connection.execute("DELETE FROM run WHERE run_id = %s AND completed_at IS NOT NULL", [run_id])
        await connection.execute(
            "DELETE FROM sweep w WHERE w.ended_at < clock_timestamp() - interval '1 day' AND stream_id = %s"
            " AND NOT EXISTS (SELECT FROM run WHERE run.sweep_id = w.sweep_id)",
            [stream_id],
        )
    pruned.runs += 1


async def _delete(postgres: Postgres, name: str, statement: LiteralString, run_id: UUID, stream_id: int) -> int:
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with postgres.connection(f"prune {name}") as connection, connection.transaction():
        count = (await connection.execute(statement, [run_id, BATCH_ROWS])).rowcount
        if count and name == "quarantined":
            await _count_out(connection, stream_id, count)
    await asyncio.sleep(loop.time() - began)
    return count


async def _count_out(connection: Connection, stream_id: int, count: int) -> None:
    deltas: dict[accumulators.Delta, float] = {("quarantine_pruned", "", ""): count}
    parameters = {"stream_id": stream_id, **accumulators.parameters(deltas)}
    await connection.execute(accumulators.ADD.format(condition=""), parameters)
