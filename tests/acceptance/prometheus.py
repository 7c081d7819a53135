"""A real Prometheus beside a scene: it scrapes the monitor's port, and says what it has seen."""

from __future__ import annotations

import asyncio
import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.acceptance.daemon import free_port
from tests.acceptance.processes import until
from tests.promtool import needs

SCRAPE_SECONDS = 0.5
_CONFIG = """
global: {{scrape_interval: {milliseconds}ms, scrape_timeout: {milliseconds}ms}}
scrape_configs:
  - job_name: sync-monitor
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


@dataclass
class Prometheus:
    """The running server."""

    url: str

    async def ask(self, query: str) -> list[dict[str, Any]]:
        """The result of an instant query: a vector, or a matrix of raw samples where the query ends with [range]."""
        return await asyncio.to_thread(self._ask, query)

    def _ask(self, query: str) -> list[dict[str, Any]]:
        url = f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  # loopback
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return result

    async def total(self, query: str) -> float | None:
        """The sum of an instant query; None where it has seen nothing."""
        found = await self.ask(f"sum({query})")
        return float(found[0]["value"][1]) if found else None

    async def counters(self) -> dict[str, list[float]]:
        """Every sample of every counter, buckets and sums of the histogram included, in the order of time."""
        pattern = "emag_sync_.+_(total|bucket|count|sum)"
        return {
            json.dumps(series["metric"], sort_keys=True): [float(value) for _, value in series["values"]]
            for series in await self.ask(f'{{__name__=~"{pattern}"}}[1h]')
        }


@asynccontextmanager
async def scraping(folder: Path, target_port: int) -> AsyncIterator[Prometheus]:
    """Prometheus, ready; killed at the end."""
    program, port = needs("prometheus"), free_port()
    config = folder / "prometheus.yml"
    config.write_text(_CONFIG.format(milliseconds=round(1000 * SCRAPE_SECONDS), port=target_port))
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    server = Prometheus(f"http://127.0.0.1:{port}")

    def is_ready() -> bool:
        assert process.poll() is None, (folder / "prometheus.log").read_text()
        try:
            with urllib.request.urlopen(f"{server.url}/-/ready", timeout=5) as answer:  # noqa: S310  # loopback
                return bool(answer.status == 200)
        except OSError:
            return False

    try:
        await until(is_ready, "Prometheus is ready", pause_seconds=0.1)
        yield server
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)
