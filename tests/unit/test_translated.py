"""What `translated` makes of psycopg's errors, and of a cancel that got lost below it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import psycopg
import pytest

from syncd.runtime.postgres import translated


async def swallows_it() -> None:
    """As `asyncio.wait_for` before Python 3.12, where a result comes in the same moment."""
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        return


async def speaks_of_its_connection() -> None:
    """As psycopg, where the connection breaks while the statement is being cancelled."""
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        raise psycopg.OperationalError("the connection is lost") from None


@pytest.mark.parametrize("loses_it", [swallows_it, speaks_of_its_connection])
async def test_a_cancel_that_was_lost_below_is_raised_again(loses_it: Callable[[], Awaitable[None]]) -> None:
    async def work() -> None:
        with translated("work"):
            await loses_it()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
