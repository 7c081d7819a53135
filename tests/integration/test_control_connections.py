"""Slow, half-open and too many peers: they are bounded, and everybody else is served within a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import web

from syncd.control.feed import ControlLimits
from syncd.http.body import read_body
from syncd.http.connections import BoundedServer, Limits, cut, listening
from tests.control import TOKEN, Port, eventually, open_port

MOST = 20
HEAD = f"POST /sync HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
HALF_OPEN = {
    "silent": b"",
    "half a head": b"GET /livez HTTP/1.1\r\nHost: loc",
    "half a body": HEAD.encode() + b"Content-Length: 20\r\n\r\n{",
    "half a chunk": HEAD.encode() + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
    "kept alive": b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.fixture
async def port(database: str) -> AsyncIterator[Port]:
    limits = ControlLimits(connections=MOST, head_seconds=30, body_seconds=30, lingering_seconds=0.1)
    async with open_port(database, limits=limits) as opened:
        yield opened


async def close_all(writers: list[asyncio.StreamWriter]) -> None:
    for writer in writers:
        writer.transport.abort()


@pytest.mark.parametrize("kind", HALF_OPEN)
async def test_peers_that_wait_make_room_for_those_that_ask(port: Port, kind: str) -> None:
    writers = []
    for _ in range(3 * MOST):
        _, writer = await port.raw(HALF_OPEN[kind])
        writers.append(writer)
    slowest = 0.0
    for path in ("/livez", "/health", "/sync/progress", "/syncs") * 5:
        began = time.monotonic()
        reader, writer = await port.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        slowest = max(slowest, time.monotonic() - began)
        writers.append(writer)
        assert port.control.open_connections <= MOST
    assert slowest < 1.0
    assert port.control.router.server.ended_for_others >= 2 * MOST
    await close_all(writers)


async def test_dripping_heads_do_not_keep_their_place(port: Port) -> None:
    writers = [(await port.raw(b"GET /livez HTTP/1.1\r\n"))[1] for _ in range(2 * MOST)]

    async def drip(writer: asyncio.StreamWriter) -> None:
        while not writer.transport.is_closing():
            writer.write(b"X: y\r\n")
            await asyncio.sleep(0.02)

    drips = [asyncio.create_task(drip(writer)) for writer in writers]
    for _ in range(MOST):
        async with asyncio.timeout(1.0):
            assert (await port.read("/health"))[0] == 200
    for task in drips:
        task.cancel()
    await asyncio.gather(*drips, return_exceptions=True)
    await close_all(writers)


def unsent_bytes(port: int) -> list[int]:
    """Of each connection that this port has open, as the kernel knows them."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [int(row[4].partition(":")[0], 16) for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01"]


async def test_peers_that_do_not_read_are_ended_and_not_only_forgotten(port: Port) -> None:
    """What they were answered is still unsent; it must not keep their connections."""
    questions = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500
    number, writers = port.control.port, []
    for _ in range(MOST):
        _, writer = await port.raw(b"")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(questions)
        writers.append(writer)
    before: list[int] = []
    while min(before, default=0) == 0 or before != unsent_bytes(number):  # until none can be sent more
        before = unsent_bytes(number)
        await asyncio.sleep(0.2)
    writers += [(await port.raw(b""))[1] for _ in range(MOST)]
    with suppress(TimeoutError):
        await eventually(lambda: len(unsent_bytes(number)) <= MOST, 3)
    assert len(unsent_bytes(number)) <= MOST
    async with asyncio.timeout(1.0):
        assert (await port.read("/health"))[0] == 200
    await close_all(writers)


async def test_where_all_are_at_work_the_next_is_told_to_come_back(database: str) -> None:
    feeds = []
    async with open_port(database, limits=ControlLimits(connections=3, feeds=3)) as port:
        request = b"GET /sync/progress HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
        for _ in range(3):
            reader, writer = await port.raw(request)
            assert b"200 OK" in await reader.readline()
            feeds.append(writer)
        reader, writer = await port.raw(b"")
        answer = await asyncio.wait_for(reader.read(), 5)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"application/problem+json" in answer
        assert b"Retry-After: " in answer
        await close_all([*feeds, writer])
        await eventually(lambda: not port.control.open_connections)
        assert (await port.read("/livez"))[0] == 200


async def test_an_idle_connection_is_closed_in_time(database: str) -> None:
    async with open_port(database, limits=ControlLimits(head_seconds=0.2)) as port:
        for kind in ("silent", "half a head", "kept alive"):
            reader, writer = await port.raw(HALF_OPEN[kind])
            await asyncio.wait_for(reader.read(), 5)
            writer.close()
        assert port.control.open_connections == 0


async def test_a_peer_that_goes_away_leaves_nothing(port: Port) -> None:
    for data in HALF_OPEN.values():
        for _ in range(5):
            _, writer = await port.raw(data)
            writer.transport.abort()
    await eventually(lambda: not port.control.open_connections)
    async with asyncio.timeout(1):
        assert (await port.read("/health"))[0] == 200


async def test_a_body_that_is_read_after_we_have_ended_the_connection_is_no_fault_of_ours() -> None:
    found: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    async def end_and_read(request: web.BaseRequest) -> web.StreamResponse:
        cut(request.protocol)  # as for another connection, between its head and its body
        try:
            await read_body(request, deadline_seconds=5)
        except Exception as error:
            found.set_result(error)
            raise
        raise AssertionError("there was no body")

    async with listening(BoundedServer(end_and_read, Limits()), "port", "127.0.0.1", 0, Limits()) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HALF_OPEN["half a body"])
        async with asyncio.timeout(10):
            assert isinstance(await found, ConnectionResetError)
        await close_all([writer])
