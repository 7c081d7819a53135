"""429: waited out where that fits into the run, declared in the ledger, and left for later where it does not."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from tests.acceptance.scene import Start, outcome
from tests.program import wait_until

COMPLETE = (0, "complete", "end_of_data")
RATE_LIMITED = (3, "partial", "rate_limited")


@pytest.mark.parametrize("retry_after", [None, "2"])
async def test_a_429_is_waited_out_and_the_run_completes(start: Start, retry_after: str | None) -> None:
    """Kong's sample has no Retry-After: then our own backoff; with one, it is a floor."""
    extra = f":retry_after={retry_after}" if retry_after else ""
    scene = await start(offers=550, faults=[f"429:page=2:times=2{extra}"])
    facts = await scene.sync()
    assert outcome(facts) == COMPLETE
    assert facts["errors"] == 2
    times = [call.at_seconds for call in scene.sandbox.log if call.page == 2]
    assert len(times) == 3
    if retry_after:
        assert min(later - earlier for earlier, later in pairwise(times)) >= float(retry_after)
    assert scene.live == scene.served


async def test_a_long_wait_is_declared_while_it_lasts(start: Start) -> None:
    """Seven seconds asked for: the ledger says until when and why, and the lease goes on."""
    scene = await start(offers=550, faults=["429:page=2:retry_after=7"])

    def declared() -> list[tuple[Any, ...]]:
        return scene.query(
            "SELECT wait_reason, extract(epoch FROM wait_until - clock_timestamp())::float8, progress_at < wait_until"
            "  FROM run WHERE status = 'running' AND wait_until > clock_timestamp()"
        )

    sync = asyncio.create_task(scene.sync())
    [(reason, seconds, _)] = await asyncio.to_thread(wait_until, declared, what="the wait is declared")
    assert "429" in reason
    assert 0 < seconds <= 8
    assert not sync.done()
    facts = await sync
    assert outcome(facts) == COMPLETE
    assert facts["duration_seconds"] >= 7
    assert facts["wait_until"] is None


@pytest.mark.parametrize("place", ["count", "3"])
async def test_a_wait_beyond_the_deadline_ends_the_run_at_once_with_its_next_time(start: Start, place: str) -> None:
    """Nobody sleeps for an hour in a run of six minutes; what was read is kept, and the sweep stays open."""
    scene = await start(offers=550, faults=[f"429:page={place}:retry_after=3600"])
    facts = await scene.sync("--timeout-hours", "0.1")
    assert outcome(facts) == RATE_LIMITED
    assert facts["duration_seconds"] < 60
    assert "429" in facts["error_message"]
    due = datetime.fromisoformat(facts["next_attempt_at"]) - datetime.now(UTC)
    assert 3500 < due.total_seconds() < 3700
    assert scene.query("SELECT count(*) FROM sweep WHERE ended_at IS NULL") == [(1,)]


@pytest.mark.prove
async def test_a_429_that_never_ends_leaves_the_rest_for_later(start: Start) -> None:
    """Five attempts; partial, not failed: the marketplace is well, we were too fast. The next run completes."""
    scene = await start(offers=550, faults=["429:page=3:times=forever"])
    facts = await scene.sync()
    assert outcome(facts) == RATE_LIMITED
    assert facts["error_message"].startswith("page 3: ")
    assert "after 5 attempts" in facts["error_message"]
    scene.sandbox.faults.clear()
    assert outcome(await scene.sync()) == COMPLETE
    assert scene.live == scene.served
    assert scene.tombstoned == set()


@pytest.mark.prove
async def test_the_marketplaces_own_limit_is_never_met(start: Start) -> None:
    """Three calls in any second, judged where they arrive, over two commands one after the other."""
    scene = await start(offers=550, per_second=3, per_minute=180, account={"calls_per_second": "3"})
    for _ in range(2):
        assert outcome(await scene.sync()) == COMPLETE
    assert {call.status for call in scene.sandbox.log} == {200}
    times = [call.at_seconds for call in scene.sandbox.log]
    assert min(later - earlier for earlier, later in zip(times, times[3:], strict=False)) >= 0.98
