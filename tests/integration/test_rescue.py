"""Ending a stuck run in a real ledger: once, under the lock, and never one that moves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from syncd.contract.errors import DatabaseAwayError, LeaseLostError
from syncd.contract.observation import Fault, Observation
from syncd.contract.runs import Claim
from syncd.contract.words import Cause
from syncd.ledger import pauses, rescue
from syncd.ledger.observation import observe
from tests.streams import STREAM, Stand, execute, page_of, select

FAULT = Fault(Cause.NO_PROGRESS, "has not moved for 2 h")


def always(_: Observation) -> Fault:
    return FAULT


def never(_: Observation) -> None:
    return None


def counted(stand: Stand, metric: str) -> float:
    rows = select(stand.conninfo, "SELECT sum(value) AS n FROM accumulator WHERE metric = %s", [metric])
    return float(rows[0]["n"] or 0)


def runs(stand: Stand) -> list[dict[str, Any]]:
    return select(stand.conninfo, "SELECT run_id, status, cause, initiated_by FROM run ORDER BY queued_at")


async def stuck(stand: Stand) -> Claim:
    claim = await stand.claim()
    assert await rescue.find(stand.postgres, claim.run_id, FAULT, by="monitor", forensics={"seen": "nothing"})
    return claim


async def test_an_open_run_is_seen_with_its_times(stand: Stand) -> None:
    claim = await stand.claim()
    [seen] = await observe(stand.postgres)
    assert (seen.run_id, seen.stream, seen.fence) == (claim.run_id, STREAM, claim.fence)
    assert seen.lease_seconds_left is not None
    assert 50 < seen.lease_seconds_left <= 60
    assert seen.deadline_seconds_left is not None
    assert seen.deadline_seconds_left > 7000
    assert seen.unmoved_seconds is not None
    assert 0 <= seen.unmoved_seconds < 10


async def test_a_stuck_run_is_ended_and_its_successor_waits_for_a_worker(stand: Stand) -> None:
    claim = await stuck(stand)
    ended = await rescue.end(stand.postgres, claim.run_id, always, resume=True)
    assert ended is not None
    old, new = runs(stand)
    assert (old["status"], old["cause"]) == ("failed", "no_progress")
    assert (new["run_id"], new["status"], new["initiated_by"]) == (ended.successor, "queued", "monitor")
    assert (counted(stand, "stuck_syncs"), counted(stand, "recovered_syncs")) == (1, 1)
    successor = await stand.claim()
    assert (successor.run_id, successor.fence) == (ended.successor, claim.fence + 2)


async def test_the_old_worker_writes_nothing_afterwards(stand: Stand) -> None:
    claim = await stuck(stand)
    async with stand.writer(claim) as writer:
        await writer.store(page_of(1, range(10)))
        await rescue.end(stand.postgres, claim.run_id, always, resume=True)
        with pytest.raises(LeaseLostError):
            await writer.store(page_of(2, range(10, 20)))
    assert stand.count("record") == 10


async def test_a_run_that_moved_meanwhile_is_left_alone(stand: Stand) -> None:
    claim = await stuck(stand)
    assert await rescue.end(stand.postgres, claim.run_id, never, resume=True) is None
    assert [row["status"] for row in runs(stand)] == ["running"]
    assert counted(stand, "recovered_syncs") == 0


async def test_two_monitors_end_a_run_once(stand: Stand) -> None:
    claim = await stuck(stand)
    assert not await rescue.find(stand.postgres, claim.run_id, FAULT, by="another", forensics={})
    both = await asyncio.gather(*(rescue.end(stand.postgres, claim.run_id, always, resume=True) for _ in range(2)))
    assert sorted(ended is not None for ended in both) == [False, True]
    assert len(runs(stand)) == 2
    assert (counted(stand, "stuck_syncs"), counted(stand, "recovered_syncs")) == (1, 1)


async def test_a_held_lease_row_delays_it_and_nothing_else(stand: Stand) -> None:
    claim = await stuck(stand)
    async with await stand.postgres.connect("hold the lease") as holder, holder.transaction():
        await holder.execute("SELECT FROM lease FOR KEY SHARE")
        with pytest.raises(DatabaseAwayError):
            await rescue.end(stand.postgres, claim.run_id, always, resume=True)
    assert await rescue.end(stand.postgres, claim.run_id, always, resume=True) is not None


async def test_a_queued_run_that_nobody_takes_is_failed(stand: Stand) -> None:
    execute(stand.conninfo, "INSERT INTO run (stream_id, initiated_by) SELECT stream_id, 'api' FROM stream")
    [seen] = await observe(stand.postgres)
    fault = Fault(Cause.NOT_STARTED, "has been queued for 2 h")
    await rescue.end(stand.postgres, seen.run_id, lambda _: fault, resume=False)
    [row] = runs(stand)
    assert (row["status"], row["cause"]) == ("failed", "not_started")


@pytest.mark.parametrize("hold", ["paused", "not asked for"])
async def test_no_successor_while_it_is_held_back(stand: Stand, hold: str) -> None:
    claim = await stuck(stand)
    if hold == "paused":
        await pauses.pause(stand.postgres, None, by="ana", reason="stocktaking")
    ended = await rescue.end(stand.postgres, claim.run_id, always, resume=hold == "paused")
    assert ended is not None
    assert ended.successor is None
    assert ended.held_back is not None
    assert len(runs(stand)) == 1


async def test_three_rescues_without_a_page_pause_the_stream(stand: Stand) -> None:
    for _ in range(rescue.MOST_RESCUES):
        claim = await stand.claim()
        ended = await rescue.end(stand.postgres, claim.run_id, always, resume=True)
        assert ended is not None
    assert ended.successor is None
    [row] = select(stand.conninfo, "SELECT paused_by, pause_reason, rescues FROM stream")
    assert row["paused_by"] == "monitor"
    assert "without a new page" in row["pause_reason"]
    await pauses.resume(stand.postgres, None)
    assert select(stand.conninfo, "SELECT rescues FROM stream") == [{"rescues": 0}]


async def test_a_rescue_that_gained_a_page_counts_from_nothing(stand: Stand) -> None:
    for _ in range(rescue.MOST_RESCUES + 1):
        claim = await stand.claim()
        async with stand.writer(claim) as writer:
            page = writer.sweep.checkpoint + 1
            await writer.store(page_of(page, [page]))
        ended = await rescue.end(stand.postgres, claim.run_id, always, resume=True)
        assert ended is not None
        assert ended.successor is not None
