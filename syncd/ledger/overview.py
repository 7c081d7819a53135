"""What people ask about all streams at once: who holds which back, which breaker is open, how long a sync takes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row, dict_row

from syncd.contract.runs import Paused
from syncd.contract.words import Stream
from syncd.runtime.postgres import Postgres

_PAUSES = """
SELECT a.source, a.name AS account, s.resource, s.paused_by, s.pause_reason, s.paused_at
  FROM stream s JOIN account a USING (account_id)
 WHERE s.paused_at IS NOT NULL ORDER BY 1, 2, 3
"""

_BREAKERS = """
SELECT source, name AS account, breaker_failures AS failures,
       CASE WHEN breaker_open_until > clock_timestamp() THEN breaker_open_until END AS open_until
  FROM account ORDER BY 1, 2
"""

_DURATIONS = """
SELECT a.source, a.name AS account, s.resource, n.seconds
  FROM stream s JOIN account a USING (account_id) CROSS JOIN LATERAL (
       SELECT extract(epoch FROM completed_at - started_at)::float8 AS seconds FROM run
        WHERE stream_id = s.stream_id AND status = 'complete' AND NOT dry_run
        ORDER BY queued_at DESC LIMIT 1) n
"""


async def load_pauses(postgres: Postgres) -> dict[Stream, Paused]:
    """The streams that are held back: by whom, why, since when."""
    async with postgres.connection("look for pauses") as connection:
        cursor = connection.cursor(row_factory=dict_row)
        await cursor.execute(_PAUSES)
        return {
            Stream(row["source"], row["account"], row["resource"]): Paused(
                row["paused_by"] or "", row["pause_reason"] or "", row["paused_at"]
            )
            for row in await cursor.fetchall()
        }


@dataclass(frozen=True, slots=True)
class BreakerState:
    """An account's circuit breaker. failures in a row; open_until None where calls may be made."""

    source: str
    account: str
    failures: int
    open_until: datetime | None


async def load_breakers(postgres: Postgres) -> list[BreakerState]:
    """The breaker of every account."""
    async with postgres.connection("look at the breakers") as connection:
        cursor = connection.cursor(row_factory=class_row(BreakerState))
        await cursor.execute(_BREAKERS)
        return await cursor.fetchall()


async def load_duration_seconds(postgres: Postgres, streams: Collection[Stream]) -> float | None:
    """How long the slowest of these took when it was last complete; None where none ever was."""
    async with postgres.connection("look up how long a sync takes") as connection:
        cursor = connection.cursor(row_factory=dict_row)
        await cursor.execute(_DURATIONS)
        rows = await cursor.fetchall()
    seconds = [row["seconds"] for row in rows if Stream(row["source"], row["account"], row["resource"]) in streams]
    return max(seconds, default=None)
