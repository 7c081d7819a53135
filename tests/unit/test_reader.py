"""Pages in order, read ahead, against a catalogue in memory that fills the port `Source`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from syncd.contract.errors import CallError
from syncd.contract.records import Page
from syncd.contract.runs import Outcome
from syncd.contract.words import Cause, Reason
from syncd.engine.reader import PageReader, Span
from syncd.engine.stop import Halt, StopSignal

CAP = Outcome(Cause.CAP_PAGES, "cap")


class Catalogue:
    """`records` records, `size` a page. `answers` overrides a page's number of items, answer by answer."""

    read_endpoint, count_endpoint, has_count = "read", "count", True

    def __init__(self, records: int, size: int = 10) -> None:
        self.records = records
        self.page_size = size
        self.asked: list[int] = []
        self.answers: dict[int, list[int]] = {}
        self.held: dict[int, asyncio.Event] = {}
        self.failing: dict[int, Exception] = {}
        self.most_at_once = self.at_once = 0

    async def count(self) -> int:
        return self.records

    async def look_up(self, key: str) -> bool | None:
        return int(key) < self.records

    async def fetch_page(self, number: int) -> Page:
        self.asked.append(number)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        if number in self.held:
            await self.held[number].wait()
        self.at_once -= 1
        if number in self.failing:
            raise self.failing[number]
        start = (number - 1) * self.page_size
        count = max(0, min(self.page_size, self.records - start))
        if self.answers.get(number):
            count = self.answers[number].pop(0)
        keys = [str(start + offset) for offset in range(count)]
        return Page(number, keys, [b"{}"] * count, [b""] * count, count, 100)


class Direct:
    """Calls without caps, budget or retries."""

    answered = False

    async def make(self, endpoint: str, subject: str, call: Callable[[], Awaitable[Any]]) -> Any:
        answer = await call()
        self.answered = True
        return answer


def reader(catalogue: Catalogue, *, first: int = 1, last: int = 1000, count: bool = True, **extra: Any) -> PageReader:
    span = Span(first, last, CAP, catalogue.records if count else None)
    stop = extra.pop("stop", None) or StopSignal()
    return PageReader(catalogue, Direct(), stop, span, concurrency=extra.pop("concurrency", 3))  # type: ignore[arg-type]


async def read(pages: PageReader, most: int = 20) -> list[int]:
    """The page numbers, in the order in which they came."""
    return [page.number async for batch in pages.batches(most) for page in batch]


@pytest.mark.parametrize("records", [0, 1, 9, 10, 11, 95, 100])
async def test_pages_come_in_order_up_to_the_empty_one_after_the_last(records: int) -> None:
    """And nothing is read past it."""
    catalogue = Catalogue(records)
    pages = reader(catalogue)
    last = -(-records // 10) + 1
    assert await read(pages) == list(range(1, last + 1))
    assert sorted(catalogue.asked) == list(range(1, last + 1))
    assert pages.end.cause is Cause.END_OF_DATA


async def test_calls_run_side_by_side_up_to_the_concurrency() -> None:
    """Five calls in flight read a slow API five times as fast."""
    catalogue = Catalogue(200)
    await read(reader(catalogue, concurrency=4))
    assert catalogue.most_at_once == 4


async def test_the_first_call_goes_alone_and_few_follow_before_the_second_page_is_judged() -> None:
    """A refused login is refused once; where paging is ignored, three calls too many are made."""
    catalogue = Catalogue(200)
    catalogue.held = {1: asyncio.Event(), 2: asyncio.Event()}
    reading = asyncio.create_task(read(reader(catalogue, concurrency=9)))
    await asyncio.sleep(0.01)
    assert catalogue.asked == [1]
    catalogue.held[1].set()
    await asyncio.sleep(0.01)
    assert catalogue.asked == [1, 2, 3, 4]
    catalogue.held[2].set()
    await reading


async def test_without_a_count_few_pages_are_read_past_the_end() -> None:
    """And what follows a short page is expected to be empty: it is not read twice."""
    catalogue = Catalogue(195)
    assert await read(reader(catalogue, count=False, concurrency=9)) == list(range(1, 22))
    assert max(catalogue.asked) <= 23
    assert [number for number in catalogue.asked if catalogue.asked.count(number) > 1] == [20, 20]


async def test_nothing_is_read_past_the_cap() -> None:
    """Not even ahead."""
    catalogue = Catalogue(200)
    pages = reader(catalogue, first=5, last=7)
    assert await read(pages) == [5, 6, 7]
    assert sorted(catalogue.asked) == [5, 6, 7]
    assert pages.end is CAP


@pytest.mark.parametrize("counted", [True, False])
async def test_a_short_page_in_the_middle_is_read_once_more(counted: bool) -> None:
    """With and without a count to tell that it is short."""
    catalogue = Catalogue(50)
    catalogue.answers = {2: [0, 10], 4: [3, 10]}
    pages = reader(catalogue, count=counted)
    assert await read(pages) == [1, 2, 3, 4, 5, 6]
    assert (catalogue.asked.count(2), catalogue.asked.count(4)) == (2, 2)


async def test_a_page_that_stays_empty_in_the_middle_does_not_end_the_reading() -> None:
    """The verdict decides, not the reader."""
    catalogue = Catalogue(50)
    catalogue.answers = {2: [0, 0]}
    assert await read(reader(catalogue)) == [1, 2, 3, 4, 5, 6]
    assert catalogue.asked.count(2) == 2


async def test_a_failing_page_ends_the_reading_after_the_pages_before_it() -> None:
    """It is never skipped."""
    catalogue = Catalogue(100)
    catalogue.failing[4] = CallError(Reason.HTTP_5XX, "page 4: HTTP 500", cause=Cause.UPSTREAM)
    pages = reader(catalogue)
    assert await read(pages) == [1, 2, 3]
    assert (pages.end.cause, pages.end.message) == (Cause.UPSTREAM, "page 4: HTTP 500")


async def test_a_cap_inside_a_call_ends_the_reading_with_its_outcome() -> None:
    """Requests run out while pages are still to be read."""
    catalogue = Catalogue(100)
    catalogue.failing[3] = Halt(Outcome(Cause.CAP_REQUESTS, "no more"))
    pages = reader(catalogue)
    assert await read(pages) == [1, 2]
    assert pages.end.cause is Cause.CAP_REQUESTS


async def test_a_stop_keeps_the_pages_that_were_received_and_abandons_the_rest() -> None:
    """SIGTERM while page 3 hangs: pages 1 and 2 are stored, page 4 is not, although it was received."""
    catalogue = Catalogue(100)
    catalogue.held[3] = asyncio.Event()
    stop = StopSignal()
    pages = reader(catalogue, stop=stop)
    seen: list[int] = []
    async for batch in pages.batches(100):
        seen += [page.number for page in batch]
        if 2 in seen:
            stop.stop(Cause.SHUTDOWN, "stopped")
    assert seen == [1, 2]
    assert pages.end.cause is Cause.SHUTDOWN
    assert catalogue.asked == [1, 2, 3, 4]


async def test_batches_are_coalesced_up_to_the_batch_size() -> None:
    """Pages that wait while the database is busy are stored together."""
    catalogue = Catalogue(100)
    sizes = []
    async for batch in reader(catalogue, concurrency=5).batches(30):
        sizes.append(sum(page.received for page in batch))
        for _ in range(20):  # the database is slower than the API
            await asyncio.sleep(0)
    assert max(sizes) == 30
    assert sum(sizes) == 100
