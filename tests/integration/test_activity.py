"""What a worker leaves behind of what it does: its calls, its tasks; bounded, and only while the stream is its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from syncd.ledger.activity import MOST_CALLS, Activity
from syncd.runtime.stacks import MOST_TASKS, task_stacks
from tests.streams import Stand, scalar


def doing(stand: Stand) -> Any:
    return scalar(stand.conninfo, "SELECT doing FROM activity")


async def test_the_last_calls_and_the_present_one_are_kept_with_their_ages(stand: Stand) -> None:
    claim, activity = await stand.claim(), Activity()
    for page in range(MOST_CALLS + 5):
        call = activity.call_began("product_offer/read", f"page {page}", now=100.0 + page)
        activity.call_ended(call, 100.5 + page, outcome="http_5xx" if page % 2 else "answered", status=503)
    activity.call_began("product_offer/read", "page 99", now=120.0)
    await activity.keep(stand.postgres, claim, now=130.0)
    kept = doing(stand)
    assert len(kept["calls"]) == MOST_CALLS
    assert kept["calls"][0] == {
        "endpoint": "product_offer/read", "subject": "page 14", "outcome": "answered", "status": 503,
        "seconds": 0.5, "ended_seconds_ago": 15.5,
    }  # fmt: skip
    assert kept["calling"] == [{"endpoint": "product_offer/read", "subject": "page 99", "age_seconds": 10.0}]


async def test_who_has_lost_the_stream_notes_nothing(stand: Stand) -> None:
    stale, late = await stand.claim(), Activity()
    claim, activity = await stand.take_over(), Activity()
    activity.call_began("product_offer/count", "count", now=0.0)
    await activity.keep(stand.postgres, claim, now=1.0)
    late.call_began("product_offer/read", "page 7", now=0.0)
    await late.keep(stand.postgres, stale, now=1.0)
    assert [call["subject"] for call in doing(stand)["calling"]] == ["count"]


async def test_what_has_not_changed_is_not_written_again(stand: Stand) -> None:
    claim, activity = await stand.claim(), Activity()
    await activity.keep(stand.postgres, claim, now=0.0)
    assert stand.count("activity") == 0
    activity.note_stacks(["a task"])
    activity.note_stacks(["later, in another place"])
    await activity.keep(stand.postgres, claim, now=1.0)
    before = scalar(stand.conninfo, "SELECT noted_at FROM activity")
    await activity.keep(stand.postgres, claim, now=2.0)
    assert scalar(stand.conninfo, "SELECT noted_at FROM activity") == before
    assert doing(stand)["stacks"] == ["a task"]


async def test_stacks_lead_through_generators_to_where_a_task_waits_and_show_no_values() -> None:
    async def numbers(secret: str) -> AsyncIterator[int]:
        await asyncio.Event().wait()
        yield len(secret)

    async def reads() -> None:
        async for _ in numbers("hunter2"):
            pass

    tasks = [asyncio.create_task(reads(), name=f"reader {number}") for number in range(MOST_TASKS + 5)]
    await asyncio.sleep(0)
    stacks = task_stacks()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    [first, *_] = stacks
    assert len(stacks) == MOST_TASKS
    assert "reads" in first
    assert "numbers" in first
    assert "Event.wait" in first
    assert "hunter2" not in json.dumps(stacks)
