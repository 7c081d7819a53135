"""Which process we are, and whether another one on this host still lives (Linux, /proc)."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from syncd.contract.runs import Owner


def _boot() -> str:
    """Boot id and pid namespace: a pid means the same process only where both are equal. '' where unknown."""
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot_id} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """The process's start in clock ticks since boot, '' for one that has ended; None where /proc has no such entry."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else fields[18]


def _exists(pid: int) -> bool:
    """Whether the pid is taken, by the kernel's word: a /proc mounted with hidepid shows only our own."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def current_owner() -> Owner:
    """This process."""
    return Owner(socket.gethostname(), _boot(), os.getpid(), _started(os.getpid()) or "")


def proven_dead(owner: Owner) -> bool:
    """True only where the same boot and namespace show that the owner's process is gone."""
    if not owner.boot or not owner.started or owner.boot != _boot():
        return False
    started = _started(owner.pid)
    return not _exists(owner.pid) if started is None else started != owner.started
