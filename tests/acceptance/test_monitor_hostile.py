"""Hostile peers on the monitor's own port, with the limits that it ships with, while two Prometheus servers scrape."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import aiohttp

from tests.acceptance.monitoring import Watch, watching
from tests.acceptance.processes import until
from tests.acceptance.scene import Start
from tests.acceptance.test_daemon_port import EACH, HOST, MOST_CONNECTIONS, MOST_SECONDS, drip

PEERS = {
    "silent": (b"", b""),
    "dripping heads": (b"GET /metrics HTTP/1.1\r\n" + HOST, b"X: y\r\n"),
    "dripping bodies": (b"GET /metrics HTTP/1.1\r\n" + HOST + b"Content-Length: 60000\r\n\r\n{", b" "),
    "scrapes that nobody reads": ((b"GET /metrics HTTP/1.1\r\n" + HOST + b"\r\n") * 300, b""),
    "pages that nobody reads": ((b"GET / HTTP/1.1\r\n" + HOST + b"\r\n") * 300, b""),
}


def descriptors(watch: Watch) -> int:
    return len(os.listdir(f"/proc/{watch.process.pid}/fd"))


def resident_mib(watch: Watch) -> float:
    pages = int(Path(f"/proc/{watch.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def scrape(watch: Watch, times: int) -> float:
    """One Prometheus: a connection of its own, which it keeps. The slowest answer, in seconds."""
    loop, slowest = asyncio.get_running_loop(), 0.0
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as session:
        for _ in range(times):
            began = loop.time()
            async with session.get(f"{watch.url}/metrics") as answer:
                assert answer.status == 200
                assert "emag_sync_up 1.0\n" in await answer.text()
            slowest = max(slowest, loop.time() - began)
            await asyncio.sleep(0.05)
    return slowest


async def test_hostile_peers_keep_no_scrape_waiting(start: Start, tmp_path: Path) -> None:
    scene = await start()
    async with watching(scene, tmp_path) as watch:
        await scrape(watch, 1)
        before, memory = descriptors(watch), resident_mib(watch)
        arrived: list[int] = []
        peers = [asyncio.create_task(drip(watch, *lines, arrived)) for lines in PEERS.values() for _ in range(EACH)]
        try:
            await until(lambda: len(arrived) >= len(peers), "all have connected")
            slowest = max(await asyncio.gather(*(scrape(watch, 20) for _ in range(2))))
            most = descriptors(watch) - before
        finally:
            for peer in peers:
                peer.cancel()
            await asyncio.gather(*peers, return_exceptions=True)
        print(f"slowest scrape {slowest:.2f} s, {most} more descriptors, {resident_mib(watch) - memory:.0f} MiB more")
        assert slowest < MOST_SECONDS
        assert most <= MOST_CONNECTIONS + 20
        assert resident_mib(watch) - memory < 100
        await until(lambda: descriptors(watch) <= before + 5, "they leave nothing")
        assert "Traceback" not in watch.log.read_text()
