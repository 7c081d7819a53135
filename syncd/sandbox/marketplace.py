"""The simulated API: one handler for every path below the base, gates first, then the route.

Order as at a Kong gateway: the login, its rate limit, its password, then whether there is such a route; an
unknown route asked for without credentials is a plain 404.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from aiohttp import web

from syncd.sandbox import answers
from syncd.sandbox.calls import Call
from syncd.sandbox.catalogue import Catalogue
from syncd.sandbox.drift import Drift
from syncd.sandbox.fault import Fault, Faults, Group, Place
from syncd.sandbox.filters import NO_FILTERS, Filters
from syncd.sandbox.gate import RateLimit, login_of
from syncd.sandbox.parameters import (
    MAX_INPUT_VARS,
    MAX_PER_PAGE,
    Query,
    UnreadableBodyError,
    Wrap,
    count_elements,
    decode,
    decode_form,
    query_of,
)
from syncd.sandbox.poison import change_rows
from syncd.sandbox.transport import SENDERS, stopped_within

BASE_PATH = "/api-3"
READ, COUNT = "product_offer/read", "product_offer/count"
_METHODS = {READ: ("POST",), COUNT: ("POST", "GET")}
_LIMIT_HEADER, _REMAINING_HEADER = "X-RateLimit-Limit-3second", "X-RateLimit-Remaining-3second"
WRONG_BY = 7
"""What a wrong count is too high by."""


class Over100(StrEnum):
    """What happens to itemsPerPage above 100: integrators report both."""

    CLAMP = "clamp"
    REJECT = "reject"


class CountMode(StrEnum):
    """What product_offer/count does: right numbers, no such route, or numbers too high by WRONG_BY."""

    OK = "ok"
    MISSING = "missing"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Rules:
    """How this marketplace behaves when nothing is broken. `retry_after`: the header on a real 429, or None."""

    username: str
    password: str
    wrap: Wrap
    over_100: Over100
    count: CountMode
    retry_after: str | None


class PageCache:
    """Finished bodies of the current version of the catalogue, the latest used ones, up to a number of bytes."""

    def __init__(self, catalogue: Catalogue, limit_bytes: int) -> None:
        self._catalogue, self._limit_bytes = catalogue, limit_bytes
        self._version, self._size_bytes = catalogue.version, 0
        self._bodies: OrderedDict[tuple[int, int, Filters], tuple[bytes, int]] = OrderedDict()

    def body(self, page: int, per_page: int, filters: Filters) -> tuple[bytes, int]:
        """The body of a page, and its number of rows."""
        if self._version != self._catalogue.version:
            self._bodies.clear()
            self._version, self._size_bytes = self._catalogue.version, 0
        key = (page, per_page, filters)
        if (known := self._bodies.get(key)) is not None:
            self._bodies.move_to_end(key)
            return known
        ids = self._catalogue.slice((page - 1) * per_page, per_page, filters)
        made = answers.page_body([self._catalogue.document(offer_id) for offer_id in ids]), len(ids)
        self._bodies[key] = made
        self._size_bytes += len(made[0])
        while self._size_bytes > self._limit_bytes:
            _, (dropped, _) = self._bodies.popitem(last=False)
            self._size_bytes -= len(dropped)
        return made


class Marketplace:
    """Answers the calls; `stopping` ends those that hang, drip or sleep."""

    def __init__(
        self, rules: Rules, catalogue: Catalogue, faults: Faults, drift: Drift, limit: RateLimit,
        log: deque[Call], cache_bytes: int, stopping: asyncio.Event,
    ) -> None:  # fmt: skip
        self._rules, self._catalogue, self._faults, self._drift = rules, catalogue, faults, drift
        self._limit, self._log, self._stopping = limit, log, stopping
        self._pages = PageCache(catalogue, cache_bytes)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer any request, and log it as it arrives."""
        login = login_of(request.headers.get("Authorization"))
        route = request.path.removeprefix(f"{BASE_PATH}/") if request.path.startswith(f"{BASE_PATH}/") else request.path
        call = Call(request.method, route, login=login[0] if login else None)
        self._log.append(call)
        known = request.method in _METHODS.get(route, ())
        if login is None:
            response = answers.unauthorized() if known else answers.no_route()
            call.status = response.status
            return response
        admitted, remaining = self._limit.admit(login[0])
        if not admitted:
            response = answers.rate_limited(self._rules.retry_after)
        elif login != (self._rules.username, self._rules.password):
            response = answers.forbidden()
        else:
            response = await self._served(request, call) if known else answers.no_route()
        if self._limit.windows:
            response.headers[_LIMIT_HEADER] = str(self._limit.windows[0].calls)
            response.headers[_REMAINING_HEADER] = str(remaining)
        call.status = None if call.fault.endswith(("hang", "reset")) else response.status
        return response

    async def _served(self, request: web.Request, call: Call) -> web.Response:
        try:
            query = await self._query(request, call)
        except UnreadableBodyError:
            return answers.refusal("The request body could not be read.")
        except _RefusedError as refused:
            return refused.response
        place = Place(query.page, lookup=query.filters.ids is not None, count=call.route == COUNT)
        faults = self._faults.take(place)
        call.fault = "+".join(fault.kind for fault in faults)
        for fault in faults:
            if fault.group is Group.DELAY:
                seconds = 1.0 if fault.seconds is None else fault.seconds
                await stopped_within(seconds, self._stopping)
        good = self._count(query, faults) if place.count else self._page(query, faults, call)
        broken = next((fault for fault in faults if fault.group is Group.ANSWER), None)
        if broken is None:
            return good
        body = good.body if isinstance(good.body, bytes) else b""
        if broken.kind in SENDERS:
            return await SENDERS[broken.kind](request, broken, body, self._stopping)
        return answers.REPLACEMENTS[broken.kind](broken, request, body)

    async def _query(self, request: web.Request, call: Call) -> Query:
        given: dict[str, Any]
        if request.method == "GET":
            given = decode_form(request.query.items())
        else:
            given = decode(await request.read(), request.headers.get("Content-Type", ""))
        call.parameters = given
        if count_elements(given) > MAX_INPUT_VARS:
            raise _RefusedError(answers.refusal(f"Maximum input vars of {MAX_INPUT_VARS} exceeded"))
        query = query_of(given, self._rules.wrap)
        if query.per_page > MAX_PER_PAGE:
            if self._rules.over_100 is Over100.REJECT:
                message = f"itemsPerPage must be at most {MAX_PER_PAGE}"
                raise _RefusedError(answers.refusal(message, 400))
            query = Query(query.page, MAX_PER_PAGE, query.filters, given)
        if call.route == READ:
            call.page = query.page
        return query

    def _count(self, query: Query, faults: Sequence[Fault]) -> web.Response:
        kinds = {fault.kind for fault in faults}
        if self._rules.count is CountMode.MISSING or "missing_count" in kinds:
            return answers.no_route()
        filters = NO_FILTERS if "ignore_filters" in kinds else query.filters
        wrong = self._rules.count is CountMode.WRONG or "wrong_count" in kinds
        items = self._catalogue.count(filters) + (WRONG_BY if wrong else 0)
        return answers.reply(answers.count_body(items, query.per_page))

    def _page(self, query: Query, faults: Sequence[Fault], call: Call) -> web.Response:
        kinds = {fault.kind for fault in faults}
        filters = NO_FILTERS if "ignore_filters" in kinds else query.filters
        page = 1 if "ignore_paging" in kinds else query.page
        if "last_page_forever" in kinds:
            page = min(page, max(1, -(-self._catalogue.count(filters) // query.per_page)))
        changes = [fault for fault in faults if fault.group is Group.ROWS]
        if filters.ids is None and not changes:
            body, call.rows = self._pages.body(page, query.per_page, filters)
        else:
            single = filters.ids is not None and len(filters.ids) == 1
            ids = self._catalogue.slice((page - 1) * query.per_page, query.per_page, filters)
            rows = [self._catalogue.document(offer_id, single=single) for offer_id in ids]
            for fault in changes:
                rows = change_rows(rows, fault)
            body, call.rows = answers.page_body(rows), len(rows)
        if not filters and not any(fault.group is Group.ANSWER for fault in faults):
            self._drift.served(page, query.per_page)
        return answers.reply(body)


class _RefusedError(Exception):
    """The parameters are refused with this response."""

    def __init__(self, response: web.Response) -> None:
        super().__init__(response.status)
        self.response = response
