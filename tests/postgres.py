"""The servers and databases that tests ask for; the fixtures are in conftest.py."""

from __future__ import annotations

import os
import signal
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from syncd.runtime.embedded import EmbeddedPostgres
from syncd.runtime.embedded import watch as embedded_watch

# nothing here survives its session; WAL is needed by no one
FAST = {"wal_level": "minimal", "max_wal_senders": "0", "autovacuum_naptime": "1h", "track_commit_timestamp": "on"}


def new_folder() -> Path:
    """A new empty folder that the server's user can reach: pytest's own lie below a 0700 one."""
    return Path(tempfile.mkdtemp(prefix="syncd-tests-", dir="/var/tmp"))


def wait_until(condition: Callable[[], bool], what: str, timeout_seconds: float = 30.0) -> None:
    """Returns as soon as the condition holds; fails naming it after the deadline."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {timeout_seconds} s still not: {what}"
        time.sleep(0.005)


@contextmanager
def temporary_postgres() -> Iterator[EmbeddedPostgres]:
    """A started server of its own, removed at the end in whatever state the test leaves it."""
    prefer = "wheel" if os.environ.get("SYNCD_TEST_POSTGRES") == "wheel" else "local"
    server = EmbeddedPostgres(new_folder(), durable=False, prefer=prefer, settings=FAST)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@contextmanager
def temporary_database(server: EmbeddedPostgres, template: str = "template1") -> Iterator[str]:
    """The conninfo of a new database, dropped at the end together with the sessions that it still has."""
    name = f"test_{uuid.uuid4().hex}"
    # a file copy takes 10 ms, the default strategy through the WAL 50 (PostgreSQL 15, fsync off)
    strategy = sql.SQL("" if server.binaries.major < 15 else " STRATEGY file_copy")
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        connection.execute(create + strategy)
    try:
        yield server.conninfo(name)
    finally:
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def frozen(server: EmbeddedPostgres) -> Iterator[None]:
    """SIGSTOP to every process of the server: connections stay open and nothing answers."""
    freeze(server)
    try:
        yield
    finally:
        thaw(server)


def freeze(server: EmbeddedPostgres) -> None:
    """Returns when every process has stopped: the postmaster first, then whatever it had started by then."""
    os.kill(server.server_pid, signal.SIGSTOP)
    wait_until(lambda: state_of(server.server_pid) == "T", "the postmaster has stopped")
    running = processes_of(server)
    embedded_watch.send(running, signal.SIGSTOP)
    wait_until(lambda: {state_of(pid) for pid in running} <= {"T", "Z"}, "every process has stopped")


def thaw(server: EmbeddedPostgres) -> None:
    """Children first: a postmaster that finds its children dead or silent must not be the first to wake."""
    postmaster = server.server_pid
    embedded_watch.send(processes_of(server) - {postmaster}, signal.SIGCONT)
    os.kill(postmaster, signal.SIGCONT)


def restart(server: EmbeddedPostgres) -> None:
    """As an operator's restart: every session ends with SQLSTATE 57P01, the server is back within 0.1 s."""
    server.stop()
    server.start()


def crash(server: EmbeddedPostgres) -> None:
    """kill -9 of every process: sessions end without a word. `server.start()` recovers."""
    freeze(server)  # so that none is born or ends by itself in between
    embedded_watch.send(processes_of(server) - {server.server_pid}, signal.SIGKILL)
    kill_and_wait(server.server_pid)
    wait_until(lambda: not processes_of(server), "every process of the server has gone")


def kill_and_wait(child: int) -> None:
    """A killed process lives on for a moment, in which a start would still find it running."""
    os.kill(child, signal.SIGKILL)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)


def processes_of(server: EmbeddedPostgres) -> set[int]:
    return set(embedded_watch.processes_in(embedded_watch.identity_of(server.data)))


def state_of(pid: int) -> str:
    """As ps shows it: R running, S sleeping, T stopped, Z zombie."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
