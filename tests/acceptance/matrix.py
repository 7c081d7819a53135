"""A worker, what befalls it, and what the monitor makes of it: measured by the database's clock.

Settings are short, bounds follow from them:

    a lapsed lease is found within one lease after it lapsed; everything else within the interval after its threshold
    it is ended at once where nobody renews it, else within a lease after it was asked to end itself
    a row that is held is free, or its holder ended, within SERVER_SECONDS

MARGIN_SECONDS is for a machine that does other things, too.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from monitor.watch import Health, Patience, judge
from syncd.ledger.observation import observe
from syncd.runtime.postgres import Postgres
from tests.acceptance.monitoring import watching
from tests.acceptance.processes import RUNNING, until, written_after
from tests.acceptance.scene import Scene, outcome

LEASE_SECONDS = 5
INTERVAL_SECONDS = 1
SERVER_SECONDS = 11
"""A held row: at most 5 s until it counts as silent, a look 5 s later, a second for the rest."""
MARGIN_SECONDS = 3.0
PAUSE_SECONDS = 0.1
"""Between two looks of a test, each over a connection of its own: two cores are shared with what is measured."""
LEASE = {"EMAG_SYNC_LEASE_SECONDS": str(LEASE_SECONDS)}
FAKETIME = [Path(f"/usr/lib/{kind}-linux-gnu/faketime/libfaketimeMT.so.1") for kind in ("x86_64", "aarch64")]


def faketime() -> str:
    """Where libfaketime lies; skips where it does not."""
    found = next((path for path in FAKETIME if path.exists()), None)
    if found is None:
        pytest.skip("libfaketime is not installed (Debian: apt install libfaketime)")
    return str(found)


@dataclass
class Watched:
    """A scene under watch. verdicts: every health that an open run was seen in."""

    scene: Scene
    threshold_seconds: float
    verdicts: set[Health] = field(default_factory=set)

    @property
    def patience(self) -> Patience:
        return Patience(self.threshold_seconds, 30.0, LEASE_SECONDS)

    @property
    def now(self) -> datetime:
        """By the database's clock."""
        return self.scene.query("SELECT clock_timestamp()")[0][0]

    async def stored(self, page: int) -> tuple[Any, int]:
        """The run and its fence, as soon as this page is stored."""
        query = (
            "SELECT 1 FROM activity WHERE jsonb_array_length(doing -> 'calls') > 0"
            " AND EXISTS (SELECT FROM sweep_page WHERE page >= %s)"
        )
        what = f"page {page} stored, its calls noted"
        await until(lambda: self.scene.query(query, page), what, pause_seconds=PAUSE_SECONDS)
        ((run_id,),) = self.scene.query(RUNNING)
        ((fence,),) = self.scene.query("SELECT fence FROM run WHERE run_id = %s", run_id)
        return run_id, fence


@dataclass
class Story:
    """How one stuck run was found and ended; seconds after its trouble began."""

    run_id: Any
    cause: str
    ended_by: str
    detection_seconds: float
    recovery_seconds: float
    ended_at: datetime
    successor: Any
    forensics: dict[str, Any]


@asynccontextmanager
async def watched(scene: Scene, tmp_path: Path, threshold_seconds: float, **further: str) -> AsyncIterator[Watched]:
    """The scene with a monitor beside it; and every verdict that could have been given in the meantime."""
    settings = LEASE | {
        "EMAG_SYNC_MONITOR_INTERVAL": str(INTERVAL_SECONDS),
        "EMAG_SYNC_STUCK_THRESHOLD_HOURS": f"{threshold_seconds / 3600:.6f}",
        **further,
    }
    seen = Watched(scene, threshold_seconds)
    async with watching(scene, tmp_path, **settings), Postgres(scene.program.database, "sync") as postgres:

        async def look_on() -> None:
            while True:
                seen.verdicts |= {judge(run, seen.patience).health for run in await observe(postgres)}
                await asyncio.sleep(PAUSE_SECONDS)

        looking = asyncio.create_task(look_on())
        try:
            yield seen
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)


