"""The monitor: sees which sync is stuck, ends it, resumes it, and shows everything.

    >>> from monitor import find_stuck_syncs, cleanup_stuck_syncs, get_sync_health_status

The three functions are for scripts; they read the settings that the service reads. They return when they are done,
also inside a running event loop, which stands still meanwhile: there, `await asyncio.to_thread(find_stuck_syncs)`.
What goes wrong is one of `syncd.contract.errors`: ConfigError, SchemaError (run `syncd migrate`), DatabaseAwayError.

Importing this package loads nothing else: a broken daemon must not take the monitor down.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from monitor.config import Settings
    from syncd.runtime.postgres import Postgres

__all__ = ["cleanup_stuck_syncs", "find_stuck_syncs", "get_sync_health_status"]

T = TypeVar("T")


def find_stuck_syncs() -> list[dict[str, Any]]:
    """The syncs that are stuck now; nothing is done about them.

    Each has `sync_id`, `stream`, `account_type`, `status`, `started_at` (None where it is queued), `cause`, `why`
    (goes on after the run's name: "has not moved for 70 min") and what else was seen of it; times in seconds.
    """
    from monitor.work import stuck

    return _on_ledger(stuck)


def cleanup_stuck_syncs(max_age_hours: float | None = None) -> int:
    """Fail the stuck syncs; with max_age_hours every open one that began at least so long ago. How many there were.

    Nothing is resumed. FatalError names those that could not be ended; the others are. ValueError: no age.
    """
    from monitor.work import recover

    if max_age_hours is not None and not max_age_hours >= 0:  # -1 would be every open run, nan none
        raise ValueError(f"max_age_hours: {max_age_hours} is no age; 0 ends every open sync")

    async def work(postgres: Postgres, settings: Settings) -> int:
        return len(await recover(postgres, settings, by="script", older_than_hours=max_age_hours))

    return _on_ledger(work)


def get_sync_health_status() -> dict[str, Any]:
    """How all is: `status` (healthy, degraded, unhealthy), `sentence`, `stuck` (how many), `streams` by name."""
    from monitor.work import report

    async def work(postgres: Postgres, settings: Settings) -> dict[str, Any]:
        return (await report(postgres, settings)).as_dict()

    return _on_ledger(work)


def _on_ledger(work: Callable[[Postgres, Settings], Awaitable[T]]) -> T:
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    from monitor.config import load_settings
    from monitor.work import open_ledger

    async def run() -> T:
        settings = load_settings(environ=os.environ)
        async with open_ledger(settings) as postgres:
            return await work(postgres, settings)

    with ThreadPoolExecutor(1) as thread:  # the caller's may have an event loop that runs
        return thread.submit(asyncio.run, run()).result()
