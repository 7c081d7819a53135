"""Caps hold at the marketplace, and what several capped runs do together equals what one run does."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.acceptance.scene import Scene, Start, outcome

COMPLETE = (0, "complete", "end_of_data")
OFFERS = 2350
PAGES = 24


def partial(cause: str) -> tuple[int, str, str]:
    return 3, "partial", cause


def mutate(scene: Scene) -> None:
    """The same for every scene of the same seed."""
    catalogue = scene.sandbox.catalogue
    catalogue.change(60)
    catalogue.vanish(40)
    catalogue.appear(20, at=500)


async def test_three_runs_of_ten_pages_do_what_one_uncapped_run_does(start: Start) -> None:
    """24 pages: exit 3, 3, 0; each page is read once but for one of overlap a resume; the same tombstones."""
    capped, uncapped = await start(offers=OFFERS), await start(offers=OFFERS)
    for scene in (capped, uncapped):
        assert outcome(await scene.sync()) == COMPLETE
        mutate(scene)
        scene.sandbox.log.clear()
    assert capped.served == uncapped.served
    assert outcome(await uncapped.sync()) == COMPLETE

    read, ends = [], []
    for _ in range(3):
        facts = await capped.sync(EMAG_SYNC_MAX_PAGES="10")
        ends.append(outcome(facts))
        read.append(sorted(capped.pages_read))
        assert facts["pages"] <= 10
        capped.sandbox.log.clear()
        if ends[-1] != COMPLETE:
            assert capped.tombstoned == set()
    assert ends == [partial("cap_pages"), partial("cap_pages"), COMPLETE]
    assert read == [list(range(1, 11)), list(range(10, 21)), list(range(20, PAGES + 2))]

    assert capped.live == uncapped.live == capped.served
    assert capped.tombstoned == uncapped.tombstoned
    assert len(capped.tombstoned) == 40
    changes = "SELECT key, kind, field, old::text, new::text FROM change ORDER BY 1, 2, 3"
    assert capped.query(changes) == uncapped.query(changes)


@pytest.mark.parametrize(
    ("name", "cap"), [("MAX_REQUESTS", 4), ("MAX_REQUESTS", 11), ("MAX_PAGES", 1), ("MAX_PAGES", 7)]
)
async def test_no_run_passes_its_cap_and_every_run_comes_further(start: Start, name: str, cap: int) -> None:
    """Judged at the marketplace; a small cap takes many runs and gets there by itself."""
    scene = await start(offers=950)
    ends, most_runs = [], 14
    while not ends or ends[-1] != COMPLETE:
        scene.sandbox.log.clear()
        facts = await scene.sync(**{f"EMAG_SYNC_{name}": str(cap)})
        ends.append(outcome(facts))
        used = len(scene.sandbox.log) if name == "MAX_REQUESTS" else len(set(scene.pages_read) - {overlap(facts)})
        assert used <= cap
        assert max(Counter(scene.pages_read).values(), default=1) == 1
        assert len(ends) <= most_runs
    assert set(ends[:-1]) == {partial("cap_" + name.removeprefix("MAX_").lower())}
    assert scene.live == scene.served


def overlap(facts: dict[str, int]) -> int:
    """The page that an earlier run had stored already."""
    return facts["start_page"] - 1


async def test_retries_count_against_the_cap_on_requests(start: Start) -> None:
    """I8: retries, count, pages: all of them."""
    scene = await start(offers=550, faults=["500:page=1:times=forever"])
    facts = await scene.sync(EMAG_SYNC_MAX_REQUESTS="4")
    assert outcome(facts) == partial("cap_requests")
    assert len(scene.sandbox.log) == 4 == facts["requests"]


async def test_a_limit_stores_no_more_records_and_the_next_run_goes_on(start: Start) -> None:
    """`--limit 250` of 550: two whole pages and half of a third, which the checkpoint does not pass."""
    scene = await start(offers=550)
    assert outcome(await scene.sync("--limit", "250")) == partial("cap_records")
    assert len(scene.live) == 250
    assert max(scene.pages_read) <= 3
    scene.sandbox.log.clear()
    assert outcome(await scene.sync()) == COMPLETE
    assert min(scene.pages_read) == 2
    assert scene.live == scene.served


async def test_limited_runs_come_further_each_time(start: Start) -> None:
    """`--limit 100` again and again: the overlap page is not counted, or no run would pass it."""
    scene = await start(offers=350)
    ends = []
    for stored in (100, 200, 300, 350):
        ends.append(outcome(await scene.sync("--limit", "100")))
        assert len(scene.live) == stored
    assert ends[:3] == [partial("cap_records")] * 3
    assert outcome(await scene.sync()) == COMPLETE


async def test_the_time_cap_ends_the_run_between_pages_and_the_next_goes_on(start: Start) -> None:
    """The run stops itself; what was received is stored."""
    scene = await start(offers=1250, faults=["slow:page=6-13:seconds=30"])
    facts = await scene.sync(EMAG_SYNC_TIMEOUT_HOURS="0.0011")
    assert outcome(facts) == partial("cap_time")
    assert facts["duration_seconds"] < 10
    assert len(scene.live) == 500
    scene.sandbox.faults.clear()
    assert outcome(await scene.sync()) == COMPLETE
    assert scene.live == scene.served


async def test_fresh_starts_a_new_sweep(start: Start) -> None:
    """And so does another page size: page numbers would mean other records."""
    scene = await start(offers=450)
    for arguments, settings in ((["--fresh"], {}), ([], {"EMAG_SYNC_ITEMS_PER_PAGE": "50"})):
        assert outcome(await scene.sync("--fresh", "--max-pages", "3")) == partial("cap_pages")
        scene.sandbox.log.clear()
        assert outcome(await scene.sync(*arguments, **settings)) == COMPLETE
        assert min(scene.pages_read) == 1
    assert scene.live == scene.served
