"""`syncd` with a fault of our own in it, which no other process can cause: the first argument says which.

deaf   from page 4 on the reader goes round and round, stores nothing and hears of no stop; its heart beats
asleep a declared wait never ends
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from syncd.cli import main
from syncd.engine.reader import PageReader
from syncd.engine.stop import StopSignal

_wait_for = PageReader._wait_for


async def _go_round(self: PageReader, number: int, *others: Any) -> None:
    while number > 3:  # noqa: ASYNC110  # what it is here for
        await asyncio.sleep(0.02)
    await _wait_for(self, number, *others)


async def _sleep_on(self: StopSignal, seconds: float) -> None:
    while seconds > 5:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    await asyncio.sleep(seconds)


if (fault := sys.argv.pop(1)) == "deaf":
    PageReader._wait_for = _go_round  # type: ignore[method-assign]
else:
    StopSignal.sleep = _sleep_on  # type: ignore[method-assign]
main()
