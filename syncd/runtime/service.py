"""What every service of ours does alike: signals, reloads, tasks beside the body, an end that is bounded.

SIGTERM, SIGINT   end in order; a second one ends the process at once, with 128 + its number
SIGHUP            read the configuration anew; where that has problems the old one stays
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

import structlog

from syncd.contract.errors import ConfigError
from syncd.runtime.log import adjust_log
from syncd.runtime.settings.sync import SyncSettings
from syncd.runtime.systemd import Notifier

log = structlog.get_logger()

CLOSE_SECONDS = 2.0
"""For closing what is open at the end: a frozen server does not let go of a statement by itself."""
DISABLED_NOTE = "auto-sync disabled via DISABLE_AUTO_SYNC"


class SettingsOfService(Protocol):
    """What a service's settings have in common."""

    @property
    def sync(self) -> SyncSettings: ...

    @property
    def warnings(self) -> tuple[str, ...]: ...


S = TypeVar("S", bound=SettingsOfService)


class Orders:
    """What signals have asked of this process. ended_by: the name of the signal that told it to end."""

    def __init__(self, notifier: Notifier) -> None:
        self.ended = asyncio.Event()
        self.reload = asyncio.Event()
        self.ended_by = ""
        self._notifier = notifier

    def listen(self, on_end: Callable[[str], None]) -> None:
        """From now on; on_end is told the signal's name, once."""
        loop = asyncio.get_running_loop()

        def stop(number: signal.Signals) -> None:
            if self.ended.is_set():
                leave_at_once(128 + number)
            self.ended_by = number.name
            self.ended.set()
            self._notifier.stopping()
            on_end(number.name)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop, number)
        loop.add_signal_handler(signal.SIGHUP, self.reload.set)


def reader_of(read: Callable[[], S], secrets_of: Callable[[S], Iterable[str]], *, verbose: int) -> Callable[[], S]:
    """Reads the configuration as it stands at the call; level and secrets of the log follow it, unless -v was said."""

    def load() -> S:
        settings = read()
        adjust_log(level=None if verbose else settings.sync.log_level, secrets=secrets_of(settings))
        for warning in settings.warnings:
            log.warning("config.warning", warning=warning)
        return settings

    return load


async def read_anew(load: Callable[[], S]) -> S | None:
    """The new configuration, read beside the event loop; None where it has problems, which are said."""
    try:
        return await asyncio.to_thread(load)  # files, perhaps on a slow disk
    except ConfigError as error:
        for problem in error.problems:
            log.error("config.refused", problem=problem)
        log.error("config.kept", reason="the new configuration has problems; the old one stays")
        return None


def say_disabled() -> None:
    """Nothing begins by itself."""
    log.warning("sync.disabled", note=DISABLED_NOTE)


@asynccontextmanager
async def running(*coroutines: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """These beside the body, and cancelled at its end; a fault in one of them ends all, the body too, and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
            yield
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as faults:
        raise faults.exceptions[0] from None


def spare_what_stays() -> None:
    """Modules, classes and settings live as long as we do: 75,000 objects. To look through them all for garbage
    stopped the event loop for 30 to 45 ms, every few hundred requests; without them it is 3 ms."""
    gc.collect()
    gc.freeze()


def leave_soon() -> None:
    """What is not closed in time is left as it is: the process ends, with 0."""
    asyncio.get_running_loop().call_later(CLOSE_SECONDS, leave_at_once, 0)


def leave_at_once(code: int) -> None:
    """End the process without unwinding: the lease is left to lapse."""
    os._exit(code)
