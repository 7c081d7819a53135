"""Looks of the monitor at a real ledger: what it ends, what it leaves alone, what it keeps."""

from __future__ import annotations

import asyncio
from typing import Any

from monitor import recovery
from monitor.recovery import Rescuer
from monitor.watch import Patience
from syncd.contract.words import Stream
from syncd.ledger import accounts
from syncd.ledger.runs import load_cancel
from tests.streams import Stand, execute, page_of, scalar, select

PATIENCE = Patience(threshold_seconds=3600, call_seconds=30, lease_seconds=60)


def rescuer(stand: Stand) -> Rescuer:
    return Rescuer(stand.postgres, PATIENCE, lambda: True)


def age(stand: Stand, seconds: float) -> None:
    """As if the open runs had not moved for so long; their leases stay valid."""
    execute(stand.conninfo, "UPDATE run SET progress_at = clock_timestamp() - make_interval(secs => %s)", [seconds])


def runs(stand: Stand) -> list[dict[str, Any]]:
    return select(stand.conninfo, "SELECT status, cause, initiated_by FROM run ORDER BY queued_at")


async def test_a_run_that_moves_is_left_alone(stand: Stand) -> None:
    await stand.claim()
    look = await rescuer(stand).look()
    assert (len(look.verdicts), look.stuck, look.ended) == (1, [], [])
    assert stand.count("rescue") == 0


async def test_a_lapsed_run_is_ended_at_once_with_its_forensics(stand: Stand) -> None:
    claim = await stand.claim()
    async with stand.writer(claim) as writer:
        await writer.store(page_of(1, range(3)))
    stand.lapse()
    look = await rescuer(stand).look()
    assert [ended.run_id for ended in look.ended] == [claim.run_id]
    assert [row["status"] for row in runs(stand)] == ["failed", "queued"]
    forensics = scalar(stand.conninfo, "SELECT forensics FROM rescue")
    assert forensics["observation"]["run_id"] == str(claim.run_id)
    assert [page["page"] for page in forensics["pages"]] == [1]
    assert {"run", "lease", "breaker", "budgets", "sessions", "locks"} <= forensics.keys()


async def test_a_run_whose_heart_beats_is_asked_first_and_ended_when_it_does_not_answer(
    stand: Stand, monkeypatch: Any
) -> None:
    claim = await stand.claim()
    age(stand, 4000)
    watcher = rescuer(stand)
    look = await watcher.look()
    assert (len(look.stuck), look.ended) == (1, [])
    assert await load_cancel(stand.postgres, claim) == "monitor"
    monkeypatch.setattr(recovery, "ASK_SECONDS", 0.0)
    look = await watcher.look()
    assert len(look.ended) == 1
    assert [(row["status"], row["cause"]) for row in runs(stand)] == [("failed", "no_progress"), ("queued", None)]


async def test_a_run_that_ends_itself_when_asked_gets_its_successor_all_the_same(stand: Stand) -> None:
    await stand.claim()
    age(stand, 4000)
    watcher = rescuer(stand)
    await watcher.look()
    execute(
        stand.conninfo,
        "UPDATE run SET status = 'cancelled', cause = 'cancelled', completed_at = clock_timestamp()",
    )
    first, second = await asyncio.gather(watcher.look(), rescuer(stand).look())
    assert len(first.ended) + len(second.ended) == 1
    assert [row["status"] for row in runs(stand)] == ["cancelled", "queued"]
    assert scalar(stand.conninfo, "SELECT value FROM accumulator WHERE metric = 'recovered_syncs'") == 1


async def test_two_monitors_recover_many_runs_once(stand: Stand) -> None:
    streams = [Stream("emag", f"account-{number}", "offers") for number in range(20)]
    for stream in streams:
        await accounts.register(stand.postgres, stream)
    execute(
        stand.conninfo,
        """
        WITH made AS (INSERT INTO run (stream_id, status, fence, initiated_by, started_at, progress_at)
                      SELECT stream_id, 'running', 1, 'test', clock_timestamp(), clock_timestamp() FROM stream
                      RETURNING stream_id, run_id)
        UPDATE lease SET run_id = made.run_id, fence = 1, expires_at = clock_timestamp() - interval '1 second'
          FROM made WHERE made.stream_id = lease.stream_id
        """,
    )
    looks = await asyncio.gather(rescuer(stand).look(), rescuer(stand).look())
    assert sum(len(look.ended) for look in looks) == 21
    assert scalar(stand.conninfo, "SELECT sum(value) FROM accumulator WHERE metric = 'recovered_syncs'") == 21
    assert scalar(stand.conninfo, "SELECT count(*) FROM run WHERE status = 'queued'") == 21


async def test_runs_that_cannot_be_recovered_keep_no_other_waiting(stand: Stand) -> None:
    """Twenty rows whose lease somebody holds, before one that is free: it is recovered in the same look."""
    for number in range(20):
        await accounts.register(stand.postgres, Stream("emag", f"held-{number:02}", "offers"))
    execute(
        stand.conninfo,
        """
        WITH made AS (INSERT INTO run (stream_id, status, fence, initiated_by, started_at, progress_at, queued_at)
                      SELECT stream_id, 'running', 1, 'test', clock_timestamp(), clock_timestamp(),
                             clock_timestamp() - interval '1 day' * stream_id FROM stream
                      RETURNING stream_id, run_id)
        UPDATE lease SET run_id = made.run_id, fence = 1, expires_at = clock_timestamp() - interval '1 second'
          FROM made WHERE made.stream_id = lease.stream_id
        """,
    )
    async with await stand.postgres.connect("hold the leases") as holder, holder.transaction():
        await holder.execute(
            "SELECT FROM lease WHERE stream_id IN (SELECT stream_id FROM stream JOIN account USING (account_id)"
            " WHERE name LIKE 'held-%%') FOR KEY SHARE"
        )
        loop = asyncio.get_running_loop()
        began = loop.time()
        look = await rescuer(stand).look()
        assert loop.time() - began < recovery.LONGEST_WAIT_SECONDS + 10
    assert len(look.ended) == 1
    assert len(look.failed) == 20
