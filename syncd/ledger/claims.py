"""The right to write a stream: taken, proven dead, given back.

Every takeover first locks the lease row FOR UPDATE. A page's transaction holds that row FOR KEY SHARE
to its end, so a takeover waits for it; a plain UPDATE of the fence would not (the fence is in no key),
and the old holder could commit its page over the successor's row.

Invariants:
    1. A stream's fence grows with every claim and never repeats.
    2. At most one run of a stream is open (a partial unique index holds it, too).
    3. A living lease is taken only where /proc proves its owner dead; a lapsed one by anyone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from psycopg.rows import dict_row

from syncd.contract.errors import DatabaseAwayError, FatalError, LeaseLostError
from syncd.contract.runs import Busy, Claim, ClaimRequest, Outcome, Owner, Paused
from syncd.contract.words import SWEEP_ENDED_BY, Cause, Stream, status_of
from syncd.ledger.eviction import evict_silent_writers
from syncd.runtime.postgres import Connection, Postgres, translated

# Longer than the server lets any writer hold the row (see runtime.postgres.WRITER_LIMITS).
_TAKEOVER_LOCK_TIMEOUT = "8s"

_LOCK = """
SELECT l.fence, l.run_id, l.expires_at > clock_timestamp() AS alive,
       l.owner_host, l.owner_boot, l.owner_pid, l.owner_started,
       s.stream_id, s.account_id, s.paused_at, s.paused_by, s.pause_reason
  FROM lease l JOIN stream s USING (stream_id) JOIN account a USING (account_id)
 WHERE a.source = %s AND a.name = %s AND s.resource = %s
   FOR UPDATE OF l
"""

_OPEN_RUN = """
SELECT run_id, status, cancel_requested_by FROM run WHERE stream_id = %s AND status IN ('queued', 'running')
"""

_CLOSE = """
UPDATE run SET status = %(status)s, cause = %(cause)s, error_message = %(message)s, phase = 'idle',
       completed_at = clock_timestamp(), wait_until = NULL, wait_reason = NULL,
       next_attempt_at = clock_timestamp() + make_interval(secs => %(next_seconds)s)
 WHERE run_id = %(run_id)s AND status = 'running'
"""

_ENDED_SO = "SELECT 1 FROM run WHERE run_id = %s AND status = %s AND cause = %s"

_INSERT = "INSERT INTO run (stream_id, initiated_by) VALUES (%s, %s) RETURNING run_id"

_START = """
UPDATE run SET status = 'running', fence = %(fence)s, started_at = clock_timestamp(),
       heartbeat_at = clock_timestamp(), progress_at = clock_timestamp(),
       deadline_at = clock_timestamp() + make_interval(secs => %(timeout)s), timeout_seconds = %(timeout)s,
       max_pages = %(pages)s, max_requests = %(requests)s, max_records = %(records)s, call_seconds = %(call)s
 WHERE run_id = %(run_id)s
"""

_TAKE = """
UPDATE lease SET fence = %(fence)s, run_id = %(run_id)s,
       expires_at = clock_timestamp() + make_interval(secs => %(lease)s),
       owner_host = %(host)s, owner_boot = %(boot)s, owner_pid = %(pid)s, owner_started = %(started)s
 WHERE stream_id = %(stream_id)s
