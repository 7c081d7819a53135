"""The runs of one stream in this process: at most one at a time, started by the scheduler."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from uuid import UUID

import structlog

from syncd.app import RunReport, RunRequest, stream_of, sync_account
from syncd.config import AccountSettings
from syncd.contract.errors import DatabaseAwayError, SyncError
from syncd.contract.runs import Busy, Outcome, Paused
from syncd.contract.words import Cause
from syncd.daemon.view import StreamView
from syncd.engine.stop import StopSignal
from syncd.ledger.situation import OpenRun, book_next
from syncd.policy.schedule import (
    LONGEST_BACKOFF_SECONDS,
    Start,
    failure_backoff_seconds,
    is_failure,
    next_delay_seconds,
)
from syncd.runtime.log import about
from syncd.runtime.outage import outage
from syncd.runtime.postgres import Postgres

log = structlog.get_logger()

LONGEST_BOOKING_SECONDS = 10.0
RETRY_SECONDS = 10.0
"""After a run that could not be claimed because PostgreSQL was away."""


class StreamWorker:
    """One stream: its settings, its view, its slot, its running task."""

    def __init__(self, postgres: Postgres, account: AccountSettings, changed: Callable[[], None]) -> None:
        self._postgres = postgres
        self.account = account
        self.stream = stream_of(account)
        self.view = StreamView(self.stream, changed)
        self.failures = 0
        self.enabled = True
        """Whether runs begin by themselves: the scheduler's word."""
        self.due_at: float | None = None
        """When its next run is due, in the event loop's seconds; None where none begins by itself."""
        self.is_booked = True
        """Whether the ledger has this slot, too: else the scheduler books it at its next look."""
        self._lost_in_a_row = 0
        self._task: asyncio.Task[None] | None = None
        self._stop = StopSignal()
        self._skipped_for: UUID | None = None
        self._held_until = 0.0
        self._is_leaving = False

    @property
    def run_id(self) -> UUID | None:
        """Of the run that lives here; None where there is none, or where it has not been claimed yet."""
        return self.view.run_id if self.view.in_progress else None

    @property
    def is_running(self) -> bool:
        """Whether a run of this stream lives in this process."""
        return self._task is not None

    @property
    def is_held_back(self) -> bool:
        """Whether its last attempt could not even begin, a moment ago: a queued run would be tried at every look."""
        return asyncio.get_running_loop().time() < self._held_until

    @property
    def is_scheduled(self) -> bool:
        """Whether its runs begin by themselves."""
        return self.enabled and not self._is_leaving and self.account.sync.interval_seconds > 0

    @property
    def is_due(self) -> bool:
        """Whether its slot has come."""
        return self.due_at is not None and asyncio.get_running_loop().time() >= self.due_at

    def schedule_in(self, seconds: float) -> None:
        """Set the next slot; none where the stream has no schedule."""
        self._set_slot(seconds if self.is_scheduled else None)

    def look_again_in(self, seconds: float) -> None:
        """Set the next slot, and leave the ledger's as it is: another daemon's, or what the end of a run will book."""
        self.schedule_in(seconds)
        self.is_booked = True

    def _set_slot(self, seconds: float | None) -> None:
        self.due_at = None if seconds is None else asyncio.get_running_loop().time() + seconds
        self.is_booked = seconds is None

    @property
    def next_run_seconds(self) -> float | None:
        """From now to the next slot, 0 where it has come; None where nothing begins by itself."""
        if self.due_at is None or not self.enabled:
            return None
        return max(0.0, self.due_at - asyncio.get_running_loop().time())

    def next_delay_seconds(self) -> float:
        """From now to the next slot."""
        return next_delay_seconds(
            self.account.sync.interval_seconds,
            self.failures,
            datetime.now(UTC).timestamp() % 60,
            random.random(),  # noqa: S311  # jitter
        )

    def skip_slot(self, living: UUID) -> None:
        """The slot passes because this run lives: said loud once a run, however many slots it outlives."""
        say = log.debug if living == self._skipped_for else log.warning
        say("slot.skipped", run=str(living))
        self._skipped_for = living

    def start(self, why: Start, queued: OpenRun | None) -> None:
        """Begin a run; the scheduler has looked that none lives. A slot that has come is used up by it."""
        request = RunRequest(str(Start.SCHEDULED))
        if queued is not None:
            request = RunRequest(**asdict(queued.wanted))  # a resumed run goes on under the caps that were asked for
        if why is not Start.REQUESTED:
            request = replace(request, initiated_by=str(Start.SCHEDULED))
        if self.is_due:
            self.due_at = None
        self._stop = StopSignal()
        self.view.max_requests = request.max_requests or self.account.sync.max_requests
        self._task = asyncio.create_task(self._run(request), name=f"run of {self.stream}")

    def reconfigure(self, account: AccountSettings) -> None:
        """These settings count from the next run on; a shorter interval brings that nearer."""
        interval, self.account = self.account.sync.interval_seconds, account
        if account.sync.interval_seconds == 0:
            self._set_slot(None)
        elif account.sync.interval_seconds < interval and not self.failures and self.due_at is not None:
            self.schedule_in(min(self.next_run_seconds or 0.0, self.next_delay_seconds()))

    def leave(self) -> None:
        """Its account was taken out of the configuration: a run that lives goes on, and none follows it."""
        self._is_leaving, self.due_at = True, None

    def come_back(self, account: AccountSettings) -> None:
        """Its account is there again before its run has ended; these settings count from the next run on."""
        self._is_leaving, self.account = False, account

    def stop(self, cause: Cause, message: str) -> None:
        """Ask the run to end; pages already received are stored."""
        self._stop.stop(cause, message)

    def cancel(self, run_id: UUID, by: str) -> None:
        """As `stop`, where this run is the one that lives here."""
        if self.view.in_progress and self.view.run_id == run_id:
            self.stop(Cause.CANCELLED, f"cancelled by {by}")

    async def wait(self) -> None:
        """Until the run has ended."""
        if self._task is not None:
            await asyncio.wait({self._task})

    async def _run(self, request: RunRequest) -> None:
        with about(self.stream):
            await self._run_and_book(request)

    async def _run_and_book(self, request: RunRequest) -> None:
        report: RunReport | None
        try:
            report = await sync_account(self._postgres, self.account, request, self._stop, self.view)
        except DatabaseAwayError as error:  # before the claim: the slot is not lost, and nobody has failed
            outage.failed(error)
            report = None
        except SyncError as error:  # before the claim: nothing was begun
            self._held_until = asyncio.get_running_loop().time() + failure_backoff_seconds(self.failures + 1)
            report = RunReport(self.stream, Outcome(error.cause, str(error)))
        except Exception:  # the supervisor: one stream's fault must not end the others
            log.exception("run.crashed")
            report = RunReport(self.stream, Outcome(Cause.INTERNAL, "a fault in syncd; the log has the traceback"))
        try:
            if report is None:
                self.schedule_in(RETRY_SECONDS * random.uniform(0.75, 1.25))  # noqa: S311  # no herd
            elif request.dry_run:
                self._keep_slot(report)
            else:
                await self._book(report)
        finally:
            self._task = None
            self.view.ended()

    def _keep_slot(self, report: RunReport) -> None:
        """A dry run takes no sync's place."""
        if self.due_at is None:
            self.schedule_in(self.next_delay_seconds())
        self._say(report)

    async def _book(self, report: RunReport) -> None:
        """Set the next slot, here and in the ledger, so that a restart does not forget a backoff."""
        failed: bool | None = None
        if report.outcome is not None and report.outcome.cause is not Cause.LEASE_LOST:
            failed = is_failure(report.outcome.cause)
            self.failures = self.failures + 1 if failed else 0
        self._schedule_after(report.outcome)
        self._say(report)
        try:
            async with asyncio.timeout(LONGEST_BOOKING_SECONDS):  # a frozen server never answers
                seconds = self.next_run_seconds if self.is_scheduled else None
                await book_next(self._postgres, self.stream, seconds=seconds, failed=failed)
                self.is_booked = True
        except (SyncError, TimeoutError) as error:
            log.warning("schedule.not_kept", error=str(error) or "no answer in time")

    def _schedule_after(self, outcome: Outcome | None) -> None:
        """Who lost its lease goes on soon, with or without a schedule, as whoever finds its dead run would."""
        seconds = self.next_delay_seconds()
        if outcome is None or outcome.cause is not Cause.LEASE_LOST:
            self._lost_in_a_row = 0
            asked = outcome.next_attempt_seconds if outcome is not None else None
            self.schedule_in(max(seconds, asked or 0.0))
            return
        retry = RETRY_SECONDS * 2.0 ** min(self._lost_in_a_row, 10) * random.uniform(0.75, 1.25)  # noqa: S311  # no herd
        self._lost_in_a_row += 1
        self._set_slot(min(retry, LONGEST_BACKOFF_SECONDS) if self.enabled and not self._is_leaving else None)

    def _say(self, report: RunReport) -> None:
        if isinstance(report.refused, Busy):
            self.skip_slot(report.refused.run_id)
        elif isinstance(report.refused, Paused):
            log.info("slot.held_back", by=report.refused.by, reason=report.refused.reason)
        elif report.run_id is not None:
            report.say_end(self.next_run_seconds)
        elif report.outcome is not None:
            log.error("run.not_begun", error=report.outcome.message)
