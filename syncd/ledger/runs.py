"""Runs as people and other processes see and steer them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row

from syncd.contract.runs import Claim, RunRow
from syncd.contract.words import Cause, Phase, Status, Stream
from syncd.runtime.postgres import Postgres, wait_for_locks_at_most

_ROW = """
SELECT r.run_id, a.source, a.name AS account, s.resource, r.status, r.cause, r.phase, r.initiated_by, r.queued_at,
       r.started_at, r.progress_at, r.heartbeat_at, r.wait_reason, r.deadline_at, r.completed_at,
       CASE WHEN r.wait_until > clock_timestamp() THEN r.wait_until END AS wait_until, r.next_attempt_at,
       extract(epoch FROM coalesce(r.completed_at, clock_timestamp()) - r.started_at)::float8 AS duration_seconds,
       r.max_pages, r.max_requests, r.start_page, coalesce(r.expected, w.expected) AS expected,
       coalesce(r.last_page, r.start_page - 1) AS checkpoint_page, w.checkpoint_at, w.page_size,
       r.pages, r.requests, r.errors, r.fetched, r.inserted,
       r.updated, r.unchanged, r.revived, r.tombstoned, r.quarantined, r.duplicates, r.field_faults, r.error_message,
       CASE WHEN l.run_id = r.run_id THEN extract(epoch FROM l.expires_at - clock_timestamp())::float8 END
           AS lease_seconds_left,
       cardinality(c.keys) AS consent_keys, c.approved_at IS NOT NULL AS consent_approved, r.dry_run,
       s.paused_by, s.pause_reason, w.ended_by AS sweep_ended_by, r.cancel_requested_by AS cancelled_by
  FROM run r JOIN stream s USING (stream_id) JOIN account a USING (account_id)
  LEFT JOIN sweep w ON w.sweep_id = r.sweep_id
  LEFT JOIN lease l ON l.stream_id = r.stream_id
  LEFT JOIN consent c ON c.run_id = r.run_id
"""


_CURRENT = """
WHERE r.run_id IN (
      SELECT run_id FROM run WHERE status IN ('queued', 'running')
      UNION ALL
      SELECT n.run_id FROM stream t CROSS JOIN LATERAL (
             SELECT run_id FROM run WHERE stream_id = t.stream_id AND completed_at IS NOT NULL AND NOT dry_run
              ORDER BY queued_at DESC LIMIT 1) n
      UNION ALL
      SELECT n.run_id FROM stream t CROSS JOIN LATERAL (
             SELECT run_id FROM run WHERE stream_id = t.stream_id AND status = 'complete' AND NOT dry_run
              ORDER BY queued_at DESC LIMIT 1) n)
ORDER BY r.queued_at
"""


CANCEL = """
UPDATE run SET cancel_requested_at = clock_timestamp(), cancel_requested_by = %(by)s,
       status = CASE status WHEN 'queued' THEN 'cancelled' ELSE status END,
       cause = CASE status WHEN 'queued' THEN 'cancelled' END,
       completed_at = CASE status WHEN 'queued' THEN clock_timestamp() END
 WHERE status IN ('queued', 'running')
"""
"""Of every open run: whoever uses it says which."""


def _run_of(row: dict[str, Any]) -> RunRow:
    stream = Stream(row.pop("source"), row.pop("account"), row.pop("resource"))
    status, cause = Status(row.pop("status")), row.pop("cause")
    return RunRow(stream=stream, status=status, cause=Cause(cause) if cause else None, **row)


async def _load(postgres: Postgres, tail: str, parameters: Sequence[object]) -> list[RunRow]:
    async with postgres.connection("read the runs") as connection:
        cursor = connection.cursor(row_factory=dict_row)
        await cursor.execute(_ROW + tail, parameters)
        return [_run_of(row) for row in await cursor.fetchall()]


async def load_run(postgres: Postgres, run_id: UUID) -> RunRow | None:
    """One run; None where there is no such run."""
    rows = await _load(postgres, "WHERE r.run_id = %s", [run_id])
    return rows[0] if rows else None


async def load_runs(postgres: Postgres, *, stream: Stream | None = None, limit: int = 20) -> list[RunRow]:
    """The newest runs first."""
    if stream is None:
        return await _load(postgres, "ORDER BY r.queued_at DESC LIMIT %s", [limit])
    where = "WHERE a.source = %s AND a.name = %s AND s.resource = %s ORDER BY r.queued_at DESC LIMIT %s"
    return await _load(postgres, where, [stream.source, stream.account, stream.resource, limit])


async def load_news(postgres: Postgres, *, within_seconds: float, of_each: int) -> list[RunRow]:
    """Those that began or ended so lately, of each stream's newest ones, however many streams there are."""
    where = (
        "WHERE r.run_id IN (SELECT n.run_id FROM stream t CROSS JOIN LATERAL ("
        "SELECT run_id FROM run WHERE stream_id = t.stream_id ORDER BY queued_at DESC LIMIT %s) n)"
        " AND coalesce(r.completed_at, r.started_at) > clock_timestamp() - make_interval(secs => %s)"
        " ORDER BY r.queued_at DESC"
    )
    return await _load(postgres, where, [of_each, within_seconds])


