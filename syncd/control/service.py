"""What the control API needs of the daemon that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from syncd.contract.words import Phase, Stream
from syncd.http.access import Access
from syncd.runtime.postgres import Postgres


@dataclass(frozen=True, slots=True)
class ScheduleFacts:
    """The schedule as it stands. next_run_seconds: from now, per stream; None where it has no slot."""

    enabled: bool
    interval_seconds: int
    max_pages: int
    max_requests: int
    timeout_hours: float
    next_run_seconds: Mapping[Stream, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunView:
    """A stream's run in this process, from memory. progress and total are records of the whole sweep.

    run_id stays after the end: what the ledger says of that run is then newer than what was looked up before.
    """

    run_id: UUID | None = None
    in_progress: bool = False
    phase: Phase = Phase.IDLE
    progress: int = 0
    total: int | None = None
    page: int = 0
    requests: int = 0
    max_requests: int | None = None
    eta_seconds: float | None = None
    started_at: datetime | None = None
    last_checkpoint_at: datetime | None = None


class Service(Protocol):
    """The daemon, seen from its control port. Everything but the wait answers at once, from memory."""

    @property
    def postgres(self) -> Postgres:
        """The ledger's database, open."""

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Those that are served. May change with the configuration."""

    @property
    def refused(self) -> Mapping[Stream, str]:
        """Those that are configured and not served: why, for a person."""

    def access(self) -> Access:
        """As of now: it may change with the configuration."""

    def schedule(self) -> ScheduleFacts:
        """As of now."""

    def view(self, stream: Stream) -> RunView:
        """The stream's run in this process; an idle view where there is none."""

    async def wait_for_change(self, timeout_seconds: float) -> None:
        """Return when any view has changed, at the latest after this time."""

    def wake(self) -> None:
        """The ledger changed: look at its queue and its pauses now."""

    def cancelled(self, run_id: UUID) -> None:
        """A cancel of this run stands in the ledger: if it lives here, end it at its next page."""

    def ready(self) -> bool:
        """Whether the daemon has started up and is not draining."""

    def trouble(self) -> str | None:
        """Why no run can begin just now although the daemon lives; None where one can."""
