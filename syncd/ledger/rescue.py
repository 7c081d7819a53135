"""Ends a stuck run so that it stays ended, and queues the run that goes on from its checkpoint.

    find     forensics are stored, the stuck run is counted: once, whoever else found it, too
    end      lease row FOR UPDATE → look again → fence + 1, run closed, successor queued, counted: one transaction

The look under the lock decides: a run that moved meanwhile is left alone, one that another monitor has ended
is not ended twice, and a page that was being written when we came is either committed before the fence moves
or writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from syncd.contract.observation import Fault, Observation
from syncd.contract.words import status_of
from syncd.ledger import accumulators
from syncd.ledger.observation import observe_one
from syncd.runtime.postgres import Connection, Postgres

MOST_RESCUES = 3
"""Without a new page; after that a person must look."""

LOCK_TIMEOUT = "2s"

_FIND = """
INSERT INTO rescue (run_id, stream_id, cause, why, found_by, forensics)
SELECT run_id, stream_id, %(cause)s, %(why)s, %(by)s, %(forensics)s FROM run
 WHERE run_id = %(run_id)s AND status IN ('queued', 'running')
    ON CONFLICT (run_id) DO NOTHING RETURNING stream_id
"""

_LOCK = """
SELECT l.stream_id, s.paused_at IS NOT NULL AS paused, s.rescues
  FROM run r JOIN lease l USING (stream_id) JOIN stream s USING (stream_id) WHERE r.run_id = %s FOR UPDATE OF l
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

_SUCCEED = "INSERT INTO run (stream_id, initiated_by) VALUES (%s, 'monitor') RETURNING run_id"

_PAUSE = """
UPDATE stream SET paused_at = clock_timestamp(), paused_by = 'monitor', pause_reason = %s
 WHERE stream_id = %s AND paused_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """A stuck run that this call ended. successor: the run that was queued to go on; None: `held_back` says why."""

    run_id: UUID
    fault: Fault
    successor: UUID | None
    held_back: str | None


async def find(postgres: Postgres, run_id: UUID, fault: Fault, *, by: str, forensics: dict[str, Any]) -> bool:
    """Keep what was seen of a stuck run; False where somebody has done so before."""
    async with postgres.connection(f"keep what was found of run {run_id}") as connection, connection.transaction():
        parameters = {"run_id": run_id, "cause": fault.cause, "why": fault.why, "by": by}
        cursor = await connection.execute(_FIND, parameters | {"forensics": json.dumps(forensics, default=str)})
        row = await cursor.fetchone()
        if row is not None:
            await _count(connection, row[0], "stuck_syncs", fault)
        return row is not None


async def end(
    postgres: Postgres, run_id: UUID, judge: Callable[[Observation], Fault | None], *, resume: bool
) -> Ended | None:
    """End this run if `judge` still finds a fault under the lock; None where there is nothing to end any more.

    resume=False: no successor. DatabaseAwayError: the lease row is held; the server ends its holder within
    seconds, so try again at the next look.
    """
    async with postgres.connection(f"end run {run_id}") as connection, connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        row = await (await connection.execute(_LOCK, [run_id])).fetchone()
        seen = await observe_one(connection, run_id)
        fault = judge(seen) if seen is not None else None
        if row is None or seen is None or fault is None:
            return None
        stream_id, paused, rescues = row
        message = f"{_spoken(seen)} {fault.why}; the monitor ended it"
        closing = {"run_id": run_id, "status": status_of(fault.cause), "cause": fault.cause, "message": message}
        await connection.execute(_CLOSE, closing)
        await connection.execute(_FENCE_OFF, [stream_id, run_id])
        rescues = 0 if seen.pages else rescues + 1
        await connection.execute("UPDATE stream SET rescues = %s WHERE stream_id = %s", [rescues, stream_id])
        held_back = await _hold_back(connection, stream_id, resume=resume, paused=paused, rescues=rescues, fault=fault)
        successor: UUID | None = None
        if held_back is None:
            ((successor,),) = await (await connection.execute(_SUCCEED, [stream_id])).fetchall()
        await connection.execute(
            "UPDATE rescue SET ended_at = clock_timestamp(), successor = %s, outcome = %s WHERE run_id = %s",
            [successor, held_back or "resumed", run_id],
        )
        await _count(connection, stream_id, "recovered_syncs", fault)
    return Ended(run_id, fault, successor, held_back)


async def _hold_back(
    connection: Connection, stream_id: int, *, resume: bool, paused: bool, rescues: int, fault: Fault
) -> str | None:
    """Why no successor is queued; None where one is. Pauses a stream that no rescue helps."""
    if not resume:
        return "not resumed: nobody asked for it"
    if paused:
        return "not resumed: the stream is paused"
    if rescues < MOST_RESCUES:
        return None
    reason = (
        f"{rescues} runs in a row got stuck without a new page, the last one by {fault.cause}: look at "
        "`syncd explain`, mend the cause, then `syncd resume`"
    )
    await connection.execute(_PAUSE, [reason, stream_id])
    return f"not resumed, and paused: {reason}"


async def _count(connection: Connection, stream_id: int, metric: str, fault: Fault) -> None:
    deltas: dict[accumulators.Delta, float] = {(metric, "", str(fault.cause)): 1}
    parameters = {"stream_id": stream_id, **accumulators.parameters(deltas)}
    await connection.execute(accumulators.ADD.format(condition=""), parameters)


def _spoken(seen: Observation) -> str:
    owner = seen.owner
    return f"the run (process {owner.pid} on {owner.host})" if seen.fence is not None and owner.pid else "the run"
