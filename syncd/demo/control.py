"""The demo's daemon: `syncd serve` against the demo's database and marketplace, and calls of its control API."""

from __future__ import annotations

import json
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.client import HTTPException
from typing import Any

import click

from syncd.contract.errors import FatalError
from syncd.demo.children import ended, exchange, start_process, syncd, tail_of, wait_until_ready
from syncd.demo.place import Place

_READY_SECONDS = 30.0
_ANSWER_SECONDS = 10.0
_LOOK_SECONDS = 0.25
_QUARTER = 25


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody has just now, each another one."""
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in taken]


class Control:
    """The control port of the demo's daemon."""

    def __init__(self, place: Place, port: int, process: subprocess.Popen[bytes]) -> None:
        self._place = place
        self._process = process
        self.address = f"127.0.0.1:{port}"

    def curl(self, path: str, *, method: str = "GET", body: str = "") -> str:
        """The call as it can be typed; the token stays in its file, out of the list of processes."""
        options = ["-s"]
        if method == "POST":
            options += ["-X", "POST", "-H", f"@{self._place.header}"]
        if body:
            options += ["-H", "Content-Type: application/json", "-d", body]
        return shlex.join(["curl", *options, f"http://{self.address}{path}"])

    def call(self, path: str, *, method: str = "GET", body: str = "") -> dict[str, Any]:
        """The answer's document. FatalError where it is not a success."""
        try:
            headers = {"Content-Type": "application/json"} if body else {}
            if method == "POST":
                name, _, value = self._place.header.read_text("utf-8").strip().partition(": ")
                headers[name] = value
            status, text = exchange(
                self.address, method, path, body=body or None, headers=headers, seconds=_ANSWER_SECONDS
            )
        except (OSError, HTTPException) as error:
            raise FatalError(f"the daemon at {self.address} did not answer {method} {path}: {error}") from error
        if status >= 300:
            raise FatalError(f"the daemon answered {method} {path} with HTTP {status} {text}")
        document: dict[str, Any] = json.loads(text)
        return document

    @contextmanager
    def frozen(self) -> Iterator[int]:
        """SIGSTOP until the end of the block, whatever ends it: a frozen daemon would not heed a SIGTERM. Its pid."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield self._process.pid
        finally:
            self._process.send_signal(signal.SIGCONT)

    def follow(self, run_id: str) -> dict[str, Any]:
        """Print how far the run is, at each quarter, until it has ended; how it ended."""
        shown = -1
        while (run := self.call(f"/syncs/{run_id}"))["completed_at"] is None:
            now = self.call("/sync/progress")
            if now["in_progress"] and now["total"] and now["percent"] // _QUARTER > shown:
                shown = now["percent"] // _QUARTER
                click.echo(f"  {now['phase']}: {now['progress']:,} of {now['total']:,} records, {now['percent']} %")
            time.sleep(_LOOK_SECONDS)
        return run


@contextmanager
def daemon(place: Place, options: list[str], port: int, extra: Mapping[str, str]) -> Iterator[Control]:
    """`syncd serve`, ready; told to end (SIGTERM) at the end of the block, with exit code 0. extra: variables."""
    with place.daemon_log.open("w", encoding="utf-8") as log:
        process = start_process(syncd("serve", *options), stdout=log, stderr=log, extra=extra)
    with ended(process):
        control = Control(place, port, process)
        wait_until_ready(process, "the daemon", lambda: control.call("/readyz"), lambda: tail_of(place.daemon_log))
        yield control
        click.echo("SIGTERM to the daemon: it stores what it has received, and ends.")
        process.send_signal(signal.SIGTERM)
        code = process.wait(_READY_SECONDS)
        if code != 0:
            raise FatalError(f"the daemon ended with exit code {code}: {tail_of(place.daemon_log)}")
        click.echo("It has ended with exit code 0.")
