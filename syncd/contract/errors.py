"""Every error of ours, cut by what the caller does about it.

    SyncError
    ├── ConfigError           a person mends a setting; exit 78
    ├── TransientError        the same call again, by policy
    │   ├── CallError         a call of the remote API (see `retryable`)
    │   └── DatabaseAwayError PostgreSQL is away, or the outcome of a commit is unknown
    │       └── RowHeldError  another session holds a row for longer than we wait: leave it for later
    ├── LeaseLostError        stop now: the stream is not ours any more
    └── FatalError            the run ends, a person reads it
        └── SchemaError       the database's schema is not this release's; exit 78

Each error carries `cause`, the word that the run would end with. Records that cannot be stored
are values (`contract.records.Rejected`), and so are caps, end of data and a busy stream.
"""

from __future__ import annotations

from syncd.contract.words import Cause, Reason


class SyncError(Exception):
    """Anything that this program raises on purpose."""

    cause: Cause = Cause.INTERNAL


class ConfigError(SyncError):
    """Settings that cannot be used; `problems` has one line each: name, found, expected."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class TransientError(SyncError):
    """Worth the same call again."""


class CallError(TransientError):
    """One call of the remote API failed.

    retryable            False: the same call would fail again, the run ends
    retry_after_seconds  what the server asked for, None where it did not say
    status               HTTP status, None where no answer came
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        cause: Cause,
        status: int | None = None,
        retryable: bool = True,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.cause = cause
        self.status = status
        self.retryable = retryable
        self.retry_after_seconds = retry_after_seconds


class DatabaseAwayError(TransientError):
    """The database did not answer, or a commit's outcome is unknown: reconnect and replay."""

    cause = Cause.DATABASE


class RowHeldError(DatabaseAwayError):
    """Nothing was done: another session holds a lock. PostgreSQL itself is there."""


class LeaseLostError(SyncError):
    """Our fence is stale or our lease has run out: write nothing more."""

    cause = Cause.LEASE_LOST


class FatalError(SyncError):
    """The run ends here."""

    def __init__(self, message: str, *, cause: Cause = Cause.INTERNAL) -> None:
        super().__init__(message)
        self.cause = cause


class SchemaError(FatalError):
    """The schema in the database is missing, foreign, or of another release."""
