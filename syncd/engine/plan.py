"""What a sync would change, read from the API and compared, with nothing written but the API budget."""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass, field

from syncd.contract.errors import CallError
from syncd.contract.records import Page
from syncd.contract.runs import Outcome
from syncd.contract.words import Cause, Phase
from syncd.engine.calls import Calls, persist
from syncd.engine.observer import Observer
from syncd.engine.reader import PageReader, Span
from syncd.engine.stop import Halt, StopSignal
from syncd.policy.paging import LoopGuard
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


async def plan_stream(
    *,
    source: Source,
    calls: Calls,
    comparison: Comparison,
    stop: StopSignal,
    observer: Observer,
    max_pages: int,
    concurrency: int,
    batch_size: int,
) -> PlanReport:
    """Read from page 1 to the end or a cap, and compare each page with the records as they are."""
    report = PlanReport(Outcome(Cause.END_OF_DATA))
    try:
        if source.has_count:
            observer.entered(Phase.COUNT, None)
            report.expected = await calls.make(source.count_endpoint, "count", source.count)
        cap = Outcome(Cause.CAP_PAGES, f"reached the cap of {max_pages} pages a run")
        span = Span(1, max_pages, cap, report.expected)
        reader = PageReader(source, calls, stop, span, concurrency=concurrency)
        observer.entered(Phase.READ, report.expected)
        guard = LoopGuard(report.expected)
        async with aclosing(reader.batches(batch_size)) as batches:
            async for batch in batches:
                if (loop := _find_loop(guard, batch)) is not None:
                    report.end = Outcome(Cause.LOOP, loop)
                    break
                result = await persist(lambda batch=batch: comparison.compare(batch), stop)  # type: ignore[misc]
                observer.stored(batch[-1].number, result, calls.admitted)
            else:
                report.end = reader.end
        if report.end.cause is Cause.END_OF_DATA:
            report.would_vanish = await persist(comparison.count_vanished, stop)
    except Halt as halt:
        report.end = halt.outcome
    except CallError as error:
        report.end = Outcome(error.cause, str(error))
    report.live = await persist(comparison.count_live, StopSignal())
    report.counts, report.requests = comparison.counts, calls.admitted
    report.jumps = comparison.largest_jumps(SHOWN_JUMPS)
    return report


def _find_loop(guard: LoopGuard, batch: list[Page]) -> str | None:
    found = (guard.find_loop(page.number, page.seen_keys) for page in batch)
    return next((loop for loop in found if loop is not None), None)