"""


async def claim(
    postgres: Postgres, request: ClaimRequest, *, proven_dead: Callable[[Owner], bool]
) -> Claim | Busy | Paused:
    """Take the stream: adopt its queued run or make one, raise the fence, take the lease.

    Closes a lapsed run, or one whose owner is proven dead, as failed/lease_lost in the same transaction.
    """
    try:
        return await _claim(postgres, request, proven_dead)
    except DatabaseAwayError:
        if not await evict_silent_writers(postgres):
            raise
    return await _claim(postgres, request, proven_dead)


async def _claim(
    postgres: Postgres, request: ClaimRequest, proven_dead: Callable[[Owner], bool]
) -> Claim | Busy | Paused:
    stream = request.stream
    async with postgres.connection(f"claim {stream}") as connection, connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = '{_TAKEOVER_LOCK_TIMEOUT}'")
        cursor = connection.cursor(row_factory=dict_row)
        row = await (await cursor.execute(_LOCK, [stream.source, stream.account, stream.resource])).fetchone()
        if row is None:
            raise FatalError(f"stream {stream} is not registered in the ledger")
        if row["paused_at"] and not request.force:
            return Paused(row["paused_by"], row["pause_reason"], row["paused_at"])
        await cursor.execute(_OPEN_RUN, [row["stream_id"]])
        open_run = await cursor.fetchone()
        closed: UUID | None = None
        if open_run and open_run["status"] == "running":
            holder = _owner_of(row)
            if row["alive"] and not proven_dead(holder):
                return Busy(open_run["run_id"], f"process {holder.pid} on {holder.host}")
            await _close_dead(connection, open_run, row["alive"], holder)
            closed, open_run = open_run["run_id"], None
        if open_run is None:
            await cursor.execute(_INSERT, [row["stream_id"], request.initiated_by])
            open_run = await cursor.fetchone()
            assert open_run is not None  # noqa: S101  # RETURNING
        taken = Claim(
            stream=stream,
            stream_id=row["stream_id"],
            account_id=row["account_id"],
            run_id=open_run["run_id"],
            fence=row["fence"] + 1,
            lease_seconds=request.lease_seconds,
            closed_run=closed,
        )
        await _take(connection, taken, request)
    return taken


async def _take(connection: Connection, claim: Claim, request: ClaimRequest) -> None:
    """Start the claimed run and write its owner into the lease, inside the claim's transaction."""
    owner, caps = request.owner, request.caps
    parameters = {
        "run_id": claim.run_id,
        "stream_id": claim.stream_id,
        "fence": claim.fence,
        "lease": claim.lease_seconds,
        "timeout": caps.timeout_seconds,
        "call": request.call_seconds,
        "pages": caps.max_pages,
        "requests": caps.max_requests,
        "records": caps.max_records,
        "host": owner.host,
        "boot": owner.boot,
        "pid": owner.pid,
        "started": owner.started,
    }
    await connection.execute(_START, parameters)
    await connection.execute(_TAKE, parameters)


async def close_dead(postgres: Postgres, stream: Stream, *, proven_dead: Callable[[Owner], bool]) -> UUID | None:
    """End a run whose process is gone, without a successor; its id, None where there is no such run.

    The fence rises: whatever is left of the old process writes nothing any more.
    """
    async with postgres.connection(f"close the dead run of {stream}") as connection, connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = '{_TAKEOVER_LOCK_TIMEOUT}'")
        cursor = connection.cursor(row_factory=dict_row)
        row = await (await cursor.execute(_LOCK, [stream.source, stream.account, stream.resource])).fetchone()
        if row is None:
            return None
        open_run = await (await cursor.execute(_OPEN_RUN, [row["stream_id"]])).fetchone()
        if not open_run or open_run["status"] != "running" or (row["alive"] and not proven_dead(_owner_of(row))):
            return None
        await _close_dead(connection, open_run, row["alive"], _owner_of(row))
        await connection.execute(
            "UPDATE lease SET fence = fence + 1, run_id = NULL, expires_at = clock_timestamp() WHERE stream_id = %s",
            [row["stream_id"]],
        )
        run_id: UUID = open_run["run_id"]
    return run_id


def _owner_of(row: dict[str, Any]) -> Owner:
    return Owner(row["owner_host"] or "", row["owner_boot"] or "", row["owner_pid"] or 0, row["owner_started"] or "")


async def _close_dead(connection: Connection, open_run: dict[str, Any], alive: bool, owner: Owner) -> None:
    """What follows is not told: at this moment nobody knows whether a run will."""
    why = "died" if alive else "did not renew its lease"
    cancelled_by = open_run["cancel_requested_by"]
    cause = Cause.LEASE_LOST if cancelled_by is None else Cause.CANCELLED
    told = "" if cancelled_by is None else f"cancelled by {cancelled_by}; before it could obey, "
    await connection.execute(
        _CLOSE,
        {
            "run_id": open_run["run_id"],
            "status": status_of(cause),
            "cause": cause,
            "message": f"{told}process {owner.pid} on {owner.host} {why}",
            "next_seconds": None,
        },
    )


