"""Pruning a real ledger: what is old goes, what somebody still needs stays, no counter falls."""

from __future__ import annotations

import pytest

from syncd.contract.runs import Outcome
from syncd.contract.words import Cause
from syncd.ledger import claims, retention
from syncd.ledger.retention import Pruned, prune
from tests.streams import Stand, execute, page_of, scalar


async def make_old_run(stand: Stand, cause: Cause = Cause.CAP_PAGES) -> None:
    """A run of 40 days ago, with a page, three changes and two quarantined records."""
    execute(
        stand.conninfo,
        """
        WITH w AS (INSERT INTO sweep (stream_id, page_size, started_at, ended_at)
                   SELECT stream_id, 100, clock_timestamp() - interval '40 days', clock_timestamp() - interval '40 days'
                     FROM stream RETURNING sweep_id, stream_id),
        r AS (INSERT INTO run (run_id, stream_id, sweep_id, status, cause, initiated_by, queued_at, completed_at)
              SELECT (lpad(to_hex(floor(extract(epoch FROM clock_timestamp() - interval '40 days') * 1000)::bigint),
                      12, '0') || right(replace(gen_random_uuid()::text, '-', ''), 20))::uuid,
                     stream_id, sweep_id, %(status)s, %(cause)s, 'test',
                     clock_timestamp() - interval '40 days', clock_timestamp() - interval '40 days'
                FROM w RETURNING run_id, stream_id, sweep_id),
        p AS (INSERT INTO sweep_page (sweep_id, pass, page, run_id, fence, received, keyless, keys)
              SELECT sweep_id, 1, 1, run_id, 1, 3, 0, '{1,2,3}' FROM r),
        c AS (INSERT INTO change (stream_id, key, run_id, kind) SELECT stream_id, n::text, run_id, 'revived'
                FROM r, generate_series(1, 3) n)
        INSERT INTO quarantine (stream_id, run_id, page, ordinal, reason, raw)
        SELECT stream_id, run_id, 1, n, 'no_key', 'x' FROM r, generate_series(1, 2) n
        """,
        {"status": "complete" if cause is Cause.END_OF_DATA else "partial", "cause": cause},  # type: ignore[arg-type]
    )


async def finished_run(stand: Stand) -> None:
    claim = await stand.claim()
    async with stand.writer(claim) as writer:
        await writer.store(page_of(1, range(5)))
    assert await claims.release(stand.postgres, claim, Outcome(Cause.CAP_PAGES))


async def test_old_runs_go_with_all_that_belongs_to_them(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH_ROWS", 2)
    await finished_run(stand)
    for _ in range(3):
        await make_old_run(stand)
    assert await prune(stand.postgres, older_than_days=30) == Pruned(runs=3, changes=9, quarantined=6, pages=3)
    assert [stand.count(table) for table in ("run", "sweep", "sweep_page", "change", "quarantine")] == [1, 1, 1, 0, 0]
    assert stand.count("record") == 5
    assert scalar(stand.conninfo, "SELECT value FROM accumulator WHERE metric = 'quarantine_pruned'") == 6
    assert await prune(stand.postgres, older_than_days=30) == Pruned()


async def test_the_run_that_the_metrics_show_stays(stand: Stand) -> None:
    """A plan and a run that nobody has taken yet came after it."""
    await make_old_run(stand)
    for columns, values in (
        ("dry_run, status, cause, completed_at", "true, 'complete', 'end_of_data', clock_timestamp()"),
        ("status", "'queued'"),
    ):
        execute(
            stand.conninfo,
            f"INSERT INTO run (stream_id, initiated_by, {columns}) SELECT stream_id, 'test', {values} FROM stream",
        )
    assert await prune(stand.postgres, older_than_days=30) == Pruned()


async def test_the_newest_and_the_last_complete_run_stay(stand: Stand) -> None:
    await make_old_run(stand, Cause.END_OF_DATA)
    await make_old_run(stand)
    await make_old_run(stand)
    assert (await prune(stand.postgres, older_than_days=30)).runs == 1
    assert scalar(stand.conninfo, "SELECT count(*) FROM run WHERE status = 'complete'") == 1


async def test_a_consent_that_is_not_used_yet_keeps_its_run(stand: Stand) -> None:
    await make_old_run(stand, Cause.CAP_PAGES)
    execute(
        stand.conninfo,
        "INSERT INTO consent (run_id, stream_id, keys, live) SELECT run_id, stream_id, '{1}', 9 FROM run",
    )
    await make_old_run(stand)
    await finished_run(stand)
    assert (await prune(stand.postgres, older_than_days=30)).runs == 1
    assert stand.count("consent") == 1
    execute(stand.conninfo, "UPDATE consent SET used_at = clock_timestamp()")
    assert (await prune(stand.postgres, older_than_days=30)).runs == 1
    assert stand.count("consent") == 0


async def test_the_run_whose_keys_the_next_sweep_is_compared_with_stays(stand: Stand) -> None:
    await make_old_run(stand)
    execute(stand.conninfo, "UPDATE sweep SET keys_digest = 'x'")
    await make_old_run(stand)
    await finished_run(stand)
    assert (await prune(stand.postgres, older_than_days=30)).runs == 1
    assert scalar(stand.conninfo, "SELECT count(*) FROM sweep WHERE keys_digest = 'x'") == 1


async def test_an_open_run_and_an_open_sweep_stay_whatever_their_age(stand: Stand) -> None:
    await make_old_run(stand)
    execute(stand.conninfo, "UPDATE sweep SET ended_at = NULL")
    await make_old_run(stand)
    await stand.claim()
    assert (await prune(stand.postgres, older_than_days=30)).runs == 1
    assert stand.count("run") == 2
