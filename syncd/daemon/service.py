"""The daemon from start to end.

    configuration → PostgreSQL (waited for) → schema → streams → control port → READY
        → scheduler and reloads → SIGTERM: drain → STOPPING → exit 0

A wrong schema or configuration at the start ends it with 78, which systemd does not restart; later they are said
and waited for. The watchdog hears from the event loop alone: a database that is away is shown, not answered with a
restart.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from syncd.app import open_postgres, stream_of
from syncd.config import AccountSettings, Settings
from syncd.contract.errors import ConfigError, DatabaseAwayError, SyncError
from syncd.contract.words import Cause
from syncd.daemon.api import DaemonApi
from syncd.daemon.drain import drain_bounded
from syncd.daemon.scheduler import Scheduler
from syncd.daemon.worker import StreamWorker
from syncd.ledger import accounts
from syncd.ledger.schema import check_ledger
from syncd.runtime.log import about
from syncd.runtime.outage import outage
from syncd.runtime.postgres import Postgres
from syncd.runtime.service import DISABLED_NOTE, Orders, leave_soon, read_anew, running, say_disabled, spare_what_stays
from syncd.runtime.systemd import Notifier, feed_watchdog
from syncd.runtime.waiting import wait_at_most

log = structlog.get_logger()

FIRST_RETRY_SECONDS = 0.5
LONGEST_RETRY_SECONDS = 10.0
LONGEST_LOOK_SECONDS = 10.0
ADD_AGAIN_SECONDS = 5.0
STATUS_SECONDS = 1.0
EXTEND_SECONDS = 60.0


class Daemon:
    """One process of `syncd serve`. `load` reads the configuration anew, at the start and at SIGHUP."""

    def __init__(self, load: Callable[[], Settings], notifier: Notifier) -> None:
        self._load = load
        self.settings = load()
        self._notifier = notifier
        self._orders = Orders(notifier)
        self._owed = False
        """Whether a reload brought accounts that could not be registered yet."""

    async def run(self) -> None:
        """Serve until told to stop."""
        self._orders.listen(self._say_stopping)
        watchdog = asyncio.create_task(feed_watchdog(self._notifier))
        try:
            async with open_postgres(self.settings) as postgres:
                scheduler = Scheduler(
                    postgres,
                    enabled=not self.settings.disable_auto_sync,
                    startup_delay_seconds=self.settings.sync.startup_delay_seconds,
                )
                api = DaemonApi(postgres, scheduler, self.settings)
                if await self._wait_for_database(postgres, scheduler, api):
                    await self._serve(postgres, scheduler, api)
        finally:
            watchdog.cancel()

    async def _wait_for_database(self, postgres: Postgres, scheduler: Scheduler, api: DaemonApi) -> bool:
        """Until PostgreSQL has the right schema and all accounts; False where we were told to stop first."""
        delay = FIRST_RETRY_SECONDS
        waiting = f"waiting for PostgreSQL at {self.settings.database.place}"
        self._notifier.status(waiting)
        while not self._orders.ended.is_set():
            self._notifier.extend_timeout(EXTEND_SECONDS)
            try:
                if await self._unless_ended(self._look_at_database(postgres, scheduler, api)):
                    outage.ended()
                    return True
            except DatabaseAwayError as error:
                outage.failed(error)
                self._notifier.status(f"{waiting}: {error}")
                await wait_at_most(self._orders.ended, delay * random.uniform(0.75, 1.25))  # noqa: S311  # no herd
                delay = min(LONGEST_RETRY_SECONDS, delay * 2)
        return False

    async def _look_at_database(self, postgres: Postgres, scheduler: Scheduler, api: DaemonApi) -> None:
        """Once; what was done stays done when PostgreSQL vanishes in the middle of it."""
        try:
            async with asyncio.timeout(LONGEST_LOOK_SECONDS):  # a frozen server never answers
                # first alone: the pool would say only after seconds, and without a reason, that it has none
                await (await postgres.connect("reach PostgreSQL")).close()
                await check_ledger(postgres)
                for account in self.settings.accounts:
                    await self._add(postgres, scheduler, api, account)
        except TimeoutError as error:
            raise DatabaseAwayError("reach PostgreSQL: no answer in time") from error

    async def _unless_ended(self, work: Coroutine[Any, Any, None]) -> bool:
        """Whether the work was done before we were told to stop; its errors are raised."""
        task, ended = asyncio.create_task(work), asyncio.create_task(self._orders.ended.wait())
        await asyncio.wait({task, ended}, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if task.done():
            task.result()
            return True
        task.cancel()
        leave_soon()
        return False

    async def _serve(self, postgres: Postgres, scheduler: Scheduler, api: DaemonApi) -> None:
        sync = self.settings.sync
        async with api.serving(sync.control_address, sync.control_port) as control:
            if self.settings.disable_auto_sync:
                say_disabled()
            api.is_ready = True
            spare_what_stays()
            self._notifier.ready()
            log.notice("daemon.ready", streams=len(scheduler.workers))
            async with running(
                scheduler.run(), self._show(scheduler), self._reload_when_asked(postgres, scheduler, api)
            ):
                await self._orders.ended.wait()
                api.is_ready = False
                control.feed.close()
                await drain_bounded(postgres, scheduler.drain(f"stopped by {self._orders.ended_by}"))

    async def _add(self, postgres: Postgres, scheduler: Scheduler, api: DaemonApi, account: AccountSettings) -> None:
        """Serve an account's stream; one with a changed identity is left out, and said."""
        stream = stream_of(account)
        if stream in scheduler.workers or stream in scheduler.refused:
            return
        await accounts.register(postgres, stream)
        try:
            await accounts.pin_identity(postgres, stream, host=account.host, username=account.username)
        except ConfigError as error:
            scheduler.refused[stream] = str(error)
            log.error("account.refused", account=account.name, error=str(error))
            return
        scheduler.add(StreamWorker(postgres, account, api.notice_change))

    async def _show(self, scheduler: Scheduler) -> None:
        """One line for `systemctl status`."""
        while not self._orders.ended.is_set():
            self._notifier.status(status_line(scheduler))
            await asyncio.sleep(STATUS_SECONDS)

    async def _reload_when_asked(self, postgres: Postgres, scheduler: Scheduler, api: DaemonApi) -> None:
        while True:
            try:
                async with asyncio.timeout(ADD_AGAIN_SECONDS if self._owed else None):
                    await self._orders.reload.wait()
            except TimeoutError:
                await self._add_new(postgres, scheduler, api)
                continue
            self._orders.reload.clear()
            if self._orders.ended.is_set():
                continue  # nothing begins any more, and READY after STOPPING would be a lie
            self._notifier.reloading()
            settings = await read_anew(self._load)
            if settings is not None:
                self._apply(settings, scheduler, api)
                await self._add_new(postgres, scheduler, api)
            if not self._orders.ended.is_set():
                self._notifier.ready()

    async def _add_new(self, postgres: Postgres, scheduler: Scheduler, api: DaemonApi) -> None:
        """Serve the accounts that a reload brought; those for which PostgreSQL was away are tried again later."""
        self._owed = False
        for account in self.settings.accounts:
            try:
                await self._add(postgres, scheduler, api, account)
            except DatabaseAwayError as error:
                outage.failed(error)
                self._owed = True
                return
            except SyncError as error:
                log.error("account.refused", account=account.name, error=str(error))

    def _apply(self, settings: Settings, scheduler: Scheduler, api: DaemonApi) -> None:
        """From the next run on. What cannot change while we run is said."""
        old = self.settings
        self.settings = api.settings = settings
        scheduler.refused.clear()  # somebody may have confirmed it
        scheduler.enabled = not settings.disable_auto_sync
        if settings.disable_auto_sync and not old.disable_auto_sync:
            say_disabled()
        for stream in scheduler.workers.keys() - {stream_of(account) for account in settings.accounts}:
            worker = scheduler.workers[stream]
            scheduler.remove(stream)
            with about(stream, worker.run_id):
                log.warning("account.removed", **({"note": "its run goes on to its end"} if worker.is_running else {}))
        for account in settings.accounts:
            served = scheduler.workers.get(stream_of(account))
            if served is not None and _login_of(served.account) != _login_of(account):
                self._end(scheduler, served)
            elif served is not None:
                served.reconfigure(account)
        fixed = ("control_address", "control_port")
        if any(getattr(old.sync, name) != getattr(settings.sync, name) for name in fixed) or (
            old.database != settings.database
        ):
            log.warning("config.needs_restart", settings="control address and port, database")
        log.notice("config.reloaded", accounts=len(settings.accounts))

    def _end(self, scheduler: Scheduler, worker: StreamWorker) -> None:
        """Another login: whether it may be served is for `_add` to find out. A run does not go on meanwhile: where
        somebody has confirmed the new login, what the old one reads would be stored as the new one's."""
        with about(worker.stream, worker.run_id):
            log.warning("account.login_changed", **({"note": "its run is ended"} if worker.is_running else {}))
        scheduler.remove(worker.stream)
        worker.stop(Cause.SHUTDOWN, "the login of its account was changed")

    def _say_stopping(self, signal_name: str) -> None:
        log.notice("daemon.stopping", signal=signal_name)
        self._notifier.status(f"stopping: {signal_name}; storing the pages already received")


def _login_of(account: AccountSettings) -> tuple[str, str]:
    return account.host, account.username


def status_line(scheduler: Scheduler) -> str:
    """What the streams do, the running ones first."""
    lines = [worker.view.status_line() for worker in scheduler.running]
    if scheduler.trouble is not None:
        lines.append(f"waiting: {scheduler.trouble}")
    if lines:
        return "; ".join(lines)
    if not scheduler.workers:
        return "no account is served: each was refused; the log says why"
    if not scheduler.enabled:
        return DISABLED_NOTE
    paused = len(scheduler.paused & set(scheduler.workers))
    due = [due for worker in scheduler.workers.values() if (due := worker.next_run_seconds) is not None]
    parts = [f"{paused} paused"] if paused else []
    if due and paused < len(scheduler.workers):
        parts.append(f"next run in {min(due):.0f}s")
    return "idle" + (f", {', '.join(parts)}" if parts else "")
