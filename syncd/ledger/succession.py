"""What follows a stuck run: a run that goes on from its checkpoint, or the reason why none does.

A successor is queued with the caps that its predecessor was asked for. It is not queued

    where nothing begins by itself (DISABLE_AUTO_SYNC), or a person ended the run and asked for none
    after a dry run, and after a run that a person had cancelled
    after a run that nobody took: nobody would take the next one either
    after a run that ended by itself, for its own reasons, or that a newer one has followed
    after MOST_RESCUES rescues in a row without a new page: the stream is paused, and a person must look

The open sweep and its checkpoint stay in all of these cases, so that whichever run comes next goes on there: with
the schedule switched on again, or by hand. A queued one would be in the way of runs by hand meanwhile. On a paused
stream it is queued and waits, because nothing else can begin there: `syncd resume` lets it go on.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from syncd.contract.observation import Fault
from syncd.contract.words import Cause, Stream
from syncd.runtime.postgres import Connection

MONITOR = "monitor"
"""Who asks runs to end, and who queues their successors."""

MOST_RESCUES = 3
"""Without a new page; after that a person must look."""

# In a row: a run of the stream that gained a page since the rescue before begins the count anew. Where that one was
# pruned, any such run came after it.
_COUNT = """
UPDATE stream s
   SET rescues = CASE WHEN NOT %(counts)s THEN rescues WHEN %(gained)s THEN 0 WHEN EXISTS (
           SELECT FROM run g WHERE g.stream_id = s.stream_id AND (g.pages > 0 OR g.status = 'complete')
              AND g.queued_at > (SELECT coalesce(max(found_at), '-infinity') FROM rescue
                                  WHERE stream_id = s.stream_id AND run_id <> %(run_id)s AND ended_at IS NOT NULL))
       THEN 1 ELSE rescues + 1 END
  FROM account a WHERE a.account_id = s.account_id AND stream_id = %(stream_id)s
RETURNING a.source, a.name, s.resource, paused_at IS NOT NULL, rescues
"""

_SUCCESSOR = f"""
INSERT INTO run (stream_id, initiated_by, wanted_pages, wanted_requests, wanted_records)
SELECT stream_id, '{MONITOR}', wanted_pages, wanted_requests, wanted_records FROM run WHERE run_id = %s
    ON CONFLICT (stream_id) WHERE status IN ('queued', 'running') DO NOTHING RETURNING run_id
"""

_PAUSE = f"""
UPDATE stream SET paused_at = clock_timestamp(), paused_by = '{MONITOR}', pause_reason = %s
 WHERE stream_id = %s AND paused_at IS NULL
"""


@dataclass(frozen=True, slots=True)
class Predecessor:
    """A stuck run that is over. ended_by: the cause that it wrote itself, None where it did not come to that;
    has_newer: a later run of its stream is there already."""

    run_id: UUID
    stream_id: int
    pages: int
    dry_run: bool
    cancelled_by: str | None
    ended_by: Cause | None
    has_newer: bool

    @property
    def is_cancelled(self) -> bool:
        """By somebody else than the monitor."""
        return self.cancelled_by not in (None, MONITOR)


async def succeed(
    connection: Connection, before: Predecessor, fault: Fault, *, resume: bool, by_hand: bool
) -> tuple[Stream, UUID | None, str]:
    """Queue the run that goes on: the stream, the run where there is one, and what came of it in words."""
    counted = {
        "stream_id": before.stream_id,
        "run_id": before.run_id,
        "gained": before.pages > 0,
        "counts": fault.cause is not Cause.NOT_STARTED,
    }
    ((source, account, resource, paused, rescues),) = await (await connection.execute(_COUNT, counted)).fetchall()
    stream = Stream(source, account, resource)
    against = _reason_against(before, fault, resume=resume, by_hand=by_hand)
    if against is not None:
        return stream, None, f"not resumed: {against}"
    if rescues >= MOST_RESCUES:
        reason = (
            f"{rescues} runs in a row got stuck without a new page, the last one by {fault.cause}: look at "
            f"`syncd explain {before.run_id}`, mend the cause, then `syncd resume`"
        )
        await connection.execute(_PAUSE, [reason, before.stream_id])
        return stream, None, f"not resumed, and paused: {reason}"
    row = await (await connection.execute(_SUCCESSOR, [before.run_id])).fetchone()
    if row is None:
        return stream, None, "not resumed: the stream has a newer run"
    if paused:
        return stream, row[0], f"run {row[0]} is queued, and waits until the stream is not paused any more"
    return stream, row[0], f"run {row[0]} goes on from the checkpoint"


def _reason_against(before: Predecessor, fault: Fault, *, resume: bool, by_hand: bool) -> str | None:
    if fault.cause is Cause.NOT_STARTED and not by_hand:
        return "no worker took this run, and none would take another"
    if before.dry_run:
        return "it was a dry run"
    if before.is_cancelled:
        return f"{before.cancelled_by} had cancelled it"
    if before.has_newer:
        return "the stream has a newer run"
    if before.ended_by not in (None, fault.cause, Cause.CANCELLED, Cause.LEASE_LOST):
        return f"it ended by itself ({before.ended_by})"
    if not resume:
        return "nobody asked for it, or nothing begins by itself just now; the next run goes on at the checkpoint"
    return None
