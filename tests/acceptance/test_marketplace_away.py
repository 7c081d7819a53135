"""A marketplace that is down for long: the breaker, at most one probe a minute, and no herd when it is back.

In fast time (see fast_time.py): an hour takes a minute, and a "minute" below is 60 seconds of that time.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

import psycopg
import pytest
from pydantic import SecretStr

from syncd.accounts import AccountSettings
from syncd.app import stream_of
from syncd.config import SyncSettings
from syncd.daemon.scheduler import Scheduler
from syncd.daemon.worker import StreamWorker
from syncd.ledger import accounts
from syncd.policy.breaker import COOLDOWN_SECONDS, FAILURES_TO_OPEN
from syncd.policy.schedule import LONGEST_BACKOFF_SECONDS
from syncd.runtime.log import configure_log
from syncd.runtime.postgres import Postgres
from syncd.sandbox import Sandbox
from tests.acceptance.fast_time import SCHEMAS, holds, run_fast

PATIENT = SyncSettings(lease_seconds=3600, request_timeout_seconds=600, interval_seconds=60)
"""Not a matter of this test, and short in fast time."""
JITTER_SECONDS = 5
"""By how much the clocks of loop, database and sandbox may disagree about a minute, in fast seconds."""
OUTCOMES = "SELECT status, cause, count(*) FROM run GROUP BY 1, 2"


@dataclass
class Story:
    """When calls arrived and when the marketplace healed, in fast seconds; how many runs ended how."""

    healed_at: float = 0.0
    calls_at: list[float] = field(default_factory=list)
    ends: Counter[tuple[str, str]] = field(default_factory=Counter)


def most_in_a_minute(calls_at: list[float], minute: float = 60.0) -> int:
    return max((bisect_left(calls_at, at + minute) - i for i, at in enumerate(calls_at)), default=0)


async def live_through(database: str, streams: int, *, down_minutes: float, speed: float) -> Story:
    """Streams of one login against a marketplace that is down from the beginning and heals in the end."""
    configure_log(target="stderr")
    loop = asyncio.get_running_loop()
    story = Story()
    async with (
        Sandbox(offers=250, per_second=None, per_minute=None, faults=["500:page=all:times=forever"]) as sandbox,
        Postgres(database, SCHEMAS, pool_wait_seconds=5 * speed) as postgres,
    ):
        scheduler = Scheduler(postgres, enabled=True, startup_delay_seconds=30)
        login = {"username": sandbox.username, "password": SecretStr(sandbox.password), "base_url": sandbox.base_url}
        for number in range(streams):
            account = AccountSettings(name=f"a{number}", sync=PATIENT, **login)
            await accounts.register(postgres, stream_of(account))
            await accounts.pin_identity(postgres, stream_of(account), host=account.host, username=account.username)
            scheduler.add(StreamWorker(postgres, account, lambda: None))
        ticking = asyncio.create_task(scheduler.run())
        began, real_began = loop.time(), time.monotonic()
        await asyncio.sleep(down_minutes * 60)
        sandbox.faults.clear()
        story.healed_at = loop.time() - began

        async def all_complete() -> bool:
            async with postgres.connection("look") as connection:
                query = "SELECT count(DISTINCT stream_id) FROM run WHERE status = 'complete'"
                row = await (await connection.execute(query)).fetchone()
                return row is not None and row[0] == streams

        await holds(all_complete, "every stream is complete", 1.5 * LONGEST_BACKOFF_SECONDS)
        await scheduler.drain("the test is over")
        await asyncio.wait({ticking})
        story.calls_at = [(call.at_seconds - real_began) * speed for call in sandbox.log]
        served = {str(key): document for key, document in sandbox.catalogue.items()}
    with psycopg.connect(database) as connection:
        for status, cause, count in connection.execute(OUTCOMES.replace("run", "sync.run")):
            story.ends[status, cause] += count
        rows = connection.execute("SELECT key, document::text, count(*) FROM sync.record GROUP BY 1, 2").fetchall()
    assert {key: document.encode() for key, document, _ in rows} == served
    assert {count for _, _, count in rows} == {streams}
    return story


def judge(story: Story, streams: int) -> None:
    """Few calls until the breakers open, then one a minute and breaker at most, and no herd afterwards."""
    down = [at for at in story.calls_at if at < story.healed_at]
    healed = [at for at in story.calls_at if at >= story.healed_at]
    probes = down[FAILURES_TO_OPEN * streams :]
    a_minute = most_in_a_minute(probes, COOLDOWN_SECONDS - JITTER_SECONDS)
    print(
        f"{streams} streams, {len(down)} calls in {story.healed_at / 60:.0f} min, {len(probes)} of them probes,"
        f" at most {a_minute} a minute; then {len(healed)} calls, at most {most_in_a_minute(healed)} a minute,"
        f" the last after {(healed[-1] - story.healed_at) / 60:.0f} min; {dict(story.ends)}"
    )
    assert len(probes) >= 3 * streams, "nobody looks whether it is back"
    assert a_minute <= streams
    assert most_in_a_minute(healed) <= 180
    assert {end for end in story.ends if end[0] != "complete"} <= {("failed", "upstream"), ("partial", "shutdown")}


def test_a_marketplace_that_is_down_is_probed_once_a_minute(database: str) -> None:
    """A quarter of an hour."""
    judge(run_fast(90, database, live_through(database, 1, down_minutes=15, speed=90)), 1)


@pytest.mark.prove
@pytest.mark.parametrize(("streams", "speed"), [(1, 60), (20, 30)])
def test_a_marketplace_that_is_down_for_an_hour_is_not_stormed(database: str, streams: int, speed: int) -> None:
    """One stream; twenty of one login."""
    judge(run_fast(speed, database, live_through(database, streams, down_minutes=60, speed=speed)), streams)
