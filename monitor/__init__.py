"""The monitor: sees which sync is stuck, ends it, resumes it, and shows everything.

    >>> from monitor import find_stuck_syncs, cleanup_stuck_syncs, get_sync_health_status

The three functions are for scripts; they read the settings that the service reads. Importing this package
loads nothing else: a broken daemon must not take the monitor down.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from monitor.config import Settings
    from syncd.runtime.postgres import Postgres

__all__ = ["cleanup_stuck_syncs", "find_stuck_syncs", "get_sync_health_status"]

T = TypeVar("T")


def find_stuck_syncs() -> list[dict[str, Any]]:
    """The syncs that are stuck now: `sync_id`, `stream`, `cause`, `why` and the times that were seen, in seconds."""
    from monitor.work import look, stuck_as_dict

    async def work(postgres: Postgres, settings: Settings) -> list[dict[str, Any]]:
        seen = await look(postgres, settings)
        return [stuck_as_dict(run, verdict) for run, verdict in seen if verdict.fault is not None]

    return _on_ledger(work)


def cleanup_stuck_syncs(max_age_hours: float | None = None) -> int:
    """Fail the stuck syncs; with max_age_hours every open one that began at least so long ago. How many there were.

    Nothing is resumed. FatalError names those that could not be ended.
    """
    from monitor.work import recover

    async def work(postgres: Postgres, settings: Settings) -> int:
        return len(await recover(postgres, settings, by="script", older_than_hours=max_age_hours))

    return _on_ledger(work)


def get_sync_health_status() -> dict[str, Any]:
    """How all is: `status` (healthy, degraded, unhealthy), `sentence`, `stuck`, `streams`."""
    from monitor.work import report

    async def work(postgres: Postgres, settings: Settings) -> dict[str, Any]:
        return (await report(postgres, settings)).as_dict()

    return _on_ledger(work)


def _on_ledger(work: Callable[[Postgres, Settings], Awaitable[T]]) -> T:
    from monitor.config import load_settings
    from monitor.work import open_ledger

    async def run() -> T:
        settings = load_settings(environ=os.environ)
        async with open_ledger(settings) as postgres:
            return await work(postgres, settings)

    return asyncio.run(run())
