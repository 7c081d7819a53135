"""Progress, polled and as a live feed; also while the database is away."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest

from syncd.contract.words import Phase, Stream
from syncd.control.feed import ControlLimits
from syncd.control.service import RunView
from tests.control import FBE, MAIN, Port, eventually, open_port
from tests.fault_proxy import FaultProxy
from tests.streams import execute, scalar

FEED = {"Accept": "text/event-stream"}
FEED_REQUEST = b"GET /sync/progress HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"


@pytest.fixture
async def port(database: str) -> AsyncIterator[Port]:
    async with open_port(
        database, limits=ControlLimits(heartbeat_seconds=0.2, feed_poll_seconds=0.1, feeds=3)
    ) as opened:
        yield opened


def reading(run_id: UUID, progress: int) -> RunView:
    """The view of a run that has stored so many of 400 records."""
    at = datetime(2026, 11, 22, 12, 0, 1, tzinfo=UTC)
    return RunView(
        run_id,
        True,
        Phase.READ,
        progress,
        400,
        progress // 100,
        progress // 100 + 1,
        500,
        12.5,
        at,
        last_checkpoint_at=at,
    )


async def events(answer: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """The events of a feed as they come; comments as {"comment": text}."""
    event: dict[str, Any] = {}
    async for raw in answer.content:
        line = raw.decode().rstrip("\n")
        if not line and event:
            yield event
            event = {}
        elif line.startswith(":"):
            yield {"comment": line[1:].strip()}
        elif line:
            name, _, value = line.partition(": ")
            event[name] = json.loads(value) if name == "data" else value


async def test_progress_before_the_first_run_is_idle_and_empty(port: Port) -> None:
    status, _, progress = await port.read("/sync/progress")
    assert status == 200
    streams = progress.pop("streams")
    assert set(streams) == {str(MAIN), str(FBE)}
    assert progress == {
        "in_progress": False, "phase": "idle", "progress": 0, "total": None, "percent": 0, "eta_seconds": None,
        "last_checkpoint": None, "checkpoint_page": 0, "last_result": None, "from_ledger": True,
    }  # fmt: skip


async def test_progress_of_a_run_here_comes_from_memory(port: Port) -> None:
    await port.service.show(MAIN, reading(uuid4(), 100))
    _, _, progress = await port.read("/sync/progress")
    assert (progress["in_progress"], progress["phase"], progress["percent"]) == (True, "read", 25)
    assert (progress["progress"], progress["total"], progress["eta_seconds"]) == (100, 400, 12.5)
    assert (progress["checkpoint_page"], progress["last_checkpoint"]) == (1, "2026-11-22T12:00:01Z")
    assert progress["streams"][str(MAIN)]["in_progress"] is True
    assert progress["streams"][str(FBE)]["in_progress"] is False


async def test_progress_of_another_daemon_s_run_comes_from_the_ledger(port: Port, database: str) -> None:
    await port.post("/sync", {"stream": str(MAIN)})
    _, _, progress = await port.read("/sync/progress")
    assert (progress["in_progress"], progress["phase"], progress["percent"]) == (True, "idle", 0)
    execute(
        database,
        "WITH w AS (INSERT INTO sweep (stream_id, page_size, expected, checkpoint_page, checkpoint_at)"
        " SELECT stream_id, 100, 400, 2, clock_timestamp() FROM run RETURNING sweep_id)"
        " UPDATE run SET status = 'running', phase = 'read', started_at = clock_timestamp(), expected = 400,"
        " start_page = 1, last_page = 2, sweep_id = w.sweep_id FROM w",
    )
    progress = await until(port, lambda seen: seen["phase"] == "read")
    assert (progress["in_progress"], progress["percent"], progress["progress"]) == (True, 50, 200)


async def test_after_the_end_it_is_idle_and_full_at_once(port: Port, database: str) -> None:
    _, _, started = await port.post("/sync", {"stream": str(MAIN)})
    port.service.streams = (MAIN,)
    run_id = UUID(started["sync_id"])
    await port.service.show(MAIN, reading(run_id, 400))
    assert (await port.read("/sync/progress"))[2]["percent"] == 99
    execute(
        database,
        "UPDATE run SET status = 'complete', cause = 'end_of_data', started_at = queued_at, expected = 400,"
        " completed_at = clock_timestamp()",
    )
    await port.service.show(MAIN, RunView(run_id))
    _, _, progress = await port.read("/sync/progress")
    assert (progress["in_progress"], progress["phase"], progress["percent"]) == (False, "idle", 100)
    assert (progress["progress"], progress["total"]) == (400, 400)
    result = progress["last_result"]
    assert (result["success"], result["sync_id"], result["cause"]) == (True, started["sync_id"], "end_of_data")
    assert result["message"]


async def test_a_feed_sends_every_state_once_and_beats(port: Port) -> None:
    run_id = uuid4()
    async with asyncio.timeout(20), port.client.get(port.url + "/sync/progress", headers=FEED) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["Cache-Control"] == "no-store"
        feed = events(answer)
        assert int((await anext(feed))["retry"]) > 0
        first = await anext(feed)
        assert (first["event"], first["data"]["in_progress"]) == ("progress", False)
        assert (await anext(feed))["comment"] == "alive"
        await port.service.show(MAIN, reading(run_id, 200))
        second = await anext(feed)
        while "comment" in second:
            second = await anext(feed)
        assert (second["data"]["percent"], second["id"] != first["id"]) == (50, True)
    async with (
        asyncio.timeout(20),
        port.client.get(port.url + "/sync/progress", headers={**FEED, "Last-Event-ID": second["id"]}) as answer,
    ):
        feed = events(answer)
        assert "retry" in await anext(feed)
        assert "comment" in await anext(feed)


async def test_feeds_close_when_the_daemon_goes(database: str) -> None:
    async with open_port(database) as port:
        answer = await port.client.get(port.url + "/sync/progress", headers=FEED)
        await anext(events(answer))
        reading_on = asyncio.create_task(answer.content.read())
        async with asyncio.timeout(5):
            port.control.feed.close()
            await reading_on


async def test_feeds_are_bounded_and_a_lost_client_frees_its_place(port: Port) -> None:
    feeds = [await port.client.get(port.url + "/sync/progress", headers=FEED) for _ in range(3)]
    status, headers, _ = await port.read("/sync/progress", headers=FEED)
    assert (status, "Retry-After" in headers) == (503, True)
    assert (await port.read("/sync/progress"))[0] == 200
    for feed in feeds:
        feed.close()
    await eventually(lambda: not port.control.feed.open_feeds)
    answer = await port.client.get(port.url + "/sync/progress", headers=FEED)
    assert answer.status == 200
    answer.close()


async def test_a_feed_whose_client_does_not_read_is_left(database: str) -> None:
    """As soon as nothing more can be sent to it for a while; its place is free again."""
    limits = ControlLimits(feeds=1, feed_poll_seconds=0.05, write_seconds=0.3)
    streams = tuple(Stream("emag", f"account-{number}", "offers") for number in range(5_000))  # events of some MB
    async with open_port(database, limits=limits, streams=streams) as port:
        _, writer = await port.raw(FEED_REQUEST)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await eventually(lambda: port.control.feed.open_feeds == 1)
        async with asyncio.timeout(20):
            for records in itertools.count():
                if not port.control.feed.open_feeds:
                    break
                await port.service.show(streams[0], reading(uuid4(), records))
                await asyncio.sleep(0.01)
        with suppress(TimeoutError):
            await eventually(lambda: not port.control.open_connections, 5)
        assert not port.control.open_connections
        writer.transport.abort()


@pytest.mark.parametrize("how", ["cut", "silent"])
async def test_while_the_database_is_away_progress_and_probes_answer(database: str, how: str) -> None:
    async with (
        FaultProxy(database) as proxy,
        open_port(database, through=proxy.conninfo, limits=ControlLimits(answer_seconds=1.5)) as port,
    ):
        await port.post("/sync", {"stream": str(MAIN)})
        run_id = UUID(str(scalar(database, "SELECT run_id FROM run")))
        assert (await port.read("/sync/progress"))[2]["from_ledger"] is True
        proxy.hold()
        if how == "cut":
            proxy.cut_all()
        await port.service.show(FBE, reading(run_id, 300))
        async with asyncio.timeout(10):
            progress = await until(port, lambda seen: not seen["from_ledger"])
            assert progress["streams"][str(FBE)]["percent"] == 75
            assert progress["streams"][str(MAIN)]["in_progress"] is True
            assert (await port.read("/livez"))[0] == 200
            status, _, health = await port.read("/health")
            assert (status, health["status"]) == (503, "unhealthy")
            for path in ("/syncs", f"/syncs/{run_id}", "/sync-status"):
                status, headers, problem = await port.read(path)
                assert (status, headers["Retry-After"], problem["status"]) == (503, "5", 503)
            assert (await port.post("/sync", {"stream": str(FBE)}))[0] == 503
        proxy.pass_on()
        await until(port, lambda seen: seen["from_ledger"])
        assert (await port.read("/syncs"))[0] == 200


async def until(port: Port, condition: Any) -> dict[str, Any]:
    """The first progress that the condition holds for."""
    async with asyncio.timeout(20):
        while True:
            _, _, progress = await port.read("/sync/progress")
            if condition(progress):
                return dict(progress)
            await asyncio.sleep(0.01)
