"""When will this run end, and will it reach the end of its data by then? Pure.

    pages left   the announced pages that are not stored yet, and the empty one that proves the end
    pace         of this run so far: seconds a page, calls a page; a declared wait comes on top
    ends         at whatever comes first: the end of the data, or one of the run's caps
    misses       the cap that comes before the end of the data; else the stream's next slot, where the run
                 will still be at work when it comes

Before the first page, and where the source announces no count, only the deadline is known: nothing is foretold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from syncd.contract.words import Status
from syncd.ledger.scrape import OpenRunFacts, StreamFacts

Miss = Literal["cap_pages", "cap_requests", "cap_time", "next_slot"]
MISSES: tuple[Miss, ...] = ("cap_pages", "cap_requests", "cap_time", "next_slot")
"""Three of the causes that a run can end by, and the slot that it can make the schedule skip."""

LAST_CALLS = 1
"""Calls after the last page, the empty one among the pages: the second count."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """ends_in_seconds: until the run ends, in whatever way; None where nobody can know.

    will_miss  one of MISSES; None where it will be in time, or nobody can know
    why        goes on after the run's name: "will reach its cap of 100 pages 310 pages before the end"; empty
               where it misses nothing
    """

    ends_in_seconds: float | None = None
    will_miss: Miss | None = None
    why: str = ""


def foretell(facts: StreamFacts) -> Forecast:
    """Of the stream's open run; an empty forecast where it has none that has begun."""
    run = facts.open_run
    if run is None or run.status is not Status.RUNNING:
        return Forecast()
    if run.pages_expected is None or not run.pages or not run.running_seconds:
        return Forecast()
    seconds_a_page, calls_a_page = run.running_seconds / run.pages, run.requests / run.pages
    waiting = max(0.0, run.wait_seconds_left or 0.0)
    pages_left = max(0, run.pages_expected - run.page) + 1
    at_end = waiting + pages_left * seconds_a_page
    caps = _caps(run, pages_left, seconds_a_page, calls_a_page, waiting)
    first = min(caps, key=lambda cap: cap.ends_in_seconds or 0.0, default=None)
    if first is not None and (first.ends_in_seconds or 0.0) < at_end:
        return first
    if facts.next_in_seconds is not None and 0 < facts.next_in_seconds < at_end:
        late = at_end - facts.next_in_seconds
        return Forecast(at_end, "next_slot", f"will be at work {late:.0f} s past the stream's next slot")
    return Forecast(at_end)


def _caps(
    run: OpenRunFacts, pages_left: int, seconds_a_page: float, calls_a_page: float, waiting: float
) -> list[Forecast]:
    """The caps that this run will reach before the end of its data, and when."""
    reached = []
    if (pages := run.max_pages - run.pages) < pages_left:
        why = f"will reach its cap of {run.max_pages} pages with {pages_left - pages} still to read"
        reached.append(Forecast(waiting + max(0, pages) * seconds_a_page, "cap_pages", why))
    if (calls := run.max_requests - run.requests) < pages_left * calls_a_page + LAST_CALLS and calls_a_page:
        pages = int(max(0, calls) / calls_a_page)
        why = f"will reach its cap of {run.max_requests} calls with about {max(1, pages_left - pages)} pages to read"
        seconds = waiting + min(pages, pages_left - 0.5) * seconds_a_page
        reached.append(Forecast(seconds, "cap_requests", why))
    left = run.deadline_seconds_left
    if left is not None and left < waiting + pages_left * seconds_a_page:
        pages = int(max(0.0, left - waiting) / seconds_a_page)
        why = f"will run out of its time with about {max(1, pages_left - pages)} pages to read"
        reached.append(Forecast(max(0.0, left), "cap_time", why))
    return reached
