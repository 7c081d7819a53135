"""What all sides share: one PostgreSQL, one API server, and the program that measures."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psycopg

from bench.offers import Contents
from syncd.runtime.embedded import EmbeddedPostgres

ROOT = Path(__file__).resolve().parents[1]
LAUNCHER = Path(__file__).with_name("launch.py")
# Durable as installed (fsync, synchronous_commit, full_page_writes on). Autovacuum would wake in somebody's
# measurement and not in somebody else's: it sleeps for everybody.
SERVER_SETTINGS = {"autovacuum_naptime": "1h", "max_wal_size": "4GB", "checkpoint_timeout": "1h"}
SHOWN_SETTINGS = (
    "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size", "checkpoint_timeout",
    "autovacuum_naptime",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run of a side's commands took.

    seconds        from the start of the first process to the end of the last, the interpreter's start included
    work_seconds   the same from the first call that reached the API; equal to `seconds` where there was none
    cpu_seconds    user + system of all processes
    peak_bytes     resident memory: the sum over the side's commands of the largest process of each
    wal_bytes      written by the server meanwhile, right after a checkpoint (full-page images included)
    written        rows of the side's table that the run inserted or rewrote
    """

    seconds: float
    work_seconds: float
    cpu_seconds: float
    peak_bytes: int
    wal_bytes: int
    written: int
    calls: int
    output: str


class SideFailedError(Exception):
    """A side's command ended with a fault; the message holds the end of its log."""


class ApiServer:
    """The server of bench/server.py in a process of its own."""

    def __init__(self, offers: int, *, states: int = 2) -> None:
        self.offers = offers
        self._states = states
        self._process: subprocess.Popen[str]

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "bench.server", "--offers", str(self.offers), "--states", str(self._states)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self._process.stdout is not None
        self._origin = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    @property
    def base_url(self) -> str:
        """As `EMAG_API_BASE_URL`."""
        return f"{self._origin}/api-3"

    def serve(self, state: int) -> dict[str, Any]:
        """Serve the offers before (0) or after (1) the change, and forget the calls so far."""
        return self._ask(f"/bench/serve/{state}")

    def facts(self) -> dict[str, Any]:
        """The calls since then, and what is served."""
        return self._ask("/bench/facts")

    def _ask(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(self._origin + path) as answer:  # noqa: S310  # our own server
            facts: dict[str, Any] = json.load(answer)
        return facts


class Database:
    """One side's database in the shared server."""

    def __init__(self, server: EmbeddedPostgres, name: str) -> None:
        self._server = server
        self._name = name

    @property
    def url(self) -> str:
        """For libpq."""
        return self._server.conninfo(self._name)

    @property
    def socket(self) -> str:
        """The folder of the server's socket."""
        return str(psycopg.conninfo.conninfo_to_dict(self.url)["host"])

    @property
    def name(self) -> str:
        """The database's name."""
        return self._name

    def create(self) -> None:
        """Make it anew, empty."""
        with psycopg.connect(self._server.conninfo(), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{self._name}" WITH (FORCE)')
            connection.execute(f'CREATE DATABASE "{self._name}"')

    def ask(self, query: str) -> tuple[Any, ...]:
        """The one row of a query."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute(query).fetchone()
        assert row is not None
        return row

    def contents(self, query: str) -> Contents:
        """What the side's table holds."""
        count, digest = self.ask(query)
        return Contents(count, digest)

    def checkpoint(self) -> None:
        """So that nobody pays for the dirty pages of the run before."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")


@contextmanager
def temporary_postgres() -> Iterator[EmbeddedPostgres]:
    """A durable server in a folder of its own, removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="syncd-bench-", dir="/var/tmp"))  # its own, 0700
    server = EmbeddedPostgres(folder, settings=SERVER_SETTINGS)
    try:
        server.start()
        yield server
    finally:
        server.remove()
        shutil.rmtree(folder, ignore_errors=True)


def measure(
    database: Database,
    api: ApiServer,
    commands: list[list[str]],
    *,
    environment: dict[str, str],
    table: str,
    log: Path,
    timeout_seconds: float,
) -> Cost:
    """Run the commands as a pipeline against the served state; SideFailedError where one of them fails."""
    database.checkpoint()
    wal, xid = database.ask("SELECT pg_current_wal_lsn(), pg_current_xact_id()::text::bigint")
    spec = {"commands": commands, "log": str(log), "timeout_seconds": timeout_seconds}
    facts = _launch(spec, environment)
    if any(facts["codes"]):
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise SideFailedError(f"ended with {facts['codes']}: {facts['output'][-500:]}\n{tail}")
    calls = api.facts()
    (wal_bytes,) = database.ask(f"SELECT (pg_current_wal_lsn() - '{wal}'::pg_lsn)::bigint")
    (written,) = database.ask(f"SELECT count(*) FROM {table} WHERE xmin::text::bigint > {xid}")
    return Cost(
        seconds=facts["ended"] - facts["started"],
        work_seconds=facts["ended"] - max(facts["started"], calls["first_call"] or 0.0),
        cpu_seconds=facts["cpu_seconds"],
        peak_bytes=sum(facts["peak_bytes"]),
        wal_bytes=wal_bytes,
        written=written,
        calls=calls["calls"],
        output=facts["output"],
    )


def _launch(spec: dict[str, object], environment: dict[str, str]) -> dict[str, Any]:
    """What launch.py says about the commands. They have a session of their own and end with us."""
    with subprocess.Popen(
        [sys.executable, "-I", "-S", str(LAUNCHER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        cwd=ROOT,
        text=True,
        start_new_session=True,
    ) as launcher:
        try:
            said, _ = launcher.communicate(json.dumps(spec))
        except BaseException:
            os.killpg(launcher.pid, signal.SIGKILL)
            raise
    facts: dict[str, Any] = json.loads(said)
    return facts
