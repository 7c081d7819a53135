"""The answer to a scrape: made in the background while somebody scrapes, so that it is there before it is asked for.

    first scrape ─▶ read, write ─▶ answer
    then, every FRESH_SECONDS until nobody has asked for WATCHED_SECONDS: read, write, keep
    later scrape ─▶ what is kept; where that is older than STALE_SECONDS, what is being made

However many Prometheus servers ask, the ledger is read by one query at a time, at most once a second. Nothing here
holds the event loop for longer than SLICE_SECONDS: 200 accounts are some 20,000 lines.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Protocol

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from monitor.metrics import head_of, render
from monitor.series import accounts_of
from syncd import __version__
from syncd.contract.errors import SyncError
from syncd.contract.words import Stream
from syncd.ledger.scrape import StreamFacts, load_facts
from syncd.runtime.postgres import Postgres
from syncd.runtime.waiting import OutOfTimeError, give_up_after

FRESH_SECONDS = 1.0
STALE_SECONDS = 2.0
WATCHED_SECONDS = 150.0
LONGEST_READ_SECONDS = 3.0
SLICE_SECONDS = 0.0005
WATCH_STATES = ("ok", "degraded", "failing")


class Watched(Protocol):
    """What the metrics say of the watch itself."""

    @property
    def watch_state(self) -> str:
        """One of WATCH_STATES."""

    @property
    def stuck_streams(self) -> Collection[Stream]:
        """Those whose run is stuck now."""

    def interval_of(self, source: str, account: str) -> float:
        """Seconds from a run's end to the account's next one, as set; 0: nothing starts by itself."""


class Exporter:
    """Reads the ledger for Prometheus, and keeps what it wrote."""

    def __init__(self, postgres: Postgres, watched: Watched) -> None:
        self._postgres = postgres
        self._watched = watched
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        self._body = b""
        self._made_at = -STALE_SECONDS
        self._asked_at = 0.0
        self._making: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self.reads = 0
        """How often the ledger was read."""

    async def scrape(self) -> bytes:
        """For Prometheus, in its text format. Without the ledger its own series are absent, not 0."""
        loop = asyncio.get_running_loop()
        self._asked_at = loop.time()
        if not self.is_watched:
            gc.freeze()  # what start-up left is looked at no more: a full collection took 24 ms
            self._keeping = asyncio.create_task(self._keep(), name="metrics")
        if loop.time() - self._made_at > STALE_SECONDS:
            await asyncio.shield(self._make_once())
        return self._body

    @property
    def is_watched(self) -> bool:
        """Whether the answer is being made again and again, before anybody asks for it."""
        return self._keeping is not None and not self._keeping.done()

    async def close(self) -> None:
        """Make nothing any more."""
        tasks = [task for task in (self._keeping, self._making) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() - self._asked_at < WATCHED_SECONDS:
            began = loop.time()
            await asyncio.wait({self._make_once()})  # a fault is told by the scrape that meets it
            await asyncio.sleep(max(0.0, began + FRESH_SECONDS - loop.time()))

    def _make_once(self) -> asyncio.Task[None]:
        """Whoever asks while it is being made waits for the same."""
        if self._making is None or self._making.done():
            self._making = asyncio.create_task(self._make())
        return self._making

    async def _make(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        facts: Sequence[StreamFacts] | None = None
        self.reads += 1
        with suppress(SyncError, OutOfTimeError):  # the watch says why
            facts = await give_up_after(LONGEST_READ_SECONDS, load_facts(self._postgres))
        self._body = await joined(self.text(facts, loop.time() - began), loop.time)
        self._made_at = loop.time()

    def text(self, facts: Sequence[StreamFacts] | None, read_seconds: float) -> Iterator[str]:
        """Piece by piece; facts None: the ledger could not be read."""
        state = self._watched.watch_state
        yield from _own("up", "Whether the ledger could be read for this scrape.", [("", facts is not None)])
        yield from _own("monitor_status", "1 while the watch is healthy.", [("", state == "ok")])
        states = [(f'{{state="{one}"}}', one == state) for one in WATCH_STATES]
        yield from _own("monitor_state", "The watch: 1 for the state it is in.", states)
        yield from _own("collector_duration_seconds", "How long reading the ledger took.", [("", read_seconds)])
        yield from _own("build_info", "The release that runs.", [(f'{{version="{__version__}"}}', 1.0)])
        yield generate_latest(self._process).decode()
        if facts is not None:
            yield from render(accounts_of(facts, self._watched.stuck_streams, self._watched.interval_of))


def _own(name: str, text: str, samples: Iterable[tuple[str, float]]) -> Iterator[str]:
    yield head_of(f"emag_sync_{name}", "gauge", text)
    yield from (f"emag_sync_{name}{labels} {float(value)!r}\n" for labels, value in samples)


async def joined(pieces: Iterator[str], now: Callable[[], float]) -> bytes:
    """All pieces, giving way to the event loop whenever a slice of time is used up."""
    taken, began = [], now()
    for piece in pieces:
        taken.append(piece)
        if now() - began > SLICE_SECONDS:
            await asyncio.sleep(0)
            began = now()
    return "".join(taken).encode()
