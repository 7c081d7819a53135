"""All streams at a glance, for the scheduler: one query a tick."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from uuid import UUID

from psycopg.rows import dict_row

from syncd.contract.runs import Owner
from syncd.contract.words import Status, Stream
from syncd.ledger.queue import Wanted
from syncd.runtime.postgres import Postgres

_ALL = """
SELECT a.source, a.name, s.resource, s.paused_at IS NOT NULL AS paused, s.failures,
       extract(epoch FROM s.next_attempt_at - clock_timestamp())::float8 AS next_in_seconds,
       r.run_id, r.status, r.initiated_by, r.dry_run, r.wanted_pages, r.wanted_requests, r.wanted_records,
       r.cancel_requested_by, r.pages, l.expires_at > clock_timestamp() AS alive,
       l.owner_host, l.owner_boot, l.owner_pid, l.owner_started
  FROM stream s JOIN account a USING (account_id) JOIN lease l USING (stream_id)
  LEFT JOIN run r ON r.stream_id = s.stream_id AND r.status IN ('queued', 'running')
"""


@dataclass(frozen=True, slots=True)
class OpenRun:
    """The open run of a stream. alive: its lease is valid; owner: who holds it, for a running one."""

    run_id: UUID
    status: Status
    wanted: Wanted
    cancelled_by: str | None
    pages: int
    alive: bool
    owner: Owner


@dataclass(frozen=True, slots=True)
class StreamState:
    """One stream. next_in_seconds: until its next run by the ledger's book; None where none is set."""

    paused: bool
    failures: int
    next_in_seconds: float | None
    open_run: OpenRun | None


async def load_states(postgres: Postgres) -> dict[Stream, StreamState]:
    """Every registered stream."""
    async with postgres.connection("look at all streams") as connection:
        cursor = connection.cursor(row_factory=dict_row)
        await cursor.execute(_ALL)
        rows = await cursor.fetchall()
    states = {}
    for row in rows:
        open_run = None
        if row["run_id"] is not None:
            owner = Owner(
                row["owner_host"] or "", row["owner_boot"] or "", row["owner_pid"] or 0, row["owner_started"] or ""
            )
            caps = (row["wanted_pages"], row["wanted_requests"], row["wanted_records"])
            wanted = Wanted(row["initiated_by"], row["dry_run"], *caps)
            open_run = OpenRun(
                row["run_id"],
                Status(row["status"]),
                wanted,
                row["cancel_requested_by"],
                row["pages"],
                bool(row["alive"]),
                owner,
            )
        stream = Stream(row["source"], row["name"], row["resource"])
        states[stream] = StreamState(row["paused"], row["failures"], row["next_in_seconds"], open_run)
    return states


async def book_next(postgres: Postgres, stream: Stream, *, seconds: float | None, failed: bool | None) -> None:
    """Keep when the stream's next run is due, and count failures in a row; None leaves either alone."""
    async with postgres.connection(f"book the next run of {stream}") as connection:
        await connection.execute(
            """
            UPDATE stream SET next_attempt_at =
                   coalesce(clock_timestamp() + make_interval(secs => %(seconds)s), next_attempt_at),
                   failures = CASE WHEN %(failed)s THEN failures + 1 WHEN NOT %(failed)s THEN 0 ELSE failures END
             WHERE resource = %(resource)s AND account_id =
                   (SELECT account_id FROM account WHERE source = %(source)s AND name = %(account)s)
            """,
            {"seconds": seconds, "failed": failed, **asdict(stream)},
        )
