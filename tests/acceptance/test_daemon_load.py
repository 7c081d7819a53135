"""Many accounts side by side at their full limit, in one daemon."""

from __future__ import annotations

import pytest

from tests.acceptance.daemon import runs_ended, serving
from tests.acceptance.marketplaces import Marketplaces, marketplaces
from tests.acceptance.processes import RUNNING, until
from tests.acceptance.scene import Scene, Start
from tests.acceptance.test_rate import most_within
from tests.acceptance.vitals import Vitals, vitals

LIMIT_PER_SECOND = 3.0
WINDOW_SECONDS = 0.85
"""Less than the second that the limit speaks of: the marketplaces share a process, which blurs when calls arrive."""
MOST_MIB = 150
MOST_CORES = 0.6
ENDED = "SELECT count(*) FROM run WHERE completed_at IS NOT NULL"


async def filled(scene: Scene, markets: Marketplaces, accounts: dict[str, int]) -> None:
    """Every account read once, as fast as it goes; then a few offers change."""
    markets.configure(scene, accounts, calls_per_second="1000", max_pages="500")
    async with serving(scene):
        await runs_ended(scene, len(accounts), 300)
    assert scene.query("SELECT DISTINCT cause FROM run") == [("end_of_data",)]
    scene.query("UPDATE stream SET next_attempt_at = NULL RETURNING 1")  # so that all begin together again
    for number in accounts.values():
        markets.ask(number, "mutate", {"change": 0.02})
        markets.forget(number)


@pytest.mark.parametrize(
    ("count", "pages", "least_share"),
    [(4, 30, 0.9), pytest.param(20, 150, 0.95, marks=pytest.mark.timeout(900))],
)
@pytest.mark.prove  # it judges by times, and wants a machine of its own
async def test_accounts_side_by_side_use_their_limit(start: Start, count: int, pages: int, least_share: float) -> None:
    """Nearly all of 3 calls a second each, and not one more; loop lag, memory and CPU stay small."""
    scene = await start(offers=0)
    accounts = {f"shop-{number}": number for number in range(count)}
    with marketplaces(count, offers=pages * 100 - 50, per_second=None, per_minute=None) as markets:
        await filled(scene, markets, accounts)
        markets.configure(scene, accounts, max_pages="500")
        async with serving(scene) as daemon:
            before = await vitals(scene, daemon)
            await until(lambda: len(scene.query(RUNNING)) == count, "all accounts run at once")
            # looking more often would compete with what is measured
            await until(lambda: scene.query(ENDED) == [(2 * count,)], "all have ended", 120 + pages, pause_seconds=1.0)
            after = await vitals(scene, daemon)
        arrivals = [[call["at_seconds"] for call in markets.calls(number)] for number in accounts.values()]
    share = share_used(arrivals)
    calls = sum(map(len, arrivals))
    print(f"\n{count} accounts, {calls} calls, {share:.1%} of the limit used; {cost(before, after, calls)}")
    assert scene.query("SELECT DISTINCT cause FROM run") == [("end_of_data",)]
    assert scene.query("SELECT count(DISTINCT stream_id) FROM run WHERE updated > 0") == [(count,)]
    assert max(most_within(times, WINDOW_SECONDS) for times in arrivals) <= LIMIT_PER_SECOND
    assert max(most_within(times, 60.0) for times in arrivals) <= 60 * LIMIT_PER_SECOND
    assert share >= least_share
    assert after.peak_mib < MOST_MIB
    assert after.cpu_seconds - before.cpu_seconds < MOST_CORES * (after.taken_at - before.taken_at)
    if count == 20:  # a few seconds of a loaded machine say nothing
        assert after.share_within(0.1, before) >= 0.99


def share_used(arrivals: list[list[float]]) -> float:
    """Of the limit, on average, from the moment in which all of them read to that in which one has finished."""
    first, last = max(times[0] for times in arrivals), min(times[-1] for times in arrivals)
    within = sum(first <= at < last for times in arrivals for at in times)
    return within / (last - first) / (LIMIT_PER_SECOND * len(arrivals))


def cost(before: Vitals, after: Vitals, calls: int) -> str:
    """In words."""
    cpu, seconds = after.cpu_seconds - before.cpu_seconds, after.taken_at - before.taken_at
    lags = ", ".join(f"{after.share_within(limit, before):.1%} {1000 * limit:g} ms" for limit in (0.01, 0.025, 0.1))
    return (
        f"{1000 * cpu / calls:.1f} ms CPU a call, {cpu / seconds:.0%} of a core; loop lag at most: {lags}; "
        f"{after.peak_mib:.0f} MiB at the peak, {after.database_sessions} database sessions at the end"
    )
