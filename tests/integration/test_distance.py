"""The distance between calls, as they really begin: also where the event loop is late."""

from __future__ import annotations

import asyncio
import time

from syncd.contract.words import Stream
from syncd.engine.calls import WINDOW_CALLS, Calls
from syncd.engine.observer import Observer
from syncd.engine.stop import StopSignal
from syncd.ledger import accounts
from syncd.ledger.accumulators import Recorder
from syncd.ledger.budget import SLACK, Budget
from syncd.runtime.postgres import Postgres

CALLS = 90
PER_SECOND = 30.0
WORKERS = 5
LATE_SECONDS = 0.025
JITTER_SECONDS = 0.010
"""From the permission to begin to the beginning."""
MOST_SHORT = 4
"""A loaded machine takes the processor away just then, now and then; where lateness is not minded, it is a quarter."""
STREAM = Stream("emag", "main", "offers")


async def test_a_late_event_loop_brings_no_calls_together(database: str) -> None:
    """No four calls within the time in which three are allowed; and what was late does not slow down the rest."""
    loop = asyncio.get_running_loop()
    begun: list[float] = []

    async def call() -> None:
        begun.append(loop.time())

    async def block_now_and_then() -> None:
        while True:
            await asyncio.sleep(0.083)
            time.sleep(LATE_SECONDS)  # noqa: ASYNC251  # this is what is tried

    async with Postgres(database, "sync") as postgres:
        await accounts.register(postgres, STREAM)
        ids = await accounts.load_ids(postgres, STREAM)
        budget = Budget(postgres, account_id=ids.account_id, login="one", calls_per_second=PER_SECOND)
        await budget.register()
        calls = Calls(
            postgres=postgres,
            claim=None,
            budget=budget,
            recorder=Recorder(ids.stream_id),
            stop=StopSignal(),
            observer=Observer(),
            max_requests=CALLS,
            max_attempts=1,
            deadline=loop.time() + 60,
        )

        async def worker() -> None:
            for _ in range(CALLS // WORKERS):
                await calls.make("product_offer/read", "a page", call)

        blocking = asyncio.create_task(block_now_and_then())
        try:
            await asyncio.gather(*(worker() for _ in range(WORKERS)))
        finally:
            blocking.cancel()
    least = WINDOW_CALLS * SLACK / PER_SECOND - JITTER_SECONDS
    distances = [later - first for first, later in zip(begun, begun[WINDOW_CALLS:], strict=False)]
    short = [distance for distance in distances if distance < least]
    assert len(short) <= MOST_SHORT, sorted(distances)
    assert len(begun) == CALLS
