""":9108: metrics, the status page, probes. Reads only; a slow or hostile client holds nobody but itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog
from aiohttp import web

from monitor.page import document
from monitor.page.text import render_text
from monitor.view import View
from syncd.contract.errors import FatalError
from syncd.control.connections import BoundedServer, Limits
from syncd.control.problem import COMMON_HEADERS, Problem, answer_json

log = structlog.get_logger()

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Answer = Callable[[web.BaseRequest], Awaitable[web.Response]]


class Port:
    """Answers every request."""

    def __init__(self, view: View, limits: Limits) -> None:
        self._view = view
        self._routes: dict[str, Answer] = {
            "/": self._page,
            "/metrics": self._metrics,
            "/status.json": self._status,
            "/livez": self._livez,
            "/readyz": self._readyz,
        }
        self.server = BoundedServer(self.answer, limits)
        self.port = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Never raises but for a lost connection."""
        try:
            return await self._answer(request)
        except Problem as problem:
            return problem.response(request.path)
        except ConnectionError:
            raise
        except Exception as error:  # the supervisor: one request's fault must not end the watch
            log.exception("port.failed", path=request.path, error=type(error).__name__)
            return Problem(500, "a fault in the monitor; its log has more").response(request.path)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        answer = self._routes.get(request.path)
        if answer is None:
            raise Problem(404, f"no such path; there are {', '.join(self._routes)}", close=True)
        if request.method not in ("GET", "HEAD"):
            raise Problem(405, "expected GET", headers={"Allow": "GET, HEAD"}, close=True)
        if request.can_read_body:
            raise Problem(400, "a body has no meaning here", close=True)
        with self.server.at_work(request):
            return await answer(request)

    async def _metrics(self, _: web.BaseRequest) -> web.Response:
        await self._view.refresh()
        body = self._view.exposition()
        return web.Response(body=body, headers={**COMMON_HEADERS, "Content-Type": METRICS_TYPE})

    async def _page(self, request: web.BaseRequest) -> web.Response:
        await self._view.refresh()
        picture = self._view.picture()
        headers = {**COMMON_HEADERS, **document.HEADERS}
        if wants_text(request.headers.get("Accept", "")):
            return web.Response(text=render_text(picture), headers=headers, content_type="text/plain")
        return web.Response(text=document.render(picture), headers=headers, content_type="text/html")

    async def _status(self, _: web.BaseRequest) -> web.Response:
        await self._view.refresh()
        picture = self._view.picture()
        if picture.summary is None:
            return answer_json({"status": "unhealthy", "sentence": f"The ledger cannot be read: {picture.trouble}"})
        return answer_json({**picture.summary.as_dict(), "watch": self._view.watch_state})

    async def _livez(self, _: web.BaseRequest) -> web.Response:
        return answer_json({"status": "alive"})

    async def _readyz(self, _: web.BaseRequest) -> web.Response:
        state = self._view.watch_state
        return answer_json({"status": state}, status=503 if state == "failing" else 200)


def wants_text(accept: str) -> bool:
    """Whether plain text is asked for and HTML is not."""
    return "text/plain" in accept and "text/html" not in accept


@asynccontextmanager
async def serve_port(view: View, address: str, port: int, limits: Limits | None = None) -> AsyncIterator[Port]:
    """Answer there until the end of the block; port 0 takes a free one. FatalError where nobody can listen there."""
    limits = limits or Limits()
    opened = Port(view, limits)
    runner = web.ServerRunner(opened.server, shutdown_timeout=limits.shutdown_seconds)
    await runner.setup()
    try:
        site = web.TCPSite(runner, address, port)
        try:
            await site.start()
        except OSError as error:
            raise FatalError(f"metrics port {address}:{port}: cannot listen there: {error.strerror}") from error
        opened.port = site.port
        yield opened
    finally:
        await runner.cleanup()
