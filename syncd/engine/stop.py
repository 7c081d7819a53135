"""Why a run should end before its data does, and waits that end with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from syncd.contract.runs import Outcome
from syncd.contract.words import Cause
from syncd.runtime.waiting import wait_at_most

T = TypeVar("T")


class Halt(Exception):  # not an error: a cap, a deadline, a stop
    """Unwinds one page's work; the reader turns it back into the outcome that it carries."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.message or outcome.cause)
        self.outcome = outcome


class StopSignal:
    """Set once, by whoever is first: a signal, a cancel, the deadline, a lost lease.

    A lost lease overrides the others: nothing may be written any more, not even pages already received.
    """

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        self.before: Callable[[Cause], None] = lambda cause: None
        """Called once, before anything hears of the stop."""
        self._event = asyncio.Event()
        self.lease_lost = asyncio.Event()

    def stop(self, cause: Cause, message: str) -> None:
        """End the run as soon as what has been received is stored."""
        if self.outcome is None:
            self.before(cause)
        if cause is Cause.LEASE_LOST:
            self.outcome = Outcome(cause, message)
            self.lease_lost.set()
        elif self.outcome is None:
            self.outcome = Outcome(cause, message)
        self._event.set()

    def check(self) -> None:
        """Raise Halt where the signal is set."""
        if self.outcome is not None:
            raise Halt(self.outcome)

    async def wait(self) -> None:
        """Until the signal is set."""
        await self._event.wait()

    async def wait_at_most(self, seconds: float) -> None:
        """Until the signal is set, or so long."""
        await wait_at_most(self._event, seconds)

    async def sleep(self, seconds: float) -> None:
        """Sleep, or raise Halt as soon as the signal is set."""
        self.check()
        if seconds > 0 and await wait_at_most(self._event, seconds):
            self.check()

    async def unless_set(self, work: Awaitable[T]) -> T:
        """The work's result; where the signal is set first, the work is abandoned and Halt raised."""
        task = asyncio.ensure_future(work)
        stopped = asyncio.create_task(self._event.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                self.check()
            return await task
        finally:
            stopped.cancel()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)  # also where it has just failed: nobody else looks
