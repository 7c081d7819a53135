"""How long to wait before the same call again.

wait = max(2^(attempt-1) seconds up to 30 s, × [0.5, 1) jitter;  what the server asked for)
"""

from __future__ import annotations

BASE_SECONDS = 1.0
LONGEST_SECONDS = 30.0
DECLARED_ABOVE_SECONDS = 5.0
"""Every intended wait longer than this is written to the ledger before it begins."""


def backoff_seconds(attempt: int, jitter: float, retry_after_seconds: float | None = None) -> float:
    """The wait after failed attempt number `attempt` (from 1). jitter is uniform in [0, 1).

    Retry-After is a floor: coming back earlier than asked only prolongs the ban.
    """
    wait: float = min(LONGEST_SECONDS, BASE_SECONDS * 2.0 ** (attempt - 1)) * (0.5 + jitter / 2)
    if retry_after_seconds is not None:
        wait = max(wait, retry_after_seconds + jitter * 0.1)
    return wait
