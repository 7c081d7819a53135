"""Runs `syncd` as people do: a real process with its settings in the environment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any

DEADLINE_SECONDS = 60.0

# The peak of a child counts the memory of whoever forked it: a small parent in between keeps ours out of it.
_MEASURE = (
    "import resource, subprocess, sys\n"
    "code = subprocess.call(sys.argv[2:])\n"
    "peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss\n"
    "open(sys.argv[1], 'w').write(str(peak))\n"
    "sys.exit(code)"
)


@dataclass
class Program:
    """`syncd` against one database and one marketplace.

    settings  further environment, as EMAG_SYNC_MAX_PAGES="10"
    config    a settings file (TOML), for what the environment cannot say
    """

    database: str
    base_url: str
    username: str = "sandbox"
    password: str = "sandbox"
    settings: dict[str, str] = field(default_factory=dict)
    config: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("EMAG_", "DATABASE_", "DB_"))}
        return kept | {
            "DATABASE_URL": self.database,
            "EMAG_API_BASE_URL": self.base_url,
            "EMAG_API_USERNAME": self.username,
            "EMAG_API_PASSWORD": self.password,
            **self.settings,
        }

    def call(
        self, *arguments: str, timeout: float = DEADLINE_SECONDS, **settings: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "syncd", *arguments],
            env=self.environment | settings,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def monitor(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """A command of the monitor, which needs no marketplace."""
        kept = {name: value for name, value in self.environment.items() if not name.startswith("EMAG_API_")}
        return subprocess.run(
            [sys.executable, "-m", "monitor", *arguments],
            env=kept | settings,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )

    def sync(self, *arguments: str, timeout: float = DEADLINE_SECONDS, **settings: str) -> dict[str, Any]:
        """`syncd run --json`: the facts of its one stream, with `exit_code`, `stderr` and `peak_mib` beside them."""
        config = ["--config", str(self.config)] if self.config else []
        with tempfile.NamedTemporaryFile("r") as peak:
            command = [sys.executable, "-m", "syncd", "run", "--json", *config, *arguments]
            done = _run_group(
                [sys.executable, "-I", "-S", "-c", _MEASURE, peak.name, *command], self.environment | settings, timeout
            )
            beside = {"exit_code": done.returncode, "stderr": done.stderr, "peak_mib": int(peak.read()) / 1024}
        if not done.stdout:
            return beside
        facts = json.loads(done.stdout)
        assert facts["exit_code"] == done.returncode
        return {**facts["syncs"][0], **beside}

    @contextmanager
    def started(self, *arguments: str, **settings: str) -> Iterator[subprocess.Popen[str]]:
        """A command that goes on while the test works; killed at the end where it still lives."""
        process = subprocess.Popen(
            [sys.executable, "-m", "syncd", *arguments],
            env=self.environment | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()


def _run_group(command: list[str], environment: dict[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
    """As subprocess.run, but whatever the command started dies with it at the timeout."""
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def wait_until(condition: Callable[[], Any], *, what: str, seconds: float = DEADLINE_SECONDS) -> Any:
    """Poll until the condition holds; its value. Fails with `what` at the deadline."""
    until = monotonic() + seconds
    while monotonic() < until:
        if value := condition():
            return value
        sleep(0.02)
    raise AssertionError(f"{what}: not within {seconds:.0f} s")
