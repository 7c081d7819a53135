""":9108: metrics, the status page, probes. Reads only; a slow or hostile client holds nobody but itself.

Everybody may see the metrics and the probes. The page names accounts, runs and errors: bound beyond loopback it shows
counts only to who has no token.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from monitor.page import document
from monitor.page.facts import counts_of, facts_of
from monitor.page.text import render_counts, render_text
from monitor.view import View
from syncd.http.access import Access, Need, access_of, may_read
from syncd.http.connections import Limits, listening
from syncd.http.problem import COMMON_HEADERS, answer_json, answer_metrics
from syncd.http.router import Call, Route, Router
from syncd.runtime.loopback import is_loopback


class Port:
    """The open port. loopback: where it is bound."""

    def __init__(self, view: View, limits: Limits, *, loopback: bool) -> None:
        self._view = view
        self._loopback = loopback
        routes = [
            Route("GET", "/", Need.NOTHING, self._page),
            Route("GET", "/status.json", Need.NOTHING, self._status),
            Route("GET", "/metrics", Need.NOTHING, self._metrics),
            Route("GET", "/livez", Need.NOTHING, self._livez),
            Route("GET", "/readyz", Need.NOTHING, self._readyz),
        ]
        hint = f"there are {', '.join(route.path for route in routes)}"
        self.router = Router(routes, self._access, Call, limits, hint=hint)
        self.port = 0

    def _access(self) -> Access:
        return access_of(self._view.settings.sync, loopback=self._loopback)

    async def _metrics(self, _: Call) -> web.StreamResponse:
        return answer_metrics(await self._view.exporter.scrape())

    async def _page(self, call: Call) -> web.StreamResponse:
        await self._view.refresh_page()
        picture = self._view.picture()
        shows_all = may_read(call.request, call.access)
        headers = {**COMMON_HEADERS, **document.HEADERS}
        if wants_text(call.request.headers.get("Accept", "")):
            text = render_text(picture) if shows_all else render_counts(picture)
            return web.Response(text=text, headers=headers, content_type="text/plain")
        html = document.render(picture, counts_only=not shows_all)
        return web.Response(text=html, headers=headers, content_type="text/html")

    async def _status(self, call: Call) -> web.StreamResponse:
        await self._view.refresh_page()
        picture = self._view.picture()
        shows_all = may_read(call.request, call.access)
        return answer_json(facts_of(picture) if shows_all else counts_of(picture))

    async def _livez(self, _: Call) -> web.StreamResponse:
        return answer_json({"status": "alive"})

    async def _readyz(self, _: Call) -> web.StreamResponse:
        state = self._view.watch_state
        return answer_json({"status": state}, status=503 if state == "failing" else 200)


def wants_text(accept: str) -> bool:
    """Whether plain text is asked for and HTML is not."""
    return "text/plain" in accept.lower() and "text/html" not in accept.lower()


@asynccontextmanager
async def serve_port(view: View, address: str, port: int, limits: Limits | None = None) -> AsyncIterator[Port]:
    """Answer there until the end of the block; port 0 takes a free one. FatalError where nobody can listen there."""
    limits = limits or Limits()
    opened = Port(view, limits, loopback=is_loopback(address))
    try:
        async with listening(opened.router.server, "metrics port", address, port, limits) as opened.port:
            yield opened
    finally:
        await view.exporter.close()
