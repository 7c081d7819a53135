"""`syncd serve` as a real process, with a systemd of our own that receives what it says."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tests.acceptance.processes import until
from tests.acceptance.scene import Scene

TOKEN = "a-token-for-the-tests"
QUICK = {"EMAG_SYNC_STARTUP_DELAY_SECONDS": "0", "EMAG_SYNC_INTERVAL_SECONDS": "3600"}
"""One scheduled run at once, and then none for the length of a test."""
ENDED = "SELECT run_id, status, cause FROM run WHERE completed_at IS NOT NULL ORDER BY started_at"


def free_port() -> int:
    """A port that nobody has just now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@dataclass
class Daemon:
    """A started `syncd serve`. `heard` is what systemd got, one datagram an entry."""

    process: subprocess.Popen[bytes]
    port: int
    stderr: Path
    receiver: socket.socket
    _heard: list[str] = field(default_factory=list)

    @property
    def heard(self) -> list[str]:
        while True:
            try:
                self._heard.append(self.receiver.recv(65536).decode())
            except BlockingIOError:
                return self._heard

    @property
    def log(self) -> str:
        return self.stderr.read_text()

    def said(self, event: str) -> list[str]:
        """The lines of this event."""
        return [line for line in self.log.splitlines() if re.search(rf"\bevent={re.escape(event)}\b", line)]

    async def ready(self, times: int = 1, seconds: float = 20.0) -> None:
        def is_ready() -> bool:
            assert self.process.poll() is None, f"exit {self.process.returncode}:\n{self.log}"
            return self.heard.count("READY=1") >= times

        await until(is_ready, "READY", seconds)

    async def ended(self, seconds: float = 20.0) -> int:
        """Its exit code."""
        try:
            return await asyncio.to_thread(self.process.wait, timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            await asyncio.to_thread(self.process.wait)
            raise AssertionError(f"not ended within {seconds:.0f} s:\n{self.log}") from None

    @property
    def cpu_seconds(self) -> float:
        """What it has used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @asynccontextmanager
    async def idling(self, most_share: float = 0.25) -> AsyncIterator[None]:
        """It has nothing to do in this block, and does it: no busy loop, the port answers, the log is quiet."""
        loop = asyncio.get_running_loop()
        began, used, lines = loop.time(), self.cpu_seconds, len(self.log.splitlines())
        yield
        assert self.process.poll() is None, self.log
        assert (await self.call("GET", "/livez"))[0] == 200
        seconds, used = loop.time() - began, self.cpu_seconds - used
        assert used <= 0.2 + most_share * seconds, f"{used:.2f} s of CPU time in {seconds:.1f} s"
        assert len(self.log.splitlines()) - lines <= 2, self.log

    async def kill(self) -> None:
        self.process.kill()
        await asyncio.to_thread(self.process.wait)

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and document."""
        return await asyncio.to_thread(self._call, method, path, body)

    def _call(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=15) as answer:  # noqa: S310  # loopback
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)


D = TypeVar("D", bound=Daemon)


@asynccontextmanager
async def serving(scene: Scene, *, journal: Path | None = None, **settings: str) -> AsyncIterator[Daemon]:
    """The daemon, READY; killed at the end where it still lives."""
    async with starting(scene, journal=journal, **settings) as daemon:
        await daemon.ready()
        yield daemon


@asynccontextmanager
async def starting(scene: Scene, *, journal: Path | None = None, **settings: str) -> AsyncIterator[Daemon]:
    """The daemon, just started; killed at the end where it still lives. journal: where journald's socket is for it."""
    port = free_port()
    environment = scene.program.environment | QUICK | {
        "EMAG_SYNC_CONTROL_PORT": str(port),
        "EMAG_SYNC_CONTROL_TOKEN": TOKEN,
    } | settings  # fmt: skip
    command = ["syncd", "serve", "--config", str(scene.program.config)]
    async with launched(Daemon, command, port, environment, journal) as daemon:
        yield daemon


@asynccontextmanager
async def launched(
    kind: type[D], command: list[str], port: int, environment: dict[str, str], journal: Path | None = None
) -> AsyncIterator[D]:
    """A service of this command, just started, with a systemd of ours; killed at the end where it still lives."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"{folder}/notify")
        receiver.setblocking(False)
        environment = {"NOTIFY_SOCKET": f"{folder}/notify", "PYTHONFAULTHANDLER": "1"} | environment
        stderr = Path(folder, "stderr")
        with stderr.open("wb") as log:  # noqa: ASYNC230  # a moment
            module = ["-m", *command]
            if journal is not None:
                stream = os.fstat(log.fileno())
                environment["JOURNAL_STREAM"] = f"{stream.st_dev}:{stream.st_ino}"
                module = ["-m", "tests.acceptance.journal_serve", str(journal), *command]
            process = subprocess.Popen(
                [sys.executable, *module], env=environment, stdout=subprocess.DEVNULL, stderr=log
            )
        service = kind(process, port, stderr, receiver)
        try:
            yield service
        except BaseException:
            print(service.log)
            print(service.heard)
            raise
        finally:
            await service.kill()


async def runs_ended(scene: Scene, count: int, seconds: float = 20.0) -> list[tuple[Any, ...]]:
    """(id, status, cause) of the ended runs, as soon as there are so many."""

    def enough() -> list[tuple[Any, ...]]:
        rows = scene.query(ENDED)
        return rows if len(rows) >= count else []

    rows: list[tuple[Any, ...]] = await until(enough, f"{count} runs have ended", seconds)
    return rows


async def run_began(scene: Scene, number: int, seconds: float = 5.0) -> None:
    """The run of this number lives, and those before it have ended."""
    query = "SELECT count(*), count(completed_at) FROM run"
    await until(lambda: scene.query(query) == [(number, number - 1)], f"run {number} has begun", seconds)


async def pages_stored(scene: Scene, at_least: int, seconds: float = 20.0) -> None:
    await until(
        lambda: scene.query("SELECT count(DISTINCT page) FROM sweep_page")[0][0] >= at_least,
        f"{at_least} pages stored",
        seconds,
    )


def overlaps(scene: Scene) -> int:
    """Pairs of runs of one stream that ran at the same moment."""
    count: int = scene.query(
        """
        SELECT count(*) FROM run a JOIN run b ON a.stream_id = b.stream_id AND a.run_id < b.run_id
           AND tstzrange(a.started_at, coalesce(a.completed_at, 'infinity'))
            && tstzrange(b.started_at, coalesce(b.completed_at, 'infinity'))
        """
    )[0][0]
    return count
