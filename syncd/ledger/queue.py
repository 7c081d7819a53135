"""Runs that somebody asked for: queued in the ledger, taken by whichever daemon claims them first.

The unique index `one_open_run` makes a thousand requests at once one run: the first inserts it, the others
find it. A repeated request with the same Idempotency-Key gets the first one's answer, for a day.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

import msgspec

from syncd.contract.runs import Paused
from syncd.contract.words import Stream
from syncd.runtime.postgres import Postgres

KEY_LIFETIME = "24 hours"
ABANDONED_AFTER = "60 seconds"
"""A request without an answer for so long died with its process: the next one with its key and body is the first."""

_RETAKE = f"""
   SET requested_at = clock_timestamp()
 WHERE i.answer IS NULL AND i.body_hash = excluded.body_hash
   AND i.requested_at < clock_timestamp() - interval '{ABANDONED_AFTER}'
RETURNING key
"""

_PRUNE = f"""
DELETE FROM idempotency WHERE key IN (
    SELECT key FROM idempotency WHERE requested_at < clock_timestamp() - interval '{KEY_LIFETIME}'
     ORDER BY key <> %s, requested_at LIMIT 1000 FOR UPDATE SKIP LOCKED)
"""
"""The keys that are over, the asker's own first; a bounded share each time, and nobody waits for another."""

_ENQUEUE = """
INSERT INTO run (stream_id, initiated_by, dry_run, wanted_pages, wanted_requests, wanted_records)
SELECT s.stream_id, %(initiated_by)s, %(dry_run)s, %(max_pages)s, %(max_requests)s, %(max_records)s
  FROM stream s JOIN account a USING (account_id)
 WHERE a.source = %(source)s AND a.name = %(account)s AND s.resource = %(resource)s
    ON CONFLICT (stream_id) WHERE status IN ('queued', 'running') DO NOTHING
RETURNING run_id
"""

_LIVING = """
SELECT r.run_id FROM run r JOIN stream s USING (stream_id) JOIN account a USING (account_id)
 WHERE a.source = %(source)s AND a.name = %(account)s AND s.resource = %(resource)s
   AND r.status IN ('queued', 'running')
"""

_OBSTACLE = """
SELECT s.paused_at, s.paused_by, s.pause_reason, r.run_id
  FROM stream s JOIN account a USING (account_id)
  LEFT JOIN run r ON r.stream_id = s.stream_id AND r.status IN ('queued', 'running')
 WHERE a.source = %(source)s AND a.name = %(account)s AND s.resource = %(resource)s
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks of a run beyond the settings; None = the settings' own."""

    initiated_by: str
    dry_run: bool = False
    max_pages: int | None = None
    max_requests: int | None = None
    max_records: int | None = None


@dataclass(frozen=True, slots=True)
class Queued:
    """A run that now waits for a worker."""

    run_id: UUID


@dataclass(frozen=True, slots=True)
class Living:
    """There is one already; None where it ended between two looks."""

    run_id: UUID | None


async def find_obstacle(postgres: Postgres, stream: Stream) -> Living | Paused | None:
    """What keeps a run of the stream from being asked for just now: one that lives, or a pause. One look."""
    async with postgres.connection(f"look whether {stream} is free") as connection:
        names = {"source": stream.source, "account": stream.account, "resource": stream.resource}
        row = await (await connection.execute(_OBSTACLE, names)).fetchone()
    if row is None:
        return None
    paused_at, paused_by, reason, run_id = row
    if paused_at is not None:
        return Paused(paused_by or "", reason or "", paused_at)
    return Living(run_id) if run_id is not None else None


async def enqueue(postgres: Postgres, stream: Stream, wanted: Wanted) -> Queued | Living:
    """Queue a run of the stream, unless it has an open one."""
    async with postgres.connection(f"queue a run of {stream}") as connection:
        cursor = await connection.execute(_ENQUEUE, asdict(stream) | asdict(wanted))
        row = await cursor.fetchone()
        if row is not None:
            return Queued(row[0])
        row = await (await connection.execute(_LIVING, asdict(stream))).fetchone()
        return Living(row[0] if row else None)


@dataclass(frozen=True, slots=True)
class Answered:
    """What an Idempotency-Key was answered before. same_body is False where it now asks something else."""

    same_body: bool
    answer: Any | None


async def begin_idempotent(postgres: Postgres, key: str, body_hash: bytes) -> Answered | None:
    """Take the key; None where it is new. An answer of None: the first request is still at work."""
    async with postgres.connection("take an Idempotency-Key") as connection, connection.transaction():
        await connection.execute(_PRUNE, [key])
        cursor = await connection.execute(
            f"INSERT INTO idempotency AS i (key, body_hash) VALUES (%s, %s) ON CONFLICT (key) DO UPDATE {_RETAKE}",
            [key, body_hash],
        )
        if await cursor.fetchone() is not None:
            return None
        cursor = await connection.execute("SELECT body_hash, answer::text FROM idempotency WHERE key = %s", [key])
        row = await cursor.fetchone()
    if row is None:  # gone in between
        return None
    return Answered(bytes(row[0]) == body_hash, msgspec.json.decode(row[1]) if row[1] else None)


async def finish_idempotent(postgres: Postgres, key: str, answer: bytes | None) -> None:
    """Keep the answer (JSON text) for the next time; None frees the key."""
    async with postgres.connection("keep the answer of an Idempotency-Key") as connection:
        if answer is None:
            await connection.execute("DELETE FROM idempotency WHERE key = %s", [key])
        else:
            await connection.execute("UPDATE idempotency SET answer = %s::json WHERE key = %s", [answer.decode(), key])
