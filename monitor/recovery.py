"""The ladder: what is done about a stuck run, rung by rung, each bounded in time.

    write down   the verdict and the forensics, once
    ask          cancel, where its process still renews its lease: it may end itself, within ASK_SECONDS
    end          lock the lease row, look again, raise the fence, fail the run, queue its successor

A look goes over all stuck runs without waiting for any lock. Only then are those whose lease row is held tried
again, for LONGEST_WAIT_SECONDS in all: one run that cannot be recovered never keeps the others waiting, and the
server's own time-outs end the holder before a later look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from monitor.forensics import collect
from monitor.watch import Patience, Verdict, judge
from syncd.contract.errors import DatabaseAwayError, SyncError
from syncd.contract.observation import Fault, Observation
from syncd.contract.words import Cause
from syncd.ledger import rescue
from syncd.ledger.observation import observe
from syncd.ledger.runs import request_cancel
from syncd.runtime.log import about
from syncd.runtime.postgres import Postgres

log = structlog.get_logger()

NAME = "monitor"
ASK_SECONDS = 15.0
LOCK_SECONDS = 2.0
LONGEST_WAIT_SECONDS = 10.0
_NOBODY_TO_ASK = frozenset({Cause.LEASE_LOST, Cause.NOT_STARTED})


@dataclass(slots=True)
class Look:
    """What one look at all open runs found and did. failed: the runs that could not be recovered, and why."""

    verdicts: list[tuple[Observation, Verdict]] = field(default_factory=list)
    ended: list[rescue.Ended] = field(default_factory=list)
    failed: list[tuple[Observation, str]] = field(default_factory=list)

    @property
    def stuck(self) -> list[tuple[Observation, Fault]]:
        """Those that were found stuck."""
        return [(run, verdict.fault) for run, verdict in self.verdicts if verdict.fault is not None]


class Rescuer:
    """Looks at every open run and ends the stuck ones. may_resume: whether a successor may be queued now."""

    def __init__(self, postgres: Postgres, patience: Patience, may_resume: Callable[[], bool]) -> None:
        self._postgres = postgres
        self.patience = patience
        self._may_resume = may_resume
        self._asked_at: dict[UUID, float] = {}

    async def look(self) -> Look:
        """One look. DatabaseAwayError where the ledger cannot be read."""
        look = Look([(run, judge(run, self.patience)) for run in await observe(self._postgres)])
        self._asked_at = {
            run.run_id: self._asked_at[run.run_id] for run, _ in look.stuck if run.run_id in self._asked_at
        }
        held = [run for run, fault in look.stuck if not await self._climb(look, run, fault)]
        await self._end_held(look, held)
        for run_id in await rescue.ended_by_themselves(self._postgres):
            self._note(look, await rescue.finish(self._postgres, run_id, resume=self._may_resume()))
        return look

    async def _climb(self, look: Look, run: Observation, fault: Fault) -> bool:
        """Every rung, without waiting; False where the lease row is held by somebody else."""
        try:
            await self._write_down(run, fault)
            if not await self._still_asked(run, fault):
                self._note(look, await self._end(run, lock_seconds=0.0))
        except DatabaseAwayError:
            return False
        except SyncError as error:
            self._say_failed(look, run, error)
        return True

    async def _end_held(self, look: Look, held: list[Observation]) -> None:
        until = asyncio.get_running_loop().time() + LONGEST_WAIT_SECONDS
        for run in held:
            left = until - asyncio.get_running_loop().time()
            try:
                self._note(look, await self._end(run, lock_seconds=max(0.0, min(LOCK_SECONDS, left))))
            except SyncError as error:
                self._say_failed(look, run, error)

    async def _write_down(self, run: Observation, fault: Fault) -> None:
        if run.is_found:
            return
        forensics = await collect(self._postgres, run)
        if await rescue.find(self._postgres, run.run_id, fault, by=NAME, forensics=forensics):
            with about(run.stream, run.run_id):
                rung = "end" if fault.cause in _NOBODY_TO_ASK else "ask"
                log.warning("run.stuck", cause=fault.cause, why=fault.why, started=run.started_at, rung=rung)

    async def _still_asked(self, run: Observation, fault: Fault) -> bool:
        """Whether it has been asked to end itself, and has time left to do so."""
        if fault.cause in _NOBODY_TO_ASK:
            return False
        now = asyncio.get_running_loop().time()
        if run.run_id not in self._asked_at:
            self._asked_at[run.run_id] = now
            await request_cancel(self._postgres, run.run_id, NAME)
        return now - self._asked_at[run.run_id] < ASK_SECONDS

    async def _end(self, run: Observation, *, lock_seconds: float) -> rescue.Ended | None:
        def fault_of(seen: Observation) -> Fault | None:
            return judge(seen, self.patience).fault

        return await rescue.end(
            self._postgres, run.run_id, fault_of, resume=self._may_resume(), lock_seconds=lock_seconds
        )

    def _note(self, look: Look, ended: rescue.Ended | None) -> None:
        if ended is not None:
            look.ended.append(ended)
            then = ended.held_back or f"run {ended.successor} goes on from the checkpoint"
            with about(ended.stream, ended.run_id):
                log.warning("run.recovered", cause=ended.fault.cause, then=then)

    def _say_failed(self, look: Look, run: Observation, error: SyncError) -> None:
        look.failed.append((run, str(error)))
        with about(run.stream, run.run_id):
            log.warning("run.not_recovered", error=str(error))
