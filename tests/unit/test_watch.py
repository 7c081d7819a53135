"""Stuck or slow: every verdict at both sides of its bound."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.watch import Health, Patience, judge
from syncd.contract.observation import Observation
from syncd.contract.runs import Owner
from syncd.contract.words import Cause, Status, Stream

PATIENCE = Patience(threshold_seconds=3600, call_seconds=30, lease_seconds=60)
GRACE = 90.0

RUNNING = Observation(
    run_id=UUID(int=7),
    stream=Stream("emag", "main", "offers"),
    status=Status.RUNNING,
    fence=3,
    pages=4,
    last_page=4,
    cancel_requested_by=None,
    paused=False,
    wait_reason=None,
    owner=Owner("host", "boot", 42, "99"),
    queued_seconds=101.0,
    started_seconds=100.0,
    unmoved_seconds=5.0,
    wait_seconds_left=None,
    moved_since_wait=False,
    deadline_seconds_left=7100.0,
    lease_seconds_left=50.0,
    is_found=False,
)
QUEUED = replace(
    RUNNING,
    status=Status.QUEUED,
    fence=None,
    started_seconds=None,
    unmoved_seconds=None,
    deadline_seconds_left=None,
    lease_seconds_left=None,
    queued_seconds=5.0,
)


@pytest.mark.parametrize(
    ("run", "health", "cause"),
    [
        (RUNNING, Health.HEALTHY, None),
        (replace(RUNNING, started_seconds=40_000.0, deadline_seconds_left=1.0), Health.HEALTHY, None),
        (replace(RUNNING, unmoved_seconds=1801.0), Health.LATE, None),
        (replace(RUNNING, unmoved_seconds=3599.0), Health.LATE, None),
        (replace(RUNNING, unmoved_seconds=3601.0), Health.STUCK, Cause.NO_PROGRESS),
        (replace(RUNNING, lease_seconds_left=0.1), Health.HEALTHY, None),
        (replace(RUNNING, lease_seconds_left=0.0), Health.STUCK, Cause.LEASE_LOST),
        (replace(RUNNING, lease_seconds_left=None), Health.STUCK, Cause.LEASE_LOST),
        (replace(RUNNING, deadline_seconds_left=-GRACE), Health.HEALTHY, None),
        (replace(RUNNING, deadline_seconds_left=-GRACE - 0.1), Health.STUCK, Cause.CAP_TIME),
        (replace(RUNNING, wait_seconds_left=2400.0, unmoved_seconds=5000.0), Health.WAITING, None),
        (replace(RUNNING, wait_seconds_left=-GRACE, unmoved_seconds=5000.0), Health.HEALTHY, None),
        (replace(RUNNING, wait_seconds_left=-GRACE - 0.1, unmoved_seconds=200.0), Health.STUCK, Cause.WAIT_OVERRUN),
        (replace(RUNNING, wait_seconds_left=-GRACE - 0.1, moved_since_wait=True), Health.HEALTHY, None),
        (
            replace(RUNNING, wait_seconds_left=-3601.0, unmoved_seconds=3601.0, moved_since_wait=True),
            Health.STUCK,
            Cause.NO_PROGRESS,
        ),
        (QUEUED, Health.HEALTHY, None),
        (replace(QUEUED, queued_seconds=1801.0), Health.LATE, None),
        (replace(QUEUED, queued_seconds=3600.0), Health.STUCK, Cause.NOT_STARTED),
        (replace(QUEUED, queued_seconds=36_000.0, paused=True), Health.WAITING, None),
    ],
)
def test_the_verdict_at_each_bound(run: Observation, health: Health, cause: Cause | None) -> None:
    verdict = judge(run, PATIENCE)
    assert (verdict.health, verdict.cause) == (health, cause)
    assert (verdict.fault is not None) == (health is Health.STUCK)


@given(
    unmoved=st.floats(0, 3600),
    started=st.floats(0, 1e7),
    wait_left=st.none() | st.floats(0, 5000),
    deadline_left=st.floats(-GRACE, 1e5),
    lease_left=st.floats(0.001, 60),
)
def test_no_healthy_run_is_ever_stuck(
    unmoved: float, started: float, wait_left: float | None, deadline_left: float, lease_left: float
) -> None:
    """Whatever its age: while its lease is valid, its wait declared, its pages at most a threshold apart."""
    run = replace(
        RUNNING,
        unmoved_seconds=unmoved,
        started_seconds=started,
        wait_seconds_left=wait_left,
        deadline_seconds_left=deadline_left,
        lease_seconds_left=lease_left,
    )
    assert judge(run, PATIENCE).health is not Health.STUCK


@given(unmoved=st.floats(3600.1, 1e7), wait_left=st.none() | st.floats(-1e7, -3600.1), moved=st.booleans())
def test_a_run_whose_heart_beats_but_whose_pages_do_not_move_is_stuck(
    unmoved: float, wait_left: float | None, moved: bool
) -> None:
    run = replace(RUNNING, unmoved_seconds=unmoved, wait_seconds_left=wait_left, moved_since_wait=moved)
    assert judge(run, PATIENCE).health is Health.STUCK


def test_a_run_with_longer_calls_may_take_longer_after_its_wait() -> None:
    """Its account may have a call deadline of its own, which the watch reads from the run."""
    late = replace(RUNNING, wait_seconds_left=-GRACE - 100, unmoved_seconds=400.0)
    assert judge(late, PATIENCE).cause is Cause.WAIT_OVERRUN
    assert judge(replace(late, call_seconds=600.0), PATIENCE).health is Health.HEALTHY
