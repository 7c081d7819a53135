"""What comes next for each stream, and what holds it back: one small row a stream, for the status page."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from psycopg.rows import dict_row

from syncd.contract.runs import Paused
from syncd.contract.words import Cause, Status, Stream
from syncd.runtime.postgres import Postgres

_OUTLOOK = """
SELECT a.source, a.name AS account, s.resource, s.failures, s.paused_at, s.paused_by, s.pause_reason,
       extract(epoch FROM s.next_attempt_at - n.at)::float8 AS next_in_seconds,
       extract(epoch FROM s.next_attempt_at)::bigint AS next_at,
       extract(epoch FROM nullif(greatest(a.breaker_open_until, n.at), n.at) - n.at)::float8 AS breaker_seconds,
       l.owner_host, e.run_id, e.status, e.cause, e.error_message, cardinality(c.keys) AS missing_keys,
       EXISTS (SELECT FROM run WHERE stream_id = s.stream_id) AS has_run,
       o.run_id AS open_run_id, o.phase, o.wait_reason,
       extract(epoch FROM o.wait_until - n.at)::float8 AS wait_seconds
  FROM (SELECT clock_timestamp() AS at) n CROSS JOIN stream s
  JOIN account a USING (account_id) JOIN lease l USING (stream_id)
  LEFT JOIN run o ON o.stream_id = s.stream_id AND o.status IN ('queued', 'running')
  LEFT JOIN LATERAL (SELECT run_id, status, cause, error_message FROM run
                      WHERE stream_id = s.stream_id AND completed_at IS NOT NULL AND NOT dry_run
                      ORDER BY queued_at DESC LIMIT 1) e ON true
  LEFT JOIN consent c ON c.run_id = e.run_id AND c.approved_at IS NULL AND c.used_at IS NULL
 ORDER BY 1, 2, 3
"""


@dataclass(frozen=True, slots=True)
class LastRun:
    """The newest run of a stream that has ended. missing_keys: what waits for `syncd approve`, None for nothing."""

    run_id: UUID
    status: Status
    cause: Cause
    error_message: str | None
    missing_keys: int | None


@dataclass(frozen=True, slots=True)
class StreamOutlook:
    """One stream. All `_seconds` are from now on.

    next_in_seconds  until the slot in the daemon's book, negative where it is over; None where none is booked
    next_at          the same slot as Unix time
    owner_host       where its newest run was, None before the first
    breaker_seconds  until calls may be made again; None where they may
    wait_seconds     until the end of the open run's declared wait, negative after it; None where it declared none
    """

    stream: Stream
    failures: int
    paused: Paused | None
    next_in_seconds: float | None
    next_at: int | None
    owner_host: str | None
    breaker_seconds: float | None
    has_run: bool
    last_run: LastRun | None
    open_run_id: UUID | None
    phase: str | None
    wait_reason: str | None
    wait_seconds: float | None


async def load_outlook(postgres: Postgres) -> dict[Stream, StreamOutlook]:
    """Every stream."""
    async with postgres.connection("look at what comes next") as connection:
        cursor = connection.cursor(row_factory=dict_row)
        await cursor.execute(_OUTLOOK)
        rows = await cursor.fetchall()
    found = {}
    for row in rows:
        stream = Stream(row["source"], row["account"], row["resource"])
        paused, last_run = None, None
        if row["paused_at"] is not None:
            paused = Paused(row["paused_by"] or "", row["pause_reason"] or "", row["paused_at"])
        if row["run_id"] is not None:
            ended = Status(row["status"]), Cause(row["cause"])
            last_run = LastRun(row["run_id"], *ended, row["error_message"], row["missing_keys"])
        found[stream] = StreamOutlook(
            stream,
            row["failures"],
            paused,
            row["next_in_seconds"],
            row["next_at"],
            row["owner_host"],
            row["breaker_seconds"],
            row["has_run"],
            last_run,
            row["open_run_id"],
            row["phase"],
            row["wait_reason"],
            row["wait_seconds"],
        )
    return found
