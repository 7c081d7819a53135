"""The last line of the fence: a process that cannot stop properly ends itself.

A hung loop cannot notice that its lease has run out. This thread can: when the loop has not ticked for the
lease's length, it gives it a few seconds more (a process that was stopped and goes on may end properly)
and then leaves with exit code 70, writing nothing. The same where a lost lease was noticed, but the work
could not be unwound in time: something in it does not let itself be cancelled.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import threading
import time

EXIT_CODE = 70
GRACE_SECONDS = 10.0


class DeadMan:
    """Watches the running event loop from a daemon thread until `stop`."""

    def __init__(self, limit_seconds: float) -> None:
        self._limit_seconds = limit_seconds
        self._ticked_at = time.monotonic()
        self._ended = threading.Event()
        self._leave_at: float | None = None
        self._ticker: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; call it inside the loop."""
        self._ticker = asyncio.create_task(self._tick())
        threading.Thread(target=self._watch, name="deadman", daemon=True).start()

    def expect_end(self, within_seconds: float) -> None:
        """The lease is lost: unless `stop` comes in time, leave."""
        self._leave_at = time.monotonic() + within_seconds

    def stop(self) -> None:
        """End the watch."""
        self._ended.set()
        if self._ticker is not None:
            self._ticker.cancel()

    async def _tick(self) -> None:
        while True:
            self._ticked_at = time.monotonic()
            await asyncio.sleep(1)

    def _watch(self) -> None:
        while not self._ended.wait(1):
            if self._leave_at is not None and time.monotonic() >= self._leave_at:
                _leave("the lease is lost and the run does not end")
            ticked_at = self._ticked_at
            if time.monotonic() - ticked_at < self._limit_seconds:
                continue
            if not self._ended.wait(GRACE_SECONDS) and self._ticked_at == ticked_at:
                _leave(f"the event loop hung for {self._limit_seconds:.0f} s")


def _leave(why: str) -> None:
    sys.stderr.write(f"syncd: {why}: leaving, exit {EXIT_CODE}\n")
    sys.stderr.flush()
    faulthandler.dump_traceback()  # where it hung: nobody can ask it afterwards
    os._exit(EXIT_CODE)
