"""A real Prometheus over real services: started with the shipped rules, every duration shortened, and asked by HTTP."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tests.acceptance.daemon import free_port

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus"
PERIOD_SECONDS = 1
_DURATION = re.compile(r"\b(\d+)([smhd])\b")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def program(*names: str) -> str:
    """The first of these that is installed; the test skips where none is."""
    for name in names:
        if (path := shutil.which(name)) is not None:
            return path
    pytest.skip(f"{names[0]} is not installed here (Debian: apt install prometheus prometheus-alertmanager npm)")


def load_rules(name: str) -> list[dict[str, Any]]:
    """The rules of `alerts` or `recording`, without their groups."""
    document = yaml.safe_load((RULES / f"{name}.rules.yml").read_text("utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def shortened(text: str, divisor: float) -> str:
    """Every duration in an expression or a `for`, divided, in whole seconds; windows hold at least five scrapes."""

    def shorter(found: re.Match[str]) -> str:
        seconds = int(found[1]) * _SECONDS[found[2]] / divisor
        return f"{max(5, round(seconds))}s"

    return _DURATION.sub(shorter, text)


def shortened_rules(name: str, divisor: float) -> str:
    """A rule file as YAML, evaluated every second."""
    document = yaml.safe_load((RULES / f"{name}.rules.yml").read_text("utf-8"))
    for group in document["groups"]:
        for rule in group["rules"]:
            rule["expr"] = re.sub(r"\[[^]]*]", lambda found: shortened(found[0], divisor), rule["expr"])
            if "for" in rule:
                rule["for"] = shortened(rule["for"], divisor)
    return str(yaml.safe_dump(document))


@dataclass
class Prometheus:
    """A running server."""

    url: str
    session: aiohttp.ClientSession

    async def ask(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer; fails with the server's own words."""
        async with self.session.get(f"{self.url}/api/v1/{path}", params=parameters) as answer:
            document = await answer.json()
        assert document["status"] == "success", f"{parameters}: {document.get('error')}"
        return document["data"]

    async def series(self, expr: str) -> list[dict[str, Any]]:
        """What an instant query answers."""
        return list((await self.ask("query", query=expr))["result"])

    async def value(self, expr: str) -> float | None:
        """The first sample of an instant query; None where there is none."""
        found = await self.series(expr)
        return float(found[0]["value"][1]) if found else None

    async def firing(self) -> dict[str, dict[str, Any]]:
        """The alerts that fire now, by name."""
        alerts = (await self.ask("alerts"))["alerts"]
        return {alert["labels"]["alertname"]: alert for alert in alerts if alert["state"] == "firing"}

    async def becomes(self, expr: str, what: str, seconds: float = 60.0) -> None:
        """Waits until the query answers at least one sample."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not await self.series(expr):  # another process: nothing to wait for
            assert loop.time() < deadline, f"{what}: not within {seconds:.0f} s; firing: {sorted(await self.firing())}"
            await asyncio.sleep(0.2)


@asynccontextmanager
async def prometheus(
    folder: Path,
    *,
    monitor: str,
    daemon: str,
    divisor: float,
    alertmanager: str | None = None,
    period_seconds: int = PERIOD_SECONDS,
) -> AsyncIterator[Prometheus]:
    """Scrapes both every few seconds under the jobs of the shipped configuration, with the shipped rules, shortened."""
    path, port = program("prometheus"), free_port()
    config = yaml.safe_load((RULES / "prometheus.yml").read_text("utf-8"))
    config["global"] = {"scrape_interval": f"{period_seconds}s", "evaluation_interval": "1s"}
    for job, target in zip(config["scrape_configs"], (monitor, daemon), strict=True):
        job["static_configs"] = [{"targets": [target]}]
    managers = [] if alertmanager is None else [alertmanager]
    config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": managers}]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    for name in ("alerts", "recording"):
        (folder / f"{name}.rules.yml").write_text(shortened_rules(name, divisor))
    command: Sequence[str] = (
        path,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--rules.alert.resend-delay=1s",
        "--log.level=warn",
    )
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as session:
        with (folder / "prometheus.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            await answers(session, f"http://127.0.0.1:{port}/-/ready", process, folder / "prometheus.log")
            yield Prometheus(f"http://127.0.0.1:{port}", session)
        finally:
            process.kill()
            await asyncio.to_thread(process.wait)


async def answers(session: aiohttp.ClientSession, url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Waits until this is answered with 200."""
    deadline = asyncio.get_running_loop().time() + 30
    while True:
        assert process.poll() is None, log.read_text()
        assert asyncio.get_running_loop().time() < deadline, log.read_text()
        try:
            async with session.get(url) as answer:
                if answer.status == 200:
                    return
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(0.05)
