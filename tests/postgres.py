"""The servers and databases that tests ask for; the fixtures are in conftest.py."""

from __future__ import annotations

import os
import signal
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from syncd.runtime import embedded_watch
from syncd.runtime.embedded import EmbeddedPostgres

# nothing here survives its session; WAL is needed by no one
FAST = {"wal_level": "minimal", "max_wal_senders": "0", "autovacuum_naptime": "1h"}


def new_folder() -> Path:
    """A new empty folder that the server's user can reach: pytest's own lie below a 0700 one."""
    return Path(tempfile.mkdtemp(prefix="syncd-tests-", dir="/var/tmp"))


@contextmanager
def temporary_postgres() -> Iterator[EmbeddedPostgres]:
    """A started server of its own, removed at the end in whatever state the test leaves it."""
    server = EmbeddedPostgres(new_folder(), durable=False, settings=FAST)
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
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
            sql.Identifier(name), sql.Identifier(template)
        )
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
    """The postmaster first, so that no process is born behind our back."""
    os.kill(server.server_pid, signal.SIGSTOP)
    embedded_watch.send(set(processes_of(server)), signal.SIGSTOP)


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
    postmaster = server.server_pid
    os.kill(postmaster, signal.SIGSTOP)
    embedded_watch.send(processes_of(server), signal.SIGKILL)


def processes_of(server: EmbeddedPostgres) -> set[int]:
    return set(embedded_watch.processes_in(embedded_watch.identity_of(server.data)))