async def rescued(seen: Watched, run_id: Any, began: datetime, seconds: float = 45.0) -> Story:
    """Wait until the monitor is done with this run."""
    query = (
        "SELECT c.cause, r.cause, c.found_at, c.ended_at, c.successor, c.forensics"
        "  FROM rescue c JOIN run r USING (run_id) WHERE run_id = %s AND ended_at IS NOT NULL"
    )
    ((cause, ended_by, found_at, ended_at, successor, forensics),) = await until(
        lambda: seen.scene.query(query, run_id), "the run is rescued", seconds, pause_seconds=PAUSE_SECONDS
    )
    return Story(
        run_id,
        cause,
        ended_by,
        (found_at - began).total_seconds(),
        (ended_at - began).total_seconds(),
        ended_at,
        successor,
        forensics,
    )


async def goes_on(seen: Watched, story: Story) -> None:
    """The successor is the run that was queued, and begins at the checkpoint, read once more; then all is there."""
    scene = seen.scene
    ((checkpoint,),) = scene.query("SELECT checkpoint_page FROM sweep WHERE ended_at IS NULL")
    scene.sandbox.faults.clear()
    before = len(scene.pages_read)
    facts = await scene.sync(**LEASE)
    assert outcome(facts) == (0, "complete", "end_of_data"), facts
    assert facts["sync_id"] == str(story.successor)
    assert scene.pages_read[before] == checkpoint, (scene.pages_read, before, checkpoint)
    assert scene.live == scene.served


def assert_within(story: Story, cause: str, *, detection: float, recovery: float) -> None:
    """Against the stated bounds, in seconds after the trouble began; prints what was measured."""
    print(
        f"{story.cause}: detection {story.detection_seconds:.1f} s (bound {detection:g}),"
        f" recovery {story.recovery_seconds:.1f} s (bound {recovery:g})"
    )
    assert (story.cause, story.ended_by) == (cause, cause)
    assert story.detection_seconds < detection + MARGIN_SECONDS
    assert story.recovery_seconds < recovery + MARGIN_SECONDS


def assert_silent(scene: Scene, story: Story, fence: int) -> None:
    """Nothing of the old run was committed after its end."""
    late = written_after(scene, story.run_id, fence, story.ended_at)
    assert not late, f"written by the old worker afterwards: {late}"


def assert_forensics(scene: Scene, story: Story, *, calling: str | None = None, stacks: str | None = None) -> None:
    """What was seen is there: the last calls, the present one, the session, locks, breaker and budget. No secret."""
    found = story.forensics
    parts = {"observation", "run", "lease", "activity", "pages", "breaker", "budgets", "sessions", "locks"}
    assert parts <= found.keys(), found.keys()
    [activity] = found["activity"]
    calls = activity["doing"]["calls"]
    assert calls
    assert {"endpoint", "subject", "outcome", "status", "seconds", "ended_seconds_ago"} == calls[0].keys()
    assert any(call["outcome"] == "answered" for call in calls)
    if calling is not None:
        current = {call["subject"]: call["age_seconds"] for call in activity["doing"]["calling"]}
        assert calling in current, activity
    if stacks is not None:
        assert any(stacks in line for line in found["stacks"]), found["stacks"]
    text = json.dumps(found)
    assert scene.program.password not in text
    assert len(text) < 60_000


@asynccontextmanager
async def wedged(scene: Scene, fault: str, *streams: str, **settings: str) -> AsyncIterator[subprocess.Popen[bytes]]:
    """`syncd run` with a fault of `tests.acceptance.wedged`; killed at the end where it still lives."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.acceptance.wedged",
            fault,
            "run",
            "--config",
            str(scene.program.config),
            *streams,
        ],
        env=scene.program.environment | settings,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)
