"""Telling systemd how we are (sd_notify), without ever waiting for it.

Built on the package `sdnotify`, whose faults are kept away from it (version 0.3.2, tried in 2026-11):

    it blocks when systemd does not read            -> a socket that never waits
    it stays connected to a socket that is gone     -> the address is looked up at every send
    text beyond Latin-1 makes it send nothing       -> it only ever gets ASCII
    one bad line costs the whole datagram           -> WATCHDOG=1 travels alone

Invariants:
    1. No call here waits or raises because of systemd; without $NOTIFY_SOCKET every call does nothing.
    2. READY, RELOADING and STOPPING arrive in their order, later where they cannot arrive now. STATUS is sent at
       most once in `STATUS_SECONDS`, and the last one wins. A lost WATCHDOG is made up for by the next.
    3. The watchdog is fed by the event loop itself; nobody's health is asked.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping

from sdnotify import SystemdNotifier

from syncd.runtime.log import redact

STATUS_SECONDS = 1.0
LONGEST_STATUS = 500  # systemd drops a datagram of more than 4096 bytes


class Notifier(SystemdNotifier):  # type: ignore[misc]  # the package has no types
    """One a process.

    watchdog_seconds    how often systemd wants to hear WATCHDOG; None where it does not
    """

    def __init__(
        self,
        environ: Mapping[str, str] = os.environ,
        *,
        status_seconds: float = STATUS_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # not the package's __init__: it would connect a socket that blocks, and leak it without $NOTIFY_SOCKET
        self.debug = True  # raise, so that we know what did not arrive
        address = environ.get("NOTIFY_SOCKET", "")
        self.socket = _NeverWaitingSocket(address) if address[:1] in ("/", "@") else None
        self.watchdog_seconds = _watchdog_seconds(environ) if self.socket else None
        self._owed: deque[str] = deque()
        self._status: str | None = None
        self._status_not_before = 0.0
        self._status_seconds = status_seconds
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None

    def ready(self) -> None:
        """Start-up, or a reload, is over."""
        self._owe("READY=1")

    def reloading(self) -> None:
        """SIGHUP has come; `ready` must follow, whatever became of the new configuration."""
        self._owe(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The drain has begun."""
        self._owe("STOPPING=1")

    def status(self, text: str) -> None:
        """The line of `systemctl status`; what is not printable ASCII becomes a question mark."""
        printable = "".join(char if char.isascii() and char.isprintable() else "?" for char in redact(text))
        self._status = f"STATUS={printable[:LONGEST_STATUS]}"
        self._flush()

    def watchdog(self) -> None:
        """The event loop is alive."""
        self._try("WATCHDOG=1")
        self._flush()

    def extend_timeout(self, seconds: float) -> None:
        """Starting or stopping goes on; give up on us only when we are silent for that long from now on."""
        self._try(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")

    def close(self) -> None:
        """Say what waits, once more, and be silent from then on."""
        self._status_not_before = 0.0
        self._flush()
        if self._timer is not None:
            self._timer.cancel()
        if self.socket is not None:
            self.socket.close()
        self.socket = None

    def _owe(self, state: str) -> None:
        self._owed.append(state)
        self._flush()

    def _flush(self) -> None:
        """Everything owed in its order, then the status where it is its time; a timer for what is left."""
        if self.socket is None:
            self._owed.clear()
            self._status = None
            return
        while self._owed and self._try(self._owed[0]):
            self._owed.popleft()
        now = self._clock()
        if self._status is not None and not self._owed and now >= self._status_not_before and self._try(self._status):
            self._status = None
            self._status_not_before = now + self._status_seconds
        if self._owed or self._status is not None:
            self._flush_in(max(self._status_not_before - now, self._status_seconds / 10))

    def _flush_in(self, seconds: float) -> None:
        if self._timer is not None:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # before or after the loop: the next call flushes
            return
        self._timer = loop.call_later(seconds, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._flush()

    def _try(self, state: str) -> bool:
        if self.socket is None:
            return False
        try:
            self.notify(state)
        except OSError:  # systemd does not read just now, or makes its socket anew
            return False
        return True


async def feed_watchdog(notifier: Notifier) -> None:
    """Say every third of the interval that this loop turns; two calls may get lost. Returns where nobody asks."""
    if notifier.watchdog_seconds is None:
        return
    while True:
        notifier.watchdog()
        await asyncio.sleep(notifier.watchdog_seconds / 3)


class _NeverWaitingSocket:
    """What the package sends through: a datagram to wherever the address leads now."""

    def __init__(self, address: str) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)

    def sendall(self, data: bytes) -> None:
        """OSError where nobody reads."""
        self._socket.sendto(data, self._address)

    def close(self) -> None:
        self._socket.close()


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    """$WATCHDOG_USEC, unless $WATCHDOG_PID names another process (sd_watchdog_enabled(3))."""
    microseconds, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not (microseconds.isascii() and microseconds.isdigit()) or int(microseconds) == 0:
        return None
    return int(microseconds) / 1_000_000 if pid in ("", str(os.getpid())) else None
