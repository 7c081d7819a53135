"""What the page shows at one moment, whatever it is written in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from monitor.summary import State, Summary
from syncd.contract.runs import RunRow
from syncd.contract.words import Cause, Status
from syncd.ledger.days import Day
from syncd.ledger.jumps import Jump

MOST_ERROR_GROUPS = 10
LEDGER_TODO = "The monitor tries again by itself; look at PostgreSQL, then at `syncd check`"
SEE_MORE = "Names, runs and errors are shown with the header Authorization: Bearer TOKEN."
_VARYING = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\b[0-9a-f]{8,}\b|[0-9]+(\.[0-9]+)?")


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Errors that differ in numbers only. newest: the run that had it last."""

    cause: Cause
    message: str
    count: int
    newest: RunRow
    first_at: datetime
    last_at: datetime

    @property
    def journal_command(self) -> str:
        """What to type to see everything that daemon, command and monitor said of this run: so it names no unit."""
        return f"journalctl SYNC_RUN_ID={self.newest.run_id}"


@dataclass(frozen=True, slots=True)
class Picture:
    """runs: the newest first. summary is None where the ledger cannot be read; trouble says why.

    days, jumps         the last days; what changed most in the last runs
    rates               calls a second of each open run, lately
    seconds_since_look  since the watch looked; None where it has not yet
    """

    at: datetime
    version: str
    summary: Summary | None
    runs: Sequence[RunRow]
    trouble: str | None = None
    days: Sequence[Day] = ()
    jumps: Sequence[Jump] = ()
    rates: Mapping[UUID, float] = field(default_factory=dict)
    watch_state: str = "ok"
    seconds_since_look: float | None = None

    @property
    def sentence(self) -> str:
        """What is said first."""
        if self.summary is not None:
            return self.summary.sentence
        return f"The ledger cannot be read: {self.trouble or 'it has not answered yet'}. {LEDGER_TODO}"

    @property
    def state(self) -> str:
        """How all is: healthy, held, degraded or unhealthy."""
        if self.summary is None:
            return str(State.UNHEALTHY)
        return "held" if self.summary.is_held else str(self.summary.state)


def group_errors(runs: Sequence[RunRow]) -> list[ErrorGroup]:
    """The errors of these runs, the most frequent first."""
    groups: dict[tuple[Cause, str], list[RunRow]] = {}
    for run in runs:
        if run.cause is not None and run.status is not Status.COMPLETE and run.error_message:
            groups.setdefault((run.cause, _VARYING.sub("#", run.error_message)), []).append(run)
    found = [
        ErrorGroup(cause, same[0].error_message or "", len(same), same[0], same[-1].queued_at, same[0].queued_at)
        for (cause, _), same in groups.items()
    ]
    return sorted(found, key=lambda group: -group.count)[:MOST_ERROR_GROUPS]


def ago(then: datetime | None, now: datetime) -> str:
    """`4 min ago`; an empty text where there is no time."""
    return "" if then is None else f"{duration(max(1, round((now - then).total_seconds())))} ago"


def duration(seconds: float | None) -> str:
    """`2.3 s`, `12 s`, `4 min 5 s`, `2 h 10 min`; whole seconds of an int."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 and isinstance(seconds, float) else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest and minutes < 10 else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} days"
