"""One sync of one stream: claimed, read, proven, ended. It says `complete` only when that is proven.

    sweep ─▶ count ─▶ read ─▶ verify ──proven──▶ tombstone ─▶ end_of_data
                        ▲        └─not proven─▶ second pass, once; then incomplete
                        └──────────────────────────┘

Whatever happens, `run` returns an Outcome; what was committed stays, and the sweep's checkpoint says where
the next run goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import aclosing
from dataclasses import dataclass

import structlog

from syncd.contract.errors import CallError, LeaseLostError, SyncError
from syncd.contract.records import Page
from syncd.contract.runs import BatchResult, Caps, Claim, Outcome, Sweep
from syncd.contract.words import Cause, Phase
from syncd.engine.calls import Calls, persist
from syncd.engine.observer import Observer
from syncd.engine.reader import PageReader, Span, limit_reached, span_within
from syncd.engine.saying import NEAR_SHARE
from syncd.engine.stop import Halt, StopSignal
from syncd.engine.storing import Storing
from syncd.engine.verify import Verifier
from syncd.ledger import sweeps
from syncd.ledger.accumulators import Recorder
from syncd.ledger.runs import enter_phase
from syncd.policy.completeness import SweepFacts
from syncd.policy.paging import LoopGuard
from syncd.runtime.postgres import Postgres
from syncd.sources.source import Source
from syncd.warehouse.pages import PageStore

log = structlog.get_logger()

MOST_QUARANTINE_WARNINGS = 10


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How one run reads. deadline is in the event loop's seconds."""

    caps: Caps
    deadline: float
    batch_size: int
    concurrency: int
    fresh: bool = False
    ignored: Collection[str] = ()


