"""A daemon that only has a control port: the real ledger behind it, and views that the test sets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import aiohttp
from pydantic import SecretStr

from syncd.contract.words import Stream
from syncd.control.feed import ControlLimits
from syncd.control.server import Control, serve_control
from syncd.control.service import RunView, ScheduleFacts
from syncd.http.access import Access
from syncd.ledger import accounts
from syncd.runtime.log import configure_log
from syncd.runtime.postgres import Postgres

MAIN = Stream("emag", "main", "offers")
FBE = Stream("emag", "fbe", "offers")
TOKEN = "a token for the tests"
PREVIOUS = "the token before it"


@dataclass
class LedgerOnly:
    """The service behind the port. Nobody takes its queued runs; the test does what a worker would."""

    postgres: Postgres
    streams: tuple[Stream, ...] = (MAIN, FBE)
    token: str | None = TOKEN
    previous_token: str | None = PREVIOUS
    loopback: bool = True
    is_ready: bool = True
    is_enabled: bool = True
    views: dict[Stream, RunView] = field(default_factory=dict)
    woken: int = 0
    told_to_end: list[UUID] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._changed = asyncio.Condition()

    def access(self) -> Access:
        current, previous = (SecretStr(one) if one else None for one in (self.token, self.previous_token))
        return Access(current, previous, ("127.0.0.1", "localhost", "::1"), self.loopback)

    def schedule(self) -> ScheduleFacts:
        return ScheduleFacts(self.is_enabled, 600, 100, 500, 2.0, dict.fromkeys(self.streams, 60.0))

    def view(self, stream: Stream) -> RunView:
        return self.views.get(stream, RunView())

    async def show(self, stream: Stream, view: RunView) -> None:
        """As a worker reports its progress."""
        self.views[stream] = view
        async with self._changed:
            self._changed.notify_all()

    async def wait_for_change(self, timeout_seconds: float) -> None:
        try:
            async with asyncio.timeout(timeout_seconds), self._changed:
                await self._changed.wait()
        except TimeoutError:
            pass

    def wake(self) -> None:
        self.woken += 1

    def cancelled(self, run_id: UUID) -> None:
        self.told_to_end.append(run_id)

    def ready(self) -> bool:
        return self.is_ready

    @property
    def refused(self) -> dict[Stream, str]:
        return {}

    def trouble(self) -> str | None:
        return None


class Port:
    """The open port and a client with the token. `read` and `post` give (status, headers, document)."""

    def __init__(self, service: LedgerOnly, control: Control, client: aiohttp.ClientSession) -> None:
        self.service = service
        self.control = control
        self.client = client
        self.url = f"http://127.0.0.1:{control.port}"

    async def read(self, path: str, *, method: str = "GET", **options: Any) -> tuple[int, Any, Any]:
        async with self.client.request(method, self.url + path, **options) as answer:
            body = await answer.read()
            is_json = body and "json" in answer.headers["Content-Type"]
            return answer.status, answer.headers, (await answer.json(content_type=None)) if is_json else body.decode()

    async def post(self, path: str, document: Any = None, **options: Any) -> tuple[int, Any, Any]:
        options.setdefault("headers", {})
        options["headers"] = {"Authorization": f"Bearer {TOKEN}", **options["headers"]}
        if document is not None:
            options["json"] = document
        return await self.read(path, method="POST", **options)

    async def raw(self, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection of its own that has sent just this."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.control.port)
        writer.write(data)
        await writer.drain()
        return reader, writer


def assert_problem(answer: tuple[int, Any, Any], status: int) -> dict[str, Any]:
    """Every error has this form."""
    got, headers, document = answer
    assert got == status, document
    assert headers["Content-Type"] == "application/problem+json"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Server"] == "syncd"
    assert (document["type"], document["status"]) == ("about:blank", status)
    assert document["title"]
    assert document["detail"]
    return dict(document)


async def eventually(condition: Callable[[], bool], timeout_seconds: float = 20.0) -> None:
    """Returns as soon as the condition holds."""
    async with asyncio.timeout(timeout_seconds):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


@asynccontextmanager
async def open_port(
    conninfo: str, *, limits: ControlLimits | None = None, through: str | None = None, **service: Any
) -> AsyncIterator[Port]:
    """A port over this database, its two streams registered. `through`: another way to the same database."""
    configure_log(target="stderr")  # as every process of ours does first
    async with Postgres(conninfo, "sync") as direct:
        for stream in (MAIN, FBE):
            await accounts.register(direct, stream)
    async with Postgres(through or conninfo, "sync") as postgres:
        only = LedgerOnly(postgres, **service)
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            serve_control(only, "127.0.0.1", 0, limits=limits) as control,
            aiohttp.ClientSession(connector=connector) as client,
        ):
            yield Port(only, control, client)
