"""What the page reads beside the metrics, on a real ledger: what comes next, the days, what changed most."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import psycopg

from syncd.contract.runs import Outcome
from syncd.contract.words import Cause, Status
from syncd.ledger import jumps
from syncd.ledger.claims import release
from syncd.ledger.days import load_days
from syncd.ledger.jumps import MOST_CHANGES, SHOWN, load_jumps
from syncd.ledger.outlook import load_outlook
from syncd.ledger.pauses import pause
from syncd.ledger.situation import book_next
from tests.streams import STREAM, Stand, execute, scalar, with_schema

QUEUE = "INSERT INTO run (stream_id, initiated_by, dry_run) SELECT stream_id, 'test', %s FROM stream"
END = (
    "UPDATE run SET status = %s, cause = %s, completed_at = clock_timestamp() - %s * interval '1 day'"
    " WHERE completed_at IS NULL"
)
CHANGE = (
    "INSERT INTO change (stream_id, key, run_id, kind, field, old, new)"
    " SELECT stream_id, %s, %s, 'updated', %s, %s, %s FROM stream"
)


def end_one(stand: Stand, status: Status, cause: Cause, *, days_ago: float = 0, dry_run: bool = False) -> Any:
    execute(stand.conninfo, QUEUE, [dry_run])
    execute(stand.conninfo, END, [status, cause, days_ago])
    return scalar(stand.conninfo, "SELECT run_id FROM run ORDER BY queued_at DESC LIMIT 1")


def log_change(stand: Stand, run_id: Any, key: str, field: str, old: str | None, new: str | None) -> None:
    execute(stand.conninfo, CHANGE, [key, run_id, field, old, new])


async def test_the_days_count_each_run_once_when_it_ends_and_outlive_it(stand: Stand) -> None:
    end_one(stand, Status.COMPLETE, Cause.END_OF_DATA)
    end_one(stand, Status.COMPLETE, Cause.END_OF_DATA)
    end_one(stand, Status.FAILED, Cause.UPSTREAM, days_ago=2)
    end_one(stand, Status.FAILED, Cause.UPSTREAM, days_ago=45)
    end_one(stand, Status.COMPLETE, Cause.END_OF_DATA, dry_run=True)
    execute(stand.conninfo, "UPDATE run SET error_message = 'seen'")
    execute(stand.conninfo, "DELETE FROM run")
    older, today = await load_days(stand.postgres)
    assert (older.runs, today.runs) == ({Status.FAILED: 1}, {Status.COMPLETE: 2})
    assert (today.day - older.day).days == 2
    assert today.stream == STREAM


async def test_a_run_that_the_daemon_ends_is_counted(stand: Stand) -> None:
    claim = await stand.claim()
    assert await release(stand.postgres, claim, Outcome(Cause.SHUTDOWN))
    assert [one.runs for one in await load_days(stand.postgres)] == [{Status.PARTIAL: 1}]
    assert stand.run(claim)["status"] == "partial"


async def test_the_outlook_knows_slot_pause_last_run_and_what_waits_for_consent(stand: Stand) -> None:
    empty = (await load_outlook(stand.postgres))[STREAM]
    assert (empty.has_run, empty.next_in_seconds, empty.last_run, empty.paused, empty.open_run_id) == (
        False, None, None, None, None
    )  # fmt: skip
    await book_next(stand.postgres, STREAM, seconds=360.0, failed=False)
    await pause(stand.postgres, STREAM, by="ana", reason="stock count")
    run_id = end_one(stand, Status.PARTIAL, Cause.BLAST_RADIUS)
    execute(
        stand.conninfo,
        "INSERT INTO consent (run_id, stream_id, keys, live) SELECT %s, stream_id, '{1,2,3}', 10 FROM stream",
        [run_id],
    )
    end_one(stand, Status.COMPLETE, Cause.END_OF_DATA, dry_run=True)
    execute(stand.conninfo, QUEUE, [False])
    seen = (await load_outlook(stand.postgres))[STREAM]
    assert seen.next_in_seconds is not None
    assert 350 < seen.next_in_seconds <= 360
    assert seen.paused is not None
    assert (seen.paused.by, seen.paused.reason) == ("ana", "stock count")
    assert seen.last_run is not None
    assert (seen.last_run.run_id, seen.last_run.cause, seen.last_run.missing_keys) == (run_id, Cause.BLAST_RADIUS, 3)
    assert seen.open_run_id == scalar(stand.conninfo, "SELECT run_id FROM run WHERE status = 'queued'")
    execute(stand.conninfo, "UPDATE consent SET approved_at = clock_timestamp()")
    last = (await load_outlook(stand.postgres))[STREAM].last_run
    assert last is not None
    assert last.missing_keys is None


async def test_the_largest_jumps_are_found_whatever_else_was_logged(stand: Stand) -> None:
    run_id = end_one(stand, Status.COMPLETE, Cause.END_OF_DATA)
    prices = [("1", "10", "20"), ("2", "10.00", '"1"'), ("3", "1", "100.5"), ("4", "5", "0"), ("5", "7", "7.0")]
    for key, old, new in prices:
        log_change(stand, run_id, key, "sale_price", old, new)
    for weird in ("1e5", '"abc"', "null", "{}", "[]", "123456789012345678", None):
        log_change(stand, run_id, "weird", "sale_price", "1", weird)
        log_change(stand, run_id, "weird", "stock", weird, "[]")
        log_change(stand, run_id, "weird", "name", '"a"', weird)
    two = json.dumps([{"warehouse_id": 1, "value": 5}, {"warehouse_id": 2, "value": 7}])
    log_change(stand, run_id, "9", "stock", two, '[{"warehouse_id":1,"value":360}]')
    found = [(jump.key, jump.field, jump.old, jump.new) for jump in await load_jumps(stand.postgres, [run_id])]
    assert found == [
        ("3", "sale_price", Decimal(1), Decimal("100.5")),
        ("2", "sale_price", Decimal(10), Decimal(1)),
        ("4", "sale_price", Decimal(5), Decimal(0)),
        ("1", "sale_price", Decimal(10), Decimal(20)),
        ("9", "stock", Decimal(12), Decimal(360)),
    ]


async def test_a_run_with_very_many_changes_is_read_no_further_than_it_must(stand: Stand) -> None:
    run_id = end_one(stand, Status.COMPLETE, Cause.END_OF_DATA)
    execute(
        stand.conninfo,
        "INSERT INTO change (stream_id, key, run_id, kind, field, old, new) SELECT stream_id, n::text, %s, 'updated',"
        " 'sale_price', '1', n::text::json FROM stream, generate_series(2, 60000) n",
        [run_id],
    )
    found = await load_jumps(stand.postgres, [run_id])
    assert [jump.new for jump in found] == [Decimal(MOST_CHANGES + 1 - place) for place in range(SHOWN)]
    execute(stand.conninfo, "ANALYZE change")
    plan = _plan(stand, run_id)
    assert f"Index Scan using change_of_run on change (actual rows={MOST_CHANGES} " in plan, plan


def _plan(stand: Stand, run_id: Any) -> str:
    with psycopg.connect(with_schema(stand.conninfo, enable_bitmapscan="off", enable_seqscan="off")) as connection:
        query = f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {jumps._JUMPS}"
        return "\n".join(row[0] for row in connection.execute(query.encode(), {"runs": [run_id]}).fetchall())
