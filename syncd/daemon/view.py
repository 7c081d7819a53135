"""What one stream is doing right now, as the daemon's own memory knows it: for the live feed and STATUS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

from syncd.contract.runs import BatchResult, Claim, Sweep, percent_of
from syncd.contract.words import Phase, Stream
from syncd.control.service import RunView
from syncd.engine.observer import Observer


class StreamView(Observer):
    """The progress of a stream's newest run in this process. `changed` is called at every step."""

    def __init__(self, stream: Stream, changed: Callable[[], None]) -> None:
        self.stream = stream
        self._changed = changed
        self.run_id: UUID | None = None
        self.in_progress = False
        self.phase = Phase.IDLE
        self.page = 0
        self.page_size = 100
        self.expected: int | None = None
        self.requests = 0
        self.max_requests = 0
        self.waiting_for: str | None = None
        self.started_at: datetime | None = None
        self.last_checkpoint_at: datetime | None = None
        self._began = 0.0
        self._first_page = 0

    def claimed(self, claim: Claim, sweep: Sweep) -> None:
        """A run began."""
        self._begin(claim, sweep.page_size, sweep.checkpoint, sweep.expected)

    def planning(self, claim: Claim, page_size: int) -> None:
        """A dry run began."""
        self._begin(claim, page_size, 0, None)

    def _begin(self, claim: Claim, page_size: int, checkpoint: int, expected: int | None) -> None:
        self.run_id, self.in_progress = claim.run_id, True
        self.page = self._first_page = checkpoint
        self.page_size, self.expected, self.requests = page_size, expected, 0
        self._began = asyncio.get_running_loop().time()
        self.started_at, self.last_checkpoint_at = datetime.now(UTC), None
        self._changed()

    def entered(self, phase: Phase, expected: int | None) -> None:
        """A phase began."""
        self.phase, self.expected = phase, expected
        if phase is Phase.READ and self.page:
            self._first_page = self.page
        self._changed()

    def stored(self, page_number: int, result: BatchResult, requests: int) -> None:
        """A page is durable."""
        self.page, self.requests, self.waiting_for = page_number, requests, None
        self.last_checkpoint_at = datetime.now(UTC)
        self._changed()

    def waiting(self, reason: str, seconds: float) -> None:
        """A declared wait began."""
        self.waiting_for = reason
        self._changed()

    def ended(self) -> None:
        """The run is over."""
        self.in_progress, self.phase, self.waiting_for = False, Phase.IDLE, None
        self._changed()

    @property
    def pages_expected(self) -> int | None:
        """How many pages the count announced."""
        return None if self.expected is None else -(-self.expected // self.page_size)

    @property
    def records(self) -> int:
        """Records stored so far in this pass, as far as pages tell."""
        stored = self.page * self.page_size
        return stored if self.expected is None else min(stored, self.expected)

    @property
    def percent(self) -> int:
        """Of this pass; 100 when nothing runs."""
        if not self.in_progress:
            return 100
        return percent_of(self.records, self.expected)

    @property
    def requests_per_second(self) -> float:
        """Since the run began."""
        seconds = asyncio.get_running_loop().time() - self._began
        return self.requests / seconds if self.in_progress and seconds > 0 else 0.0

    @property
    def eta_seconds(self) -> float | None:
        """Until the last page, at the pace so far."""
        done = self.page - self._first_page
        if not self.in_progress or self.pages_expected is None or done <= 0:
            return None
        seconds = asyncio.get_running_loop().time() - self._began
        return max(0, self.pages_expected - self.page) * seconds / done

    def snapshot(self) -> RunView:
        """As the control API shows it."""
        return RunView(
            run_id=self.run_id,
            in_progress=self.in_progress,
            phase=self.phase,
            progress=self.records,
            total=self.expected,
            page=self.page,
            requests=self.requests,
            max_requests=self.max_requests or None,
            eta_seconds=self.eta_seconds,
            started_at=self.started_at,
            last_checkpoint_at=self.last_checkpoint_at,
        )

    def status_line(self) -> str:
        """One ASCII line for systemd: `emag/main/offers page 118/410 28% 2.9 req/s ETA 6m`."""
        pages = f"/{self.pages_expected}" if self.pages_expected is not None else ""
        page = (
            self.page if self.pages_expected is None else min(self.page, self.pages_expected)
        )  # the empty one is last
        line = f"{self.stream} page {page}{pages} {self.percent}% {self.requests_per_second:.1f} req/s"
        if self.waiting_for:
            return f"{line} waiting: {self.waiting_for[:60]}"
        eta = self.eta_seconds
        return line if eta is None else f"{line} ETA {_short(eta)}"


def _short(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f}s"
    return f"{seconds / 60:.0f}m" if seconds < 3600 else f"{seconds / 3600:.1f}h"