async def load_history(
    postgres: Postgres,
    *,
    before: tuple[datetime, UUID] | None,
    limit: int,
    stream: Stream | None = None,
    status: Status | None = None,
) -> list[RunRow]:
    """The newest runs first, older than `before` (queued_at and id of the last one seen): for paging."""
    conditions: list[str] = []
    parameters: list[object] = []
    if before is not None:
        conditions.append("(r.queued_at, r.run_id) < (%s, %s)")
        parameters += before
    if stream is not None:
        conditions.append("a.source = %s AND a.name = %s AND s.resource = %s")
        parameters += [stream.source, stream.account, stream.resource]
    if status is not None:
        conditions.append("r.status = %s")
        parameters.append(status)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    return await _load(postgres, f"{where} ORDER BY r.queued_at DESC, r.run_id DESC LIMIT %s", [*parameters, limit])


async def load_open_runs(postgres: Postgres) -> list[RunRow]:
    """Every queued and running run, the oldest first."""
    return await _load(postgres, "WHERE r.status IN ('queued', 'running') ORDER BY r.queued_at, r.run_id", [])


async def load_current_runs(postgres: Postgres) -> list[RunRow]:
    """Of each stream: its open run, the last one that ended, the last complete one. Plans count as open only."""
    return await _load(postgres, _CURRENT, [])


async def find_runs(postgres: Postgres, prefix: str, *, limit: int = 5) -> list[RunRow]:
    """The runs whose id starts so: people type the first digits."""
    return await _load(postgres, "WHERE starts_with(r.run_id::text, %s) LIMIT %s", [prefix, limit])


async def declare_wait(postgres: Postgres, claim: Claim, seconds: float, reason: str) -> None:
    """ "I sleep until T because R", before the sleep; never past the run's deadline."""
    async with postgres.connection("declare a wait") as connection:
        await connection.execute(
            """
            UPDATE run SET wait_until = least(deadline_at, greatest(wait_until,
                       clock_timestamp() + make_interval(secs => %s))), wait_reason = left(%s, 500)
             WHERE run_id = %s AND fence = %s AND status = 'running'
            """,
            [seconds, reason, claim.run_id, claim.fence],
        )


async def note_at_work(postgres: Postgres, claim: Claim, doing: str) -> None:
    """No page comes of what the run does, and it is not stuck: its time begins anew now. A wait that lasts stays."""
    async with postgres.connection("note what the run does") as connection:
        await connection.execute(
            """
            UPDATE run SET wait_until = least(deadline_at, greatest(wait_until, clock_timestamp())),
                   wait_reason = CASE WHEN wait_until > clock_timestamp() THEN wait_reason ELSE %s END
             WHERE run_id = %s AND fence = %s AND status = 'running'
            """,
            [doing, claim.run_id, claim.fence],
        )


async def enter_phase(postgres: Postgres, claim: Claim, phase: Phase) -> None:
    """Show what the run is doing."""
    async with postgres.connection("note the phase") as connection:
        await connection.execute(
            "UPDATE run SET phase = %s WHERE run_id = %s AND fence = %s AND status = 'running'",
            [phase, claim.run_id, claim.fence],
        )


async def note_read(postgres: Postgres, claim: Claim, *, pages: int, fetched: int, requests: int, errors: int) -> None:
    """What a dry run has used since it began: its progress, where no page is stored. May be repeated."""
    async with postgres.connection("note what a dry run has read") as connection:
        await connection.execute(
            """
            UPDATE run SET progress_at = clock_timestamp(), progress_seq = progress_seq + 1, phase = 'read',
                   wait_until = CASE WHEN wait_until > clock_timestamp() THEN wait_until END,
                   wait_reason = CASE WHEN wait_until > clock_timestamp() THEN wait_reason END,
                   pages = %s, fetched = %s, requests = greatest(requests, %s), errors = greatest(errors, %s)
             WHERE run_id = %s AND fence = %s AND status = 'running'
            """,
            [pages, fetched, requests, errors, claim.run_id, claim.fence],
        )


async def load_cancel(postgres: Postgres, claim: Claim) -> str | None:
    """Who asked for this run to be cancelled; None where nobody did."""
    async with postgres.connection("look for a cancel") as connection:
        cursor = await connection.execute("SELECT cancel_requested_by FROM run WHERE run_id = %s", [claim.run_id])
        row = await cursor.fetchone()
    return row[0] if row else None


async def request_cancel(postgres: Postgres, run_id: UUID, by: str, *, lock_seconds: float | None = None) -> bool:
    """Ask an open run to end; a queued one ends at once. False where it is not open. RowHeldError: another session
    holds it for longer than lock_seconds; None: it is waited for."""
    async with postgres.connection("cancel a run") as connection, connection.transaction():
        if lock_seconds is not None:
            await wait_for_locks_at_most(connection, lock_seconds)
        cursor = await connection.execute(f"{CANCEL} AND run_id = %(run)s", {"by": by, "run": run_id})
        return cursor.rowcount == 1


async def approve(postgres: Postgres, run_id: UUID, by: str) -> int | None:
    """Consent to the disappearance of the keys that this run listed; how many, None where it asked nothing."""
    async with postgres.connection("approve a run") as connection:
        cursor = await connection.execute(
            "UPDATE consent SET approved_at = coalesce(approved_at, clock_timestamp()),"
            " approved_by = coalesce(approved_by, %s)"
            " WHERE run_id = %s AND used_at IS NULL RETURNING cardinality(keys)",
            [by, run_id],
        )
        row = await cursor.fetchone()
    return row[0] if row else None
