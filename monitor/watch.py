"""Is this run stuck? Decided from one observation, by the database's clock, and from nothing else.

    healthy    it moves, or may still be expected to
    waiting    it has said until when it sleeps, and why
    late       half of the patience is used up: shown, not touched
    stuck      one of the causes below: it will be ended

Stuck is (protocol, section 1), in this order, so that the cause names what came first to fail:

    lease_lost    its lease has lapsed: its process is gone, frozen, or cut off; it may write nothing any more
    cap_time      its deadline, a call and a lease are over: its worker should have stopped itself long ago
    wait_overrun  its declared wait, a call and a lease are over, and no page has come since
    no_progress   no page for the threshold, counted from the last page or the end of the declared wait
    not_started   queued for the threshold, and nothing holds the stream back

Age is no cause: a long run whose pages move is healthy, whatever the clock of its host says.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from syncd.contract.observation import Fault, Observation
from syncd.contract.words import Cause, Status

LATE_SHARE = 0.5


class Health(StrEnum):
    """What the watch thinks of one open run."""

    HEALTHY = "healthy"
    WAITING = "waiting"
    LATE = "late"
    STUCK = "stuck"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long nothing may happen, in seconds. call: the total deadline of one remote call, where the run has not
    told of a longer one; lease: its length."""

    threshold_seconds: float
    call_seconds: float
    lease_seconds: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """why goes on after the run's name: "has not moved for 11 min". cause is set where it is stuck.

    stuck_in_seconds: until a healthy or late run would be stuck if nothing came; None where that has no meaning.
    """

    health: Health
    why: str
    cause: Cause | None = None
    stuck_in_seconds: float | None = None

    @property
    def fault(self) -> Fault | None:
        """Why it must be ended; None where it must not."""
        return None if self.cause is None else Fault(self.cause, self.why)


def judge(run: Observation, patience: Patience) -> Verdict:
    """The verdict on one open run."""
    if run.status is Status.QUEUED:
        return _judge_queued(run, patience)
    return _stuck(run, patience) or _moving(run, patience)


def _judge_queued(run: Observation, patience: Patience) -> Verdict:
    if run.paused:
        return Verdict(Health.WAITING, "is queued while its stream is paused")
    waited = f"has been queued for {spoken(run.queued_seconds)}"
    left = patience.threshold_seconds - run.queued_seconds
    if left <= 0:
        return Verdict(Health.STUCK, f"{waited}, and no worker has taken it", Cause.NOT_STARTED)
    return _healthy_or_late(waited, left, patience)


def _stuck(run: Observation, patience: Patience) -> Verdict | None:
    if run.lease_seconds_left is None or run.lease_seconds_left <= 0:
        since = "" if run.lease_seconds_left is None else f" for {spoken(-run.lease_seconds_left)}"
        return Verdict(Health.STUCK, f"has not renewed its lease{since}", Cause.LEASE_LOST)
    grace = max(patience.call_seconds, run.call_seconds or 0.0) + patience.lease_seconds
    if run.deadline_seconds_left is not None and run.deadline_seconds_left < -grace:
        over = spoken(-run.deadline_seconds_left)
        return Verdict(Health.STUCK, f"is {over} past its deadline and has not stopped itself", Cause.CAP_TIME)
    if run.wait_seconds_left is not None and run.wait_seconds_left < -grace and not run.moved_since_wait:
        over = spoken(-run.wait_seconds_left)
        return Verdict(
            Health.STUCK, f"has slept {over} longer than it declared ({run.wait_reason})", Cause.WAIT_OVERRUN
        )
    if _idle_seconds(run) > patience.threshold_seconds:
        return Verdict(Health.STUCK, _unmoved(run), Cause.NO_PROGRESS)
    return None


def _moving(run: Observation, patience: Patience) -> Verdict:
    if run.wait_seconds_left is not None and run.wait_seconds_left > 0:
        return Verdict(Health.WAITING, f"sleeps for another {spoken(run.wait_seconds_left)}: {run.wait_reason}")
    return _healthy_or_late(_unmoved(run), patience.threshold_seconds - _idle_seconds(run), patience)


def _healthy_or_late(why: str, left: float, patience: Patience) -> Verdict:
    late = left < patience.threshold_seconds * LATE_SHARE
    return Verdict(Health.LATE if late else Health.HEALTHY, why, stuck_in_seconds=left)


def _idle_seconds(run: Observation) -> float:
    """Since the last page or the end of the declared wait, whichever is later."""
    unmoved = run.unmoved_seconds or 0.0
    return unmoved if run.wait_seconds_left is None else min(unmoved, max(0.0, -run.wait_seconds_left))


def _unmoved(run: Observation) -> str:
    return f"has not moved for {spoken(run.unmoved_seconds or 0.0)}"


def spoken(seconds: float) -> str:
    """A duration as people say it: `40 s`, `11 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
