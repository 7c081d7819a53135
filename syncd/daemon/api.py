"""The daemon as its control port sees it (`syncd.control.service.Service`)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from uuid import UUID

from syncd.config import Settings
from syncd.contract.words import Stream
from syncd.control.server import Control, serve_control
from syncd.control.service import RunView, ScheduleFacts
from syncd.daemon.scheduler import Scheduler
from syncd.http.access import Access, access_of
from syncd.runtime.loopback import is_loopback
from syncd.runtime.postgres import Postgres
from syncd.runtime.waiting import wait_at_most

IDLE = RunView()


class DaemonApi:
    """Answers from memory. `settings` may be replaced at a reload."""

    def __init__(self, postgres: Postgres, scheduler: Scheduler, settings: Settings) -> None:
        self.postgres = postgres
        self.settings = settings
        self.is_ready = False
        self._is_on_loopback = is_loopback(settings.sync.control_address)
        """Of the address that is bound: a reload changes the setting, and not the socket."""
        self._scheduler = scheduler
        self._changed = asyncio.Event()

    def serving(self, address: str, port: int) -> AbstractAsyncContextManager[Control]:
        """The control port, open while the context is."""
        return serve_control(self, address, port)

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Those that are served."""
        return tuple(self._scheduler.workers)

    @property
    def refused(self) -> Mapping[Stream, str]:
        """Configured, and not served: why."""
        return self._scheduler.refused

    def access(self) -> Access:
        """As of now."""
        return access_of(self.settings.sync, loopback=self._is_on_loopback)

    def schedule(self) -> ScheduleFacts:
        """As of now."""
        sync = self.settings.sync
        return ScheduleFacts(
            enabled=self._scheduler.enabled,
            interval_seconds=int(sync.interval_seconds),
            max_pages=sync.max_pages,
            max_requests=sync.max_requests,
            timeout_hours=sync.timeout_hours,
            next_run_seconds={stream: worker.next_run_seconds for stream, worker in self._scheduler.workers.items()},
        )

    def view(self, stream: Stream) -> RunView:
        """What the stream's worker does."""
        worker = self._scheduler.workers.get(stream)
        return IDLE if worker is None else worker.view.snapshot()

    def notice_change(self) -> None:
        """A view has changed."""
        self._changed.set()

    async def wait_for_change(self, timeout_seconds: float) -> None:
        """Until a view changes."""
        if await wait_at_most(self._changed, timeout_seconds):
            self._changed.clear()

    def wake(self) -> None:
        """Look at the ledger now."""
        self._scheduler.wake()

    def cancelled(self, run_id: UUID) -> None:
        """End this run at its next page, if it lives here."""
        for worker in self._scheduler.running:
            worker.cancel(run_id, "the control API")

    def ready(self) -> bool:
        """Started up, and not draining."""
        return self.is_ready

    def trouble(self) -> str | None:
        """As the scheduler's last look found it."""
        return self._scheduler.trouble
