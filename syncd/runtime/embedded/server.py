"""A private PostgreSQL in one folder, for the demo and the tests: no installation, no root, no port.

    with EmbeddedPostgres(folder) as server:
        psycopg.connect(server.conninfo())

Three processes: we, the server (our child, in a session of its own, so that a terminal's Ctrl-C reaches us
only), and a watcher that ends the server when we close our end of a pipe, or die.

Invariants:
    1. No server outlives its owner, not even after kill -9: the watcher starts before anything it watches.
    2. One server a folder: the watcher holds the folder's lock until the last process has gone.
    3. `data` is a complete cluster: initdb works in `data.new`, which is renamed at the end.
    4. Nobody comes in but the owner and the server's user, through a socket in a 0700 folder; no TCP.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

from syncd.contract.errors import FatalError
from syncd.runtime.embedded import folder as layout
from syncd.runtime.embedded import watch as watch
from syncd.runtime.embedded.binaries import (
    Binaries,
    ServerUser,
    Source,
    copy_wheel,
    find_binaries,
    server_user,
)

T = TypeVar("T")

START_SECONDS = 60.0
POLL_SECONDS = 0.01
LOG_LINES_SHOWN = 15


class EmbeddedPostgres:
    """One server, run by this object. Not for two threads at once.

    prefer    whose programs to use where both exist: this machine's (`local`) or the wheel's
    durable   False: a crash of the machine may cost the data (of the server's process does not); much faster
    settings  more of postgresql.conf; wins over ours

    Everything raises FatalError, with the end of the server's log where there is one.
    """

    def __init__(
        self,
        folder: Path,
        *,
        durable: bool = True,
        prefer: Source = "local",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self._durable = durable
        self._prefer: Source = prefer
        self._settings = dict(settings or {})
        self._server: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        self._cluster: tuple[int, int] | None = None  # identity of its folder
        self._socket_folder: Path | None = None
        self._binaries: Binaries | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def server_pid(self) -> int:
        """The postmaster's process id."""
        return self._running(self._server).pid

    @property
    def binaries(self) -> Binaries:
        return self._running(self._binaries)

    @property
    def version(self) -> str:
        """As the server says it: "15.18"."""
        return self.binaries.version

    def conninfo(self, database: str = "postgres") -> str:
        """A URI for libpq, without a secret: the kernel tells the server who we are. Changes with a start
        only where the folder's path is too long for a socket."""
        host = quote(str(self._running(self._socket_folder)), safe="/")
        return f"postgresql://{layout.DATABASE_USER}@/{quote(database, safe='')}?host={host}&port={layout.PORT}"

    def start(self) -> None:
        """Returns when the server takes connections. Nothing happens when it does already."""
        if self._server is not None and self._server.poll() is None:
            return
        self.stop()
        try:
            self._start()
        except OSError as error:
            self.stop()
            raise FatalError(f"PostgreSQL did not start in {self.folder}: {error}") from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Fast shutdown: open transactions are rolled back. Returns when every process has gone."""
        if self._watcher is not None:
            if self._watcher.stdin is not None:
                self._watcher.stdin.close()
            self._watcher.wait()
        if self._cluster is not None:
            watch.shut_down(self._cluster)  # finds nobody, unless somebody killed the watcher
        if self._server is not None:
            self._server.wait()
        self._watcher = self._server = self._cluster = self._socket_folder = None

    def remove(self) -> None:
        """Stop, and delete the folder with all that is in it."""
        self.stop()
        if not self.folder.exists():
            return
        if not layout.is_ours(self.folder):
            raise FatalError(f"{self.folder} was not made by us: it is not removed")
        with layout.locked(self.folder):
            shutil.rmtree(self.folder)

    def _start(self) -> None:
        user = server_user()
        layout.prepare(self.folder, user)
        with layout.locked(self.folder) as lock:
            self._binaries = self._choose_binaries(user)
            cluster = self._clear_leftovers(user)
            self._socket_folder = self._make_socket_folder(user)
            self._cluster = watch.identity_of(cluster)
            self._watcher = self._start_watcher(cluster, lock)
        if cluster != self.data:
            self._initialize(cluster, user)
        layout.write_configuration(self.folder, user, self._socket_folder, self._durable, self._settings)
        files = [
            f"--{name}_file={self.folder / file}"
            for name, file in (
                ("config", "postgresql.conf"),
                ("hba", "pg_hba.conf"),
                ("ident", "pg_ident.conf"),
            )
        ]
        with self.log.open("ab") as log:
            self._server = subprocess.Popen(
                [self._binaries.folder / "postgres", "-D", self.data, *files],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self._surroundings(self.data, user),
            )
        self._wait_until_ready(self._server)

    def _choose_binaries(self, user: ServerUser) -> Binaries:
        made_by = self.data / "PG_VERSION"
        major = int(made_by.read_text()) if made_by.exists() else None
        found = find_binaries(self._prefer, user, major)
        if found.source == "wheel" and user.dropped:
            return copy_wheel(found, self.folder / "programs" / found.version)
        return found

    def _clear_leftovers(self, user: ServerUser) -> Path:
        """The cluster's folder, with nothing alive in it: `data`, or an empty `data.new`.

        We hold the lock, so whatever still runs here has lost its owner, and a `postmaster.pid` is stale
        even if a stranger has got its number meanwhile (PostgreSQL would believe it).
        """
        unfinished = self.folder / "data.new"
        for folder in (self.data, unfinished):
            if folder.exists():
                watch.shut_down(watch.identity_of(folder))
        if self.data.exists():
            (self.data / "postmaster.pid").unlink(missing_ok=True)
            return self.data
        if unfinished.exists():
            shutil.rmtree(unfinished)
        layout.make_private(unfinished, user)
        return unfinished

    def _make_socket_folder(self, user: ServerUser) -> Path:
        folder = self.folder / "run"
        if not layout.fits_a_socket(folder):
            return layout.make_short_folder(user)
        if folder.exists():
            shutil.rmtree(folder)
        layout.make_private(folder, user)
        return folder

    def _start_watcher(self, cluster: Path, lock: int) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", watch.__file__, cluster, str(self._socket_folder)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(lock,),
                **self._surroundings(Path("/"), None),
            )

    def _initialize(self, cluster: Path, user: ServerUser) -> None:
        binaries = self._running(self._binaries)
        command = [str(binaries.folder / "initdb"), "-D", str(cluster), "-U", layout.DATABASE_USER]
        command += ["--encoding=UTF8", "--locale=C", "--auth-local=peer", "--auth-host=reject"]
        if not self._durable:
            command.append("--no-sync")
        with self.log.open("ab") as log:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
                **self._surroundings(cluster, user),
            )
        if done.returncode != 0:
            raise FatalError(f"initdb ended with {done.returncode}; {self._end_of_log()}")
        cluster.rename(self.data)

    def _surroundings(self, folder: Path, user: ServerUser | None) -> dict[str, Any]:
        """What every child gets: its own session, its user, and none of our environment's secrets.

        The current directory tells the watcher whose the process is, so it is set before the first
        instruction of the program.
        """
        kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
        options: dict[str, Any] = user.options() if user else {}
        environment = kept | {"LC_ALL": "C", "TZ": "UTC"}
        return options | {"cwd": folder, "env": environment, "start_new_session": True, "umask": 0o077}

    def _wait_until_ready(self, server: subprocess.Popen[bytes]) -> None:
        """The postmaster writes its state into line 8 of its lock file; pg_ctl reads the same."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            if server.poll() is not None:
                raise FatalError(f"PostgreSQL ended with {server.returncode}; {self._end_of_log()}")
            try:
                lines = (self.data / "postmaster.pid").read_text().splitlines()
            except FileNotFoundError:
                lines = []
            if len(lines) >= 8 and lines[7].strip() == "ready":
                return
            if time.monotonic() > deadline:
                raise FatalError(f"PostgreSQL was not ready after {START_SECONDS:.0f} s; {self._end_of_log()}")
            time.sleep(POLL_SECONDS)

    def _end_of_log(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        return "\n".join([f"the end of {self.log}:", *lines])

    def _running(self, thing: T | None) -> T:
        if thing is None:
            raise FatalError(f"PostgreSQL in {self.folder} is not started")
        return thing
