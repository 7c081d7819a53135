"""How the daemons of this machine are found when nothing else answers: a file each, locked while it lives.

    FOLDER/daemon-PID.json    written and locked by the daemon; what it serves, no secret

Who holds the lock is the kernel's word (F_GETLK names the process), not that of the file: a file left behind by
a daemon that was killed has no holder, and nobody else's process can be taken for one. A signal goes through a
pidfd that was open while the lock was held, so it cannot reach a process that got the same number later.

FOLDER: $RUNTIME_DIRECTORY (systemd), /run/syncd for root, $XDG_RUNTIME_DIR/syncd, else /tmp/syncd-UID.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import select
import signal
import stat
import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

log = structlog.get_logger()

_RUN = Path("/run")
_TMP = Path("/tmp")  # noqa: S108  # refused where it belongs to somebody else
_PATTERN = "daemon-*.json"
_FLOCK = struct.Struct("hhqqi4x")
"""struct flock of Linux with 64 bits: type, whence, start, length, pid."""
_CAREFULLY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""A file of somebody else may be anything: neither wait for a pipe's writer nor follow it elsewhere."""
_MOST_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Presence:
    """A living daemon of this machine. database: host, port, name and schema, as its settings have them;
    control_port 0: one that is not known."""

    pid: int
    database: str
    control_address: str
    control_port: int


def own_folder(environ: Mapping[str, str]) -> Path:
    """Where this process leaves its file."""
    if environ.get("RUNTIME_DIRECTORY"):
        return Path(environ["RUNTIME_DIRECTORY"].split(":")[0])
    if os.geteuid() == 0:
        return _RUN / "syncd"
    if environ.get("XDG_RUNTIME_DIR"):
        return Path(environ["XDG_RUNTIME_DIR"], "syncd")
    return _TMP / f"syncd-{os.geteuid()}"


@contextmanager
def announced(environ: Mapping[str, str], *, database: str, control_address: str, control_port: int) -> Iterator[None]:
    """While the block lasts `find_daemons` finds this process. What cannot be written is said, and no more."""
    folder = own_folder(environ)
    path = folder / f"daemon-{os.getpid()}.json"
    facts = {"database": database, "control_address": control_address, "control_port": control_port}
    with ExitStack() as stack:
        try:
            _make_folder(folder)
            _remove_what_killed_ones_left(folder)
            new = folder / f".daemon-{os.getpid()}.new"
            new.unlink(missing_ok=True)
            file = stack.enter_context(new.open("x", encoding="utf-8"))
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # before it has its name: a visible one is locked
            file.write(json.dumps(facts))
            file.flush()
            new.chmod(0o644)
            new.replace(path)
            stack.callback(path.unlink, missing_ok=True)
        except OSError as error:
            log.warning("presence.not_announced", path=str(path), error=error.strerror)
        yield


def _make_folder(folder: Path) -> None:
    folder.mkdir(mode=0o755, exist_ok=True)
    if folder.is_symlink():
        raise NotADirectoryError(errno.ENOTDIR, "a link, which may lead anywhere")


def _remove_what_killed_ones_left(folder: Path) -> None:
    for path in folder.glob(_PATTERN):
        with suppress(OSError):
            descriptor = os.open(path, _CAREFULLY)
            try:
                if _holder(descriptor) is None:
                    path.unlink()
            finally:
                os.close(descriptor)


@contextmanager
def find_daemons(environ: Mapping[str, str]) -> Iterator[list[LivingDaemon]]:
    """The daemons of this machine that we may see, alive at this moment; to be signalled within the block."""
    with ExitStack() as stack:
        found = []
        for folder in _folders(environ):
            for path in sorted(folder.glob(_PATTERN)):
                with suppress(OSError, ValueError, KeyError, TypeError):
                    daemon = _look(path)
                    if daemon is not None:
                        stack.callback(os.close, daemon.descriptor)
                        found.append(daemon)
        yield found


def _folders(environ: Mapping[str, str]) -> list[Path]:
    folders = [own_folder(environ), _RUN / "syncd", _TMP / f"syncd-{os.geteuid()}"]
    if environ.get("XDG_RUNTIME_DIR"):
        folders.append(Path(environ["XDG_RUNTIME_DIR"], "syncd"))
    if os.geteuid() == 0:  # also those that people started by hand
        folders += [*_RUN.glob("user/*/syncd"), *_TMP.glob("syncd-*")]
    return list(dict.fromkeys(folders))


@dataclass(frozen=True, slots=True)
class LivingDaemon:
    """A daemon and the handle through which it is signalled."""

    presence: Presence
    descriptor: int

    def signal(self, number: signal.Signals) -> None:
        """OSError where we may not, or where it has gone."""
        signal.pidfd_send_signal(self.descriptor, number)

    def wait(self, seconds: float) -> bool:
        """Whether it ends within this time."""
        return bool(select.select([self.descriptor], [], [], seconds)[0])


def _look(path: Path) -> LivingDaemon | None:
    descriptor = os.open(path, _CAREFULLY)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        pid = _holder(descriptor)
        if pid is None:
            return None
        handle = os.pidfd_open(pid)
        try:
            if _holder(descriptor) != pid:  # it ended before we had its handle, which may be another's
                os.close(handle)
                return None
            facts = json.loads(os.read(descriptor, _MOST_BYTES))
            presence = Presence(pid, str(facts["database"]), str(facts["control_address"]), int(facts["control_port"]))
        except BaseException:
            os.close(handle)
            raise
        return LivingDaemon(presence, handle)
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> int | None:
    """The process that holds the lock, by the kernel's word; None where nobody does."""
    asked = _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
    kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    return pid if kind != fcntl.F_UNLCK and pid > 0 else None
