"""How a run looks while it works: a bar on a terminal, a line now and then elsewhere. On standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from syncd.app import stream_of
from syncd.config import AccountSettings
from syncd.contract.runs import BatchResult, Claim, Sweep
from syncd.contract.text import escape
from syncd.contract.words import Phase, Stream
from syncd.engine.observer import Observer

if TYPE_CHECKING:
    from rich.progress import Progress


class ProgressView:
    """The progress of several streams side by side. `observer` gives one stream its row."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress

    def observer(self, account: AccountSettings) -> Observer:
        """What the engine reports to."""
        stream, sync = stream_of(account), account.sync
        if self._progress is None:
            return _Lines(stream, sync.max_requests, sync.progress_interval)
        return _Bar(self._progress, stream, sync.max_requests)


@contextmanager
def progress_view(*, wanted: bool = True) -> Iterator[ProgressView]:
    """Bars where standard error is a terminal, lines elsewhere."""
    if not wanted or not sys.stderr.isatty():
        yield ProgressView(None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[facts]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=5) as progress:
        yield ProgressView(progress)


class _Counter(Observer):
    """Counts what was stored; subclasses show it."""

    def __init__(self, stream: Stream, max_requests: int) -> None:
        self.stream = stream
        self.records = 0
        self.page = 0
        self.requests = 0
        self.expected: int | None = None
        self.phase = Phase.COUNT
        self._max_requests = max_requests
        self._size = 100
        self._started = time.monotonic()
        self._fetched = 0

    def claimed(self, claim: Claim, sweep: Sweep) -> None:
        self._size = sweep.page_size
        self.page = sweep.checkpoint
        self.records = sweep.checkpoint * sweep.page_size

    def entered(self, phase: Phase, expected: int | None) -> None:
        self.phase, self.expected = phase, expected
        self.show(force=True)

    def stored(self, page_number: int, result: BatchResult, requests: int) -> None:
        self.page, self.requests = page_number, requests
        self.records = min(page_number * self._size, self.expected or page_number * self._size)
        self._fetched += result.fetched
        self.show()

    def show(self, *, force: bool = False) -> None:
        """Bring it to the screen."""

    @property
    def facts(self) -> str:
        """Page, records, rate, calls."""
        if self.expected is None:
            page = f"{self.page}"
        else:  # the empty page after the last is no page to a person
            pages = -(-self.expected // self._size)
            page = f"{min(self.page, pages)}/{pages}"
        seconds = max(time.monotonic() - self._started, 0.001)
        return (
            f"{self.phase} page {page}  {self.records:,} records  {self._fetched / seconds:,.0f}/s  "
            f"{self.requests}/{self._max_requests} requests"
        )


class _Bar(_Counter):
    def __init__(self, progress: Progress, stream: Stream, max_requests: int) -> None:
        super().__init__(stream, max_requests)
        self._progress = progress
        self._task = progress.add_task(str(stream), total=None, facts="")

    def show(self, *, force: bool = False) -> None:
        self._progress.update(self._task, completed=self.records, total=self.expected or None, facts=self.facts)

    def retrying(self, error: str, attempt: int, seconds: float) -> None:
        self._progress.console.print(
            f"{self.stream}: attempt {attempt} failed: {escape(error)}; again in {seconds:.0f} s", markup=False
        )

    def waiting(self, reason: str, seconds: float) -> None:
        self._progress.console.print(f"{self.stream}: waiting {seconds:.0f} s: {escape(reason)}", markup=False)


class _Lines(_Counter):
    def __init__(self, stream: Stream, max_requests: int, every_seconds: float) -> None:
        super().__init__(stream, max_requests)
        self._every_seconds = every_seconds
        self._shown_at = 0.0

    def show(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if force or now - self._shown_at >= self._every_seconds:
            self._shown_at = now
            _say(f"{self.stream}: {self.facts}")

    def retrying(self, error: str, attempt: int, seconds: float) -> None:
        _say(f"{self.stream}: attempt {attempt} failed: {escape(error)}; again in {seconds:.0f} s")

    def waiting(self, reason: str, seconds: float) -> None:
        _say(f"{self.stream}: waiting {seconds:.0f} s: {escape(reason)}")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
