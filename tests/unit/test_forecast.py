"""When a run ends, and which limit comes before the end of its data."""

from __future__ import annotations

from typing import Any

import pytest

from monitor.forecast import Forecast, foretell
from syncd.contract.words import Status
from tests.facts import open_run, stream_facts


def told(*, next_in_seconds: float | None = None, **given: Any) -> Forecast:
    return foretell(stream_facts(open_run=open_run(**given), next_in_seconds=next_in_seconds))


def test_a_run_ends_after_the_pages_that_are_left_and_the_empty_one() -> None:
    assert told() == Forecast(32.0)


@pytest.mark.parametrize(
    ("given", "ends", "miss"),
    [
        ({"max_pages": 41}, 31.0, "cap_pages"),
        ({"max_pages": 42}, 32.0, None),
        ({"max_requests": 12}, 0.0, "cap_requests"),
        ({"max_requests": 34}, 20.0, "cap_requests"),
        ({"max_requests": 48}, 32.0, None),
        ({"deadline_seconds_left": 31.0}, 31.0, "cap_time"),
        ({"deadline_seconds_left": 33.0}, 32.0, None),
        ({"next_in_seconds": 31.0}, 32.0, "next_slot"),
        ({"next_in_seconds": 33.0}, 32.0, None),
        ({"next_in_seconds": -5.0}, 32.0, None),
        ({"wait_seconds_left": 60.0}, 92.0, None),
        ({"wait_seconds_left": -60.0}, 32.0, None),
        ({"wait_seconds_left": 60.0, "deadline_seconds_left": 90.0}, 90.0, "cap_time"),
        ({"wait_seconds_left": 60.0, "deadline_seconds_left": 50.0}, 50.0, "cap_time"),
        ({"pages": 5, "page": 30, "max_pages": 16}, 22.0, "cap_pages"),
        ({"pages": 5, "page": 30, "max_pages": 17}, 24.0, None),
        ({"page": 41}, 1.0, None),
        ({"page": 45}, 1.0, None),
    ],
)
def test_the_first_limit_before_the_end_is_the_one_that_is_missed(
    given: dict[str, Any], ends: float, miss: str | None
) -> None:
    forecast = told(**given)
    assert (forecast.ends_in_seconds, forecast.will_miss) == (pytest.approx(ends), miss)
    assert bool(forecast.why) == (miss is not None)


def test_of_several_limits_the_first_one_is_told() -> None:
    assert told(max_pages=30, deadline_seconds_left=5.0).will_miss == "cap_time"
    assert told(max_pages=12, deadline_seconds_left=5.0).will_miss == "cap_pages"
    assert told(max_pages=30, next_in_seconds=1.0).will_miss == "cap_pages"


@pytest.mark.parametrize(
    "given",
    [
        {"status": Status.QUEUED, "running_seconds": None},
        {"pages": 0},
        {"pages_expected": None},
        {"running_seconds": 0},
    ],
)
def test_where_nobody_can_know_nothing_is_told(given: dict[str, Any]) -> None:
    assert told(**given) == Forecast()
    assert foretell(stream_facts()) == Forecast()
