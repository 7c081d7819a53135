"""What the ledger last said about the current runs: looked at again when it is asked for and old, never waited for
long. While the database is away the last picture stands, and says so.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from syncd.contract.errors import SyncError
from syncd.contract.runs import RunRow
from syncd.contract.words import Status, Stream
from syncd.ledger.identity import load_ledger_id
from syncd.ledger.runs import load_current_runs
from syncd.runtime.postgres import Postgres

log = structlog.get_logger()

FRESH_SECONDS = 0.25
LONGEST_WAIT_SECONDS = 0.5
IDENTIFY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Current:
    """A stream's runs: the open one, the last that ended, the last complete one."""

    open: RunRow | None = None
    last: RunRow | None = None
    complete: RunRow | None = None


@dataclass(slots=True)
class Picture:
    """All streams at one moment. answered: the ledger said so just now; taken_at in the loop's seconds."""

    streams: dict[Stream, Current] = field(default_factory=dict)
    answered: bool = False
    taken_at: float = float("-inf")

    def of(self, stream: Stream) -> Current:
        """The runs of one stream."""
        return self.streams.get(stream, Current())


class Ledger:
    """The ledger, as the control port looks at it: one look at a time, however many ask."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._picture = Picture()
        self._looking: asyncio.Task[Picture] | None = None
        self._looking_since = 0.0
        self._looks: set[asyncio.Task[Picture]] = set()
        self.identity: str | None = None
        """Which ledger this is; None where it did not answer when the port was opened."""

    async def identify(self) -> None:
        """Learn which ledger this is, unless that takes long."""
        with suppress(SyncError, TimeoutError):
            async with asyncio.timeout(IDENTIFY_SECONDS):
                self.identity = await load_ledger_id(self._postgres)

    def forget(self) -> None:
        """Something was just changed: the next look must not be answered from memory."""
        self._picture.taken_at = float("-inf")
        self._looking = None

    async def look(self) -> Picture:
        """A fresh picture, or the last one where the ledger takes longer than half a second."""
        now = asyncio.get_running_loop().time()
        if now - self._picture.taken_at <= FRESH_SECONDS:
            return self._picture
        if self._looking is None:
            self._looking, self._looking_since = asyncio.create_task(self._take()), now
            self._looks.add(self._looking)
            self._looking.add_done_callback(self._looks.discard)
        looking = self._looking
        # the second one to ask does not wait once more for what the first has given up on
        await asyncio.wait({looking}, timeout=max(0.0, self._looking_since + LONGEST_WAIT_SECONDS - now))
        if not looking.done():
            return Picture(self._picture.streams, answered=False)
        if self._looking is looking:
            self._looking = None
            self._picture = looking.result()
        return looking.result()

    async def _take(self) -> Picture:
        known = self._picture.streams
        try:
            rows = await load_current_runs(self._postgres)
        except SyncError as error:
            log.debug("control.ledger_away", error=str(error))
            return Picture(known, answered=False, taken_at=asyncio.get_running_loop().time())
        return Picture(_by_stream(rows), answered=True, taken_at=asyncio.get_running_loop().time())

    async def close(self) -> None:
        """Give up the looks that are under way."""
        for look in self._looks:
            look.cancel()
        if self._looks:
            await asyncio.wait(self._looks, timeout=0.1)


def _by_stream(rows: list[RunRow]) -> dict[Stream, Current]:
    """rows: the oldest first."""
    found: dict[Stream, dict[str, RunRow]] = {}
    for row in rows:
        roles = found.setdefault(row.stream, {})
        if row.completed_at is None:
            roles["open"] = row
            continue
        roles["last"] = row
        if row.status is Status.COMPLETE:
            roles["complete"] = row
    return {stream: Current(**roles) for stream, roles in found.items()}
