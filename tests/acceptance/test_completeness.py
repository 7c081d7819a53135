"""Complete is said of what is proven. A catalogue that stands still can be proven; one that moves can hide.

The drift here is the one that defeats a count: an offer of a page already read vanishes, so that the rows
behind it move up and one slips past the reader, and a new offer at the end makes the count right again.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from random import Random
from typing import Any

import pytest

from tests.acceptance.scene import Scene, Start, outcome
from tests.program import wait_until

COMPLETE = (0, "complete", "end_of_data")
INCOMPLETE = (3, "partial", "incomplete")
OFFERS = 850
PAGES = 9
PROVE_SEEDS = 200


async def drift_once(scene: Scene, seed: int) -> tuple[dict[str, Any], set[str]]:
    """One sweep during which the catalogue drifts once; its facts, and what was served from its start to its end."""
    before = set(scene.served)
    scene.sandbox.drift.planned.append(Random(seed).randrange(1, PAGES))
    facts = await scene.sync()
    return facts, before & set(scene.served)


async def check_drift(start: Start, seed: int) -> str:
    """A loaded table: every offer that was served throughout is still there, or the run is not complete."""
    scene = await start(offers=OFFERS, seed=seed)
    assert outcome(await scene.sync()) == COMPLETE
    facts, served_throughout = await drift_once(scene, seed)
    assert len(scene.sandbox.drift.done) == 1
    assert outcome(facts) in (COMPLETE, INCOMPLETE), facts
    assert served_throughout <= set(scene.live), (seed, facts)
    assert outcome(await scene.sync()) == COMPLETE
    assert scene.live == scene.served
    return str(facts["status"])


async def test_a_drifting_catalogue_never_costs_a_record_that_is_served(start: Start) -> None:
    """A handful of seeds; the long count is below."""
    await asyncio.gather(*(check_drift(start, seed) for seed in range(4)))


@pytest.mark.prove
async def test_a_drifting_catalogue_never_costs_a_record_that_is_served_in_200_seeds(start: Start) -> None:
    """Four at a time."""
    seeds = iter(range(100, 100 + max(4, round(PROVE_SEEDS * float(os.environ.get("PROVE_SHARE", "1"))))))
    ends: Counter[str] = Counter()

    async def work() -> None:
        for seed in seeds:
            ends[await check_drift(start, seed)] += 1

    await asyncio.gather(*(work() for _ in range(4)))
    print(f"\n{ends.total()} drifting sweeps, every served record kept: {dict(ends)}")


async def test_a_drift_during_the_very_first_sweep_is_mended_by_the_next(start: Start) -> None:
    """No count can show it and no look-up knows the key: what the README says a first sweep cannot promise."""
    scene = await start(offers=OFFERS)
    facts, served_throughout = await drift_once(scene, 1)
    assert outcome(facts) in (COMPLETE, INCOMPLETE)
    assert len(served_throughout - set(scene.live)) <= 1
    assert outcome(await scene.sync()) == COMPLETE
    assert scene.live == scene.served


async def test_a_count_that_is_never_right_is_never_complete(start: Start) -> None:
    """Everything was read and stored, and nobody can say so. Fails where the verdict ignores the counts."""
    scene = await start(count="wrong")
    facts = await scene.sync()
    assert outcome(facts) == INCOMPLETE
    assert "the count says 257, the pages showed 250" in facts["error_message"]
    assert scene.live == scene.served


async def test_a_page_that_stays_short_is_never_complete(start: Start) -> None:
    """Every page answered, an empty one after the last; only the counts tell. Nothing vanishes for it."""
    scene = await start(offers=550)
    await scene.sync()
    scene.sandbox.faults.add("short:page=2:times=forever")
    facts = await scene.sync()
    assert outcome(facts) == INCOMPLETE
    assert scene.live == scene.served


async def test_a_count_that_moves_while_reading_is_read_again(start: Start) -> None:
    """An offer appeared: the second pass proves the catalogue as it is by then."""
    scene = await start(offers=550, faults=["slow:page=3:times=1:seconds=2"])

    def appear() -> None:
        wait_until(lambda: 3 in scene.pages_read, what="page 3 is being read")
        scene.sandbox.catalogue.appear(1)

    facts, _ = await asyncio.gather(scene.sync(), asyncio.to_thread(appear))
    assert outcome(facts) == COMPLETE
    assert sorted(scene.pages_read) == sorted([*range(1, 8), *range(1, 8)])
    assert scene.live == scene.served


async def test_without_a_count_two_readings_with_equal_keys_are_the_proof(start: Start) -> None:
    """count = "ignore": the first sweep reads everything twice, the next one once, as its keys are the same."""
    scene = await start(offers=550, count="missing", account={"count": '"ignore"'})
    facts = await scene.sync()
    assert outcome(facts) == COMPLETE
    assert [scene.pages_read.count(number) for number in range(1, 6)] == [2] * 5
    assert not [call for call in scene.sandbox.log if call.route.endswith("count")]
    scene.sandbox.log.clear()
    assert outcome(await scene.sync()) == COMPLETE
    assert [scene.pages_read.count(number) for number in range(1, 6)] == [1] * 5
    gone = {str(key) for key in scene.sandbox.catalogue.vanish(5)}
    assert outcome(await scene.sync()) == COMPLETE
    assert scene.tombstoned == gone
    assert scene.live == scene.served


@pytest.mark.parametrize("wrap", ["top", "data"])
async def test_paging_is_verified_by_the_answers(start: Start, wrap: str) -> None:
    """In the right place it completes; in the wrong one the second page tells, within three calls too many."""
    wrong = {"top": "data", "data": "top"}[wrap]
    scene = await start(offers=850, wrap=wrap, account={"paging": f'"{wrong}"'})
    facts = await scene.sync()
    assert outcome(facts) == (1, "failed", "loop")
    assert "page 2 shows the same 100 keys as page 1" in facts["error_message"]
    assert len(scene.sandbox.log) <= 1 + 1 + 3
    scene.configure({"paging": f'"{wrap}"'})
    assert outcome(await scene.sync()) == COMPLETE
    assert scene.live == scene.served


async def test_pages_that_bring_nothing_new_end_the_run(start: Start) -> None:
    """Not the same page again, but known keys in another order: three of them are enough."""
    scene = await start(offers=300)
    keys = list(scene.sandbox.catalogue)
    catalogue = scene.sandbox.catalogue
    plain = catalogue.slice

    def treadmill(first: int, count: int, filters: Any) -> list[int]:
        page = first // count
        return plain(first, count, filters) if page < 3 else Random(page).sample(keys, count)

    catalogue.slice = treadmill  # type: ignore[method-assign]
    catalogue.count = lambda filters: 100_000  # type: ignore[method-assign]
    facts = await scene.sync()
    assert outcome(facts) == (1, "failed", "loop")
    assert "pages 4 to 6 brought no new key" in facts["error_message"]
    assert max(scene.pages_read) <= 6 + 10
