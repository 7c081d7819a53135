"""What a worker is doing, kept where others find it when it does not move.

Its last calls and the present ones, written every few seconds; and where its tasks stood when it was asked to end.
In memory until `keep`; bounded; in it are endpoints, page numbers, statuses and durations, no documents.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from typing import Any

from syncd.contract.runs import Claim
from syncd.runtime.postgres import Postgres

MOST_CALLS = 10

# Only while the lease is ours; read without a lock: nobody may wait for a note, and the next one mends a race.
_KEEP = """
INSERT INTO activity AS v (stream_id, run_id, doing)
SELECT stream_id, run_id, %(doing)s FROM lease
 WHERE stream_id = %(stream_id)s AND run_id = %(run_id)s AND fence = %(fence)s
    ON CONFLICT (stream_id) DO UPDATE
   SET run_id = excluded.run_id, doing = excluded.doing, noted_at = clock_timestamp() WHERE v.run_id <= excluded.run_id
"""


@dataclass(frozen=True, slots=True)
class BegunCall:
    """A call on its way. began: in the event loop's seconds."""

    endpoint: str
    subject: str
    began: float


class Activity:
    """What one run does. Times are the event loop's; what is written down are ages."""

    def __init__(self) -> None:
        self._ended: deque[tuple[BegunCall, float, str, int | None]] = deque(maxlen=MOST_CALLS)
        self._begun: dict[int, BegunCall] = {}
        self._stacks: list[str] | None = None
        self._is_new = False

    def call_began(self, endpoint: str, subject: str, now: float) -> BegunCall:
        """A call goes out; give it back to `call_ended`, however it ends."""
        call = BegunCall(endpoint, subject[:80], now)
        self._begun[id(call)] = call
        self._is_new = True
        return call

    def call_ended(self, call: BegunCall, now: float, *, outcome: str, status: int | None = None) -> None:
        """outcome: `answered`, `abandoned`, or the reason of its failure."""
        self._begun.pop(id(call), None)
        self._ended.append((call, now, outcome, status))
        self._is_new = True

    def note_stacks(self, stacks: list[str]) -> None:
        """Where the tasks stand, at the moment in which the run was asked to end; only the first time counts."""
        if self._stacks is None:
            self._stacks, self._is_new = stacks, True

    def as_dict(self, now: float) -> dict[str, Any]:
        """calls: the last MOST_CALLS, the newest first; calling: those on their way."""
        calls = [
            {
                "endpoint": call.endpoint,
                "subject": call.subject,
                "outcome": outcome,
                "status": status,
                "seconds": round(ended - call.began, 3),
                "ended_seconds_ago": round(now - ended, 3),
            }
            for call, ended, outcome, status in reversed(self._ended)
        ]
        calling = [
            {"endpoint": call.endpoint, "subject": call.subject, "age_seconds": round(now - call.began, 3)}
            for call in list(self._begun.values())[:MOST_CALLS]
        ]
        return {"calls": calls, "calling": calling} | ({} if self._stacks is None else {"stacks": self._stacks})

    async def keep(self, postgres: Postgres, claim: Claim, now: float) -> None:
        """Write it down where it has changed. SyncError: it is written the next time."""
        if not self._is_new:
            return
        self._is_new = False
        try:
            async with postgres.connection("note what the run does") as connection:
                parameters = {"stream_id": claim.stream_id, "run_id": claim.run_id, "fence": claim.fence}
                await connection.execute(_KEEP, parameters | {"doing": json.dumps(self.as_dict(now))})
        except BaseException:
            self._is_new = True
            raise
