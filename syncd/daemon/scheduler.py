"""Decides, a few times a minute and whenever it is woken, which streams begin a run.

One tick: one query over all streams, one pure decision a stream (`syncd.policy.schedule.decide`), and what
follows from it. Queued runs, dead runs and due slots are all found the same way, so a request that was
made while nobody listened, or by another process, is served like any other.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from syncd.contract.errors import DatabaseAwayError, SyncError
from syncd.contract.words import Cause, Status, Stream
from syncd.daemon.worker import StreamWorker
from syncd.ledger import accounts, claims
from syncd.ledger.runs import request_cancel
from syncd.ledger.schema import check_ledger
from syncd.ledger.situation import OpenRun, StreamState, book_next, load_states
from syncd.ledger.succession import MONITOR
from syncd.policy.schedule import (
    FREE_RESUMES,
    Situation,
    Start,
    decide,
    failure_backoff_seconds,
    first_delay_seconds,
    seconds_to_next_look,
)
from syncd.runtime.log import about
from syncd.runtime.outage import Trouble
from syncd.runtime.postgres import Postgres
from syncd.runtime.process import proven_dead
from syncd.runtime.waiting import wait_at_most

log = structlog.get_logger()

TICK_SECONDS = 2.0
LONGEST_LOOK_SECONDS = 10.0


@dataclass(slots=True)
class Tick:
    """What one tick did."""

    started: int = 0
    skipped: int = 0
    closed: int = 0


class Scheduler:
    """The workers of this process, and when they work."""

    def __init__(self, postgres: Postgres, *, enabled: bool, startup_delay_seconds: float) -> None:
        self._postgres = postgres
        self.enabled = enabled
        self._startup_delay_seconds = startup_delay_seconds
        self.workers: dict[Stream, StreamWorker] = {}
        self._leaving: list[StreamWorker] = []
        self.paused: set[Stream] = set()
        self.refused: dict[Stream, str] = {}
        """Configured, and not served: why."""
        self._trouble = Trouble()
        self._woken = asyncio.Event()
        self._draining = False

    @property
    def trouble(self) -> str | None:
        """Why nothing can begin just now: the ledger is away, read-only, or not this release's."""
        return self._trouble.text

    def add(self, worker: StreamWorker) -> None:
        """Serve one more stream. Where a run of it still lives here, the worker of that run serves it again: it is
        told what its run must hear, and nothing begins beside it."""
        for left in self._leaving:
            if left.stream == worker.stream and left.is_running:
                self._leaving.remove(left)
                left.come_back(worker.account)
                worker = left
                with about(left.stream, left.run_id):
                    log.warning("account.returned", note="its run of before still lives")
                break
        self.workers[worker.stream] = worker

    def remove(self, stream: Stream) -> None:
        """Serve it no more; a run of it that lives goes on to its end, or to the drain, and hears of a cancel."""
        worker = self.workers.pop(stream)
        worker.leave()
        self._leaving = [one for one in (*self._leaving, worker) if one.is_running]

    @property
    def running(self) -> list[StreamWorker]:
        """The workers whose run lives here, those of accounts that were taken out meanwhile included."""
        return [worker for worker in (*self.workers.values(), *self._leaving) if worker.is_running]

    def wake(self) -> None:
        """Look at once: somebody asked for something."""
        self._woken.set()

    async def run(self) -> None:
        """Tick until drained."""
        while not self._draining:
            try:
                await self.tick()
            except SyncError as error:
                self._trouble.note(error)
            except TimeoutError:
                self._trouble.note(DatabaseAwayError("look at all streams: no answer in time"))
            else:
                self._trouble.over()
            await self._pause()

    async def _pause(self) -> None:
        """Until the next tick, or the next slot where that is earlier."""
        now = asyncio.get_running_loop().time()
        slots = [worker.due_at - now for worker in self.workers.values() if worker.due_at and not worker.is_running]
        tick_seconds = TICK_SECONDS * random.uniform(0.75, 1.25)  # noqa: S311  # no herd of daemons
        await wait_at_most(self._woken, seconds_to_next_look(tick_seconds, slots))
        self._woken.clear()

    async def tick(self) -> Tick:
        """Look at every stream once."""
        async with asyncio.timeout(LONGEST_LOOK_SECONDS):  # a frozen server never answers
            await check_ledger(self._postgres)
            states = await load_states(self._postgres)
        self.paused = {stream for stream, state in states.items() if state.paused}
        done = Tick()
        for worker in self._leaving:
            if (state := states.get(worker.stream)) is not None and worker.is_running:
                self._watch(worker, state, done)
        for stream, worker in list(self.workers.items()):  # a reload may add or remove some meanwhile
            if self._draining:
                break
            if not self._serves(worker):
                continue
            with about(stream):
                async with asyncio.timeout(LONGEST_LOOK_SECONDS):
                    if (state := states.get(stream)) is not None:
                        await self._consider(worker, state, done)
                    else:  # the schema was made anew
                        await accounts.register(self._postgres, stream)
                        log.warning("stream.registered_anew")
        log.debug("tick.done", started=done.started, skipped=done.skipped, closed=done.closed)
        return done

    async def _consider(self, worker: StreamWorker, state: StreamState, done: Tick) -> None:
        worker.enabled = self.enabled
        if worker.is_running:
            self._watch(worker, state, done)
            return
        await self._keep_slot(worker, state)
        open_run = state.open_run
        decision = decide(self._situation(worker, state))
        if decision.close and open_run is not None and open_run.status is Status.QUEUED:
            await request_cancel(self._postgres, open_run.run_id, "DISABLE_AUTO_SYNC")
        elif decision.close:
            closed = await claims.close_dead(self._postgres, worker.stream, proven_dead=proven_dead)
            if closed is not None:
                done.closed += 1
                log.warning("run.closed", run=str(closed), cause=Cause.LEASE_LOST)
        elif decision.skipped and open_run is not None:
            self._skip(worker, open_run, done)
        elif decision.start is not None:
            if decision.start is Start.RESUMED and open_run is not None and open_run.pages == 0:
                # counted before it runs: afterwards we may be dead
                wait = failure_backoff_seconds(state.failures + 1)
                await book_next(self._postgres, worker.stream, seconds=wait, failed=True)
                worker.failures = state.failures + 1
            if not self._draining and self._serves(worker) and not worker.is_held_back:
                done.started += 1
                worker.start(decision.start, open_run)
        elif worker.is_due:  # disabled or paused: the slot passes
            worker.schedule_in(worker.next_delay_seconds())

    def _serves(self, worker: StreamWorker) -> bool:
        """Still: a reload may have taken it out while the ledger was asked."""
        return self.workers.get(worker.stream) is worker

    async def _keep_slot(self, worker: StreamWorker, state: StreamState) -> None:
        """Bring the worker's slot and count of failures in line with the ledger's, which others write, too.

        Only who schedules a stream writes its slot: another daemon on this ledger may do so where we do not.
        """
        forgiven = state.failures < worker.failures and state.next_in_seconds is None  # by `syncd resume`
        worker.failures = state.failures
        if worker.is_scheduled:
            if forgiven:
                worker.schedule_in(worker.next_delay_seconds())
            if worker.due_at is None:
                self._first_slot(worker, state)
            elif worker.is_due and worker.is_booked and (state.next_in_seconds or 0.0) > 0:
                worker.look_again_in(state.next_in_seconds or 0.0)  # another daemon has run it meanwhile
        if worker.is_scheduled and not worker.is_booked and not worker.is_due:
            await book_next(self._postgres, worker.stream, seconds=worker.next_run_seconds, failed=None)
            worker.is_booked = True

    def _situation(self, worker: StreamWorker, state: StreamState) -> Situation:
        run = state.open_run
        return Situation(
            open_status=run.status if run else None,
            lapsed=run is not None and run.status is Status.RUNNING and (not run.alive or proven_dead(run.owner)),
            paused=state.paused,
            enabled=self.enabled,
            due=worker.is_due,
            crashing=run is not None
            and run.pages == 0
            and state.failures >= FREE_RESUMES
            and (state.next_in_seconds or 0) > 0,
            over=run is not None and (run.cancelled_by is not None or run.wanted.dry_run),
            successor=run is not None and run.wanted.initiated_by == MONITOR,
        )

    def _watch(self, worker: StreamWorker, state: StreamState, done: Tick) -> None:
        """Of a run that lives here: was it cancelled, and has a slot come that it takes up?"""
        if (here := state.open_run) is None:
            return
        if here.cancelled_by is not None:
            worker.cancel(here.run_id, here.cancelled_by)
        if worker.is_due and self.enabled and not state.paused:
            self._skip(worker, here, done)

    def _skip(self, worker: StreamWorker, living: OpenRun, done: Tick) -> None:
        done.skipped += 1
        worker.skip_slot(living.run_id)
        worker.look_again_in(worker.next_delay_seconds())

    def _first_slot(self, worker: StreamWorker, state: StreamState) -> None:
        """After a start: the slot that the ledger has booked, but not before the start-up delay."""
        second, jitter = datetime.now(UTC).timestamp() % 60, random.random()  # noqa: S311
        first = first_delay_seconds(self._startup_delay_seconds, second, jitter)
        if state.next_in_seconds is None:
            worker.schedule_in(first)
        else:
            booked = state.next_in_seconds
            worker.look_again_in(booked if booked > self._startup_delay_seconds else first)

    async def drain(self, message: str) -> None:
        """Start nothing more; end what runs at its next page, and wait for it."""
        self._draining = True
        self.wake()
        workers = self.running
        for worker in workers:
            worker.stop(Cause.SHUTDOWN, message)
        await asyncio.gather(*(worker.wait() for worker in workers))
