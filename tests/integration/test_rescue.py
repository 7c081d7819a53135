"""Ending a stuck run in a real ledger: once, under the lock, and never one that moves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from syncd.contract.errors import DatabaseAwayError, LeaseLostError
from syncd.contract.observation import Fault, Observation
from syncd.contract.runs import Claim, Outcome, Paused
from syncd.contract.words import Cause
from syncd.ledger import claims, pauses, rescue
from syncd.ledger.observation import observe
from syncd.ledger.runs import declare_wait, load_run, note_at_work, request_cancel
from syncd.ledger.succession import MOST_RESCUES
from tests.streams import STREAM, Stand, execute, held_open, page_of, select, waiting

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


async def test_a_page_that_is_being_written_is_waited_for(stand: Stand) -> None:
    """It is committed before the fence moves: no page comes after the end."""
    claim = await stuck(stand)
    async with stand.writer(claim) as writer:
        with held_open(stand, "record", "INSERT") as holder:
            storing = asyncio.create_task(writer.store(page_of(1, range(10))))
            assert await waiting(stand, "COPY", storing)
            ending = asyncio.create_task(rescue.end(stand.postgres, claim.run_id, always, resume=True, lock_seconds=20))
            assert await waiting(stand, "FOR UPDATE OF l", ending), "it did not wait for the page"
            holder.commit()
            await storing
            ended = await ending
    assert ended is not None
    assert select(
        stand.conninfo,
        "SELECT pg_xact_commit_timestamp(p.xmin) < r.ended_at AS before FROM sweep_page p, rescue r",
    ) == [{"before": True}]  # fmt: skip


async def test_a_queued_run_that_nobody_takes_is_failed(stand: Stand) -> None:
    execute(stand.conninfo, "INSERT INTO run (stream_id, initiated_by) SELECT stream_id, 'api' FROM stream")
    [seen] = await observe(stand.postgres)
    fault = Fault(Cause.NOT_STARTED, "has been queued for 2 h")
    await rescue.end(stand.postgres, seen.run_id, lambda _: fault, resume=False)
    [row] = runs(stand)
    assert (row["status"], row["cause"]) == ("failed", "not_started")


async def test_a_successor_on_a_paused_stream_waits_and_its_time_begins_with_the_resume(stand: Stand) -> None:
    claim = await stuck(stand)
    await pauses.pause(stand.postgres, None, by="ana", reason="stocktaking")
    ended = await rescue.end(stand.postgres, claim.run_id, always, resume=True)
    assert ended is not None
    assert ended.successor is not None
    assert "waits until the stream is not paused" in ended.outcome
    assert isinstance(await stand.try_claim(), Paused)
    execute(
        stand.conninfo,
        "UPDATE run SET queued_at = queued_at - interval '5 hours' WHERE run_id = %s", [ended.successor],
    )  # fmt: skip
    [seen] = await observe(stand.postgres)
    assert seen.queued_seconds > 3600
    await pauses.resume(stand.postgres, None)
    [seen] = await observe(stand.postgres)
    assert seen.queued_seconds < 60, "it could not begin while it was paused: that is no fault of anybody's"
    assert (await stand.claim()).run_id == ended.successor


@pytest.mark.parametrize("why", ["not asked for", "dry run", "cancelled by a person", "not started"])
async def test_no_successor_where_nobody_wants_one(stand: Stand, why: str) -> None:
    claim = await stuck(stand)
    if why == "dry run":
        execute(stand.conninfo, "UPDATE run SET dry_run = true")
    if why == "cancelled by a person":
        await request_cancel(stand.postgres, claim.run_id, "ana")
    fault = Fault(Cause.NOT_STARTED, "has waited") if why == "not started" else FAULT
    ended = await rescue.end(stand.postgres, claim.run_id, lambda _: fault, resume=why != "not asked for")
    assert ended is not None
    assert ended.successor is None
    assert ended.held_back is not None
    [row] = runs(stand)
    assert row["status"] == ("cancelled" if why == "cancelled by a person" else "failed")
    assert counted(stand, "recovered_syncs") == 1


async def test_a_successor_has_the_caps_that_were_asked_for(stand: Stand) -> None:
    execute(
        stand.conninfo,
        "INSERT INTO run (stream_id, initiated_by, wanted_pages, wanted_requests, wanted_records)"
        " SELECT stream_id, 'api', 7, 8, 9 FROM stream",
    )
    claim = await stuck(stand)
    ended = await rescue.end(stand.postgres, claim.run_id, always, resume=True)
    assert ended is not None
    [row] = select(
        stand.conninfo,
        "SELECT wanted_pages, wanted_requests, wanted_records FROM run WHERE run_id = %s", [ended.successor],
    )  # fmt: skip
    assert list(row.values()) == [7, 8, 9]


@pytest.mark.parametrize(
    ("ended_by", "follows"),
    [("no_progress", True), ("lease_lost", True), ("cancelled", True), ("end_of_data", False), ("cap_pages", False)],
)
async def test_a_run_that_ended_by_itself_is_followed_only_where_it_did_so_because_it_was_stuck(
    stand: Stand, ended_by: str, follows: bool
) -> None:
    claim = await stuck(stand)
    await claims.release(stand.postgres, claim, Outcome(Cause(ended_by)))
    ended = await rescue.finish(stand.postgres, claim.run_id, resume=True)
    assert ended is not None
    assert (ended.successor is not None) is follows, ended.outcome
    assert await rescue.finish(stand.postgres, claim.run_id, resume=True) is None
    assert counted(stand, "recovered_syncs") == 1


async def test_a_newer_run_is_successor_enough(stand: Stand) -> None:
    claim = await stuck(stand)
    heir = await stand.take_over()
    await claims.release(stand.postgres, heir, Outcome(Cause.END_OF_DATA))
    ended = await rescue.finish(stand.postgres, claim.run_id, resume=True)
    assert ended is not None
    assert ended.held_back == "not resumed: the stream has a newer run"
    assert len(runs(stand)) == 2


async def test_a_newer_plan_that_is_over_is_no_successor(stand: Stand) -> None:
    claim = await stuck(stand)
    heir = await stand.take_over()
    await claims.release(stand.postgres, heir, Outcome(Cause.END_OF_DATA))
    execute(stand.conninfo, "UPDATE run SET dry_run = true WHERE run_id = %s", [heir.run_id])
    ended = await rescue.finish(stand.postgres, claim.run_id, resume=True)
    assert ended is not None
    assert ended.successor is not None


async def test_a_stuck_run_that_obeys_the_monitor_has_failed_and_one_that_obeys_a_person_is_cancelled(
    stand: Stand,
) -> None:
    claim = await stuck(stand)
    told = Outcome(Cause.CANCELLED, "cancelled by monitor")
    assert await rescue.outcome_of(stand.postgres, claim, told) == told
    await request_cancel(stand.postgres, claim.run_id, "monitor")
    outcome = await rescue.outcome_of(stand.postgres, claim, told)
    assert (outcome.cause, outcome.message) == (
        Cause.NO_PROGRESS, "the run has not moved for 2 h; the monitor asked it to end, and it did",
    )  # fmt: skip
    await request_cancel(stand.postgres, claim.run_id, "ana")
    assert await rescue.outcome_of(stand.postgres, claim, told) == told


async def test_three_rescues_without_a_page_pause_the_stream(stand: Stand) -> None:
    for _ in range(MOST_RESCUES):
        claim = await stand.claim()
        ended = await rescue.end(stand.postgres, claim.run_id, always, resume=True)
        assert ended is not None
    assert ended.successor is None
    [row] = select(stand.conninfo, "SELECT paused_by, pause_reason, rescues FROM stream")
    assert row["paused_by"] == "monitor"
    assert "without a new page" in row["pause_reason"]
    await pauses.resume(stand.postgres, None)
    assert select(stand.conninfo, "SELECT rescues FROM stream") == [{"rescues": 0}]


async def test_a_good_run_between_two_rescues_begins_their_count_anew(stand: Stand) -> None:
    for number in range(MOST_RESCUES + 1):
        claim = await stand.claim()
        if number == 1:
            async with stand.writer(claim) as writer:
                await writer.store(page_of(1, [1]))
            await claims.release(stand.postgres, claim, Outcome(Cause.CAP_PAGES))
            continue
        await rescue.find(stand.postgres, claim.run_id, FAULT, by="monitor", forensics={})
        ended = await rescue.end(stand.postgres, claim.run_id, always, resume=True)
        assert ended is not None
        assert ended.successor is not None, ended.outcome
    assert select(stand.conninfo, "SELECT rescues FROM stream") == [{"rescues": 2}]


async def test_a_run_at_work_without_pages_is_not_shown_asleep_and_its_wait_stays(stand: Stand) -> None:
    claim = await stand.claim()
    await note_at_work(stand.postgres, claim, "it asks one by one")
    row, [seen] = await load_run(stand.postgres, claim.run_id), await observe(stand.postgres)
    assert row is not None
    assert row.wait_until is None
    assert seen.wait_seconds_left is not None
    assert -10 < seen.wait_seconds_left < 0
    await declare_wait(stand.postgres, claim, 60, "asked to")
    await note_at_work(stand.postgres, claim, "it asks one by one")
    [seen] = await observe(stand.postgres)
    assert seen.wait_seconds_left is not None
    assert (seen.wait_seconds_left > 40, seen.wait_reason) == (True, "asked to")


async def test_a_good_run_counts_although_the_rescue_before_it_was_pruned(stand: Stand) -> None:
    """Two rescues in a row, a good run since, and all that told of the rescues is gone."""
    claim = await stand.claim()
    async with stand.writer(claim) as writer:
        await writer.store(page_of(1, [1]))
    await claims.release(stand.postgres, claim, Outcome(Cause.END_OF_DATA))
    execute(stand.conninfo, "UPDATE stream SET rescues = 2")
    claim = await stuck(stand)
    ended = await rescue.end(stand.postgres, claim.run_id, always, resume=True)
    assert ended is not None
    assert ended.successor is not None, ended.outcome
    assert select(stand.conninfo, "SELECT rescues FROM stream") == [{"rescues": 1}]


async def test_a_rescue_that_gained_a_page_counts_from_nothing(stand: Stand) -> None:
    for _ in range(MOST_RESCUES + 1):
        claim = await stand.claim()
        async with stand.writer(claim) as writer:
            page = writer.sweep.checkpoint + 1
            await writer.store(page_of(page, [page]))
        ended = await rescue.end(stand.postgres, claim.run_id, always, resume=True)
        assert ended is not None
        assert ended.successor is not None
