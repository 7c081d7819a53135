"""Looks of the monitor at a real ledger: what it ends, what it leaves alone, what it keeps."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg

from monitor import recovery
from monitor.forensics import LONGEST_SECONDS
from monitor.recovery import Rescuer
from monitor.watch import Patience
from syncd.ledger.runs import load_cancel, request_cancel
from tests.streams import Stand, execute, make_lapsed_runs, page_of, scalar, select

MARGIN_SECONDS = 5.0
PATIENCE = Patience(threshold_seconds=3600, call_seconds=30, lease_seconds=60)


def rescuer(stand: Stand) -> Rescuer:
    return Rescuer(stand.postgres, lambda _: PATIENCE, lambda: True)


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


async def test_no_statement_of_another_program_stands_in_the_forensics(stand: Stand) -> None:
    """One login for several programs is common, and a statement may hold a password."""
    await stand.claim()
    stand.lapse()
    with psycopg.connect(stand.conninfo, autocommit=True, application_name="a shop") as shop:
        shop.execute("SELECT 'ALTER ROLE shop PASSWORD hunter2'")
        await rescuer(stand).look()
    forensics = scalar(stand.conninfo, "SELECT forensics FROM rescue")
    assert [one["query"] for one in forensics["sessions"] if one["application_name"] == "a shop"] == [None]
    assert "hunter2" not in str(forensics)


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
    make_lapsed_runs(stand.conninfo, 20)
    looks = await asyncio.gather(rescuer(stand).look(), rescuer(stand).look())
    assert sum(len(look.ended) for look in looks) == 20
    assert scalar(stand.conninfo, "SELECT sum(value) FROM accumulator WHERE metric = 'recovered_syncs'") == 20
    assert scalar(stand.conninfo, "SELECT count(*) FROM run WHERE status = 'queued'") == 20


async def test_a_thousand_runs_that_cannot_be_recovered_keep_no_other_waiting(stand: Stand) -> None:
    """Their lease rows are held by a session that does not let go; the one behind them is recovered in the same look,
    before any of them is waited for, and the look takes seconds."""
    make_lapsed_runs(stand.conninfo, 1000, "held")
    make_lapsed_runs(stand.conninfo, 1, "free")
    watcher = rescuer(stand)
    async with await stand.postgres.connect("hold the leases") as holder, holder.transaction():
        await holder.execute(
            "SELECT FROM lease WHERE stream_id IN (SELECT stream_id FROM stream JOIN account USING (account_id)"
            " WHERE name LIKE 'held-%%') FOR KEY SHARE"
        )
        loop = asyncio.get_running_loop()
        began = loop.time()
        look = await watcher.look()
        seconds = loop.time() - began
        print(f"a look at 1,001 stuck runs, 1,000 of them held: {seconds:.1f} s")
        assert [ended.stream.account for ended in look.ended] == ["free-0001"]
        assert len(look.failed) == 1000
        assert seconds < recovery.LONGEST_WAIT_SECONDS + LONGEST_SECONDS + MARGIN_SECONDS
        ended = scalar(stand.conninfo, "SELECT clock_timestamp() - max(ended_at) FROM rescue")
        assert ended.total_seconds() > recovery.LONGEST_WAIT_SECONDS / 2, "the free one came first"
        assert watcher.again_in_seconds == recovery.LATER_SECONDS
    for _ in range(3):
        look = await watcher.look()
    assert (look.stuck, look.failed) == ([], [])
    assert scalar(stand.conninfo, "SELECT sum(value) FROM accumulator WHERE metric = 'recovered_syncs'") == 1001


async def test_what_a_look_cannot_write_down_does_not_stop_it(stand: Stand) -> None:
    """A fault of one run is that run's."""
    make_lapsed_runs(stand.conninfo, 3)
    execute(
        stand.conninfo,
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.stream_id = (SELECT min(stream_id) FROM run) THEN RAISE EXCEPTION 'no room'; END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON rescue FOR EACH ROW EXECUTE FUNCTION refuse()
        """,
    )
    look = await rescuer(stand).look()
    assert len(look.ended) == 2
    assert ["no room" in why for _, why in look.failed] == [True]


async def test_a_queued_run_that_nobody_takes_fails_once_and_pauses_nothing(stand: Stand) -> None:
    """The daemon is down for days: one failed run, no successor that nobody would take either."""
    execute(
        stand.conninfo,
        "INSERT INTO run (stream_id, initiated_by, queued_at)"
        " SELECT stream_id, 'api', clock_timestamp() - interval '2 hours' FROM stream",
    )
    for _ in range(2):
        await rescuer(stand).look()
    assert [(row["status"], row["cause"]) for row in runs(stand)] == [("failed", "not_started")]
    assert select(stand.conninfo, "SELECT paused_at, rescues FROM stream") == [{"paused_at": None, "rescues": 0}]


async def test_what_a_person_has_cancelled_is_not_asked_again_and_not_followed(stand: Stand) -> None:
    claim = await stand.claim()
    await request_cancel(stand.postgres, claim.run_id, "ana")
    age(stand, 4000)
    stand.lapse()
    look = await rescuer(stand).look()
    assert [ended.outcome for ended in look.ended] == ["not resumed: ana had cancelled it"]
    assert [(row["status"], row["cause"]) for row in runs(stand)] == [("cancelled", "cancelled")]
