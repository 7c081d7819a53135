"""When a stream's next run begins.

    next = end of the last run + interval, jittered, moved off the round minute
    after n failures in a row: at least backoff(n) after the end, whatever the interval, and up to a tenth
    longer: streams that failed together do not come back together
    a run whose process died goes on at once; one that kills its process again and again, without storing
    anything, counts as a failure each time and then waits like one

Missed times are not made up for: the schedule counts from now, never from what should have been.
The vendor asks not to call on round times (vendor document v4.4.9, section on limits).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from syncd.contract.words import Cause, Status, status_of

JITTER_SHARE = 0.1
QUIET_SECONDS = 7.0
"""No run begins within so many seconds of a full minute."""

SHORT_DELAY_SECONDS = 20.0

FIRST_BACKOFF_SECONDS = 30.0
LONGEST_BACKOFF_SECONDS = 3600.0

FREE_RESUMES = 3
"""Dead runs that stored nothing, in a row, which are resumed at once; later ones wait for the slot."""


def interval_with_jitter(interval_seconds: float, jitter: float) -> float:
    """The interval, up to 10 % shorter or longer. jitter is uniform in [0, 1)."""
    return interval_seconds * (1 - JITTER_SHARE + 2 * JITTER_SHARE * jitter)


def failure_backoff_seconds(failures_in_a_row: int) -> float:
    """The least pause after so many failed runs in a row; 0 after none."""
    if failures_in_a_row <= 0:
        return 0.0
    return float(min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** min(failures_in_a_row - 1, 20)))


def off_the_minute(delay_seconds: float, second_of_minute: float, jitter: float) -> float:
    """Lengthen a delay so that it does not end near a full minute. second_of_minute is that of now."""
    lands_at = (second_of_minute + delay_seconds) % 60
    if QUIET_SECONDS <= lands_at <= 60 - QUIET_SECONDS:
        return delay_seconds
    to_quiet = (QUIET_SECONDS - lands_at) % 60
    return delay_seconds + to_quiet + jitter * (60 - 3 * QUIET_SECONDS)


def next_delay_seconds(
    interval_seconds: float, failures_in_a_row: int, second_of_minute: float, jitter: float
) -> float:
    """From the end of a run to the beginning of the next one."""
    backoff = failure_backoff_seconds(failures_in_a_row) * (1 + JITTER_SHARE * jitter)
    delay = max(interval_with_jitter(interval_seconds, jitter), backoff)
    # Intervals under a minute are for tests: there is no staying away from round minutes with them.
    return off_the_minute(delay, second_of_minute, jitter) if delay >= 60 else delay


def first_delay_seconds(startup_seconds: float, second_of_minute: float, jitter: float) -> float:
    """From a start to the first run: the start-up delay, up to a third longer and off the round minute. Who sets a
    short one wants to see a run, and not to stay away from anything."""
    delay = startup_seconds + jitter * min(10.0, startup_seconds / 3)
    return off_the_minute(delay, second_of_minute, jitter) if startup_seconds >= SHORT_DELAY_SECONDS else delay


def is_failure(cause: Cause) -> bool:
    """Whether a run that ended so counts for the backoff; a lost lease was not the API's fault."""
    return status_of(cause) is Status.FAILED and cause is not Cause.LEASE_LOST


class Start(StrEnum):
    """Why a run begins now; also who the ledger names as its initiator where nobody asked for it."""

    REQUESTED = "requested"
    RESUMED = "resumed"
    SCHEDULED = "scheduler"


@dataclass(frozen=True, slots=True)
class Situation:
    """One stream as the ledger and the clock show it.

    open_status  of its open run; None where there is none
    lapsed       the open run's lease has run out, or its owner is proven dead
    due          the stream's slot has come
    crashing     the dead run is one of several that stored nothing, and the backoff has not passed
    over         nobody wants the dead run to go on: it was cancelled, or was a dry run
    successor    the queued run is nobody's wish: the monitor queued it
    """

    open_status: Status | None
    lapsed: bool
    paused: bool
    enabled: bool
    due: bool
    crashing: bool = False
    over: bool = False
    successor: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows. start None: nothing begins. skipped: the slot passes because a run lives.
    close: the dead run, or the monitor's queued one, is ended, because nothing may start by itself just now."""

    start: Start | None = None
    skipped: bool = False
    close: bool = False


def decide(now: Situation) -> Decision:
    """A queued run is somebody's wish: it starts although the schedule is disabled, but not while paused."""
    may_start_by_itself = now.enabled and not now.paused
    if now.open_status is Status.QUEUED:
        if now.successor and not now.enabled and not now.paused:
            return Decision(close=True)  # its sweep stays open; queued, it would be in the way of runs by hand
        return Decision(None if now.paused else Start.REQUESTED)
    if now.open_status is Status.RUNNING:
        if now.lapsed:
            goes_on = may_start_by_itself and not now.crashing and not now.over
            return Decision(Start.RESUMED) if goes_on else Decision(close=True)
        return Decision(skipped=now.due and may_start_by_itself)
    return Decision(Start.SCHEDULED if now.due and may_start_by_itself else None)


def seconds_to_next_look(tick_seconds: float, slots: Iterable[float]) -> float:
    """Until the next slot, where that comes before the tick. slots: seconds from now on.

    A slot that has come and was not taken is left to the tick: nothing may go round and round.
    """
    return min([tick_seconds, *(seconds for seconds in slots if seconds > 0)])
