"""The connections of a port: few, and none may starve the others.

A connection is either at work (its request is whole, its answer is being made) or waits for its peer: for a
head, for a body, or for nothing, kept alive. One more than allowed ends the one that has waited longest, so
half-open connections and dripping heads make room for whoever really asks. Where all are at work the new one
is answered 503.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from aiohttp import web

from syncd.contract.errors import FatalError
from syncd.http.problem import COMMON_HEADERS, PROBLEM_TYPE, RETRY_SECONDS, Problem, fault

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Limits:
    """What a port puts up with. head_seconds: for a request's head, and for an idle connection."""

    connections: int = 100
    head_seconds: float = 10.0
    body_seconds: float = 5.0
    lingering_seconds: float = 1.0
    answer_seconds: float = 5.0
    shutdown_seconds: float = 2.0


class _Connection(web.RequestHandler):
    """One connection. What aiohttp would answer by itself (a malformed head) becomes a problem document, too."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, ConnectionError):
            raise exc  # the peer is gone; aiohttp leaves it at that
        if status >= 500:
            log.error("request.failed", error=type(exc).__name__)
        problem = fault() if status >= 500 else Problem(status, "the request could not be read")
        problem.close = True
        return problem.response()

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """What of a connection that we have ended ourselves was still being read is no fault."""
        if self.transport is not None:
            super().log_exception(*args, **kw)


def cut(handler: web.RequestHandler) -> None:
    """End a connection now. A plain close would wait, uncounted, for a peer that does not read its answers."""
    transport = handler.transport
    handler.force_close()
    if transport is not None:
        transport.abort()


class BoundedServer(web.Server):
    """Counts the connections, and ends those that wait where there are too many."""

    def __init__(self, answer: Any, limits: Limits) -> None:
        self._settings: dict[str, Any] = {
            "access_log": None,
            "keepalive_timeout": limits.head_seconds,
            "lingering_time": limits.lingering_seconds,
            "auto_decompress": False,
        }
        super().__init__(answer, **self._settings)
        self._limit = limits.connections
        self._open: set[web.RequestHandler] = set()
        self._waiting: dict[web.RequestHandler, None] = {}
        self.ended_for_others = 0

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=asyncio.get_running_loop(), **self._settings)

    @property
    def open_connections(self) -> int:
        """Those that are open now."""
        return len(self._open)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """A peer has connected."""
        super().connection_made(handler, transport)
        if len(self._open) >= self._limit:
            self.ended_for_others += 1
            if not self._waiting:
                transport.write(_FULL)
                self._forget(handler)
                handler.force_close()
                return
            longest = next(iter(self._waiting))
            self._forget(longest)
            cut(longest)
        self._open.add(handler)
        self._waiting[handler] = None

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        """A connection has ended."""
        self._forget(handler)
        super().connection_lost(handler, exc)

    def _forget(self, handler: web.RequestHandler) -> None:
        self._open.discard(handler)
        self._waiting.pop(handler, None)

    @contextmanager
    def at_work(self, request: web.BaseRequest) -> Iterator[None]:
        """Its request is whole: it is not ended for another one until the answer is made."""
        handler = request.protocol
        self._waiting.pop(handler, None)
        try:
            yield
        finally:
            if handler in self._open:
                self._waiting[handler] = None


def _raw(problem: Problem) -> bytes:
    """An answer for a connection that has no request yet."""
    body = problem.body()
    headers = {**COMMON_HEADERS, **problem.headers, "Content-Type": PROBLEM_TYPE, "Connection": "close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in {**headers, "Content-Length": str(len(body))}.items())
    return f"HTTP/1.1 503 Service Unavailable\r\n{head}\r\n".encode() + body


_FULL = _raw(Problem(503, "too many connections at work", headers={"Retry-After": str(RETRY_SECONDS)}))


@asynccontextmanager
async def listening(server: BoundedServer, what: str, address: str, port: int, limits: Limits) -> AsyncIterator[int]:
    """Answer on this address until the end of the block; port 0 takes a free one. Yields the port.

    Raises FatalError where the address cannot be listened on. At the end requests under way get a moment to be
    answered, and everything else is cut.
    """
    runner = web.ServerRunner(server, shutdown_timeout=limits.shutdown_seconds)
    await runner.setup()
    try:
        site = web.TCPSite(runner, address, port)
        try:
            await site.start()
        except OSError as error:
            raise FatalError(f"{what} {address}:{port}: cannot listen there: {error.strerror}") from error
        yield site.port
    finally:
        await runner.cleanup()
