"""Ends a stuck run so that it stays ended, and queues the run that goes on from its checkpoint.

    find     forensics are stored, the stuck run is counted: once, whoever else found it, too
    end      lease row FOR UPDATE → look again → fence + 1, run closed, successor queued, counted: one transaction
    finish   the same for a run that ended by itself after it was found: only its successor is missing

The look under the lock decides: a run that moved meanwhile is left alone, one that another monitor has ended
is not ended twice, and a page that was being written when we came is either committed before the fence moves
or writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.rows import class_row

from syncd.contract.observation import Fault, Observation, Rescue
from syncd.contract.runs import Claim, Outcome
from syncd.contract.words import Cause, Stream, status_of
from syncd.ledger import accumulators
from syncd.ledger.observation import observe_one
from syncd.ledger.succession import MONITOR, Predecessor, succeed
from syncd.runtime.postgres import Connection, Postgres, wait_for_locks_at_most

_FIND = """
WITH kept AS (
    INSERT INTO rescue (run_id, stream_id, cause, why, found_by, forensics)
    SELECT run_id, stream_id, %(cause)s, %(why)s, %(by)s, %(forensics)s FROM run
     WHERE run_id = %(run_id)s AND status IN ('queued', 'running')
        ON CONFLICT (run_id) DO NOTHING RETURNING stream_id, cause)
INSERT INTO accumulator AS a (stream_id, metric, detail, value)
SELECT stream_id, 'stuck_syncs', cause, 1 FROM kept
    ON CONFLICT (stream_id, metric, endpoint, detail) DO UPDATE SET value = a.value + excluded.value
RETURNING stream_id
"""

# What the worker wrote down after it was asked to end is newer than what was found before.
_ADD_STACKS = """
UPDATE rescue c SET forensics = c.forensics || jsonb_build_object('stacks', v.doing -> 'stacks')
  FROM activity v WHERE c.run_id = %s AND v.run_id = c.run_id AND v.doing ? 'stacks'
"""

_FREE = """
SELECT r.run_id FROM run r JOIN lease l USING (stream_id) WHERE r.run_id = ANY(%s)
   FOR UPDATE OF l SKIP LOCKED FOR NO KEY UPDATE OF r SKIP LOCKED
"""

_LOCK = """
SELECT l.stream_id FROM run r JOIN lease l USING (stream_id) WHERE r.run_id = %s FOR UPDATE OF l
"""

_CLOSE = """
UPDATE run SET status = %(status)s, cause = %(cause)s, error_message = %(message)s, phase = 'idle',
       completed_at = clock_timestamp(), wait_until = NULL, wait_reason = NULL
 WHERE run_id = %(run_id)s AND status IN ('queued', 'running')
"""

_FENCE_OFF = """
UPDATE lease SET fence = fence + 1, run_id = NULL, expires_at = clock_timestamp()
 WHERE stream_id = %s AND run_id = %s
"""

_PREDECESSOR = """
SELECT r.run_id, r.stream_id, r.pages, r.dry_run, r.cancel_requested_by AS cancelled_by, r.cause AS ended_by,
       EXISTS (SELECT FROM run n WHERE n.stream_id = r.stream_id AND n.queued_at > r.queued_at
                  AND (n.completed_at IS NULL OR NOT n.dry_run)) AS has_newer
  FROM run r WHERE r.run_id = %s
"""

_ENDED_BY_THEMSELVES = """
SELECT run_id FROM rescue JOIN run USING (run_id)
 WHERE ended_at IS NULL AND completed_at IS NOT NULL ORDER BY found_at LIMIT 1000
"""

_TO_FINISH = """
SELECT c.cause, c.why FROM rescue c JOIN run r USING (run_id)
 WHERE c.run_id = %s AND c.ended_at IS NULL AND r.completed_at IS NOT NULL FOR UPDATE OF c SKIP LOCKED
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """A stuck run that this call ended. successor: the run that was queued to go on; None: `outcome` says why."""

    run_id: UUID
    stream: Stream
    fault: Fault
    successor: UUID | None
    outcome: str

    @property
    def held_back(self) -> str | None:
        """Why no successor was queued; None where one was."""
        return self.outcome if self.successor is None else None


async def find(
    postgres: Postgres,
    run_id: UUID,
    fault: Fault,
    *,
    by: str,
    forensics: dict[str, Any],
    lock_seconds: float = 2.0,
) -> bool:
    """Keep what was seen of a stuck run; False where somebody has done so before."""
    async with postgres.connection(f"keep what was found of run {run_id}") as connection, connection.transaction():
        await wait_for_locks_at_most(connection, lock_seconds)
        parameters = {"run_id": run_id, "cause": fault.cause, "why": fault.why, "by": by}
        cursor = await connection.execute(_FIND, parameters | {"forensics": json.dumps(forensics, default=str)})
        return await cursor.fetchone() is not None


async def free(postgres: Postgres, run_ids: Collection[UUID]) -> set[UUID]:
    """Of these, the runs whose rows nobody holds at this moment. Waits for nobody."""
    async with postgres.connection("look which stuck runs are free") as connection, connection.transaction():
        cursor = await connection.execute(_FREE, [list(run_ids)])
        return {run_id for (run_id,) in await cursor.fetchall()}


