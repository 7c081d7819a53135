"""A started sandbox without a rate limit, and a client that calls it over a real socket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from syncd.sandbox import Sandbox


@dataclass
class Answer:
    """What came back: the body whole."""

    status: int
    headers: Any
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def results(self) -> Any:
        return self.json()["results"]

    @property
    def ids(self) -> list[Any]:
        return [row.get("id") for row in self.results]


class Caller:
    """Calls one sandbox; each call has a deadline of 2 s unless told otherwise."""

    def __init__(self, sandbox: Sandbox, session: aiohttp.ClientSession) -> None:
        self.sandbox, self.session = sandbox, session

    async def call(
        self,
        route: str,
        *,
        method: str = "POST",
        login: str | None = "sandbox:sandbox",
        seconds: float = 2,
        **sent: Any,
    ) -> Answer:
        headers = dict(sent.pop("headers", {}))
        if login is not None:
            headers["Authorization"] = aiohttp.encode_basic_auth(*login.split(":", 1))
        url = route if route.startswith("http") else f"{self.sandbox.base_url}/{route}"
        timeout = aiohttp.ClientTimeout(total=seconds)
        async with self.session.request(
            method, url, headers=headers, timeout=timeout, allow_redirects=False, **sent
        ) as response:
            return Answer(response.status, response.headers, await response.read())

    async def read(self, page: int = 1, **parameters: Any) -> Answer:
        return await self.call("product_offer/read", json={"currentPage": page, **parameters})

    async def count(self, **parameters: Any) -> Answer:
        return await self.call("product_offer/count", json=parameters)


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Awaitable[Caller]]]:
    """Start a sandbox with these options (250 offers, no rate limit unless given); stopped after the test."""
    async with AsyncExitStack() as stack:

        async def started(**options: Any) -> Caller:
            settings = {"offers": 250, "seed": 1, "per_second": None, "per_minute": None, **options}
            sandbox = await stack.enter_async_context(Sandbox(**settings))
            session = await stack.enter_async_context(aiohttp.ClientSession())
            return Caller(sandbox, session)

        yield started
