"""A day of the daemon, scaled down: three accounts by their intervals, two of them on one login."""

from __future__ import annotations

import asyncio

import pytest

from tests.acceptance.daemon import Daemon, overlaps, serving
from tests.acceptance.marketplaces import marketplaces
from tests.acceptance.processes import RUNNING, until
from tests.acceptance.scene import Scene, Start
from tests.acceptance.test_rate import most_within
from tests.acceptance.vitals import Vitals, vitals

INTERVALS = {"main": 2, "fbe": 2, "bg": 3}
MARKETS = {"main": 0, "fbe": 0, "bg": 1}
JITTER_SHARE = 0.1
LATE_SECONDS = 1.0
"""Of a machine that does little else: a sleep and two looks at the ledger."""
LATE_BESIDE_OTHERS_SECONDS = 5.0
"""From the slot to the claim, on a loaded machine."""
CALLS_PER_SECOND = 20
SLOTS_A_DAY = 144
MOST_GROWTH_MIB = 10

GAPS = """
SELECT a.name, extract(epoch FROM r.started_at - lag(r.completed_at)
                       OVER (PARTITION BY r.stream_id ORDER BY r.started_at))::float8
  FROM run r JOIN stream USING (stream_id) JOIN account a USING (account_id) WHERE r.started_at > %s
"""


def fewest_runs(scene: Scene) -> int:
    """Of the account that has the fewest."""
    counts = scene.query("SELECT count(*) FROM run WHERE completed_at IS NOT NULL GROUP BY stream_id")
    return min((count for (count,) in counts), default=0) if len(counts) == len(INTERVALS) else 0


async def at_rest(scene: Scene, daemon: Daemon) -> Vitals:
    """What it uses while everything is paused and has ended."""
    assert (await daemon.call("POST", "/pause", {"reason": "a look at what it uses"}))[0] == 200
    await until(lambda: not scene.query(RUNNING), "nothing runs")
    return await vitals(scene, daemon)


@pytest.mark.parametrize("slots", [5, pytest.param(SLOTS_A_DAY, marks=[pytest.mark.prove, pytest.mark.timeout(1800)])])
async def test_every_interval_is_kept_and_nothing_piles_up(start: Start, slots: int) -> None:
    """From the end of a run to the start of the next; afterwards it uses what it used before."""
    scene = await start(offers=0)
    with marketplaces(2, offers=250, per_second=None, per_minute=None) as markets:
        intervals = {name: str(seconds) for name, seconds in INTERVALS.items()}
        markets.configure(scene, MARKETS, calls_per_second=str(CALLS_PER_SECOND), interval_seconds=intervals)
        async with serving(scene, EMAG_SYNC_INTERVAL_SECONDS="") as daemon:
            await until(lambda: fewest_runs(scene) >= 1, "each account has run")
            before = await at_rest(scene, daemon)
            assert (await daemon.call("POST", "/resume", {}))[0] == 200
            ((resumed_at,),) = scene.query("SELECT clock_timestamp()")
            done = fewest_runs(scene)
            await until(lambda: fewest_runs(scene) >= done + slots, f"{slots} slots", 60 + 8 * slots, pause_seconds=0.5)
            after = await at_rest(scene, daemon)
            deadline = asyncio.get_running_loop().time() + 20
            while uses(after) != uses(before) and asyncio.get_running_loop().time() < deadline:
                after = await vitals(scene, daemon)  # the last runs' threads and connections take a moment to end
        shared = [call["at_seconds"] for call in markets.calls(0)]
    late = LATE_SECONDS if slots == SLOTS_A_DAY else LATE_BESIDE_OTHERS_SECONDS
    gaps = [(name, gap) for name, gap in scene.query(GAPS, resumed_at) if gap is not None]
    print(f"\n{len(gaps)} intervals, {widest(gaps)}; before {before}, after {after}")
    for name, gap in gaps:
        interval = INTERVALS[name]
        assert interval * (1 - JITTER_SHARE) <= gap <= interval * (1 + JITTER_SHARE) + late, (name, gap)
    assert scene.query("SELECT DISTINCT cause FROM run") == [("end_of_data",)]
    assert overlaps(scene) == 0
    assert most_within(shared, 1.0) <= CALLS_PER_SECOND
    assert uses(after) == uses(before)
    assert after.memory_mib < before.memory_mib + MOST_GROWTH_MIB


def uses(look: Vitals) -> tuple[int, int, int]:
    """What must be as it was. The pool keeps some of its connections for a while, so they are taken out."""
    return look.descriptors - look.database_sessions, look.tasks, look.threads


def widest(gaps: list[tuple[str, float]]) -> str:
    """The shortest and the longest, against their interval."""
    shares = sorted(gap / INTERVALS[name] for name, gap in gaps)
    return f"from {shares[0]:.0%} to {shares[-1]:.0%} of what is set"
