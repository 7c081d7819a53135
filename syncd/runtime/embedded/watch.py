"""Ends a private PostgreSQL when the process that wanted it is gone, however it went.

Runs as a process of its own beside the server: `python -I -S watch.py DATA_FOLDER SOCKET_FOLDER`.
Its standard input is a pipe whose only writing end is held by the owner: end of file means that the owner
closed it on purpose or died, and both are answered alike, so that the way out after a kill -9 is the one used
every day.
(PR_SET_PDEATHSIG was the alternative: it fires when the *thread* that started the server ends.)

A process belongs to the server when its current directory is the data folder: PostgreSQL's processes all
work there, and leave the session and the process group of their parent. This needs Linux's /proc. A zombie
has no current directory, so it counts as gone.

Standard library only, and no import of this package: it is started by its path.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

GRACE_SECONDS = 15.0
POLL_SECONDS = 0.01


def identity_of(folder: Path) -> tuple[int, int]:
    """Device and inode: stays true when the folder is renamed or unlinked under a running server."""
    found = folder.stat()
    return found.st_dev, found.st_ino


def processes_in(identity: tuple[int, int]) -> dict[int, int]:
    """Living processes whose current directory is this folder, each with its parent's id."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        # gone meanwhile, a zombie, or somebody else's
        with suppress(OSError):
            here = os.stat(f"/proc/{entry}/cwd")
            if (here.st_dev, here.st_ino) == identity:
                stat = Path(f"/proc/{entry}/stat").read_text(errors="replace")
                found[int(entry)] = int(stat.rpartition(")")[2].split()[1])
    return found


def send(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def shut_down(identity: tuple[int, int], grace_seconds: float = GRACE_SECONDS) -> None:
    """End every process of the folder: fast shutdown, SIGKILL after the grace. Returns when all are gone.

    SIGINT goes to the processes without a parent among them: to a postmaster it means fast shutdown, to a
    session that outlived its postmaster it cancels the statement, upon which the session notices and ends.
    """
    asked: set[int] = set()
    deadline = time.monotonic() + grace_seconds
    while found := processes_in(identity):
        if time.monotonic() > deadline:
            send(set(found), signal.SIGKILL)
        else:
            send(set(found), signal.SIGCONT)  # a frozen one could not hear
            roots = {pid for pid, parent in found.items() if parent not in found} - asked
            send(roots, signal.SIGINT)
            asked |= roots
        time.sleep(POLL_SECONDS)


def main() -> None:
    identity = identity_of(Path(sys.argv[1]))
    while os.read(0, 1024):
        pass
    shut_down(identity)
    for folder in sys.argv[2:]:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
