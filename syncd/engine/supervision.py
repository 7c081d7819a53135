"""A run under its lease: what ends first, the work or the lease, ends the other.

Beside the work stand the keepers (`syncd.engine.keeper`) and a thread that ends a hung process. Whatever
happened, the end of the run is written while nobody else can hold the stream; where that cannot be done any
more, the outcome is a lost lease, never a success that nobody stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import structlog

from syncd.contract.errors import DatabaseAwayError, FatalError, SyncError
from syncd.contract.runs import Claim, Outcome, RunRow
from syncd.contract.words import Cause
from syncd.engine.keeper import keep_books, keep_lease, watch_trust
from syncd.engine.stop import StopSignal
from syncd.ledger import claims
from syncd.ledger.accumulators import Recorder
from syncd.ledger.rescue import outcome_of
from syncd.ledger.runs import load_run
from syncd.runtime.deadman import DeadMan
from syncd.runtime.postgres import Postgres
from syncd.runtime.stacks import task_stacks

log = structlog.get_logger()

UNWIND_SECONDS = 5.0
RETRY_SECONDS = 0.3
ANALYZE_FROM_RECORDS = 1000
ANALYZE_SECONDS = 20.0


async def work_under_lease(
    postgres: Postgres,
    claim: Claim,
    holder: claims.LeaseHolder,
    recorder: Recorder,
    stop: StopSignal,
    work: Callable[[], Awaitable[Outcome]],
) -> Outcome:
    """Do the work while the lease holds, and write how it ended."""

    def note_stacks(cause: Cause) -> None:
        if cause is Cause.CANCELLED:
            recorder.activity.note_stacks(task_stacks())

    stop.before = note_stacks
    deadman = DeadMan(claim.lease_seconds)
    deadman.start()
    keepers = [
        asyncio.create_task(keep_lease(holder, claim, stop)),
        asyncio.create_task(watch_trust(holder, claim, stop)),
        asyncio.create_task(keep_books(postgres, claim, recorder, stop)),
    ]
    for keeper in keepers:
        keeper.add_done_callback(partial(_end_with, stop))
    try:
        outcome = await _until_lease_lost(work, stop, deadman)
        return await _release(postgres, claim, holder, recorder, outcome)
    finally:
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        await holder.close()
        deadman.stop()


def _end_with(stop: StopSignal, keeper: asyncio.Task[None]) -> None:
    """A run whose keeper has failed would go on without its lease, its books or its cancel: it ends, and says why."""
    if not keeper.cancelled() and (error := keeper.exception()) is not None:
        known = isinstance(error, SyncError)  # of a fault of ours the traceback is wanted
        log.error("keeper.failed", error=str(error), exc_info=None if known else error)
        cause = error.cause if isinstance(error, SyncError) else Cause.INTERNAL
        stop.stop(cause, f"{type(error).__name__} beside the work: {error}")


async def _until_lease_lost(work: Callable[[], Awaitable[Outcome]], stop: StopSignal, deadman: DeadMan) -> Outcome:
    task = asyncio.ensure_future(work())
    lost = asyncio.create_task(stop.lease_lost.wait())
    try:
        await asyncio.wait({task, lost}, return_when=asyncio.FIRST_COMPLETED)
        if stop.lease_lost.is_set():
            deadman.expect_end(3 * UNWIND_SECONDS)
            task.cancel()
            await asyncio.wait({task}, timeout=UNWIND_SECONDS)
            return stop.outcome or Outcome(Cause.LEASE_LOST)
        return task.result()
    except SyncError as error:
        return Outcome(error.cause, str(error))
    except Exception as error:  # the supervisor: a fault of ours ends this run, named, and no other
        log.exception("run.crashed", run_error=type(error).__name__)
        return Outcome(Cause.INTERNAL, f"{type(error).__name__}: a fault in syncd; the log has the traceback")
    finally:
        lost.cancel()
        task.cancel()


async def _release(
    postgres: Postgres, claim: Claim, holder: claims.LeaseHolder, recorder: Recorder, outcome: Outcome
) -> Outcome:
    """Write the end of the run. While nobody else can hold the stream, keep trying."""
    loop = asyncio.get_running_loop()
    until = loop.time() + UNWIND_SECONDS if outcome.cause is Cause.LEASE_LOST else holder.trusted_until
    while True:
        try:
            async with asyncio.timeout(max(1.0, until - loop.time())):
                await recorder.flush(postgres, claim.run_id)
                if outcome.cause is Cause.CANCELLED:
                    await recorder.activity.keep(postgres, claim, loop.time())
                outcome = await outcome_of(postgres, claim, outcome)
                released = await claims.release(postgres, claim, outcome)
        except (SyncError, TimeoutError) as error:
            if loop.time() >= until or not isinstance(error, DatabaseAwayError | TimeoutError):
                why = str(error) or "no answer in time"
                return Outcome(Cause.LEASE_LOST, f"{outcome.message or outcome.cause}; its end was not stored: {why}")
            await asyncio.sleep(RETRY_SECONDS)
        except FatalError as error:  # the ledger is not what it was: nothing to repeat
            return Outcome(Cause.DATABASE, f"{outcome.message or outcome.cause}; its end was not stored: {error}")
        else:
            if released and outcome.cause is Cause.END_OF_DATA:
                await _analyze(postgres, claim)
            return outcome if released else Outcome(Cause.LEASE_LOST, "another process had closed this run")


async def _analyze(postgres: Postgres, claim: Claim) -> None:
    """A new table without statistics is planned badly until autovacuum comes by. Of the columns that queries
    join and filter by; all of them would take ten times as long. A courtesy: it never changes how a run ended."""
    try:
        async with asyncio.timeout(ANALYZE_SECONDS):
            row = await load_run(postgres, claim.run_id)
            if row is None or row.inserted < ANALYZE_FROM_RECORDS:
                return
            async with postgres.connection("analyze the records") as connection, connection.transaction():
                await connection.execute("SET LOCAL lock_timeout = '1s'")
                await connection.execute("ANALYZE record (stream_id, key, missing_since, absent_sweep)")
    except (SyncError, TimeoutError) as error:
        log.info("statistics.not_made", error=str(error))


async def load_quietly(postgres: Postgres, claim: Claim) -> RunRow | None:
    """The run as it stands in the ledger; None where that cannot be reached."""
    try:
        async with asyncio.timeout(UNWIND_SECONDS):  # a frozen server never answers
            return await load_run(postgres, claim.run_id)
    except (SyncError, TimeoutError):
        return None
