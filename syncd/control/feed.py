"""GET /sync/progress as a stream of events (text/event-stream, WHATWG HTML, section on server-sent events).

Every event is a whole snapshot, so a client that comes back needs nothing of what it missed. The id is a
digest of the snapshot: one that still stands is not sent again after `Last-Event-ID`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from hashlib import blake2b

import msgspec
from aiohttp import web

from syncd.control.call import Call
from syncd.control.progress import Progress
from syncd.http.connections import Limits, cut
from syncd.http.problem import COMMON_HEADERS, unavailable

RECONNECT_MILLISECONDS = 2000
MOST_EVENTS_A_SECOND = 4


@dataclass(frozen=True, slots=True)
class ControlLimits(Limits):
    """What the control port puts up with. write_seconds: for a feed's client to read."""

    feeds: int = 20
    heartbeat_seconds: float = 15.0
    feed_poll_seconds: float = 2.0
    write_seconds: float = 10.0


def wants_feed(request: web.BaseRequest) -> bool:
    """Whether the client asked for events; HEAD never does."""
    return request.method == "GET" and "text/event-stream" in request.headers.get("Accept", "")


class Feed:
    """The live feeds that are open."""

    def __init__(self, progress: Progress, limits: ControlLimits) -> None:
        self._progress = progress
        self._limits = limits
        self._closing = asyncio.Event()
        self.open_feeds = 0

    def close(self) -> None:
        """End every feed: the daemon goes."""
        self._closing.set()

    async def answer(self, call: Call) -> web.StreamResponse:
        """One snapshot, or a feed where the client asked for one."""
        if not wants_feed(call.request):
            return await self._progress.poll(call)
        if self.open_feeds >= self._limits.feeds or self._closing.is_set():
            raise unavailable(f"{self.open_feeds} live feeds are open, no more are served now")
        self.open_feeds += 1
        try:
            return await self._serve(call)
        finally:
            self.open_feeds -= 1

    async def _serve(self, call: Call) -> web.StreamResponse:
        response = web.StreamResponse(headers={**COMMON_HEADERS, "Content-Type": "text/event-stream"})
        response.force_close()
        await response.prepare(call.request)
        shown = call.request.headers.get("Last-Event-ID", "")
        await self._write(call, response, f"retry: {RECONNECT_MILLISECONDS}\n\n".encode())
        loop = asyncio.get_running_loop()
        written_at = loop.time()
        while not self._closing.is_set() and call.request.transport is not None:
            data = msgspec.json.encode(await self._progress.snapshot())
            event_id = blake2b(data, digest_size=8).hexdigest()
            if event_id != shown:
                event = b"id: " + event_id.encode() + b"\nevent: progress\ndata: " + data + b"\n\n"
                await self._write(call, response, event)
                shown, written_at = event_id, loop.time()
            elif loop.time() - written_at >= self._limits.heartbeat_seconds:
                await self._write(call, response, b": alive\n\n")
                written_at = loop.time()
            next_heartbeat = written_at + self._limits.heartbeat_seconds - loop.time()
            await self._rest(call, max(0.01, min(self._limits.feed_poll_seconds, next_heartbeat)))
        return response

    async def _write(self, call: Call, response: web.StreamResponse, chunk: bytes) -> None:
        """A client that does not read is left."""
        try:
            async with asyncio.timeout(self._limits.write_seconds):
                await response.write(chunk)
        except TimeoutError as error:
            cut(call.request.protocol)
            raise ConnectionResetError("the feed's client does not read") from error

    async def _rest(self, call: Call, seconds: float) -> None:
        """Until something changed here, or it is time to look at the ledger again; not more often than allowed."""
        closing = asyncio.ensure_future(self._closing.wait())
        change = asyncio.ensure_future(_changed(call, seconds))
        try:
            await asyncio.wait({closing, change}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            closing.cancel()
            change.cancel()


async def _changed(call: Call, seconds: float) -> None:
    await call.service.wait_for_change(seconds)
    await asyncio.sleep(min(seconds, 1 / MOST_EVENTS_A_SECOND))
