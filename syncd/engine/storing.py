"""Two batches at once: while one is being written, the next is compared.

PostgreSQL's share of a batch (writing) and ours (comparing, checking, reading fields) take about as long, and
side by side they take half. What was compared holds only while nothing is written to the same keys, so a batch
that shares a key with the one before waits for it; pages share keys only where the catalogue moves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from syncd.contract.errors import FatalError, LeaseLostError
from syncd.contract.records import Page
from syncd.contract.runs import BatchResult, Sweep
from syncd.engine.calls import persist
from syncd.engine.stop import StopSignal
from syncd.warehouse.pages import Compared, PageStore


class Storing:
    """The batch that is being written. `stored` hears of each that is durable: its last page, what it did."""

    def __init__(self, store: PageStore, stop: StopSignal, stored: Callable[[int, BatchResult], None]) -> None:
        self._store = store
        self._stop = stop
        self._stored = stored
        self._keys: frozenset[str] = frozenset()
        self.task: asyncio.Task[None] | None = None

    async def put(self, sweep: Sweep, pages: Sequence[Page], *, overlap_page: int, listed: bool = True) -> None:
        """Begin to store these pages. Returns when the batch before them is durable, and raises its errors."""
        keys = frozenset(key for page in pages for key in page.keys)
        if not self._keys.isdisjoint(keys):
            await self.settle()
        try:
            compared = await persist(lambda: self._store.compare(pages), self._stop)
        except FatalError:
            if len(pages) == 1:
                raise
            for page in pages:  # those before the one that cannot be believed are kept
                await self.put(sweep, [page], overlap_page=overlap_page, listed=listed)
            return
        await self.settle()
        self._keys = keys
        self.task = asyncio.create_task(self._write(sweep, pages, compared, overlap_page, listed))

    async def settle(self) -> None:
        """Until everything that was put is durable."""
        if self.task is not None:
            await self.task
            self.task, self._keys = None, frozenset()

    async def abandon(self) -> bool:
        """Write no further; what was sent is the fence's to judge. Whether it has refused it."""
        if self.task is None:
            return False
        self.task.cancel()
        (end,) = await asyncio.gather(self.task, return_exceptions=True)
        self.task = None
        return isinstance(end, LeaseLostError)

    async def _write(
        self, sweep: Sweep, pages: Sequence[Page], compared: Compared, overlap_page: int, listed: bool
    ) -> None:
        first = True

        async def attempt() -> BatchResult:
            nonlocal first
            if first:
                first = False
                return await self._store.store(
                    sweep, pages, overlap_page=overlap_page, listed=listed, compared=compared
                )
            # What was compared may be out of date now. And page by page: all at once may be too much for a slow
            # link. A page that was committed unheard is found in the manifest, and left alone.
            results = [
                await self._store.store(sweep, [page], overlap_page=overlap_page, listed=listed) for page in pages
            ]
            return sum(results[1:], start=results[0])

        result = await persist(attempt, self._stop)
        self._stored(pages[-1].number, result)
