"""Who may call, and how often: HTTP Basic, and the rate limit that every route of a login shares.

A window is a sliding log, not a fixed one: a call passes if fewer than `calls` calls of this login passed in
the `seconds` before it, less a tolerance of 20 ms for the network's jitter. So a client that never makes
more than 3 calls in any second is never refused, and one that does is, wherever the second begins.
Calls that are refused by the limit do not fill the window; all others do, invalid ones included
(vendor document v4.4.9).
"""

from __future__ import annotations

import base64
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

TOLERANCE_SECONDS = 0.020


@dataclass(frozen=True, slots=True)
class Window:
    """At most `calls` calls in any `seconds`."""

    calls: int
    seconds: float


VENDOR_WINDOWS = (Window(3, 1.0), Window(180, 60.0))
"""Every route but orders, together, per account (vendor document v4.4.9)."""


class RateLimit:
    """The windows of every login; without windows it refuses nothing."""

    def __init__(self, windows: tuple[Window, ...], clock: Callable[[], float] = time.monotonic) -> None:
        self.windows = windows
        self._clock = clock
        self._passed: dict[str, tuple[deque[float], ...]] = {}

    def admit(self, login: str) -> tuple[bool, int]:
        """Whether this call passes, and how many more would pass now by the shortest window."""
        if not self.windows:
            return True, 0
        now = self._clock()
        logs = self._passed.setdefault(login, tuple(deque() for _ in self.windows))
        for window, log in zip(self.windows, logs, strict=True):
            while log and log[0] <= now - (window.seconds - TOLERANCE_SECONDS):
                log.popleft()
        passes = all(len(log) < window.calls for window, log in zip(self.windows, logs, strict=True))
        if passes:
            for log in logs:
                log.append(now)
        return passes, max(0, self.windows[0].calls - len(logs[0]))


def login_of(authorization: str | None) -> tuple[str, str] | None:
    """User name and password of a Basic Authorization header; None if there is none that can be read."""
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode("utf-8", "replace")
    except ValueError:
        return None
    username, colon, password = decoded.partition(":")
    return (username, password) if colon else None
