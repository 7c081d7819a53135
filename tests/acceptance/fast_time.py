"""Hours in seconds: the event loop's clock and the database's both run so many times as fast, and agree.

Everything else is real: the scheduler, its workers, the engine, the ledger's rows, the HTTP client. What counts
real seconds all the same is what the server or a library bounds by itself (statement_timeout, connect_timeout).
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import psycopg

T = TypeVar("T")

SCHEMAS = "sync,pg_catalog"
"""A search path in which our clock_timestamp() stands before PostgreSQL's."""

_CLOCK = """
CREATE FUNCTION sync.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
    SELECT to_timestamp({began}) + (pg_catalog.clock_timestamp() - to_timestamp({began})) * {speed} $$
"""


class _Selector(selectors.DefaultSelector):
    """Waits for as much less."""

    speed = 1.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(timeout / self.speed if timeout is not None and timeout > 0 else timeout)


class _Loop(asyncio.SelectorEventLoop):
    """An event loop whose seconds are short."""

    def __init__(self, speed: float) -> None:
        self._speed, self._began = speed, time.monotonic()
        selector = _Selector()
        selector.speed = speed
        super().__init__(selector)

    def time(self) -> float:
        return self._began + (time.monotonic() - self._began) * self._speed


def run_fast(speed: float, database: str, main: Coroutine[Any, Any, T]) -> T:
    """asyncio.run, with the clocks of the loop and of the database `speed` times as fast."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(_CLOCK.format(began=time.time(), speed=speed))  # type: ignore[arg-type]
    with asyncio.Runner(loop_factory=lambda: _Loop(speed)) as runner:
        return runner.run(main)


async def holds(condition: Callable[[], Awaitable[Any]], what: str, seconds: float) -> None:
    """Until the condition holds, asked every few of the fast seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not await condition():
        assert loop.time() < deadline, f"{what}: not within {seconds:.0f} fast seconds"
        await asyncio.sleep(5)
