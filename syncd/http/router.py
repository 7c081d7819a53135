"""From a request to its answer: host, route, token, body, then the route's own function.

Every error becomes a problem document here, and every answer has a deadline, so that a database that hangs
costs its caller some seconds and nobody else anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import structlog
from aiohttp import web

from syncd.contract.errors import DatabaseAwayError, SchemaError, SyncError
from syncd.contract.words import Cause
from syncd.http.access import Access, Need, check_host, check_token
from syncd.http.body import read_body
from syncd.http.connections import BoundedServer, Limits
from syncd.http.problem import Problem, fault, unavailable
from syncd.runtime.waiting import OutOfTimeError, give_up_after

log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class Call:
    """One request that has passed host, route and token; its body is read."""

    request: web.BaseRequest
    access: Access
    body: bytes = b""
    path_id: str = ""


C = TypeVar("C", bound=Call)
C_co = TypeVar("C_co", bound=Call, covariant=True)


class Begin(Protocol[C_co]):
    """Makes a port's own kind of call."""

    def __call__(self, *, request: web.BaseRequest, access: Access, path_id: str) -> C_co:
        """Its body is read later."""


@dataclass(frozen=True, slots=True)
class Route(Generic[C]):
    """One operation. path has at most one `{id}`; a stream of events has no deadline."""

    method: str
    path: str
    need: Need
    answer: Callable[[C], Coroutine[Any, Any, web.StreamResponse]]
    endless: Callable[[web.BaseRequest], bool] = field(default=lambda _: False)


class Router(Generic[C]):
    """Answers every request of one port. `access` is asked at each: it may change with the configuration."""

    def __init__(
        self, routes: Sequence[Route[C]], access: Callable[[], Access], begin: Begin[C], limits: Limits, *, hint: str
    ) -> None:
        self._access = access
        self._begin = begin
        self._limits = limits
        self._hint = hint
        self._exact: dict[str, dict[str, Route[C]]] = {}
        self._with_id: list[tuple[re.Pattern[str], dict[str, Route[C]]]] = []
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
        except Exception as error:  # noqa: BLE001  # the supervisor: one request's fault must not end the process
            problem = _problem_of(error, request)
        if request.writer.output_size > 0:
            raise ConnectionResetError("the answer had begun, and no other can follow it")
        return problem.response(request.path)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        access = self._access()
        check_host(request, access)
        methods, path_id = self._find(request.path)
        route = methods.get(request.method)
        check_token(request, access, route.need if route is not None else Need.READ)
        if not methods:
            raise Problem(404, f"no such path: {self._hint}", close=True)
        if route is None:
            allowed = ", ".join(sorted(methods))
            raise Problem(405, f"expected one of {allowed}", headers={"Allow": allowed}, close=True)
        call = self._begin(request=request, access=access, path_id=path_id)
        if request.method == "POST":
            call.body = await read_body(request, deadline_seconds=self._limits.body_seconds)
        elif request.can_read_body:
            raise Problem(400, "a body has no meaning here", close=True)
        with self.server.at_work(request):
            return await self._within_deadline(route, call)

    def _find(self, path: str) -> tuple[dict[str, Route[C]], str]:
        """The methods of a path, and the id in it; no methods where there is no such path."""
        if path in self._exact:
            return self._exact[path], ""
        for pattern, methods in self._with_id:
            if match := pattern.fullmatch(path):
                return methods, match[1]
        return {}, ""

    async def _within_deadline(self, route: Route[C], call: C) -> web.StreamResponse:
        if route.endless(call.request):
            return await route.answer(call)
        try:
            return await give_up_after(self._limits.answer_seconds, route.answer(call))
        except OutOfTimeError:
            doubt = "; whether this took effect is not known" if route.need is Need.CHANGE else ""
            raise unavailable(f"the ledger did not answer in time{doubt}") from None


def _problem_of(error: Exception, request: web.BaseRequest) -> Problem:
    """What the caller may know of an error: nothing of our inside."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, DatabaseAwayError | SchemaError):
        return unavailable("the ledger does not answer")
    if isinstance(error, SyncError):
        log.error("request.failed", method=request.method, path=request.path, error=str(error))
        if error.cause is Cause.DATABASE:
            return unavailable("the ledger refused its part; the log has more")
    else:
        log.error("request.failed", method=request.method, path=request.path, exc_info=error)
    return fault()
