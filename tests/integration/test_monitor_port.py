"""The monitor's port: who may see what, what it refuses and how, and that no client keeps another one waiting."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from psycopg.conninfo import make_conninfo

from monitor.config import load_settings
from monitor.port import Port, serve_port
from monitor.view import View
from monitor.work import open_postgres
from syncd.http.connections import Limits
from tests.control import assert_problem, eventually
from tests.fault_proxy import FaultProxy
from tests.streams import Stand

TOKEN = "a-token-for-the-tests"
BEYOND_LOOPBACK = "0.0.0.0"  # noqa: S104
OPEN_EVERYWHERE = ["/metrics", "/livez"]
WITH_NAMES = [("/", "text/html"), ("/", "text/plain"), ("/status.json", "application/json")]
MOST = 5
HALF_OPEN = [b"", b"GET /metrics HTTP/1.1\r\nHost: loc", b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"]


class Peer:
    """A client of the open port."""

    def __init__(self, port: Port, client: aiohttp.ClientSession) -> None:
        self.port = port
        self.client = client

    async def ask(self, path: str, *, method: str = "GET", **options: Any) -> tuple[int, Any, Any]:
        url = f"http://127.0.0.1:{self.port.port}{path}"
        async with self.client.request(method, url, **options) as answer:
            text = await answer.text()
            return answer.status, answer.headers, json.loads(text) if "problem" in answer.content_type else text

    async def see(self, path: str, accept: str, token: str = "") -> str:
        headers = {"Accept": accept} | ({"Authorization": f"Bearer {token}"} if token else {})
        status, _, text = await self.ask(path, headers=headers)
        assert status == 200
        return str(text)


@asynccontextmanager
async def serving(
    conninfo: str, folder: Path, *, address: str = "127.0.0.1", limits: Limits | None = None
) -> AsyncIterator[Peer]:
    """A port of this ledger, without the watch. Bound beyond loopback it is reached through loopback all the same."""
    environ = {
        "DATABASE_URL": conninfo,
        "EMAG_SYNC_CONTROL_TOKEN": TOKEN,
        "EMAG_SYNC_ALLOWED_HOSTS": "127.0.0.1,localhost",
    }
    settings = load_settings(environ=environ, system_directory=folder)
    async with open_postgres(settings) as postgres:
        view = View(postgres, settings)
        async with serve_port(view, address, 0, limits) as port, aiohttp.ClientSession() as client:
            yield Peer(port, client)


@pytest.fixture
async def peer(stand: Stand, tmp_path: Path) -> AsyncIterator[Peer]:
    async with serving(stand.conninfo, tmp_path, limits=Limits(connections=MOST, head_seconds=30)) as opened:
        yield opened


async def test_bound_beyond_loopback_the_page_names_nothing_without_the_token(stand: Stand, tmp_path: Path) -> None:
    claim = await stand.claim()
    async with serving(stand.conninfo, tmp_path, address=BEYOND_LOOPBACK) as peer:
        for path, accept in WITH_NAMES:
            for token in ("", "wrong"):
                text = await peer.see(path, accept, token)
                assert "open runs" in text
                assert "emag" not in text
                assert str(claim.run_id) not in text
            assert "emag/main/offers" in await peer.see(path, accept, TOKEN)
        for path in OPEN_EVERYWHERE:
            assert (await peer.ask(path))[0] == 200
        assert (await peer.ask("/readyz"))[0] == 503  # nobody watches
        assert_problem(await peer.ask("/nowhere"), 401)


async def test_on_loopback_the_page_shows_all(peer: Peer) -> None:
    for path, accept in WITH_NAMES:
        assert "emag/main/offers" in await peer.see(path, accept)


async def test_why_the_ledger_cannot_be_read_is_not_told_to_everybody(stand: Stand, tmp_path: Path) -> None:
    nowhere = make_conninfo(stand.conninfo, port=1)
    async with serving(nowhere, tmp_path, address=BEYOND_LOOPBACK) as peer:
        for path, accept in WITH_NAMES:
            shown, hidden = await peer.see(path, accept, TOKEN), await peer.see(path, accept)
            assert "The ledger cannot be read: " in shown
            assert "The ledger cannot be read" in hidden
            assert "The ledger cannot be read:" not in hidden


async def test_what_is_not_a_read_of_ours_is_a_problem(peer: Peer) -> None:
    assert_problem(await peer.ask("/nowhere"), 404)
    for method, path in itertools.product(("POST", "PUT", "DELETE", "OPTIONS"), ("/", "/metrics")):
        answer = await peer.ask(path, method=method)
        assert_problem(answer, 405)
        assert answer[1]["Allow"] == "GET, HEAD"
    assert_problem(await peer.ask("/metrics", data=b"{}"), 400)
    for path, host in itertools.product(("/", "/metrics", "/livez", "/nowhere"), ("evil.example", "localhost.evil")):
        assert_problem(await peer.ask(path, headers={"Host": host}), 421)


async def test_half_open_clients_make_room_for_those_that_ask(peer: Peer) -> None:
    writers = []
    for data in HALF_OPEN * MOST:
        _, writer = await asyncio.open_connection("127.0.0.1", peer.port.port)
        writer.write(data)
        writers.append(writer)
    for path in ("/livez", "/metrics", "/", "/status.json"):
        async with asyncio.timeout(1):
            assert (await peer.ask(path, headers={"Connection": "close"}))[0] == 200
        assert peer.port.router.server.open_connections <= MOST
    for writer in writers:
        writer.transport.abort()
    await eventually(lambda: not peer.port.router.server.open_connections)


async def test_a_ledger_that_hangs_costs_a_scrape_some_seconds_and_a_probe_nothing(
    stand: Stand, tmp_path: Path
) -> None:
    async with FaultProxy(stand.conninfo) as proxy, serving(proxy.conninfo, tmp_path) as peer:
        up = (await peer.ask("/metrics"))[2]
        assert "emag_sync_up 1.0" in up
        proxy.hold()
        while "emag_sync_up 1.0" in up:  # what was read a moment ago is shown for a second
            scrapes = [asyncio.create_task(peer.ask("/metrics")) for _ in range(3)]
            async with asyncio.timeout(1):
                assert (await peer.ask("/livez"))[0] == 200
            async with asyncio.timeout(6):
                answers = await asyncio.gather(*scrapes)
            assert [status for status, _, _ in answers] == [200] * 3
            up = answers[-1][2]
        assert "emag_sync_up 0.0" in up
        assert "emag_sync_offers_processed_total" not in up
