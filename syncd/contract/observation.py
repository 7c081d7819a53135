"""What can be seen of an open run from outside, at one moment, by the database's clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from syncd.contract.runs import Owner
from syncd.contract.words import Cause, Status, Stream


@dataclass(frozen=True, slots=True)
class Observation:
    """One open run. Times are seconds; those of a queued run that has not begun are None.

    wait_seconds_left   until the end of its declared wait, negative after it; None where none is declared
    moved_since_wait    whether a page was committed after that wait's end
    lease_seconds_left  negative once it has lapsed; None where the lease is not this run's
    is_found            whether it was found stuck before, with its forensics stored
    call_seconds        the longest that one of its calls may take; None where it has not said
    queued_seconds      since it was queued, or since the end of a pause that came after
    """

    run_id: UUID
    stream: Stream
    status: Status
    fence: int | None
    pages: int
    last_page: int | None
    cancel_requested_by: str | None
    paused: bool
    wait_reason: str | None
    owner: Owner
    queued_seconds: float
    started_seconds: float | None
    unmoved_seconds: float | None
    wait_seconds_left: float | None
    moved_since_wait: bool
    deadline_seconds_left: float | None
    lease_seconds_left: float | None
    is_found: bool
    started_at: datetime | None = None
    call_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an open run must be ended; why goes on after the run's name: "has not moved for 11 min"."""

    cause: Cause
    why: str


@dataclass(frozen=True, slots=True)
class Rescue:
    """What was found of a stuck run, and what came of it. ended_at, successor and outcome are None until it is over;
    forensics: see `monitor.forensics`."""

    cause: Cause
    why: str
    found_by: str
    found_at: datetime
    ended_at: datetime | None
    successor: UUID | None
    outcome: str | None
    forensics: dict[str, Any]
