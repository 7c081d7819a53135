"""`sync-monitor serve` as a real process beside a scene."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.acceptance.daemon import free_port
from tests.acceptance.processes import until
from tests.acceptance.scene import Scene


@dataclass
class Watch:
    """A running monitor."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        """Status and body of one answer."""
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as session,
            session.get(self.url + path, headers=headers) as answer,
        ):
            return answer.status, await answer.text()

    async def metrics(self) -> dict[str, float]:
        """Every sample: `name{labels}` → value."""
        _, text = await self.get("/metrics")
        samples = [line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, _, value in samples}


@asynccontextmanager
async def watching(scene: Scene, tmp_path: Path, **settings: Any) -> AsyncIterator[Watch]:
    """A monitor of the scene's ledger, ready; killed at the end where it still lives."""
    port = int(settings.get("EMAG_SYNC_METRICS_PORT") or free_port())
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("EMAG_", "DATABASE_"))}
    environment |= {"DATABASE_URL": scene.program.database, "EMAG_SYNC_METRICS_PORT": str(port)}
    log = tmp_path / f"monitor-{port}.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "monitor", "serve"],
            env=environment | {name: str(value) for name, value in settings.items()},
            stdout=errors,
            stderr=errors,
        )
    watch = Watch(process, f"http://127.0.0.1:{port}", log)
    try:
        await until(lambda: process.poll() is not None or _listens(port), "the monitor listens", 60)
        assert process.poll() is None, log.read_text()
        yield watch
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0
