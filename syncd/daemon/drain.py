"""The end of a daemon that was told to stop: bounded, whatever PostgreSQL does.

    runs end at their next page → their ends are stored, leases released → connections closed → exit 0

While the database works, each of these takes as long as it takes, under heartbeats. One that is away, frozen or
read-only would keep a drain for as long as a lease is trusted; so after `SILENCE_SECONDS` without a sign of it the
process leaves, still with 0, because it did what it was told. The leases are left to lapse; the next start on this
host finds their owner dead and goes on at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import structlog

from syncd.contract.errors import SyncError
from syncd.ledger.schema import check_writable
from syncd.runtime.postgres import Postgres
from syncd.runtime.service import leave_at_once, leave_soon

log = structlog.get_logger()

SILENCE_SECONDS = 4.0
LOOK_SECONDS = 0.5


async def drain_bounded(postgres: Postgres, draining: Awaitable[None]) -> None:
    """Return when drained, or leave the process. From its return on the process has `CLOSE_SECONDS` to end."""
    loop = asyncio.get_running_loop()
    drained = asyncio.ensure_future(draining)
    heard_at = loop.time()
    look: asyncio.Future[bool] | None = None  # never waited for: on a frozen server it does not come back
    while not drained.done():
        if look is None:
            look = asyncio.ensure_future(_answers(postgres))
        await asyncio.wait({drained}, timeout=LOOK_SECONDS)
        if look.done():
            heard_at = loop.time() if look.result() else heard_at
            look = None
        silent_seconds = loop.time() - heard_at
        if not drained.done() and silent_seconds >= SILENCE_SECONDS:
            log.warning("drain.abandoned", reason=f"PostgreSQL did not answer for {silent_seconds:.0f} s: leases lapse")
            leave_at_once(0)
    drained.result()
    if look is not None:
        look.cancel()
    leave_soon()


async def _answers(postgres: Postgres) -> bool:
    try:
        # over a connection of its own: after an outage that is over the pool may still wait
        async with await postgres.connect("ask whether PostgreSQL works") as connection:
            await check_writable(connection)
    except SyncError:
        return False
    return True
