"""What a sync would change, read from the API under the caps of one, and compared, with no record written."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from syncd.contract.errors import CallError
from syncd.contract.records import Page
from syncd.contract.runs import Outcome
from syncd.contract.words import Cause, Phase
from syncd.engine.calls import Calls, persist
from syncd.engine.observer import Observer
from syncd.engine.reader import PageReader, limit_reached, span_within
from syncd.engine.run import RunOptions
from syncd.engine.stop import Halt, StopSignal
from syncd.ledger.accumulators import Recorder
from syncd.policy.paging import LoopGuard
from syncd.runtime.postgres import Postgres
from syncd.sources.source import Source
from syncd.warehouse.comparison import Comparison, Jump

SHOWN_JUMPS = 10


@dataclass(slots=True)
class PlanReport:
    """What was seen. would_vanish is None where the reading did not reach the end."""

    end: Outcome
    counts: Counter[str] = field(default_factory=Counter)
    would_vanish: int | None = None
    live: int = 0
    expected: int | None = None
    jumps: list[Jump] = field(default_factory=list)
    requests: int = 0
    pages: int = 0


Keep = Callable[[PlanReport], Awaitable[None]]
"""Keeps how far the reading has come, where it is a run's; may be repeated."""


class Plan:
    """One reading of one stream. keep: where it is a run's."""

    def __init__(
        self,
        *,
        postgres: Postgres,
        source: Source,
        calls: Calls,
        recorder: Recorder,
        stop: StopSignal,
        observer: Observer,
        options: RunOptions,
        keep: Keep | None = None,
    ) -> None:
        self._source = source
        self._comparison = Comparison(postgres, recorder.stream_id, options.ignored)
        self._calls = calls
        self._stop = stop
        self._observer = observer
        self._options = options
        self._keep = keep
        self._report = PlanReport(Outcome(Cause.END_OF_DATA), counts=self._comparison.counts)
        self._records = 0

    async def make(self) -> PlanReport:
        """Read from page 1 to the end or a cap, and compare each page with the records as they are."""
        report, comparison = self._report, self._comparison
        why = "reached the run's time cap"
        timer = asyncio.get_running_loop().call_at(self._options.deadline, self._stop.stop, Cause.CAP_TIME, why)
        try:
            report.end = await self._read()
            if report.end.cause is Cause.END_OF_DATA:
                report.would_vanish = await persist(comparison.count_vanished, self._stop)
        except Halt as halt:
            report.end = halt.outcome
        except CallError as error:
            report.end = Outcome(error.cause, str(error))
        finally:
            timer.cancel()
        report.live = await persist(comparison.count_live, StopSignal())
        report.requests = self._calls.admitted
        report.jumps = comparison.largest_jumps(SHOWN_JUMPS)
        return report

    async def _read(self) -> Outcome:
        source, caps, report = self._source, self._options.caps, self._report
        if source.has_count:
            self._observer.entered(Phase.COUNT, None)
            report.expected = await self._calls.make(source.count_endpoint, "count", source.count)
        self._observer.entered(Phase.READ, report.expected)
        span = span_within(caps, source.page_size, report.expected)
        reader = PageReader(source, self._calls, self._stop, span, concurrency=self._options.concurrency)
        guard = LoopGuard(report.expected)
        async with aclosing(reader.batches(self._options.batch_size)) as batches:
            async for batch in batches:
                if (loop := _find_loop(guard, batch)) is not None:
                    return Outcome(Cause.LOOP, loop)
                if (cap := await self._compare(batch)) is not None:
                    return cap
        return reader.end

    async def _compare(self, batch: list[Page]) -> Outcome | None:
        """The outcome of the cap on records where that is reached."""
        most, report = self._options.caps.max_records, self._report
        pages = batch if most is None else _within(batch, most - self._records)
        result = await persist(lambda: self._comparison.compare(pages), self._stop)
        self._records += sum(len(page.keys) for page in batch)
        report.pages += len(pages)
        self._calls.near.note("pages", report.pages, self._options.caps.max_pages)
        self._calls.near.note("records", self._records, most)
        self._observer.stored(pages[-1].number, result, self._calls.admitted)
        if (keep := self._keep) is not None:
            await persist(lambda: keep(report), self._stop)
        return None if most is None or self._records <= most else limit_reached(most)


def _within(batch: list[Page], most: int) -> list[Page]:
    """The first so many records of these pages."""
    pages = []
    for page in batch:
        pages.append(page if len(page.keys) <= most else page.first(most))
        most -= len(page.keys)
        if most < 0:
            break
    return pages


def _find_loop(guard: LoopGuard, batch: list[Page]) -> str | None:
    found = (guard.find_loop(page.number, page.seen_keys) for page in batch)
    return next((loop for loop in found if loop is not None), None)
