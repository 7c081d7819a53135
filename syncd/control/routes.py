"""From a request to its answer: host, route, token, body, then the route's own function.

Every error becomes a problem document here, and every answer has a deadline, so that a database that hangs
costs its caller some seconds and nobody else anything.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from aiohttp import web

from syncd.contract.errors import DatabaseAwayError, SchemaError, SyncError
from syncd.contract.text import escape
from syncd.contract.words import Cause
from syncd.control.access import Need, check_host, check_token
from syncd.control.body import read_body
from syncd.control.connections import BoundedServer, Limits
from syncd.control.problem import Problem, unavailable
from syncd.control.service import Access, Service

log = structlog.get_logger()

INITIATOR_HEADER = "Syncd-Initiator"
_INITIATOR = re.compile(r"cli:[!-?A-~]{1,64}@[A-Za-z0-9._-]{1,253}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(slots=True)
class Call:
    """One request that has passed host, route and token; its body is read."""

    request: web.BaseRequest
    service: Service
    access: Access
    body: bytes = b""
    path_id: str = ""

    @property
    def run_id(self) -> UUID:
        """The run that the path names. Raises 404 where it cannot be one."""
        if not _UUID.fullmatch(self.path_id):
            raise no_such_run(self.path_id)
        return UUID(self.path_id)

    @property
    def initiator(self) -> str:
        """Who asks, for the ledger: our own commands say for whom they call, all others are `api`."""
        given = self.request.headers.get(INITIATOR_HEADER, "")
        return given if _INITIATOR.fullmatch(given) else "api"


Answer = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One operation. path has at most one `{id}`; a stream of events has no deadline."""

    method: str
    path: str
    need: Need
    answer: Answer
    endless: Callable[[web.BaseRequest], bool] = field(default=lambda _: False)


def no_such_run(text: object) -> Problem:
    """404 for a run."""
    return Problem(404, f"no run {escape(str(text))[:60]}: GET /syncs lists them")


class Router:
    """Answers every request of the control port."""

    def __init__(self, service: Service, routes: Sequence[Route], limits: Limits) -> None:
        self._service = service
        self._limits = limits
        self._exact: dict[str, dict[str, Route]] = {}
        self._with_id: list[tuple[re.Pattern[str], dict[str, Route]]] = []
        for path in dict.fromkeys(route.path for route in routes):
            methods = {route.method: route for route in routes if route.path == path}
            if "GET" in methods:
                methods["HEAD"] = methods["GET"]
            if "{id}" in path:
                self._with_id.append((re.compile(re.escape(path).replace(r"\{id\}", "([^/]+)")), methods))
            else:
                self._exact[path] = methods
        self.server = BoundedServer(self.answer, limits)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Never raises but for a lost connection."""
        try:
            return await self._answer(request)
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001  # the supervisor: one request's fault must not end the daemon
            problem = _problem_of(error, request)
        if request.writer.output_size > 0:
            raise ConnectionResetError("the answer had begun, and no other can follow it")
        return problem.response(request.path)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        access = self._service.access()
        check_host(request, access)
        methods, path_id = self._find(request.path)
        route = methods.get(request.method)
        check_token(request, access, route.need if route is not None else Need.READ)
        if not methods:
            raise Problem(404, "no such path: GET /openapi.json lists them", close=True)
        if route is None:
            allowed = ", ".join(sorted(methods))
            raise Problem(405, f"expected one of {allowed}", headers={"Allow": allowed}, close=True)
        call = Call(request, self._service, access, path_id=path_id)
        if request.method == "POST":
            call.body = await read_body(request, deadline_seconds=self._limits.body_seconds)
        elif request.can_read_body:
            raise Problem(400, "a body has no meaning here", close=True)
        with self.server.at_work(request):
            return await self._within_deadline(route, call)

    def _find(self, path: str) -> tuple[dict[str, Route], str]:
        """The methods of a path, and the id in it; no methods where there is no such path."""
        if path in self._exact:
            return self._exact[path], ""
        for pattern, methods in self._with_id:
            if match := pattern.fullmatch(path):
                return methods, match[1]
        return {}, ""

    async def _within_deadline(self, route: Route, call: Call) -> web.StreamResponse:
        if route.endless(call.request):
            return await route.answer(call)
        # Waited for from outside: a query on a frozen server takes its own time to be cancelled.
        task = asyncio.ensure_future(route.answer(call))
        try:
            await asyncio.wait({task}, timeout=self._limits.answer_seconds)
        finally:
            if not task.done():
                task.cancel()
                task.add_done_callback(_forget)
        if not task.done():
            doubt = "" if route.need is not Need.CHANGE else "; whether this took effect is not known"
            raise unavailable(f"the ledger did not answer in time{doubt}")
        return task.result()


def _problem_of(error: Exception, request: web.BaseRequest) -> Problem:
    """What the caller may know of an error: nothing of our inside."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, DatabaseAwayError | SchemaError):
        return unavailable("the ledger does not answer; see GET /health")
    if isinstance(error, SyncError):
        log.error("control.failed", method=request.method, path=request.path, error=str(error))
        if error.cause is Cause.DATABASE:
            return unavailable("the ledger refused its part; the log has more")
    else:
        log.error("control.failed", method=request.method, path=request.path, exc_info=error)
    return Problem(500, "a fault in syncd; its log has more")


def _forget(task: asyncio.Future[web.StreamResponse]) -> None:
    """Whatever a given-up answer still ends with, nobody waits for it."""
    with suppress(asyncio.CancelledError):
        task.exception()
