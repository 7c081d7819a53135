"""Hostile peers on the daemon's own port, with the limits that it ships with, while it syncs at full speed."""

from __future__ import annotations

import asyncio
import random
import urllib.request

from tests.acceptance.daemon import TOKEN, Daemon
from tests.acceptance.processes import until
from tests.acceptance.scene import Start
from tests.acceptance.test_daemon_flood import busy
from tests.acceptance.vitals import vitals

MOST_CONNECTIONS = 100
MOST_SECONDS = 5.0
"""For an answer, beside other tests; alone on a machine it is 0.2 to 0.7 s."""
EACH = 40
HOST = b"Host: localhost\r\n"
POST = f"POST /sync HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n".encode()
JSON = b"Content-Type: application/json\r\n"
PEERS = {
    "silent": (b"", b""),
    "dripping heads": (b"GET /livez HTTP/1.1\r\n" + HOST, b"X: y\r\n"),
    "dripping bodies": (POST + JSON + b"Content-Length: 60000\r\n\r\n{", b" "),
    "chunks without an end": (POST + JSON + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "feeds that nobody reads": (b"GET /sync/progress HTTP/1.1\r\n" + HOST + b"Accept: text/event-stream\r\n\r\n", b""),
    "questions without end": ((b"GET /openapi.json HTTP/1.1\r\n" + HOST + b"\r\n") * 300, b""),
}


async def drip(daemon: Daemon, first: bytes, then: bytes, arrived: list[int]) -> None:
    """One peer: it reads nothing, sends a little now and then, and comes back when it is thrown out."""
    while True:
        _, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
        arrived.append(1)
        try:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(first)
            while not writer.transport.is_closing():  # as told by what is written after its end
                await asyncio.sleep(0.1)
                writer.write(then)
        finally:
            writer.transport.abort()
        await asyncio.sleep(random.uniform(1, 5))


def answers(daemon: Daemon) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{daemon.port}/livez", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


async def test_hostile_peers_of_every_kind_keep_nobody_waiting(start: Start) -> None:
    """240 of them at once: others are answered, the sync goes on, and nothing is left behind."""
    async with busy(start, 20_000) as (scene, daemon):
        before = await vitals(scene, daemon)
        arrived: list[int] = []
        peers = [asyncio.create_task(drip(daemon, *lines, arrived)) for lines in PEERS.values() for _ in range(EACH)]
        loop = asyncio.get_running_loop()
        # more at one moment than there are places would push out whoever has just connected
        await until(lambda: len(arrived) >= len(peers), "all have connected")
        await until(lambda: answers(daemon), "the daemon has seen them all")
        slowest, most = 0.0, 0
        try:
            for path in ("/livez", "/health", "/sync/progress", "/syncs", "/sync-status") * 4:
                began = loop.time()
                status, _ = await daemon.call("GET", path)
                slowest = max(slowest, loop.time() - began)
                assert status == 200, path
                most = max(most, (await vitals(scene, daemon)).descriptors - before.descriptors)
        finally:
            for peer in peers:
                peer.cancel()
            await asyncio.gather(*peers, return_exceptions=True)
        print(f"slowest answer {slowest:.2f} s, at most {most} more descriptors")
        assert slowest < MOST_SECONDS
        assert most <= MOST_CONNECTIONS + 20, "connections of the database and of the marketplaces come and go, too"
        assert daemon.process.poll() is None

        deadline = loop.time() + 20
        left = (await vitals(scene, daemon)).control_connections
        while left > 1 and loop.time() < deadline:
            left = (await vitals(scene, daemon)).control_connections
        assert left <= 1, "but for the one that asks"
        assert "Traceback" not in daemon.log
