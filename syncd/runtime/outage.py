"""Says once that the database has gone away, and once that it is back, whoever notices it first.

Many parts of a process notice an outage, each in its own time: a page's statement at once, the pool seconds
later, a connection that was idle perhaps only when all is well again. So it is over when something succeeds
and nothing has failed for `QUIET_SECONDS`.

A ledger that answers and cannot be used all the same (no schema, one of another release) is said as often: `Trouble`.
"""

from __future__ import annotations

import contextvars
import logging
import time
from collections.abc import Callable

import structlog

from syncd.contract.errors import DatabaseAwayError, SyncError

log = structlog.get_logger()

QUIET_SECONDS = 5.0
"""As long as the pool makes a caller wait, who then fails late."""


class Outage:
    """One a process: it has one database."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed_at: float | None = None
        self.reason: str | None = None
        """Why the pool could not connect, in libpq's words."""

    def failed(self, error: Exception) -> None:
        """The database did not answer."""
        if self._failed_at is None:
            _say("database.went_away", error=str(error))
        self._failed_at = self._clock()

    def succeeded(self) -> None:
        """The database answered; perhaps others will still find that it did not."""
        if self._failed_at is None:
            self.reason = None
        elif self._clock() - self._failed_at >= QUIET_SECONDS:
            self.ended()

    def ended(self) -> None:
        """The database answered, and there are no others."""
        if self._failed_at is not None:
            _say("database.came_back")
        self._failed_at = self.reason = None

    @property
    def lasts(self) -> bool:
        """Whether it has been said, and its end has not."""
        return self._failed_at is not None

    def overhear(self, record: logging.LogRecord) -> bool:
        """Keep the reason, for whoever asks the pool in vain; never say it: the pool tells at every attempt."""
        if str(record.msg).startswith("error connecting"):
            self.reason = str(record.args[-1]).strip().partition("\n")[0] if isinstance(record.args, tuple) else None
        return False


class Trouble:
    """What keeps a service that goes on looking from its ledger, said once. text: None where all is well."""

    def __init__(self) -> None:
        self.text: str | None = None
        self._unusable = False

    def note(self, error: SyncError) -> None:
        """A look failed. The next one comes: a restart would find the same ledger, and an exit would leave nobody to
        notice that it was restored or that its release was installed."""
        self.text = str(error)
        if isinstance(error, DatabaseAwayError):
            outage.failed(error)
        elif not self._unusable:
            self._unusable = True
            log.error("ledger.unusable", error=str(error))

    def over(self) -> None:
        """A look succeeded."""
        outage.succeeded()
        if self._unusable:
            log.warning("ledger.usable_again")
        self.text, self._unusable = None, False


def _say(event: str, **facts: str) -> None:
    """Outside of everybody's context: whoever notices first may be one run of several, and this is about all."""
    contextvars.Context().run(log.warning, event, **facts)


def _is_worth_saying(record: logging.LogRecord) -> bool:
    """An interrupted cancellation is psycopg's own affair: it closes that connection and goes on."""
    return not str(record.msg).startswith("query cancellation interrupted")


outage = Outage()
logging.getLogger("psycopg.pool").addFilter(outage.overhear)
logging.getLogger("psycopg").addFilter(_is_worth_saying)