async def release(postgres: Postgres, claim: Claim, outcome: Outcome) -> bool:
    """End the run and the lease; end the sweep where the cause says so.

    Returns False where the run was no longer ours: somebody closed it, and nothing is written.
    """
    async with postgres.connection(f"release {claim.stream}") as connection, connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = '{_TAKEOVER_LOCK_TIMEOUT}'")
        cursor = await connection.execute(
            "SELECT 1 FROM lease WHERE stream_id = %s AND fence = %s AND run_id = %s FOR UPDATE",
            [claim.stream_id, claim.fence, claim.run_id],
        )
        if await cursor.fetchone() is None:
            # Ours all the same, where the answer to an earlier COMMIT of this release was lost.
            cursor = await connection.execute(_ENDED_SO, [claim.run_id, status_of(outcome.cause), outcome.cause])
            return await cursor.fetchone() is not None
        cursor = await connection.execute(
            _CLOSE,
            {
                "run_id": claim.run_id,
                "status": status_of(outcome.cause),
                "cause": outcome.cause,
                "message": outcome.message,
                "next_seconds": outcome.next_attempt_seconds,
            },
        )
        ours = cursor.rowcount == 1
        if ours and outcome.cause in SWEEP_ENDED_BY and not outcome.keeps_sweep:
            await connection.execute(
                "UPDATE sweep SET ended_at = clock_timestamp(), ended_by = %s"
                " WHERE stream_id = %s AND ended_at IS NULL",
                [outcome.cause, claim.stream_id],
            )
        await connection.execute(
            "UPDATE lease SET expires_at = clock_timestamp(), run_id = NULL WHERE stream_id = %s", [claim.stream_id]
        )
    return ours


class LeaseHolder:
    """Renews one lease over a connection of its own, so that no slow page can delay it: a page's transaction
    holds the run's row, and the heartbeat on it is left out rather than waited for.

    The database is authoritative. Locally we trust its last answer only until

        trusted_until = renewal_started + lease - margin        (seconds of the given clock)

    which lies before the row's expiry, however long the answer took.
    """

    MARGIN = 0.1

    def __init__(self, postgres: Postgres, claim: Claim, monotonic: Callable[[], float], claimed_at: float) -> None:
        self._postgres = postgres
        self._claim = claim
        self._monotonic = monotonic
        self._connection: Connection | None = None
        self.trusted_until = claimed_at + claim.lease_seconds * (1 - self.MARGIN)

    async def renew(self) -> str | None:
        """Renew once; return who asked for the run to be cancelled, None where nobody did.

        Raises LeaseLostError where the lease is not ours any more, DatabaseAwayError where nobody knows.
        """
        started = self._monotonic()
        if self._connection is None or self._connection.closed:
            self._connection = await self._postgres.connect("renew the lease")
        with translated("renew the lease", self._connection):
            cursor = await self._connection.execute(
                """
                WITH l AS (
                    UPDATE lease SET expires_at = clock_timestamp() + make_interval(secs => %(lease)s)
                     WHERE stream_id = %(stream)s AND fence = %(fence)s AND run_id = %(run)s
                       AND expires_at > clock_timestamp()
                    RETURNING run_id),
                free AS (SELECT run_id FROM run JOIN l USING (run_id) FOR NO KEY UPDATE OF run SKIP LOCKED),
                beat AS (UPDATE run SET heartbeat_at = clock_timestamp() FROM free WHERE run.run_id = free.run_id)
                SELECT run.cancel_requested_by FROM l JOIN run USING (run_id)
                """,
                {
                    "lease": self._claim.lease_seconds,
                    "stream": self._claim.stream_id,
                    "fence": self._claim.fence,
                    "run": self._claim.run_id,
                },
            )
            row = await cursor.fetchone()
        if row is None:
            raise LeaseLostError(f"the lease on {self._claim.stream} is not ours any more")
        self.trusted_until = started + self._claim.lease_seconds * (1 - self.MARGIN)
        return row[0]  # type: ignore[no-any-return]

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.close()
