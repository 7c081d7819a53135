"""When a stream's next run begins, and what a look at the ledger leads to."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.contract.words import Cause, Status
from syncd.policy.schedule import (
    FIRST_BACKOFF_SECONDS,
    JITTER_SHARE,
    LONGEST_BACKOFF_SECONDS,
    QUIET_SECONDS,
    Decision,
    Situation,
    Start,
    decide,
    failure_backoff_seconds,
    first_delay_seconds,
    interval_with_jitter,
    is_failure,
    next_delay_seconds,
    off_the_minute,
    seconds_to_next_look,
)

JITTER = st.floats(0, 1, exclude_max=True)
SECOND = st.floats(0, 60, exclude_max=True)
FAILURES = st.integers(0, 10_000)


@given(interval=st.floats(1, 86_400), jitter=JITTER)
def test_an_interval_is_kept_within_its_jitter(interval: float, jitter: float) -> None:
    assert abs(interval_with_jitter(interval, jitter) - interval) <= interval * JITTER_SHARE * 1.000001


@pytest.mark.parametrize(("failures", "seconds"), [(-1, 0), (0, 0), (1, 30), (2, 60), (3, 120), (7, 1920), (8, 3600)])
def test_the_pause_after_failures_doubles_up_to_an_hour(failures: int, seconds: float) -> None:
    assert failure_backoff_seconds(failures) == seconds


def test_a_year_of_failures_is_still_a_number() -> None:
    assert failure_backoff_seconds(10**9) == LONGEST_BACKOFF_SECONDS


@given(delay=st.floats(60, 86_400), second=SECOND, jitter=JITTER)
def test_no_run_begins_on_a_full_minute_and_none_begins_earlier_for_it(
    delay: float, second: float, jitter: float
) -> None:
    moved = off_the_minute(delay, second, jitter)
    assert delay <= moved < delay + 60
    assert QUIET_SECONDS - 1e-6 <= (second + moved) % 60 <= 60 - QUIET_SECONDS + 1e-6


@given(startup=st.floats(20, 3600), second=SECOND, jitter=JITTER)
def test_the_first_run_is_not_before_the_start_up_delay_and_off_the_full_minute(
    startup: float, second: float, jitter: float
) -> None:
    delay = first_delay_seconds(startup, second, jitter)
    assert startup <= delay < startup + 70
    assert QUIET_SECONDS - 1e-6 <= (second + delay) % 60 <= 60 - QUIET_SECONDS + 1e-6


def test_who_sets_a_short_start_up_delay_waits_no_minute() -> None:
    assert first_delay_seconds(0, 59, 0.9) == 0
    assert first_delay_seconds(3, 59, 0.5) == 3.5


@given(interval=st.integers(1, 86_400), failures=FAILURES, second=SECOND, jitter=JITTER)
def test_the_next_run_is_never_before_the_interval_or_the_backoff_and_at_most_a_minute_after(
    interval: int, failures: int, second: float, jitter: float
) -> None:
    delay = next_delay_seconds(interval, failures, second, jitter)
    least = max(interval_with_jitter(interval, jitter), failure_backoff_seconds(failures))
    assert least <= delay < least * (1 + JITTER_SHARE) + 60


@given(failures=st.integers(1, 10_000), second=SECOND)
def test_streams_that_failed_together_do_not_come_back_together(failures: int, second: float) -> None:
    backoff = failure_backoff_seconds(failures)
    early, late = (next_delay_seconds(1, failures, second, jitter) for jitter in (0.0, 0.99))
    assert late - early > backoff * JITTER_SHARE / 2 or early - backoff > 0  # moved off the minute besides


def test_a_long_interval_is_not_made_longer_by_a_short_backoff() -> None:
    assert next_delay_seconds(600, 1, 20, 0.5) == pytest.approx(600)
    assert failure_backoff_seconds(1) == FIRST_BACKOFF_SECONDS


@pytest.mark.parametrize(
    ("cause", "counts"),
    [
        (Cause.AUTH, True),
        (Cause.UPSTREAM, True),
        (Cause.BAD_RESPONSE, True),
        (Cause.INTERNAL, True),
        (Cause.END_OF_DATA, False),
        (Cause.CAP_PAGES, False),
        (Cause.SHUTDOWN, False),
        (Cause.CANCELLED, False),
        (Cause.LEASE_LOST, False),
    ],
)
def test_what_counts_as_a_failure(cause: Cause, counts: bool) -> None:
    assert is_failure(cause) is counts


NOTHING = Decision()
CLOSE = Decision(close=True)
SKIP = Decision(skipped=True)
REQUESTED, RESUMED, SCHEDULED = (Decision(start) for start in Start)


@pytest.mark.parametrize("due", [True, False])
@pytest.mark.parametrize(
    ("open_status", "lapsed", "enabled", "paused", "when_due", "otherwise"),
    [
        (None, False, True, False, SCHEDULED, NOTHING),
        (None, False, False, False, NOTHING, NOTHING),
        (None, False, True, True, NOTHING, NOTHING),
        (None, False, False, True, NOTHING, NOTHING),
        (Status.QUEUED, False, True, False, REQUESTED, REQUESTED),
        (Status.QUEUED, False, False, False, REQUESTED, REQUESTED),  # somebody asked for it
        (Status.QUEUED, False, True, True, NOTHING, NOTHING),
        (Status.QUEUED, False, False, True, NOTHING, NOTHING),
        (Status.RUNNING, True, True, False, RESUMED, RESUMED),
        (Status.RUNNING, True, False, False, CLOSE, CLOSE),
        (Status.RUNNING, True, True, True, CLOSE, CLOSE),
        (Status.RUNNING, True, False, True, CLOSE, CLOSE),
        (Status.RUNNING, False, True, False, SKIP, NOTHING),
        (Status.RUNNING, False, False, False, NOTHING, NOTHING),
        (Status.RUNNING, False, True, True, NOTHING, NOTHING),
        (Status.RUNNING, False, False, True, NOTHING, NOTHING),
    ],
)
def test_what_a_look_at_the_ledger_leads_to(
    open_status: Status | None,
    lapsed: bool,
    enabled: bool,
    paused: bool,
    when_due: Decision,
    otherwise: Decision,
    due: bool,
) -> None:
    """Every situation there is."""
    assert decide(Situation(open_status, lapsed, paused, enabled, due)) == (when_due if due else otherwise)


def test_a_run_that_kills_its_process_again_and_again_waits_for_its_slot() -> None:
    dead = Situation(Status.RUNNING, lapsed=True, paused=False, enabled=True, due=False, crashing=True)
    assert decide(dead) == CLOSE


def test_a_dead_run_that_nobody_wants_to_go_on_is_only_closed() -> None:
    dead = Situation(Status.RUNNING, lapsed=True, paused=False, enabled=True, due=False, over=True)
    assert decide(dead) == CLOSE


def test_a_successor_of_the_monitor_does_not_begin_where_nothing_begins_by_itself() -> None:
    """It is withdrawn, so that it is in the way of nobody's run by hand; on a paused stream it waits."""
    queued = Situation(Status.QUEUED, lapsed=False, paused=False, enabled=False, due=False, successor=True)
    assert decide(queued) == CLOSE
    assert decide(replace(queued, enabled=True)) == REQUESTED
    assert decide(replace(queued, paused=True)) == NOTHING


def test_the_next_look_waits_for_no_tick_where_a_slot_comes_before() -> None:
    assert seconds_to_next_look(2.0, [7.0, 0.5, 3.0]) == 0.5
    assert seconds_to_next_look(2.0, [7.0]) == 2.0
    assert seconds_to_next_look(2.0, []) == 2.0
    assert seconds_to_next_look(2.0, [-1.0, 0.0, 7.0]) == 2.0, "one that nobody took"
