"""Looks of the monitor while somebody's open transaction holds rows that a rescue needs: no rung waits for long, and
no other run waits with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from monitor import recovery
from monitor.recovery import Look, Rescuer
from tests.integration.test_recovery import MARGIN_SECONDS, age, rescuer, runs
from tests.streams import Stand, execute, make_lapsed_runs, scalar

LONGEST_LOOK_SECONDS = 2 * recovery.LONGEST_WAIT_SECONDS + MARGIN_SECONDS


@asynccontextmanager
async def held(stand: Stand, statement: str) -> AsyncIterator[None]:
    """This statement's transaction stays open."""
    async with await stand.postgres.connect("hold rows") as holder, holder.transaction():
        await holder.execute(statement)
        yield


async def look_in_time(watcher: Rescuer) -> Look:
    async with asyncio.timeout(LONGEST_LOOK_SECONDS):
        return await watcher.look()


async def test_a_run_whose_row_is_held_is_asked_later(stand: Stand) -> None:
    await stand.claim()
    age(stand, 4000)
    watcher = rescuer(stand)
    async with held(stand, "UPDATE run SET phase = 'read'"):
        look = await look_in_time(watcher)
        assert ["lock timeout" in why for _, why in look.failed] == [True]
        assert watcher.again_in_seconds == recovery.LATER_SECONDS
    await look_in_time(watcher)
    assert scalar(stand.conninfo, "SELECT cancel_requested_by FROM run") == "monitor"


async def test_a_successor_that_cannot_be_queued_keeps_no_other_waiting(stand: Stand) -> None:
    """Two runs have ended when they were asked to; the stream of the first is held."""
    make_lapsed_runs(stand.conninfo, 2)
    execute(
        stand.conninfo,
        "INSERT INTO rescue (run_id, stream_id, cause, why, found_by, forensics, found_at)"
        " SELECT run_id, stream_id, 'no_progress', 'has not moved', 'monitor', '{}', queued_at FROM run",
    )
    execute(
        stand.conninfo,
        "UPDATE run SET status = 'cancelled', cause = 'cancelled', cancel_requested_by = 'monitor',"
        " completed_at = clock_timestamp()",
    )
    watcher = rescuer(stand)
    async with held(stand, "SELECT FROM stream WHERE stream_id = (SELECT min(stream_id) FROM run) FOR UPDATE"):
        look = await look_in_time(watcher)
        assert [str(ended.stream) for ended in look.ended] == ["emag/account-0002/offers"]
        assert (len(look.unfinished), watcher.again_in_seconds) == (1, recovery.LATER_SECONDS)
    look = await look_in_time(watcher)
    assert [str(ended.stream) for ended in look.ended] == ["emag/account-0001/offers"]
    assert [row["status"] for row in runs(stand)].count("queued") == 2


async def test_streams_that_are_held_keep_no_other_run_waiting(stand: Stand) -> None:
    """Their leases are free, so that only the attempt shows it."""
    make_lapsed_runs(stand.conninfo, 100, "held")
    make_lapsed_runs(stand.conninfo, 1, "free")
    streams = "SELECT stream_id FROM stream JOIN account USING (account_id) WHERE name LIKE 'held-%%'"
    async with held(stand, f"SELECT FROM stream WHERE stream_id IN ({streams}) FOR UPDATE"):
        look = await look_in_time(rescuer(stand))
    assert [ended.stream.account for ended in look.ended] == ["free-0001"]
    assert len(look.failed) == 100
