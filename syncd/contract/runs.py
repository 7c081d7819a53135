"""Facts about runs that pass between the ledger, the engine and the commands."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from syncd.contract.records import Rejected
from syncd.contract.words import Cause, Status, Stream


@dataclass(frozen=True, slots=True)
class Caps:
    """The most that one run may use; None in max_records means all."""

    max_pages: int
    max_requests: int
    timeout_seconds: float
    max_records: int | None = None


@dataclass(frozen=True, slots=True)
class Owner:
    """Which process holds a lease. A pid names one process only within its boot and namespace."""

    host: str
    boot: str
    pid: int
    started: str


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """Who wants to run which stream, within what. `force`: although it is paused.

    initiated_by stays the queued run's own where there is one. call_seconds: the longest that one call may take.
    """

    stream: Stream
    owner: Owner
    caps: Caps
    lease_seconds: float
    initiated_by: str
    force: bool = False
    call_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to write a stream: every write names `stream_id`, `fence` and `run_id`."""

    stream: Stream
    stream_id: int
    account_id: int
    run_id: UUID
    fence: int
    lease_seconds: float
    closed_run: UUID | None = None


@dataclass(frozen=True, slots=True)
class Busy:
    """The stream has a living run."""

    run_id: UUID
    owner: str


@dataclass(frozen=True, slots=True)
class Paused:
    """The stream's kill switch is set."""

    by: str
    reason: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Sweep:
    """One full pass over a stream, as the current run found it.

    pass_number  2 where the first pass could not be proven
    expected     the count at the start of this pass; None where not asked yet or the source has none
    checkpoint   the last page durably stored in this pass, 0 for none
    """

    sweep_id: UUID
    page_size: int
    pass_number: int
    expected: int | None
    checkpoint: int


@dataclass(slots=True)
class Outcome:
    """How a run ended, as the engine saw it; the counts are read from the ledger.

    keeps_sweep: a dry run leaves the stream's sweep as it found it.
    """

    cause: Cause
    message: str | None = None
    next_attempt_seconds: float | None = None
    keeps_sweep: bool = False


def percent_of(progress: int, total: int | None) -> int:
    """Of a run that has not ended: 100 is said at the end only."""
    return min(99, int(100 * progress / total)) if total else 0


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run as the ledger knows it. Times are aware; counts are since the run began.

    paused_by, pause_reason: of its stream, now. sweep_ended_by: a cause, or `superseded`; None while it is open.
    """

    run_id: UUID
    stream: Stream
    status: Status
    cause: Cause | None
    phase: str
    initiated_by: str
    queued_at: datetime
    started_at: datetime | None
    progress_at: datetime | None
    heartbeat_at: datetime | None
    wait_until: datetime | None
    wait_reason: str | None
    deadline_at: datetime | None
    completed_at: datetime | None
    next_attempt_at: datetime | None
    duration_seconds: float | None
    max_pages: int | None
    max_requests: int | None
    start_page: int | None
    expected: int | None
    checkpoint_page: int | None
    checkpoint_at: datetime | None
    page_size: int | None
    pages: int
    requests: int
    errors: int
    fetched: int
    inserted: int
    updated: int
    unchanged: int
    revived: int
    tombstoned: int
    quarantined: int
    duplicates: int
    field_faults: int
    error_message: str | None
    lease_seconds_left: float | None = None
    consent_keys: int | None = None
    consent_approved: bool | None = None
    dry_run: bool = False
    paused_by: str | None = None
    pause_reason: str | None = None
    sweep_ended_by: str | None = None
    cancelled_by: str | None = None

    @property
    def progress_percent(self) -> int:
        """How much of the sweep is stored, as far as the count can tell."""
        if self.status is Status.COMPLETE:
            return 100
        return percent_of((self.checkpoint_page or 0) * (self.page_size or 0), self.expected)


@dataclass(slots=True)
class BatchResult:
    """What one fenced transaction did. rejections has the first few: (page number, record)."""

    pages: int = 0
    fetched: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    revived: int = 0
    quarantined: int = 0
    duplicates: int = 0
    field_faults: int = 0
    already_applied: bool = False
    rejections: list[tuple[int, Rejected]] = field(default_factory=list)

    def __add__(self, other: BatchResult) -> BatchResult:
        """Both together."""
        return BatchResult(
            pages=self.pages + other.pages,
            fetched=self.fetched + other.fetched,
            inserted=self.inserted + other.inserted,
            updated=self.updated + other.updated,
            unchanged=self.unchanged + other.unchanged,
            revived=self.revived + other.revived,
            quarantined=self.quarantined + other.quarantined,
            duplicates=self.duplicates + other.duplicates,
            field_faults=self.field_faults + other.field_faults,
            already_applied=self.already_applied and other.already_applied,
            rejections=[*self.rejections, *other.rejections],
        )
