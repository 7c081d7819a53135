"""How long a server asks us to wait, in the several ways in which servers say it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite

_SECONDS = re.compile(r"[0-9]{1,300}(\.[0-9]{1,300})?")
_EPOCH_FROM_SECONDS = 1_000_000_000  # some APIs give X-RateLimit-Reset as a date
LONGEST_WAIT_SECONDS = 86_400.0
"""Nobody means more: a longer one would hold the login back for years, by a slip of the server."""


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks us to wait: Retry-After (RFC 9110), else a hint of at most a day."""
    now, asked = datetime.now(UTC), headers.get("Retry-After", "")
    if (seconds := _seconds(asked)) is None and (until := _date(asked)) is not None:
        # By the server's own clock where it tells it: ours may be off.
        seconds = (until - (_date(headers.get("Date", "")) or now)).total_seconds()
    if seconds is not None and seconds >= 0:
        return min(seconds, LONGEST_WAIT_SECONDS)
    for name in ("RateLimit-Reset", "X-RateLimit-Reset"):
        hint = _seconds(headers.get(name, ""))
        if hint is not None and hint > _EPOCH_FROM_SECONDS:
            hint -= now.timestamp()
        if hint is not None and 0 <= hint <= LONGEST_WAIT_SECONDS:
            return hint
    return None


def _seconds(text: str) -> float | None:
    return float(text) if _SECONDS.fullmatch(text.strip()) and isfinite(float(text)) else None


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
