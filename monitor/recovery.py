"""The ladder: what is done about a stuck run, rung by rung, each bounded in time.

    found   the verdict and the forensics are written down, once
    ask     to cancel, where its process still renews its lease: it may end itself, within a lease or ASK_SECONDS
    end     lock the lease row, look again, raise the fence, fail the run, queue its successor

A look sees to all stuck runs whose rows are free, and waits for no lock. Only then come those whose rows somebody
holds, for LONGEST_WAIT_SECONDS in all: one run that cannot be recovered never keeps the others waiting. The server
ends their holders within seconds, we end those that it does not, and a later look tries again.

Two monitors may look at the same runs at once: whoever comes second finds nothing to write down, and nothing to end.
The first look of a process is like any other, so what died while nobody watched is cleaned at the start.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from monitor.forensics import collect
from monitor.watch import Patience, Verdict, judge
from syncd.contract.errors import FatalError, RowHeldError
from syncd.contract.observation import Fault, Observation
from syncd.contract.words import Cause, Stream
from syncd.ledger import rescue
from syncd.ledger.eviction import evict_silent_writers
from syncd.ledger.observation import observe
from syncd.ledger.runs import request_cancel
from syncd.ledger.succession import MONITOR
from syncd.runtime.log import about
from syncd.runtime.postgres import Postgres

log = structlog.get_logger()

ASK_SECONDS = 15.0
QUICK_LOCK_SECONDS = 0.25
LOCK_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 2.0
SOON_SECONDS = 1.0
LATER_SECONDS = 5.0
_NOBODY_TO_ASK = frozenset({Cause.LEASE_LOST, Cause.NOT_STARTED})

Stuck = list[tuple[Observation, Fault]]


@dataclass(slots=True)
class Look:
    """What one look at all open runs found and did. failed: the runs that could not be recovered, and why.
    unfinished: those that have ended by themselves, and whose successors could not be queued."""

    verdicts: list[tuple[Observation, Verdict]] = field(default_factory=list)
    ended: list[rescue.Ended] = field(default_factory=list)
    failed: list[tuple[Observation, str]] = field(default_factory=list)
    unfinished: set[UUID] = field(default_factory=set)

    @property
    def stuck(self) -> list[tuple[Observation, Fault]]:
        """Those that were found stuck."""
        return [(run, verdict.fault) for run, verdict in self.verdicts if verdict.fault is not None]


class Rescuer:
    """Looks at every open run and ends the stuck ones. may_resume: whether a successor may be queued now."""

    def __init__(
        self, postgres: Postgres, patience_with: Callable[[Stream], Patience], may_resume: Callable[[], bool]
    ) -> None:
        self._postgres = postgres
        self.patience_with = patience_with
        self._may_resume = may_resume
        self._asked_at: dict[UUID, float] = {}
        self._failed: set[UUID] = set()

    @property
    def again_in_seconds(self) -> float | None:
        """When to look again, sooner than usual, because of what the last look left open; None: nothing."""
        if self._asked_at:
            return SOON_SECONDS
        return LATER_SECONDS if self._failed else None

    def _judge(self, run: Observation) -> Verdict:
        return judge(run, self.patience_with(run.stream))

    async def look(self) -> Look:
        """One look. DatabaseAwayError where the ledger cannot be read."""
        look = Look([(run, self._judge(run)) for run in await observe(self._postgres)])
        self._asked_at = {
            run.run_id: self._asked_at[run.run_id] for run, _ in look.stuck if run.run_id in self._asked_at
        }
        if look.stuck:
            is_free = await rescue.free(self._postgres, [run.run_id for run, _ in look.stuck])
            await self._climb(look, [one for one in look.stuck if one[0].run_id in is_free], seconds=None)
            held = [one for one in look.stuck if one[0].run_id not in is_free]
            if held:
                await evict_silent_writers(self._postgres)
                random.shuffle(held)  # none of them is always the last
                await self._climb(look, held, seconds=LONGEST_WAIT_SECONDS)
        await self._finish(look)
        self._failed = {run.run_id for run, _ in look.failed} | look.unfinished
        return look

    async def _finish(self, look: Look) -> None:
        """The successors of those that have ended by themselves."""
        loop = asyncio.get_running_loop()
        until = loop.time() + LONGEST_WAIT_SECONDS
        for run_id in await rescue.ended_by_themselves(self._postgres):
            seconds, resume = min(QUICK_LOCK_SECONDS, until - loop.time()), self._may_resume()
            try:
                self._note(look, await rescue.finish(self._postgres, run_id, resume=resume, lock_seconds=seconds))
            except (RowHeldError, FatalError) as error:
                look.unfinished.add(run_id)
                if run_id not in self._failed:
                    log.warning("run.not_recovered", run=str(run_id), error=str(error), rung="resume")

    async def _climb(self, look: Look, stuck: Stuck, *, seconds: float | None) -> None:
        """Every rung for each of these. seconds: for all of those that are held; None: they are not, but another
        row that they need may be: then nothing is waited for any more once LONGEST_WAIT_SECONDS are used up."""
        loop = asyncio.get_running_loop()
        until = loop.time() + (seconds or LONGEST_WAIT_SECONDS)
        forensics = await collect(self._postgres, [run for run, _ in stuck if not run.is_found])
        for run, fault in stuck:
            lock_seconds = min(QUICK_LOCK_SECONDS if seconds is None else LOCK_SECONDS, until - loop.time())
            if lock_seconds <= 0 and seconds is not None:
                self._say_failed(look, run, "its rows are held by another session; tried again at the next look")
                continue
            try:
                if not run.is_found:
                    await self._write_down(run, fault, forensics[run.run_id], lock_seconds)
                if not await self._still_asked(run, fault, lock_seconds):
                    self._note(look, await self._end(run, lock_seconds))
            except (RowHeldError, FatalError) as error:  # of this run; PostgreSQL being away is everybody's
                self._say_failed(look, run, str(error))

    async def _write_down(self, run: Observation, fault: Fault, forensics: dict[str, object], wait: float) -> None:
        is_new = await rescue.find(
            self._postgres, run.run_id, fault, by=MONITOR, forensics=forensics, lock_seconds=wait
        )
        if is_new:
            with about(run.stream, run.run_id):
                rung = "end" if fault.cause in _NOBODY_TO_ASK else "ask"
                log.warning("run.stuck", cause=fault.cause, why=fault.why, started=run.started_at, rung=rung)

    async def _still_asked(self, run: Observation, fault: Fault, lock_seconds: float) -> bool:
        """Whether it has been asked to end itself, and has time left to do so."""
        if fault.cause in _NOBODY_TO_ASK:
            return False
        now = asyncio.get_running_loop().time()
        if run.run_id not in self._asked_at:
            if run.cancel_requested_by is None:  # a person's wish stays a person's
                await request_cancel(self._postgres, run.run_id, MONITOR, lock_seconds=lock_seconds)
                with about(run.stream, run.run_id):
                    log.warning("run.asked_to_end", cause=fault.cause, rung="ask")
            self._asked_at[run.run_id] = now
        return now - self._asked_at[run.run_id] < min(ASK_SECONDS, self.patience_with(run.stream).lease_seconds)

    async def _end(self, run: Observation, lock_seconds: float) -> rescue.Ended | None:
        def fault_of(seen: Observation) -> Fault | None:
            return self._judge(seen).fault

        return await rescue.end(
            self._postgres, run.run_id, fault_of, resume=self._may_resume(), lock_seconds=lock_seconds
        )

    def _note(self, look: Look, ended: rescue.Ended | None) -> None:
        if ended is not None:
            look.ended.append(ended)
            with about(ended.stream, ended.run_id):
                log.warning("run.recovered", cause=ended.fault.cause, then=ended.outcome, rung="end")

    def _say_failed(self, look: Look, run: Observation, why: str) -> None:
        """Said once, however many looks it takes."""
        look.failed.append((run, why))
        if run.run_id not in self._failed:
            with about(run.stream, run.run_id):
                log.warning("run.not_recovered", error=why, rung="end")