class Run:
    """One run of one stream, from its claim to its outcome."""

    def __init__(
        self,
        *,
        postgres: Postgres,
        claim: Claim,
        source: Source,
        calls: Calls,
        recorder: Recorder,
        stop: StopSignal,
        observer: Observer,
        options: RunOptions,
    ) -> None:
        self._postgres = postgres
        self._claim = claim
        self._source = source
        self._recorder = recorder
        self._stop = stop
        self._observer = observer
        self._options = options
        self._store = PageStore(postgres, claim, recorder, batch_size=options.batch_size, ignored=options.ignored)
        self._calls = calls
        self._verifier = Verifier(postgres, claim, source, self._calls, self._store, stop)
        self._storing = Storing(self._store, stop, self._note_stored)
        self._pages_read = 0
        self._records_stored = 0
        self._overlap = 0
        self._quarantine_warnings = 0
        self._near = self._calls.near

    async def run(self) -> Outcome:
        """Work until the data, a cap, a stop or an error ends it. Never raises but for a fault of ours."""
        loop, seconds = asyncio.get_running_loop(), self._options.caps.timeout_seconds
        near_at = self._options.deadline - (1 - NEAR_SHARE) * seconds
        warning = loop.call_at(near_at, self._near.note, "seconds", NEAR_SHARE * seconds, seconds)
        timer = loop.call_at(self._options.deadline, self._stop.stop, Cause.CAP_TIME, "reached the run's time cap")
        try:
            return await self._sweep()
        except Halt as halt:
            return halt.outcome
        except LeaseLostError as error:
            self._recorder.add("fence_rejections")
            self._stop.stop(Cause.LEASE_LOST, str(error))
            return Outcome(Cause.LEASE_LOST, str(error))
        except CallError as error:
            return Outcome(error.cause, str(error), error.retry_after_seconds)
        except SyncError as error:
            return Outcome(error.cause, str(error))
        finally:
            timer.cancel()
            warning.cancel()
            await self._store.close()

    async def _sweep(self) -> Outcome:
        sweep = await persist(self._open_sweep, self._stop)
        self._observer.claimed(self._claim, sweep)
        self._overlap = sweep.checkpoint
        while True:
            sweep = await self._count(sweep)
            end = await self._read(sweep)
            if end.cause is not Cause.END_OF_DATA:
                return end
            await self._enter(Phase.VERIFY, sweep)
            verdict = await self._verifier.judge(sweep)
            if verdict.gap is None:
                await self._enter(Phase.TOMBSTONE, sweep)
                verdict = await self._verifier.bury(sweep, verdict.facts)
            if verdict.blast is not None:
                return Outcome(Cause.BLAST_RADIUS, verdict.blast)
            if verdict.gap is None:
                return end
            if sweep.pass_number == 2:
                return Outcome(Cause.INCOMPLETE, verdict.gap)
            log.warning("pass.unproven", gap=verdict.gap)
            sweep = await self._begin_second_pass(sweep, verdict.facts)
            self._overlap = 0

    # Both may be repeated; the connection is asked for each time, because it may be the one that was cut.
    async def _open_sweep(self) -> Sweep:
        connection = await self._store.connection()
        size, fresh = self._source.page_size, self._options.fresh
        return await sweeps.open_sweep(connection, self._claim, page_size=size, fresh=fresh)

    async def _begin_second_pass(self, sweep: Sweep, facts: SweepFacts) -> Sweep:
        async def begin() -> Sweep:
            return await sweeps.begin_second_pass(await self._store.connection(), self._claim, sweep, facts)

        return await persist(begin, self._stop)

    async def _count(self, sweep: Sweep) -> Sweep:
        """Ask how many records to expect, at the start of a pass."""
        if sweep.expected is not None or not self._source.has_count:
            return sweep
        await self._enter(Phase.COUNT, sweep)
        expected = await self._calls.make(self._source.count_endpoint, "count", self._source.count)

        async def keep() -> None:
            await sweeps.set_expected(await self._store.connection(), self._claim, sweep, expected)

        await persist(keep, self._stop)
        return Sweep(sweep.sweep_id, sweep.page_size, sweep.pass_number, expected, sweep.checkpoint)

    async def _read(self, sweep: Sweep) -> Outcome:
        await self._enter(Phase.READ, sweep)
        guard = LoopGuard(sweep.expected)
        if sweep.checkpoint:
            guard.seed(await persist(lambda: sweeps.load_seen_keys(self._postgres, sweep), self._stop))
        reader = PageReader(
            self._source, self._calls, self._stop, self._span(sweep), concurrency=self._options.concurrency
        )
        try:
            end = await self._store_all(sweep, reader, guard)
        except asyncio.CancelledError:
            if await self._storing.abandon():
                self._recorder.add("fence_rejections")
            raise
        except (Halt, SyncError):
            await self._storing.settle()
            raise
        await self._storing.settle()
        return end

    async def _store_all(self, sweep: Sweep, reader: PageReader, guard: LoopGuard) -> Outcome:
        # Closed at once where a page cannot be stored: its calls must not outlive the source's connections.
        async with aclosing(reader.batches(self._options.batch_size, lambda: self._storing.task)) as batches:
            async for batch in batches:
                loop = self._cut_at_loop(guard, batch)
                if batch:
                    cap = await self._keep(sweep, batch)
                    if cap is not None:
                        return cap
                if loop is not None:
                    return Outcome(Cause.LOOP, f"{loop}: paging goes in circles; is `paging` (top or data) set right?")
        return reader.end

    def _span(self, sweep: Sweep) -> Span:
        used = {"pages": self._pages_read, "records": self._records_stored}
        return span_within(self._options.caps, sweep.page_size, sweep.expected, checkpoint=sweep.checkpoint, **used)

    def _cut_at_loop(self, guard: LoopGuard, batch: list[Page]) -> str | None:
        """Drop the pages from the first looping one on; return why."""
        for index, page in enumerate(batch):
            loop = guard.find_loop(page.number, page.seen_keys, again=page.number == self._overlap)
            if loop is not None:
                del batch[index:]
                return loop
        return None

    async def _keep(self, sweep: Sweep, batch: list[Page]) -> Outcome | None:
        """Store a batch; the outcome of the cap on records where that is reached."""
        most = self._options.caps.max_records
        for index, page in enumerate(batch):
            if page.number == self._overlap:
                continue  # stored by an earlier run: if it counted, a limit of one page would never pass it
            if most is not None and self._records_stored + len(page.keys) > most:
                if index:
                    await self._put(sweep, batch[:index])
                await self._put(sweep, [page.first(most - self._records_stored)], listed=False)
                return limit_reached(most)
            self._records_stored += len(page.keys)
        await self._put(sweep, batch)
        return None

    async def _put(self, sweep: Sweep, pages: list[Page], *, listed: bool = True) -> None:
        if not pages[0].received and not listed:
            return
        if listed:
            self._pages_read += sum(page.number != self._overlap for page in pages)
        await self._storing.put(sweep, pages, overlap_page=self._overlap, listed=listed)

    def _note_stored(self, page_number: int, result: BatchResult) -> None:
        log.debug("page.stored", page=page_number, pages=result.pages, inserted=result.inserted)
        self._warn(result)
        self._observer.stored(page_number, result, self._calls.admitted)

    def _warn(self, result: BatchResult) -> None:
        """Say what a person should know: records in quarantine (a few a run), a cap that comes near."""
        for page, item in result.rejections[: MOST_QUARANTINE_WARNINGS - self._quarantine_warnings]:
            self._quarantine_warnings += 1
            log.warning("record.quarantined", page=page, ordinal=item.ordinal, key=item.key, reason=item.rejection)
        caps = self._options.caps
        self._near.note("pages", self._pages_read, caps.max_pages)
        self._near.note("records", self._records_stored, caps.max_records)

    async def _enter(self, phase: Phase, sweep: Sweep) -> None:
        await persist(lambda: enter_phase(self._postgres, self._claim, phase), self._stop)
        self._observer.entered(phase, sweep.expected)
