"""The counters of a run are written whatever happens at its end."""

from __future__ import annotations

import asyncio

from syncd.ledger.accumulators import Recorder
from tests.streams import Stand, held_open, scalar, wait_until_waiting

COUNTED = "SELECT coalesce(sum(value), 0) FROM accumulator WHERE metric = 'requests'"


async def test_what_is_being_written_when_a_run_ends_is_not_lost(stand: Stand) -> None:
    """The keeper of the books writes just then, and is cancelled as soon as the end is written."""
    claim = await stand.claim()
    recorder = Recorder(claim.stream_id)
    recorder.call_abandoned("product_offer/read")
    with held_open(stand, "accumulator", "INSERT"):
        keeper = asyncio.create_task(recorder.flush(stand.postgres, claim.run_id))
        await asyncio.to_thread(wait_until_waiting, stand.conninfo)
        end = asyncio.create_task(recorder.flush(stand.postgres, claim.run_id))
        done, _ = await asyncio.wait({end}, timeout=0.5)
        if done:
            keeper.cancel()
    await end
    keeper.cancel()
    await asyncio.gather(keeper, return_exceptions=True)
    assert scalar(stand.conninfo, COUNTED) == 1
    assert stand.run(claim)["requests"] == 1
