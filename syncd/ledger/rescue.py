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
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from syncd.contract.observation import Fault, Observation
from syncd.contract.words import Cause, Stream, status_of
from syncd.ledger import accumulators
from syncd.ledger.observation import observe_one
from syncd.runtime.postgres import Connection, Postgres

MOST_RESCUES = 3
"""Without a new page; after that a person must look."""

_FIND = """
INSERT INTO rescue (run_id, stream_id, cause, why, found_by, forensics)
SELECT run_id, stream_id, %(cause)s, %(why)s, %(by)s, %(forensics)s FROM run
 WHERE run_id = %(run_id)s AND status IN ('queued', 'running')
    ON CONFLICT (run_id) DO NOTHING RETURNING stream_id
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

_STREAM = """
UPDATE stream s SET rescues = CASE WHEN %(gained)s THEN 0 ELSE rescues + 1 END
  FROM account a WHERE a.account_id = s.account_id AND stream_id = %(stream_id)s
RETURNING a.source, a.name, s.resource, paused_at IS NOT NULL, rescues
"""

_SUCCESSOR = """
INSERT INTO run (stream_id, initiated_by) VALUES (%s, 'monitor')
    ON CONFLICT (stream_id) WHERE status IN ('queued', 'running') DO NOTHING RETURNING run_id
"""

_PAUSE = """
UPDATE stream SET paused_at = clock_timestamp(), paused_by = 'monitor', pause_reason = %s
 WHERE stream_id = %s AND paused_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """A stuck run that this call ended. successor: the run that was queued to go on; None: `held_back` says why."""

    run_id: UUID
    stream: Stream
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
    postgres: Postgres,
    run_id: UUID,
    judge: Callable[[Observation], Fault | None],
    *,
    resume: bool,
    lock_seconds: float = 2.0,
) -> Ended | None:
    """End this run if `judge` still finds a fault under the lock; None where there is nothing to end any more.

    resume=False: no successor. DatabaseAwayError: the lease row is held, for longer than lock_seconds; the server
    ends its holder within seconds, so try again at the next look.
    """
    async with postgres.connection(f"end run {run_id}") as connection, connection.transaction():
        # at least a millisecond: 0 would wait for ever
        await connection.execute(f"SET LOCAL lock_timeout = {max(1, round(lock_seconds * 1000))}")
        row = await (await connection.execute(_LOCK, [run_id])).fetchone()
        seen = await observe_one(connection, run_id)
        fault = judge(seen) if seen is not None else None
        if row is None or seen is None or fault is None:
            return None
        message = f"{_spoken(seen)} {fault.why}; the monitor ended it"
        closing = {"run_id": run_id, "status": status_of(fault.cause), "cause": fault.cause, "message": message}
        await connection.execute(_CLOSE, closing)
        await connection.execute(_FENCE_OFF, [row[0], run_id])
        return await _succeed(connection, run_id, row[0], fault, gained=seen.pages > 0, resume=resume)


async def ended_by_themselves(postgres: Postgres) -> list[UUID]:
    """Stuck runs that have ended since they were found, most of them because they were asked to."""
    async with postgres.connection("look for rescues to finish") as connection:
        cursor = await connection.execute(
            "SELECT run_id FROM rescue JOIN run USING (run_id)"
            " WHERE ended_at IS NULL AND completed_at IS NOT NULL ORDER BY found_at LIMIT 1000"
        )
        return [run_id for (run_id,) in await cursor.fetchall()]


async def finish(postgres: Postgres, run_id: UUID, *, resume: bool) -> Ended | None:
    """Queue the successor of a stuck run that has ended by itself; None where somebody else has done so."""
    async with postgres.connection(f"finish the rescue of run {run_id}") as connection, connection.transaction():
        cursor = await connection.execute(
            "SELECT c.stream_id, c.cause, c.why, r.pages FROM rescue c JOIN run r USING (run_id)"
            " WHERE c.run_id = %s AND c.ended_at IS NULL AND r.completed_at IS NOT NULL FOR UPDATE OF c SKIP LOCKED",
            [run_id],
        )
        row = await cursor.fetchone()
        if row is None:
            return None
        stream_id, cause, why, pages = row
        return await _succeed(connection, run_id, stream_id, Fault(Cause(cause), why), gained=pages > 0, resume=resume)


async def _succeed(
    connection: Connection, run_id: UUID, stream_id: int, fault: Fault, *, gained: bool, resume: bool
) -> Ended:
    """Queue the run that goes on, unless something holds it back; count the rescue."""
    cursor = await connection.execute(_STREAM, {"gained": gained, "stream_id": stream_id})
    ((source, account, resource, paused, rescues),) = await cursor.fetchall()
    held_back = await _hold_back(connection, stream_id, resume=resume, paused=paused, rescues=rescues, fault=fault)
    successor: UUID | None = None
    if held_back is None:
        row = await (await connection.execute(_SUCCESSOR, [stream_id])).fetchone()
        successor = row[0] if row else None
        held_back = None if row else "not resumed: the stream has a newer run"
    await connection.execute(
        "UPDATE rescue SET ended_at = clock_timestamp(), successor = %s, outcome = %s WHERE run_id = %s",
        [successor, held_back or "resumed", run_id],
    )
    await _count(connection, stream_id, "recovered_syncs", fault)
    return Ended(run_id, Stream(source, account, resource), fault, successor, held_back)


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
