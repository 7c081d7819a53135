"""The processes that the demo starts, and their end.

Invariant: none outlives the demo. Ctrl-C reaches the demo alone (each child has a process group of its own),
which then ends them in order; should it be killed, the kernel ends them (PR_SET_PDEATHSIG: it fires when the
thread that started the child ends, and the demo has one thread only). It kills: with us goes the database, and
a sync would wait for that as long as its lease lasts.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from syncd.contract.errors import FatalError

_PR_SET_PDEATHSIG = 1
_END_SECONDS = 20.0
_ANSWER_SECONDS = 30.0
_LOOK_SECONDS = 0.25
_LOG_CHARACTERS_SHOWN = 2000


def syncd(*arguments: str) -> list[str]:
    """The command line of one of our own commands."""
    return [sys.executable, "-m", "syncd", *arguments]


def run(command: Sequence[str]) -> int:
    """Run a command on our terminal to its end; its exit code. Interrupted, it ends gently before we go on."""
    sys.stdout.flush()
    with ended(start_process(command)) as process:
        return process.wait()


def exchange(
    address: str, method: str, path: str, *, body: str | None, headers: dict[str, str], seconds: float
) -> tuple[int, str]:
    """One call of a child at `host:port`: status and body. OSError or HTTPException where it does not answer."""
    connection = HTTPConnection(address, timeout=seconds)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


class Marketplace:
    """A running sandbox. `facts` has base_url, username, password and port."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts

    def mutate(self, **changes: object) -> dict[str, Any]:
        """Change the catalogue; what the sandbox says that it did."""
        address = urlsplit(str(self.facts["base_url"])).netloc
        body, headers = json.dumps(changes), {"Content-Type": "application/json"}
        try:
            status, text = exchange(
                address, "POST", "/_sandbox/mutate", body=body, headers=headers, seconds=_ANSWER_SECONDS
            )
        except (OSError, HTTPException) as error:
            raise FatalError(f"the sandbox did not answer: {error}") from error
        if status != 200:
            raise FatalError(f"the sandbox refused to change its offers: HTTP {status} {text}")
        done: dict[str, Any] = json.loads(text)
        return done


@contextmanager
def marketplace(offers: int, log: Path) -> Iterator[Marketplace]:
    """A sandbox on a free port, until the block ends."""
    with log.open("w", encoding="utf-8") as errors:
        command = syncd("sandbox", "--offers", str(offers), "--json", "--control")
        process = start_process(command, stdout=subprocess.PIPE, stderr=errors)
    with ended(process):
        line = process.stdout.readline() if process.stdout else b""
        if not line:
            raise FatalError(f"the sandbox did not start: {tail_of(log)}")
        yield Marketplace(json.loads(line))


def tail_of(log: Path) -> str:
    """The last that a process has said."""
    return log.read_text("utf-8", "replace")[-_LOG_CHARACTERS_SHOWN:].strip()


def start_process(
    command: Sequence[str], *, extra: Mapping[str, str] = MappingProxyType({}), **streams: Any
) -> subprocess.Popen[bytes]:
    """A process in a group of its own, which dies with us. extra: further variables of its environment."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        process_group=0,
        preexec_fn=_dying_with_us(),  # safe here: we have one thread
        env=os.environ | extra,
        **streams,
    )


def wait_until_ready(
    process: subprocess.Popen[bytes], name: str, ask: Callable[[], object], said: Callable[[], str]
) -> None:
    """Until `ask` raises no FatalError any more. FatalError with what it has said where it ends, or is silent."""
    until = time.monotonic() + _ANSWER_SECONDS
    while True:
        if process.poll() is not None:
            raise FatalError(f"{name} did not start: {said()}")
        try:
            ask()
        except FatalError:
            if time.monotonic() > until:
                raise
            time.sleep(_LOOK_SECONDS)
        else:
            return


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """At the end of the block the process has ended: asked first, killed where it does not."""
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()  # not SIGINT: a program still importing would answer with a traceback
                try:
                    process.wait(_END_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()


def _dying_with_us() -> Callable[[], None]:
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # we died before we could ask
            os._exit(1)

    return ask