async def end(
    postgres: Postgres,
    run_id: UUID,
    judge: Callable[[Observation], Fault | None],
    *,
    resume: bool,
    by_hand: bool = False,
    lock_seconds: float = 2.0,
) -> Ended | None:
    """End this run if `judge` still finds a fault under the lock; None where there is nothing to end any more.

    resume=False: no successor. by_hand: a person asked, who may know that a worker is there. DatabaseAwayError: the
    lease row is held, for longer than lock_seconds; the server ends its holder within seconds, so try again at the
    next look.
    """
    async with postgres.connection(f"end run {run_id}") as connection, connection.transaction():
        await wait_for_locks_at_most(connection, lock_seconds)
        row = await (await connection.execute(_LOCK, [run_id])).fetchone()
        seen = await observe_one(connection, run_id)
        fault = judge(seen) if seen is not None else None
        if row is None or seen is None or fault is None:
            return None
        before = await _predecessor(connection, run_id)
        cause = Cause.CANCELLED if before.is_cancelled else fault.cause
        told = f"cancelled by {before.cancelled_by}; before it could obey, " if before.is_cancelled else ""
        message = f"{told}{_spoken(seen)} {fault.why}; the monitor ended it"
        closing = {"run_id": run_id, "status": status_of(cause), "cause": cause, "message": message}
        await connection.execute(_CLOSE, closing)
        await connection.execute(_FENCE_OFF, [row[0], run_id])
        return await _conclude(connection, before, fault, resume=resume, by_hand=by_hand)


async def ended_by_themselves(postgres: Postgres) -> list[UUID]:
    """Stuck runs that have ended since they were found, most of them because they were asked to."""
    async with postgres.connection("look for rescues to finish") as connection:
        cursor = await connection.execute(_ENDED_BY_THEMSELVES)
        return [run_id for (run_id,) in await cursor.fetchall()]


async def finish(postgres: Postgres, run_id: UUID, *, resume: bool, lock_seconds: float = 2.0) -> Ended | None:
    """Queue the successor of a stuck run that has ended by itself; None where somebody else has done so."""
    async with postgres.connection(f"finish the rescue of run {run_id}") as connection, connection.transaction():
        await wait_for_locks_at_most(connection, lock_seconds)
        row = await (await connection.execute(_TO_FINISH, [run_id])).fetchone()
        if row is None:
            return None
        fault = Fault(Cause(row[0]), row[1])
        return await _conclude(connection, await _predecessor(connection, run_id), fault, resume=resume)


async def outcome_of(postgres: Postgres, claim: Claim, outcome: Outcome) -> Outcome:
    """How a run really ends that was told to: a run that the monitor asked to end because it was stuck has failed,
    by that cause; any other outcome is its own."""
    if outcome.cause is not Cause.CANCELLED:
        return outcome
    async with postgres.connection("look why the run was asked to end") as connection:
        cursor = await connection.execute(
            "SELECT c.cause, c.why FROM rescue c JOIN run r USING (run_id)"
            " WHERE r.run_id = %s AND r.cancel_requested_by = %s",
            [claim.run_id, MONITOR],
        )
        row = await cursor.fetchone()
    if row is None:
        return outcome
    return Outcome(Cause(row[0]), f"the run {row[1]}; the monitor asked it to end, and it did")


async def load_rescue(postgres: Postgres, run_id: UUID) -> Rescue | None:
    """What was found of this run; None where nobody has found it stuck."""
    async with postgres.connection(f"read what was found of run {run_id}") as connection:
        cursor = connection.cursor(row_factory=class_row(Rescue))
        await cursor.execute(
            "SELECT cause, why, found_by, found_at, ended_at, successor, outcome, forensics FROM rescue"
            " WHERE run_id = %s", [run_id]
        )  # fmt: skip
        return await cursor.fetchone()


async def _conclude(
    connection: Connection, before: Predecessor, fault: Fault, *, resume: bool, by_hand: bool = False
) -> Ended:
    """Queue the run that goes on, unless something holds it back; count the rescue."""
    stream, successor, outcome = await succeed(connection, before, fault, resume=resume, by_hand=by_hand)
    await connection.execute(_ADD_STACKS, [before.run_id])
    await connection.execute(
        "UPDATE rescue SET ended_at = clock_timestamp(), successor = %s, outcome = %s WHERE run_id = %s",
        [successor, outcome, before.run_id],
    )
    deltas: dict[accumulators.Delta, float] = {("recovered_syncs", "", str(fault.cause)): 1}
    parameters = {"stream_id": before.stream_id, **accumulators.parameters(deltas)}
    await connection.execute(accumulators.ADD.format(condition=""), parameters)
    return Ended(before.run_id, stream, fault, successor, outcome)


async def _predecessor(connection: Connection, run_id: UUID) -> Predecessor:
    cursor = connection.cursor(row_factory=class_row(Predecessor))
    await cursor.execute(_PREDECESSOR, [run_id])
    found = await cursor.fetchone()
    assert found is not None  # noqa: S101  # its rescue or its lease names it
    return found


def _spoken(seen: Observation) -> str:
    owner = seen.owner
    return f"the run (process {owner.pid} on {owner.host})" if seen.fence is not None and owner.pid else "the run"
