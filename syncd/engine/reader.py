"""The pages of one pass, in order, read ahead.

Calls run side by side up to the concurrency; batches come out in page order and without holes. Nothing is
read past a cap, nor past the page after the count's last; beyond that the reader goes one page at a time.

    horizon = last page that the count expects + 1        (the page that should be empty)

The beginning is careful: the first call of a run goes alone (a refused login must not be refused five times),
and few pages are called before the second one is judged (where paging is ignored, all of them are page 1).
Without a count nobody knows the horizon, and few pages are called ahead all the time.

A page that is shorter than can be expected is read once more, in its turn, before it is believed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from syncd.contract.errors import CallError
from syncd.contract.records import Page
from syncd.contract.runs import Caps, Outcome
from syncd.contract.words import Cause
from syncd.engine.calls import Calls
from syncd.engine.stop import Halt, StopSignal
from syncd.sources.source import Source

IN_FLIGHT_BYTES = 32 * 1024 * 1024
BATCH_BYTES = 8 * 1024 * 1024
ASSUMED_PAGE_BYTES = 1024 * 1024
FEW_PAGES = 3
"""Called past a page that is not judged yet, where it may turn out to be the last."""


@dataclass(frozen=True, slots=True)
class Span:
    """Which pages to read.

    first     the first page of this run (the overlap page of a resumed one)
    last      the last one that the caps allow; cap is the outcome of reaching it
    expected  records that the count announced; None where there is no count
    """

    first: int
    last: int
    cap: Outcome
    expected: int | None


def limit_reached(most: int) -> Outcome:
    """The end of a run that may take so many records."""
    return Outcome(Cause.CAP_RECORDS, f"reached the limit of {most} records")


def span_within(
    caps: Caps, page_size: int, expected: int | None, *, checkpoint: int = 0, pages: int = 0, records: int = 0
) -> Span:
    """From the checkpoint (once more) to the cap on pages, or to the page in which the limit of records is reached.

    pages, records: what the run has used of its caps already.
    """
    last = checkpoint + caps.max_pages - pages
    cap = Outcome(Cause.CAP_PAGES, f"reached the cap of {caps.max_pages} pages a run")
    if caps.max_records is not None:
        most = caps.max_records - records
        limited = checkpoint + most // page_size + 1
        passes_limit = expected is None or most < expected - checkpoint * page_size
        if passes_limit and limited < last:
            last, cap = limited, limit_reached(caps.max_records)
    return Span(max(1, checkpoint), last, cap, expected)


Storing = Callable[[], asyncio.Task[None] | None]


class PageReader:
    """Reads one span. After `batches` is exhausted, `end` says why."""

    def __init__(self, source: Source, calls: Calls, stop: StopSignal, span: Span, *, concurrency: int) -> None:
        self._source = source
        self._calls = calls
        self._stop = stop
        self._span = span
        self._concurrency = concurrency
        self._tasks: dict[int, asyncio.Task[Page]] = {}
        self._largest_bytes = ASSUMED_PAGE_BYTES
        self._size = source.page_size
        self._read_twice: set[int] = set()
        self._after_short = False
        self._wanted = span.first
        self._judged = span.first - 1
        self._ended = False
        self.end = Outcome(Cause.INTERNAL, "reading has not ended")

    @property
    def expected_pages(self) -> int | None:
        """The number of pages that the count announced."""
        return None if self._span.expected is None else -(-self._span.expected // self._size)

    async def batches(self, most_records: int, storing: Storing = lambda: None) -> AsyncGenerator[list[Page], None]:
        """Yield runs of consecutive pages, coalesced up to `most_records` where several are waiting.

        storing: the task that stores an earlier batch; while it works, a batch may grow.
        """
        number = self._span.first
        stopped = asyncio.create_task(self._stop.wait())
        try:
            while True:
                if number > self._span.last:
                    self.end = self._span.cap
                    return
                if self._stop.outcome is None:
                    self._read_ahead(number)
                    await self._wait_for(number, storing, stopped)
                batch = self._take_ready(number, most_records)
                if not batch and self._read_again(number):
                    continue
                if not batch:
                    self.end = self._why_not(number)
                    return
                await self._let_grow(batch, most_records, storing, stopped)
                number = self._wanted = batch[-1].number + 1
                ended = self._ended = self._is_last(batch[-1])
                yield batch
                self._judged = number - 1  # whoever asks for more has found no loop so far
                if ended:
                    self.end = Outcome(Cause.END_OF_DATA)
                    return
        finally:
            self._ended = True
            stopped.cancel()
            await self._abandon()

    async def _wait_for(self, number: int, storing: Storing, stopped: asyncio.Task[None]) -> None:
        """Until this page has come, or the stop; a batch that could not be stored raises its error at once."""
        while not self._tasks[number].done() and not stopped.done():
            task = storing()
            waited = {self._tasks[number], stopped}
            if task is not None and task.done():
                task.result()
            elif task is not None:
                waited.add(task)
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)

    async def _let_grow(
        self, batch: list[Page], most_records: int, storing: Storing, stopped: asyncio.Task[None]
    ) -> None:
        """Add the pages that come in while an earlier batch is still being stored."""
        while (task := storing()) is not None and not task.done() and not stopped.done():
            number = self._wanted = batch[-1].number + 1
            left = most_records - sum(page.received for page in batch)
            is_full = left < self._size or sum(page.size_bytes for page in batch) + self._largest_bytes > BATCH_BYTES
            if is_full or number > self._span.last or self._is_last(batch[-1]):
                return
            self._read_ahead(number)
            if number not in self._tasks:  # the careful beginning: nothing is read past what is judged
                return
            await asyncio.wait({self._tasks[number], task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            more = self._take_ready(number, left)
            if not more:
                return
            batch += more

    def _read_ahead(self, number: int) -> None:
        """Start calls up to the concurrency, the horizon, the cap and the memory bound; the next page always."""
        limit = self._span.last
        if self.expected_pages is None:
            limit = min(limit, self._judged + FEW_PAGES)
        else:
            limit = min(limit, max(self.expected_pages + 1, number))
        if self._judged <= self._span.first:
            limit = min(limit, self._span.first + FEW_PAGES)
        if not self._calls.answered:
            limit = number
        for candidate in range(number, min(limit, number + 2 * self._concurrency) + 1):
            running = sum(not task.done() for task in self._tasks.values())
            room = (len(self._tasks) + 1) * self._largest_bytes <= IN_FLIGHT_BYTES
            if candidate != number and (running >= self._concurrency or not room):
                break
            if candidate not in self._tasks:
                self._tasks[candidate] = task = asyncio.create_task(self._fetch(candidate))
                task.add_done_callback(self._go_on)

    def _go_on(self, _: asyncio.Task[Page]) -> None:
        """A call came back: the next one begins at once, also while a batch is being stored. Not past a failure."""
        if self._ended or self._stop.outcome is not None or any(map(_has_failed, self._tasks.values())):
            return
        self._read_ahead(self._wanted)

    async def _fetch(self, number: int) -> Page:
        subject = f"page {number}"
        return await self._calls.make(self._source.read_endpoint, subject, lambda: self._source.fetch_page(number))

    async def _fetch_again(self, page: Page) -> Page:
        """The longer of two answers counts."""
        return max(page, await self._fetch(page.number), key=lambda answer: answer.received)

    def _read_again(self, number: int) -> bool:
        """Start over with page `number` where its first answer is doubtful."""
        task = self._tasks.get(number)
        if self._stop.outcome is not None or task is None or task.exception() is not None:
            return False
        self._read_twice.add(number)
        self._tasks[number] = asyncio.create_task(self._fetch_again(task.result()))
        return True

    def _is_doubtful(self, page: Page) -> bool:
        return page.received < self._least(page.number) and page.number not in self._read_twice

    def _least(self, number: int) -> int:
        """How many items this page should have, as far as is known."""
        if self._span.expected is None:
            return 0 if self._after_short else self._size
        return max(0, min(self._size, self._span.expected - (number - 1) * self._size))

    def _take_ready(self, number: int, most_records: int) -> list[Page]:
        """The pages from `number` on that have been received, at least one if it has."""
        batch: list[Page] = []
        records = size_bytes = 0
        while (task := self._tasks.get(number)) is not None and task.done() and not task.cancelled():
            if task.exception() is not None:
                break
            page = task.result()
            if self._is_doubtful(page):
                break
            records += page.received
            size_bytes += page.size_bytes
            if batch and (records > most_records or size_bytes > BATCH_BYTES):
                break
            batch.append(page)
            self._after_short = page.received < self._size
            self._largest_bytes = max(self._largest_bytes, page.size_bytes)
            del self._tasks[number]
            number += 1
            if self._is_last(page):
                break
        return batch

    def _is_last(self, page: Page) -> bool:
        return page.received == 0 and page.number > (self.expected_pages or 0)

    def _why_not(self, number: int) -> Outcome:
        """Why page `number` did not come."""
        task = self._tasks.get(number)
        if task is not None and task.done() and not task.cancelled():
            error = task.exception()
            if isinstance(error, Halt):
                return error.outcome
            if isinstance(error, CallError):
                return Outcome(error.cause, str(error), error.retry_after_seconds)
            if error is not None:
                raise error
        assert self._stop.outcome is not None  # noqa: S101  # nothing else ends the wait
        return self._stop.outcome

    async def _abandon(self) -> None:
        """End the calls in flight."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._tasks.clear()


def _has_failed(task: asyncio.Task[Page]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
