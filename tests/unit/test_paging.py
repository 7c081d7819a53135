"""Telling a catalogue from a treadmill."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from syncd.policy.paging import STALE_PAGES, LoopGuard


def keys(start: int, count: int = 100) -> list[str]:
    return [str(number) for number in range(start, start + count)]


def test_a_page_seen_before_is_a_loop() -> None:
    """The last page for ever, or paging that is ignored."""
    guard = LoopGuard(300)
    assert guard.find_loop(1, keys(0)) is None
    assert guard.find_loop(2, keys(100)) is None
    assert guard.find_loop(3, keys(100)) == "page 3 shows the same 100 keys as page 2"


def test_pages_in_another_order_that_bring_nothing_new_are_a_loop() -> None:
    """Paging is ignored and the answer is shuffled each time."""
    guard = LoopGuard(100)
    found = [guard.find_loop(number + 1, keys(0)[number:] + keys(0)[:number]) for number in range(STALE_PAGES + 1)]
    assert found[:-1] == [None] * STALE_PAGES
    assert found[-1] == "pages 2 to 4 brought no new key"


def test_empty_pages_and_the_overlap_page_are_no_loop() -> None:
    """A resumed run reads its checkpoint page once more."""
    guard = LoopGuard(None)
    guard.seed([keys(0), keys(100)])
    assert guard.find_loop(2, keys(100), again=True) is None
    assert guard.find_loop(3, []) is None
    assert guard.find_loop(4, []) is None
    assert guard.find_loop(3, keys(200)) is None


@given(st.integers(0, 5000), st.integers(1, 100))
def test_a_catalogue_of_distinct_keys_never_loops(records: int, size: int) -> None:
    """Whatever its size and the size of its pages, as long as pages have a few keys."""
    guard = LoopGuard(records)
    size = max(size, 5)
    pages = [keys(start, min(size, records - start)) for start in range(0, records, size)]
    assert [guard.find_loop(number, page) for number, page in enumerate(pages, 1)] == [None] * len(pages)


def test_a_catalogue_far_larger_than_its_count_is_no_loop() -> None:
    """The filter grows: a count that is wrong for good is a gap, and not a treadmill."""
    guard = LoopGuard(1000)
    assert all(guard.find_loop(number, keys(100 * number)) is None for number in range(1, 2500))


def test_pages_of_one_record_do_not_loop_by_chance() -> None:
    """A false "seen" for a single key means nothing."""
    guard = LoopGuard(60_000)
    assert all(guard.find_loop(number, keys(number, 1)) is None for number in range(1, 60_000))
