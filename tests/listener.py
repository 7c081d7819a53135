"""A real HTTP server that is told things: it keeps what arrives, and answers as the test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class Listener:
    """heard: (path with its query, body or None) in the order of arrival; statuses: the next answers, 200 after them.

    hanging: paths that begin so get no answer.
    """

    url: str = ""
    heard: list[tuple[str, Any]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    hanging: str = "never"
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        self.heard.append((request.path_qs, body))
        if request.path.startswith(self.hanging):
            await self.released.wait()
        status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(status=status, headers={"Location": "/elsewhere"} if status == 302 else {})

    def bodies(self, event: str) -> list[Any]:
        """What arrived at the webhook of this event."""
        return [body for _, body in self.heard if body is not None and body["event"] == event]

    @property
    def pings(self) -> list[str]:
        return [path for path, body in self.heard if body is None]


@asynccontextmanager
async def listening_for_notices() -> AsyncIterator[Listener]:
    """On a loopback port of its own."""
    listener = Listener()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", listener.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        listener.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield listener
    finally:
        listener.released.set()
        await runner.cleanup()
