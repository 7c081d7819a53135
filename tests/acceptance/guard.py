"""`sync-monitor serve` as a real process, with a systemd of our own that receives what it says."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.daemon import Daemon, free_port, launched
from tests.acceptance.processes import until
from tests.acceptance.scene import Scene

LEASE = {"EMAG_SYNC_LEASE_SECONDS": "5"}


@dataclass
class Guard(Daemon):
    """A started `sync-monitor serve`."""

    async def get(self, path: str, accept: str = "*/*") -> tuple[int, str]:
        """Status and text."""
        return await asyncio.to_thread(self._get, path, accept)

    def _get(self, path: str, accept: str) -> tuple[int, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers={"Accept": accept})
        try:
            with urllib.request.urlopen(request, timeout=15) as answer:  # noqa: S310  # loopback
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    async def metric(self, name: str) -> float | None:
        """Of a series without labels; None where there is no such series. A scrape that is not 200 fails."""
        status, text = await self.get("/metrics")
        assert status == 200, text
        values = [line.partition(" ")[2] for line in text.splitlines() if line.startswith(f"{name} ")]
        return float(values[0]) if values else None

    async def shows(self, name: str, value: float, seconds: float = 30.0) -> None:
        """The metric has this value in time."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while (shown := await self.metric(name)) != value:
            assert loop.time() < until, f"{name} is {shown}, not {value}:\n{self.log}"
            await asyncio.sleep(0.1)

    async def page(self) -> str:
        """The first line of its text."""
        status, text = await self.get("/", "text/plain")
        assert status == 200
        return text.partition("\n")[0]

    @property
    def status(self) -> str:
        """What `systemctl status` shows now."""
        return next((text[7:] for text in reversed(self.heard) if text.startswith("STATUS=")), "")

    async def status_has(self, text: str, seconds: float = 30.0) -> None:
        await until(lambda: text in self.status, f"the status says {text!r}", seconds)


@asynccontextmanager
async def guarding(scene: Scene, *, journal: Path | None = None, **settings: str) -> AsyncIterator[Guard]:
    """The monitor of the scene's ledger, READY; killed at the end where it still lives."""
    async with guard_started(scene, journal=journal, **settings) as guard:
        await guard.ready()
        yield guard


@asynccontextmanager
async def guard_started(scene: Scene, *, journal: Path | None = None, **settings: str) -> AsyncIterator[Guard]:
    """The monitor, just started. It needs no login of any marketplace, and gets none."""
    port = free_port()
    kept = {name: value for name, value in scene.program.environment.items() if not name.startswith("EMAG_API_")}
    environment = kept | LEASE | {"EMAG_SYNC_METRICS_PORT": str(port), "EMAG_SYNC_LOG_LEVEL": "debug"} | settings
    command = ["monitor", "serve", "--config", str(scene.program.config)]
    async with launched(Guard, command, port, environment, journal) as guard:
        yield guard
