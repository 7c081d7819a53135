"""Runs `syncd` as people do: a real process with its settings in the environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any

DEADLINE_SECONDS = 60.0


@dataclass
class Program:
    """`syncd` against one database and one marketplace.

    settings  further environment, as EMAG_SYNC_MAX_PAGES="10"
    """

    database: str
    base_url: str
    username: str = "sandbox"
    password: str = "sandbox"
    settings: dict[str, str] = field(default_factory=dict)

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

    def sync(self, *arguments: str, timeout: float = DEADLINE_SECONDS, **settings: str) -> dict[str, Any]:
        """`syncd run --json`: the facts of its one stream, with `exit_code` and `stderr` beside them."""
        done = self.call("run", "--json", *arguments, timeout=timeout, **settings)
        if not done.stdout:
            return {"exit_code": done.returncode, "stderr": done.stderr}
        facts = json.loads(done.stdout)
        assert facts["exit_code"] == done.returncode
        return {**facts["syncs"][0], "exit_code": done.returncode, "stderr": done.stderr}

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


def wait_until(condition: Callable[[], Any], *, what: str, seconds: float = DEADLINE_SECONDS) -> Any:
    """Poll until the condition holds; its value. Fails with `what` at the deadline."""
    until = monotonic() + seconds
    while monotonic() < until:
        if value := condition():
            return value
        sleep(0.02)
    raise AssertionError(f"{what}: not within {seconds:.0f} s")
