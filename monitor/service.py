"""The monitor from start to end.

    configuration → port → READY → watch, page, notices → SIGTERM → STOPPING → exit 0

It never waits for the database to be READY: that it is away is what people come here to see.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable

import structlog

from monitor.config import Settings
from monitor.notify import Announcer, Sender
from monitor.port import serve_port
from monitor.recovery import Rescuer
from monitor.view import View, watch_period_seconds
from monitor.work import open_postgres
from syncd.contract.errors import ConfigError, DatabaseAwayError, SyncError
from syncd.ledger.runs import load_runs
from syncd.ledger.schema import check_schema
from syncd.runtime.outage import outage
from syncd.runtime.postgres import Postgres
from syncd.runtime.systemd import Notifier, feed_watchdog

log = structlog.get_logger()

LONGEST_LOOK_SECONDS = 60.0
RETRY_SECONDS = 5.0
STATUS_SECONDS = 1.0


class Monitor:
    """One process of `sync-monitor serve`. `load` reads the configuration anew, at the start and at SIGHUP."""

    def __init__(self, load: Callable[[], Settings], notifier: Notifier) -> None:
        self._load = load
        self._notifier = notifier
        self._settings = load()
        self._ended = asyncio.Event()
        self._reload = asyncio.Event()

    async def run(self) -> None:
        """Serve until told to stop."""
        self._listen_to_signals()
        sync = self._settings.sync
        async with open_postgres(self._settings) as postgres:
            view = View(postgres, self._settings)
            async with serve_port(view, sync.metrics_address, sync.metrics_port) as port:
                self._notifier.ready()
                log.notice("monitor.ready", port=port.port)
                await self._work(postgres, view)

    async def _work(self, postgres: Postgres, view: View) -> None:
        sender = Sender()
        rescuer = Rescuer(postgres, self._settings.patience, lambda: not self._settings.disable_auto_sync)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(feed_watchdog(self._notifier)),
                group.create_task(self._watch(postgres, rescuer, view, sender)),
                group.create_task(sender.run()),
                group.create_task(self._show(view)),
                group.create_task(self._reload_when_asked(rescuer, view)),
            ]
            await self._ended.wait()
            for task in tasks:
                task.cancel()

    async def _watch(self, postgres: Postgres, rescuer: Rescuer, view: View, sender: Sender) -> None:
        sync = self._settings.sync
        announcer = Announcer(sync.webhook_url, sync.ping_url)
        is_checked = False
        while True:
            pause = watch_period_seconds(self._settings)
            try:
                async with asyncio.timeout(LONGEST_LOOK_SECONDS):
                    if not is_checked:
                        await check_schema(postgres)
                        is_checked = True
                    view.saw(await rescuer.look())
                    sender.put(announcer.runs(await load_runs(postgres, limit=50)))
            except (SyncError, TimeoutError) as error:
                outage.failed(error if str(error) else DatabaseAwayError("look at the runs: no answer in time"))
                is_checked = False
                pause = min(pause, RETRY_SECONDS)
            else:
                outage.succeeded()
                pause = min(pause, rescuer.again_in_seconds or pause)
            await view.refresh()
            if (summary := view.summary()) is not None:
                sender.put(announcer.state(summary))
            await asyncio.sleep(pause * random.uniform(0.8, 1.0))  # noqa: S311  # two monitors, two moments

    async def _show(self, view: View) -> None:
        """One line for `systemctl status`."""
        while True:
            since = view.seconds_since_look
            look = view.look
            if look is None or since is None:
                self._notifier.status("waiting for the ledger")
            else:
                self._notifier.status(
                    f"{len(look.verdicts)} runs open, {len(look.stuck)} stuck, last check {since:.0f}s ago"
                )
            await asyncio.sleep(STATUS_SECONDS)

    async def _reload_when_asked(self, rescuer: Rescuer, view: View) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            if self._ended.is_set():
                continue  # READY after STOPPING would be a lie
            self._notifier.reloading()
            try:
                settings = await asyncio.to_thread(self._load)  # files, perhaps on a slow disk
            except ConfigError as error:
                for problem in error.problems:
                    log.error("config.refused", problem=problem)
                log.error("config.kept", reason="the new configuration has problems; the old one stays")
            else:
                self._settings = view.settings = settings
                rescuer.patience = settings.patience
                log.notice("config.reloaded")
            if not self._ended.is_set():
                self._notifier.ready()

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()

        def stop() -> None:
            self._ended.set()
            self._notifier.stopping()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
