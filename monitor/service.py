"""The monitor from start to end.

    configuration → port → READY → watch, page, notices → SIGTERM → STOPPING → exit 0

It never waits for the database to be READY: that it is away is what people come here to see. Nor does its end wait
for it: a rescue that is cut off is rolled back, and the next start finds the run as stuck as before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from monitor.config import Settings
from monitor.notify import Sender, note_sent
from monitor.port import serve_port
from monitor.rounds import Rounds
from monitor.view import View
from monitor.work import open_postgres
from syncd.runtime.service import Orders, leave_soon, read_anew, running, say_disabled, spare_what_stays
from syncd.runtime.systemd import Notifier, feed_watchdog

log = structlog.get_logger()

STATUS_SECONDS = 1.0


class Monitor:
    """One process of `sync-monitor serve`. `load` reads the configuration anew, at the start and at SIGHUP."""

    def __init__(self, load: Callable[[], Settings], notifier: Notifier) -> None:
        self._load = load
        self._notifier = notifier
        self._settings = load()
        self._orders = Orders(notifier)

    async def run(self) -> None:
        """Serve until told to stop. FatalError where the port is taken."""
        self._orders.listen(self._say_stopping)
        sync = self._settings.sync
        async with running(feed_watchdog(self._notifier)), open_postgres(self._settings) as postgres:
            view = View(postgres, self._settings)
            async with serve_port(view, sync.metrics_address, sync.metrics_port) as port:
                if self._settings.disable_auto_sync:
                    say_disabled()
                spare_what_stays()
                self._notifier.ready()
                log.notice("monitor.ready", port=port.port)
                sender = Sender(lambda key: note_sent(postgres, key))
                rounds = Rounds(postgres, self._settings, view, sender)
                async with running(rounds.run(), sender.run(), self._show(view), self._reload_when_asked(rounds, view)):
                    await self._orders.ended.wait()
                    leave_soon()

    async def _show(self, view: View) -> None:
        """One line for `systemctl status`."""
        while not self._orders.ended.is_set():
            self._notifier.status(view.status_line())
            await asyncio.sleep(STATUS_SECONDS)

    async def _reload_when_asked(self, rounds: Rounds, view: View) -> None:
        while True:
            await self._orders.reload.wait()
            self._orders.reload.clear()
            if self._orders.ended.is_set():
                continue  # READY after STOPPING would be a lie
            self._notifier.reloading()
            settings = await read_anew(self._load)
            if settings is not None:
                self._apply(settings, rounds, view)
            if not self._orders.ended.is_set():
                self._notifier.ready()

    def _apply(self, settings: Settings, rounds: Rounds, view: View) -> None:
        """From the next look on. What cannot change while we run is said."""
        old, self._settings, view.settings = self._settings, settings, settings
        rounds.apply(settings)
        if settings.disable_auto_sync and not old.disable_auto_sync:
            say_disabled()
        fixed = ("metrics_address", "metrics_port")
        if any(getattr(old.sync, name) != getattr(settings.sync, name) for name in fixed) or (
            old.database != settings.database
        ):
            log.warning("config.needs_restart", settings="metrics address and port, database")
        log.notice("config.reloaded")

    def _say_stopping(self, signal_name: str) -> None:
        log.notice("monitor.stopping", signal=signal_name)
        self._notifier.status(f"stopping: {signal_name}")
