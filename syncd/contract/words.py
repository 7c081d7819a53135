"""The closed sets of words: what a run can be, why it ended, what a call can go wrong with.

    queued → running → complete | partial | failed | cancelled

Terminal states never change. `complete` is the only success.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

ACCOUNT_NAME = re.compile(r"[a-z0-9_-]{1,40}")


class Status(StrEnum):
    """What a run is."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETE = "complete"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Cause(StrEnum):
    """Why a run ended; one a run."""

    END_OF_DATA = "end_of_data"
    CAP_PAGES = "cap_pages"
    CAP_REQUESTS = "cap_requests"
    CAP_RECORDS = "cap_records"
    CAP_TIME = "cap_time"
    LOOP = "loop"
    INCOMPLETE = "incomplete"
    BLAST_RADIUS = "blast_radius"
    AUTH = "auth"
    RATE_LIMITED = "rate_limited"
    UPSTREAM = "upstream"
    BAD_RESPONSE = "bad_response"
    DATABASE = "database"
    SHUTDOWN = "shutdown"
    CANCELLED = "cancelled"
    LEASE_LOST = "lease_lost"
    NO_PROGRESS = "no_progress"
    WAIT_OVERRUN = "wait_overrun"
    NOT_STARTED = "not_started"
    INTERNAL = "internal"


class Phase(StrEnum):
    """What a run is doing."""

    IDLE = "idle"
    COUNT = "count"
    READ = "read"
    VERIFY = "verify"
    TOMBSTONE = "tombstone"


class Reason(StrEnum):
    """Why a call failed; the label `reason` of `emag_sync_request_errors_total`."""

    TIMEOUT = "timeout"
    CONNECTION = "connection"
    HTTP_4XX = "http_4xx"
    HTTP_5XX = "http_5xx"
    RATE_LIMIT = "rate_limit"
    AUTH = "auth"
    API_IS_ERROR = "api_is_error"
    BAD_BODY = "bad_body"
    TOO_LARGE = "too_large"


class Rejection(StrEnum):
    """Why a record lies in quarantine."""

    NO_KEY = "no_key"
    KEY_TOO_LONG = "key_too_long"
    NOT_UTF8 = "not_utf8"
    NUL_ESCAPE = "nul_escape"
    LONE_SURROGATE = "lone_surrogate"
    TOO_DEEP = "too_deep"
    TOO_LARGE = "too_large"
    NOT_JSON = "not_json"
    NOT_JSONB = "not_jsonb"
    DUPLICATE_KEY = "duplicate_key"


_STATUS_OF = {
    Cause.END_OF_DATA: Status.COMPLETE,
    Cause.CAP_PAGES: Status.PARTIAL,
    Cause.CAP_REQUESTS: Status.PARTIAL,
    Cause.CAP_RECORDS: Status.PARTIAL,
    Cause.CAP_TIME: Status.PARTIAL,
    Cause.INCOMPLETE: Status.PARTIAL,
    Cause.BLAST_RADIUS: Status.PARTIAL,
    Cause.RATE_LIMITED: Status.PARTIAL,
    Cause.SHUTDOWN: Status.PARTIAL,
    Cause.CANCELLED: Status.CANCELLED,
}

SWEEP_ENDED_BY = frozenset({Cause.END_OF_DATA, Cause.LOOP, Cause.INCOMPLETE, Cause.BLAST_RADIUS})
"""After any other cause the sweep stays open, and the next run goes on at its checkpoint."""


def status_of(cause: Cause) -> Status:
    """The terminal status that a run which ended by this cause takes."""
    return _STATUS_OF.get(cause, Status.FAILED)


@dataclass(frozen=True, slots=True, order=True)
class Stream:
    """The unit that is synced, locked, scheduled and measured; written `emag/main/offers`."""

    source: str
    account: str
    resource: str

    @classmethod
    def parse(cls, text: str) -> Stream:
        """Read `source/account/resource`; ValueError says what was expected."""
        parts = text.split("/")
        if len(parts) != 3 or not all(ACCOUNT_NAME.fullmatch(part) for part in parts):
            raise ValueError(f"{text!r} is no stream: expected source/account/resource, as in emag/main/offers")
        return cls(*parts)

    def __str__(self) -> str:
        return f"{self.source}/{self.account}/{self.resource}"
