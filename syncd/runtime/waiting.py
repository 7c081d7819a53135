"""Waits that end by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class OutOfTimeError(TimeoutError):
    """Work was given up. Of its own kind, so that a TimeoutError of the work itself is not taken for it."""


async def wait_at_most(event: asyncio.Event, seconds: float) -> bool:
    """Until the event is set; False where it was not within this time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return event.is_set()
    return True


async def give_up_after(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """What the work returns; OutOfTimeError after this time, however long the work then takes to notice.

    It is waited for from outside: a query on a frozen server takes its own time to be cancelled.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        if not task.done():
            task.cancel()
            task.add_done_callback(_forget)
    if not task.done():
        raise OutOfTimeError
    return task.result()


def _forget(task: asyncio.Future[Any]) -> None:
    """Whatever work that was given up still ends with, nobody waits for it."""
    with suppress(asyncio.CancelledError):
        task.exception()
