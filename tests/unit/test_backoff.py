"""How long to wait before the same call again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from syncd.policy.backoff import LONGEST_SECONDS, backoff_seconds


def test_waits_double_up_to_the_longest() -> None:
    """1, 2, 4, 8 … 30 seconds, jitter aside."""
    assert [backoff_seconds(attempt, 1.0) for attempt in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]


@given(st.integers(1, 100), st.floats(0, 0.999), st.none() | st.floats(0, 10_000))
def test_retry_after_is_a_floor_and_jitter_never_lengthens_much(
    attempt: int, jitter: float, asked: float | None
) -> None:
    """Coming back earlier than asked prolongs the ban."""
    seconds = backoff_seconds(attempt, jitter, asked)
    assert seconds >= (asked or 0)
    assert seconds <= max(LONGEST_SECONDS, (asked or 0) + 0.1)
