"""Every call of one run: caps, breaker, budget, the call, its retries.

    admit (cap on requests) → slot (breaker, budget row) → call → success
                                    ▲                        │ failure worth repeating, fewer than max_attempts
                                    └── declared wait ◀──────┘

While the breaker is open all calls wait; one of them at a time is the probe. After MOST_FAILED_PROBES of them
the API is taken to be down for good, and every call of the run fails.

A wait that would end after the run's deadline is not begun: the run ends at once and says when to come back.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from syncd.contract.errors import CallError, DatabaseAwayError
from syncd.contract.runs import Claim, Outcome
from syncd.contract.words import Cause, Reason
from syncd.engine.observer import Observer
from syncd.engine.saying import NearCaps
from syncd.engine.stop import Halt, StopSignal
from syncd.ledger.accumulators import Recorder
from syncd.ledger.budget import Budget, Slot
from syncd.ledger.runs import declare_wait
from syncd.policy.backoff import DECLARED_ABOVE_SECONDS, backoff_seconds
from syncd.policy.breaker import FAILURES_TO_OPEN
from syncd.runtime.outage import outage
from syncd.runtime.postgres import Postgres

MOST_FAILED_PROBES = 3
BREAKER_POLL_SECONDS = 2.0  # a probe that succeeds lets the others go on, long before the cooldown is over

T = TypeVar("T")
WINDOW_CALLS = 3
"""The marketplace counts them in every second (vendor document v4.4.9, section on limits)."""
SHORTEST_DISTANCE_SECONDS = 0.002  # below: benchmarks on loopback
log = structlog.get_logger()

# These say that the API is ill; a refusal or a rate limit says that it is well.
_BREAKER_REASONS = {Reason.TIMEOUT, Reason.CONNECTION, Reason.HTTP_5XX, Reason.BAD_BODY}


async def persist(operation: Callable[[], Awaitable[T]], stop: StopSignal) -> T:
    """Repeat while the database is away. The lease bounds it: when trust in it runs out, `stop` is set."""
    delay = 0.1
    while True:
        try:
            result = await operation()
        except DatabaseAwayError as error:
            outage.failed(error)
            try:
                await stop.sleep(delay)
            except Halt as halt:
                why = f"{halt.outcome.message or halt.outcome.cause}; the database did not do its part: {error}"
                raise Halt(replace(halt.outcome, message=why)) from None
            delay = min(2.0, delay * 2)
        else:
            outage.succeeded()
            return result


class Calls:
    """The remote calls of one run, counted."""

    def __init__(
        self,
        *,
        postgres: Postgres,
        claim: Claim | None,
        budget: Budget,
        recorder: Recorder,
        stop: StopSignal,
        observer: Observer,
        max_requests: int,
        max_attempts: int,
        deadline: float,
    ) -> None:
        self._postgres = postgres
        self._claim = claim
        self._budget = budget
        self._recorder = recorder
        self._stop = stop
        self._observer = observer
        self.max_requests = max_requests
        self._max_attempts = max_attempts
        self._turn = asyncio.Lock()
        self._not_before = 0.0
        self._begun: deque[float] = deque(maxlen=WINDOW_CALLS)
        self._deadline = deadline
        self._failed_before = True  # an earlier process may have: the first success clears the ledger
        self._has_declared = False
        self._failed_probes = 0
        self._last_probe: CallError | None = None
        self.near = NearCaps()
        self.admitted = 0
        self.answered = False
        """Whether any call of this run has succeeded."""

    @property
    def left(self) -> int:
        """Calls that the cap and the deadline still allow."""
        seconds = self._deadline - asyncio.get_running_loop().time()
        return max(0, min(self.max_requests - self.admitted, int(seconds / self._budget.spacing_seconds)))

    async def make(self, endpoint: str, subject: str, call: Callable[[], Awaitable[T]]) -> T:
        """The call's answer. Raises Halt at a cap, a stop, or a wait past the deadline; CallError where
        the failure is final, with the subject, the cause and the number of attempts in its message."""
        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, CallError) and error.retryable),
            stop=stop_after_attempt(self._max_attempts),
            wait=_backoff,
            before_sleep=self._before_retry,
            sleep=self._stop.sleep,
            reraise=True,
        )
        started = asyncio.get_running_loop().time()
        try:
            return await retrying(self._attempt, endpoint, subject, call)
        except CallError as error:
            attempts: int = retrying.statistics.get("attempt_number", 1)
            seconds = asyncio.get_running_loop().time() - started
            times = f"{attempts} attempt{'s' if attempts > 1 else ''} in {seconds:.1f} s"
            error.args = (f"{subject}: {error} after {times}",)
            raise

    async def _attempt(self, endpoint: str, subject: str, call: Callable[[], Awaitable[T]]) -> T:
        self._stop.check()
        if self.admitted >= self.max_requests:
            raise Halt(Outcome(Cause.CAP_REQUESTS, f"reached the cap of {self.max_requests} requests a run"))
        self.admitted += 1
        self.near.note("requests", self.admitted, self.max_requests)
        slot = await self._wait_for_slot()
        loop = asyncio.get_running_loop()
        started, activity = loop.time(), self._recorder.activity
        begun = activity.call_began(endpoint, subject, started)
        try:
            result = await self._stop.unless_set(call())
        except CallError as error:
            seconds = loop.time() - started
            activity.call_ended(begun, loop.time(), outcome=error.reason, status=error.status)
            self._recorder.call_ended(endpoint, seconds, error.reason)
            facts = {"reason": error.reason, "status": error.status, "duration_ms": round(seconds * 1000)}
            log.debug("call.failed", endpoint=endpoint, **facts, error=str(error))
            await self._note_failure(error)
            if slot.probe and error.reason in _BREAKER_REASONS:
                self._failed_probes += 1
                self._check_outage(error)
            raise
        except BaseException as error:  # a stop, or the end of the run
            activity.call_ended(begun, loop.time(), outcome="abandoned")
            if isinstance(error, Halt | asyncio.CancelledError):
                self._recorder.call_abandoned(endpoint)
            raise
        seconds = loop.time() - started
        activity.call_ended(begun, loop.time(), outcome="answered")
        self._recorder.call_ended(endpoint, seconds, None)
        log.debug("call.answered", endpoint=endpoint, duration_ms=round(seconds * 1000))
        self.answered = True
        self._failed_probes = 0
        if self._failed_before:
            if await persist(self._budget.note_success, self._stop):
                log.warning("breaker.closed")
            self._failed_before = False
        return result

    async def _wait_for_slot(self) -> Slot:
        declared_until = 0.0
        while (slot := await persist(self._budget.take_slot, self._stop)).blocked:
            self._check_outage()
            until = asyncio.get_running_loop().time() + slot.wait_seconds
            if until > declared_until + 1:
                await self._declare(slot.wait_seconds, "the circuit breaker is open", Cause.UPSTREAM)
                declared_until = until
            await self._stop.sleep(min(slot.wait_seconds, BREAKER_POLL_SECONDS))
        self._recorder.add("budget_wait_seconds", slot.wait_seconds)
        await self._wait(slot.wait_seconds, "the API budget is used up", Cause.RATE_LIMITED)
        await self._keep_distance()
        return slot

    def _check_outage(self, error: CallError | None = None) -> None:
        """Raise, finally, where enough probes of the breaker have failed."""
        if error is not None:
            message = f"{error}; {self._failed_probes} probes of the circuit breaker have failed"
            self._last_probe = CallError(error.reason, message, cause=error.cause, retryable=False)
        if self._last_probe is not None and self._failed_probes >= MOST_FAILED_PROBES:
            probe = self._last_probe
            raise CallError(probe.reason, str(probe), cause=probe.cause, retryable=False) from None

    async def _keep_distance(self) -> None:
        """Neither an answer of the database that came late nor a sleep that took longer brings calls together.

        A call that begins late does not delay the next one, or the rate would sink with every lag; but it counts
        from when it really began, so that no window holds more calls than it may.
        """
        spacing, loop = self._budget.spacing_seconds, asyncio.get_running_loop()
        async with self._turn:
            now = loop.time()
            begin = max(now, self._not_before)
            if len(self._begun) == WINDOW_CALLS:
                begin = max(begin, self._begun[0] + WINDOW_CALLS * spacing)
            if begin - now > SHORTEST_DISTANCE_SECONDS:
                await self._stop.sleep(begin - now)
            self._not_before = begin + spacing
            self._begun.append(loop.time())

    async def _note_failure(self, error: CallError) -> None:
        if error.reason is Reason.RATE_LIMIT and error.retry_after_seconds:
            await persist(lambda: self._budget.push_out(error.retry_after_seconds or 0), self._stop)
        if error.reason in _BREAKER_REASONS:
            self._failed_before = True
            if await persist(self._budget.note_failure, self._stop):
                log.warning("breaker.opened", failures=FAILURES_TO_OPEN, error=str(error))

    async def _before_retry(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        seconds = state.next_action.sleep if state.next_action else 0.0
        cause = error.cause if isinstance(error, CallError) else Cause.UPSTREAM
        self._observer.retrying(str(error), state.attempt_number, seconds)
        if cause is Cause.RATE_LIMITED:  # for everybody on this login, not for this call alone
            await persist(lambda: self._budget.push_out(seconds), self._stop)
        await self._declare(seconds, f"attempt {state.attempt_number} failed: {error}", cause, has_failed=True)

    async def _wait(self, seconds: float, reason: str, cause: Cause) -> None:
        if seconds > 0:
            await self._declare(seconds, reason, cause)
            await self._stop.sleep(seconds)

    async def _declare(self, seconds: float, reason: str, cause: Cause, *, has_failed: bool = False) -> None:
        """Write a wait down before it begins; Halt where it would outlast the run."""
        left = self._deadline - asyncio.get_running_loop().time()
        if seconds >= left:
            message = f"{reason}: the wait of {seconds:.0f} s would outlast the run's {max(0, left):.0f} s left"
            raise Halt(Outcome(cause, message, next_attempt_seconds=seconds))
        # Short ones, too, after a declared one: what the run does since its end is no oversleeping.
        if seconds > DECLARED_ABOVE_SECONDS or (has_failed and self._has_declared):
            self._has_declared = True
            log.info("wait.declared", seconds=round(seconds, 1), reason=reason)
            self._observer.waiting(reason, seconds)
            claim = self._claim
            if claim is not None:
                await persist(lambda: declare_wait(self._postgres, claim, seconds, reason), self._stop)


def _backoff(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after_seconds if isinstance(error, CallError) else None
    return backoff_seconds(state.attempt_number, random.random(), asked)  # noqa: S311  # jitter
