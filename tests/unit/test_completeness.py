"""When a pass may be called complete, and when a person must agree first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from syncd.policy.completeness import SweepFacts, exceeds_blast_radius, find_gap

WHOLE = SweepFacts(
    pages=4, last_page=4, last_received=0, keyless=0, distinct_keys=250, repeated_keys=0, keys_digest="d"
)


def test_a_whole_pass_has_no_gap() -> None:
    """All pages, an empty one after the last, and three numbers that agree."""
    assert find_gap(WHOLE, count_at_start=250, count_at_end=250) is None


def test_records_in_quarantine_without_a_key_count_as_shown() -> None:
    """They exist, although nobody can name them."""
    facts = replace(WHOLE, distinct_keys=248, keyless=2)
    assert find_gap(facts, count_at_start=250, count_at_end=250) is None


@pytest.mark.parametrize(
    ("facts", "start", "end", "said"),
    [
        (replace(WHOLE, pages=3), 250, 250, "3 of 4 pages"),
        (replace(WHOLE, pages=0, last_page=0, last_received=None), 0, 0, "0 of 0 pages"),
        (replace(WHOLE, last_received=50), 250, 250, "no empty page after page 4"),
        (replace(WHOLE, repeated_keys=1), 250, 250, "1 keys stood on two pages"),
        (WHOLE, 250, 251, "went from 250 to 251"),
        (WHOLE, 251, 251, "the count says 251, the pages showed 250"),
        (replace(WHOLE, distinct_keys=251), 250, 250, "the count says 250, the pages showed 251"),
    ],
)
def test_a_gap_is_named(facts: SweepFacts, start: int, end: int, said: str) -> None:
    """Each condition of completeness by itself."""
    gap = find_gap(facts, count_at_start=start, count_at_end=end)
    assert gap is not None
    assert said in gap


def test_without_a_count_only_a_second_sweep_with_equal_keys_proves() -> None:
    """`count = "ignore"`."""
    assert find_gap(WHOLE, count_at_start=None, count_at_end=None) is not None
    assert find_gap(replace(WHOLE, previous_digest="other"), count_at_start=None, count_at_end=None) is not None
    assert find_gap(replace(WHOLE, previous_digest="d"), count_at_start=None, count_at_end=None) is None


@pytest.mark.parametrize(
    ("missing", "live", "asks"),
    [
        (0, 0, False),
        (0, 100, False),
        (1, 1, True),  # everything
        (1, 2, False),  # half is not more than half
        (2, 3, True),  # more than half
        (50, 100, False),
        (50, 400, False),
        (51, 400, True),  # more than 50 and more than 10 %
        (51, 510, False),  # exactly 10 %
        (52, 510, True),
        (1000, 10_000, False),
        (1001, 10_000, True),
    ],
)
def test_blast_radius(missing: int, live: int, asks: bool) -> None:
    """More than max(50, 10 %), or more than half, or everything."""
    assert exceeds_blast_radius(missing, live) is asks
