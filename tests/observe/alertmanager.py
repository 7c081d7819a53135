"""A real Alertmanager that tells a webhook of the test's."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from tests.acceptance.daemon import free_port
from tests.observe.prometheus import answers, program


@dataclass
class Alertmanager:
    """A running one, and what it has told the webhook: a message a name, `firing` while any alert of it does."""

    address: str
    told: list[dict[str, Any]] = field(default_factory=list)

    def newest(self, name: str) -> dict[str, Any] | None:
        """The last message on alerts of this name."""
        return next((one for one in reversed(self.told) if one["groupLabels"]["alertname"] == name), None)

    async def says(self, name: str, status: str, seconds: float = 120.0) -> dict[str, Any]:
        """Waits until the last word on this name is `firing` or `resolved`; such an alert."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while (newest := self.newest(name)) is None or newest["status"] != status:
            heard = [(one["groupLabels"]["alertname"], one["status"]) for one in self.told]
            assert loop.time() < deadline, f"{name} {status}: not within {seconds:.0f} s; heard {heard}"
            await asyncio.sleep(0.2)
        return next(dict(alert) for alert in newest["alerts"] if alert["status"] == status)


def _telling(url: str) -> dict[str, Any]:
    """A configuration: each name by itself, at once, and its end too."""
    route = {"receiver": "test", "group_by": ["alertname"], "group_wait": "0s", "group_interval": "1s"}
    hooks = [{"url": url, "send_resolved": True}]
    return {
        "route": {**route, "repeat_interval": "1h"},
        "receivers": [{"name": "test", "webhook_configs": hooks}],
    }


@asynccontextmanager
async def alertmanager(folder: Path) -> AsyncIterator[Alertmanager]:
    """Tells at once, and what has been resolved as well."""
    path, port = program("prometheus-alertmanager", "alertmanager"), free_port()
    manager = Alertmanager(f"127.0.0.1:{port}")

    async def receive(request: web.Request) -> web.Response:
        manager.told.append(await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/", receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", free_port())
    await site.start()
    config = _telling(site.name)
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(config))
    command = [
        path,
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address={manager.address}",
        "--cluster.listen-address=",
    ]
    with (folder / "alertmanager.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        async with aiohttp.ClientSession() as session:
            await answers(session, f"http://{manager.address}/-/ready", process, folder / "alertmanager.log")
        yield manager
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)
        await runner.cleanup()
