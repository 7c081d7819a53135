"""The request log: every call that arrived, in order of arrival, to assert on."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

KEPT_CALLS = 100_000


@dataclass(slots=True)
class Call:
    """One call as the marketplace saw it.

    at_seconds: arrival on the monotonic clock of the sandbox's process. route: "product_offer/read",
    "product_offer/count", or the path if it is no route. page: as asked for and honoured; 0 on count.
    login: the user name sent, None without credentials. status: None while unanswered, and for ever when the
    connection was reset or hung up on. fault: the kinds that applied, joined by "+", "" if none. rows: rows
    of the page served, before a fault replaced the answer.
    """

    method: str
    route: str
    login: str | None = None
    page: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)
    status: int | None = None
    fault: str = ""
    rows: int = 0
    at_seconds: float = field(default_factory=time.monotonic)
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `at` in ISO 8601."""
        named = {name: getattr(self, name) for name in self.__slots__}
        return {**named, "at": self.at.isoformat()}


def new_log() -> deque[Call]:
    """An empty log that forgets the oldest call beyond KEPT_CALLS."""
    return deque(maxlen=KEPT_CALLS)
