"""What lies in an embedded server's folder, and who may enter it.

    FOLDER/                0700; for root 0710 with the server's group, so that the server can pass through
      embedded.lock        marks the folder as ours; locked by the watcher for as long as a server lives here
      postgresql.conf, pg_hba.conf, pg_ident.conf    written anew at every start
      server.log
      data/                the cluster, owned by the server's user; data.new/ until initdb has finished
      run/                 the socket, 0700; elsewhere when this path is too long for a socket
      programs/            for root: the copied programs of the wheel

Nothing outside of FOLDER is ever changed, above all not the permissions of the folders above it. Root keeps
its own files out of folders that the server's user can write: a symbolic link planted there leads nowhere.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from syncd.contract.errors import FatalError
from syncd.runtime.embedded.binaries import ServerUser, own_name

LOCK = "embedded.lock"
PORT = 5432  # names the socket's file; there is no TCP
DATABASE_USER = "syncd"
# Linux: sun_path has 108 bytes with the closing zero. libpq splits hosts at commas, PostgreSQL quotes
SOCKET_PATH_MAX_BYTES = 106
PLAIN_PATH = re.compile(r"/[A-Za-z0-9._/-]+")
LOCK_SECONDS = 30.0
POLL_SECONDS = 0.02


def prepare(folder: Path, user: ServerUser) -> None:
    """Create the folder, or check that it is ours, and let the server's user pass through it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.geteuid():
        raise FatalError(f"{folder} belongs to another user: choose a folder of your own")
    if not is_ours(folder):
        if any(folder.iterdir()):
            raise FatalError(f"{folder} is not empty and was not made by us: choose a new folder")
        (folder / LOCK).touch(mode=0o600)
    if not user.dropped:
        folder.chmod(0o700)
        return
    os.chown(folder, -1, user.gid)
    folder.chmod(0o710)
    enter = ["/bin/sh", "-c", 'cd "$1"', "sh", str(folder)]
    if subprocess.run(enter, capture_output=True, check=False, cwd="/", **user.options()).returncode:
        raise FatalError(
            f"root runs PostgreSQL as {user.name}, and {user.name} cannot enter {folder}: "
            "choose a folder below one that everybody may enter, such as /var/tmp"
        )


def is_ours(folder: Path) -> bool:
    return (folder / LOCK).is_file()


@contextmanager
def locked(folder: Path, timeout_seconds: float = LOCK_SECONDS) -> Iterator[int]:
    """Hold the folder's lock, as a descriptor that a child may inherit and so keep.

    Waits where the last owner is dead, because its server needs a moment to end.
    """
    descriptor = os.open(folder / LOCK, os.O_RDWR)
    try:
        deadline = time.monotonic() + timeout_seconds
        while not _try_lock(descriptor):
            owner = os.pread(descriptor, 20, 0).decode()
            # a zombie has no current directory
            if Path(f"/proc/{owner}/cwd").exists() or time.monotonic() > deadline:
                raise FatalError(f"{folder} is in use: process {owner} runs its PostgreSQL there")
            time.sleep(POLL_SECONDS)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def make_private(folder: Path, user: ServerUser) -> None:
    """A folder that the server alone may use (and root)."""
    folder.mkdir(mode=0o700)
    folder.chmod(0o700)
    if user.dropped:
        os.chown(folder, user.uid, user.gid)


def socket_path(folder: Path) -> Path:
    return folder / f".s.PGSQL.{PORT}"


def fits_a_socket(folder: Path) -> bool:
    path = str(socket_path(folder))
    return len(os.fsencode(path)) <= SOCKET_PATH_MAX_BYTES and PLAIN_PATH.fullmatch(path) is not None


def make_short_folder(user: ServerUser) -> Path:
    """A private folder with a short name, for the socket only; the watcher removes it."""
    places = ["/tmp", "/var/tmp"]  # noqa: S108  # mkdtemp makes a 0700 folder with a name of its own
    if not user.dropped:
        places.insert(0, os.environ.get("XDG_RUNTIME_DIR", ""))
    for place in places:
        if PLAIN_PATH.fullmatch(place) and os.access(place, os.W_OK | os.X_OK):
            made = Path(tempfile.mkdtemp(prefix="syncd-", dir=place))
            if user.dropped:
                os.chown(made, user.uid, user.gid)
            if fits_a_socket(made):
                return made
            made.rmdir()
    raise FatalError(f"no folder for PostgreSQL's socket: none of {', '.join(filter(None, places))} is writable")


def write_configuration(
    folder: Path, user: ServerUser, socket_folder: Path, durable: bool, settings: Mapping[str, str]
) -> None:
    """All three files. Only we and the server's user come in, by what the kernel says about the caller."""
    values = {
        "listen_addresses": "",
        "port": str(PORT),
        "unix_socket_directories": str(socket_folder),
        "unix_socket_permissions": "0700",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] ",
        "track_commit_timestamp": "on",
        "cluster_name": "syncd-embedded",
    }
    if not durable:
        # not synchronous_commit: it loses commits when the server alone dies, and saves little without fsync
        values |= {"fsync": "off", "full_page_writes": "off"}
    values |= settings
    lines = [f"{name} = '{_quoted(value)}'\n" for name, value in values.items()]
    _write(folder / "postgresql.conf", "".join(lines), user)
    _write(folder / "pg_hba.conf", "local all all peer map=owner\n", user)
    names = sorted({own_name(), user.name})
    _write(folder / "pg_ident.conf", "".join(f'owner "{name}" {DATABASE_USER}\n' for name in names), user)


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''")


def _write(path: Path, text: str, user: ServerUser) -> None:
    path.write_text(text)
    path.chmod(0o640)
    if user.dropped:
        os.chown(path, -1, user.gid)
