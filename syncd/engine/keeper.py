"""Keeps a run's lease while it works, and ends the run when it cannot.

Three timers, none of which waits for another: the lease is renewed at a third of its length, the books are
written and a cancel is noticed every few seconds, and trust runs out by the local clock even where the
database never answers.
"""

from __future__ import annotations

import asyncio

import structlog

from syncd.contract.errors import DatabaseAwayError, LeaseLostError
from syncd.contract.runs import Claim
from syncd.contract.words import Cause
from syncd.engine.stop import StopSignal
from syncd.ledger.accumulators import FLUSH_SECONDS, Recorder
from syncd.ledger.claims import LeaseHolder
from syncd.ledger.runs import load_cancel
from syncd.runtime.outage import outage
from syncd.runtime.postgres import Postgres

log = structlog.get_logger()

RETRY_SECONDS = 0.5
FIRST_FLUSH_SECONDS = 1.0  # a run that freezes at once should leave a trace, too


async def keep_lease(holder: LeaseHolder, claim: Claim, stop: StopSignal) -> None:
    """Renew until cancelled."""
    pause = claim.lease_seconds / 3
    while True:
        await asyncio.sleep(pause)
        try:
            async with asyncio.timeout(claim.lease_seconds / 2):
                cancelled_by = await holder.renew()
        except LeaseLostError as error:
            stop.stop(Cause.LEASE_LOST, str(error))
            return
        except (DatabaseAwayError, TimeoutError) as error:
            outage.failed(error if str(error) else DatabaseAwayError("renew the lease: no answer in time"))
            log.debug("lease.not_renewed", error=str(error) or "no answer in time")
            pause = min(RETRY_SECONDS, claim.lease_seconds / 10)
        else:
            pause = claim.lease_seconds / 3
            if cancelled_by is not None:
                stop.stop(Cause.CANCELLED, f"cancelled by {cancelled_by}")


async def watch_trust(holder: LeaseHolder, claim: Claim, stop: StopSignal) -> None:
    """Declare the lease lost as soon as the last renewal is too old to believe."""
    loop = asyncio.get_running_loop()
    while (left := holder.trusted_until - loop.time()) > 0:  # noqa: ASYNC110
        await asyncio.sleep(left)  # a renewal moves the goal; there is nothing to wait for
    seconds = claim.lease_seconds
    stop.stop(Cause.LEASE_LOST, f"the lease of {seconds:.0f} s could not be renewed in time: stopped writing")


async def keep_books(postgres: Postgres, claim: Claim, recorder: Recorder, stop: StopSignal) -> None:
    """Write the accumulators and what the run does, and look for a cancel, until cancelled. At a stop at once: if
    the run then does not end, the monitor can read where its tasks stood."""
    pause, is_stopping = FIRST_FLUSH_SECONDS, False
    while True:
        if is_stopping:
            await asyncio.sleep(pause)
        else:
            await stop.wait_at_most(pause)
        pause, is_stopping = FLUSH_SECONDS, stop.outcome is not None
        try:
            await recorder.activity.keep(postgres, claim, asyncio.get_running_loop().time())
            await recorder.flush(postgres, claim.run_id)
            cancelled_by = await load_cancel(postgres, claim)
        except DatabaseAwayError:
            continue  # said by whoever needs the database; the deltas are kept
        if cancelled_by is not None:
            stop.stop(Cause.CANCELLED, f"cancelled by {cancelled_by}")
