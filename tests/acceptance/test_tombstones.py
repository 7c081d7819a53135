"""When a record counts as gone: never by a count alone, never many at once without a person's word."""

from __future__ import annotations

import pytest

from tests.acceptance.scene import Scene, Start, outcome

COMPLETE = (0, "complete", "end_of_data")
BLAST = (3, "partial", "blast_radius")
OFFERS = 2350


async def loaded(start: Start, offers: int = OFFERS, **options: object) -> Scene:
    """A scene whose table equals the catalogue."""
    scene = await start(offers=offers, **options)
    assert outcome(await scene.sync()) == COMPLETE
    return scene


def vanish(scene: Scene, which: int | float | list[int]) -> set[str]:
    return {str(key) for key in scene.sandbox.catalogue.vanish(which)}


def look_ups(scene: Scene) -> list[str]:
    return [str(call.parameters["id"]) for call in scene.sandbox.log if "id" in call.parameters]


@pytest.mark.parametrize("share", [0.5, 1.0])
async def test_a_catalogue_that_lost_half_or_all_of_itself_waits_for_a_person(start: Start, share: float) -> None:
    """Nothing is tombstoned, however often it is read; when the offers are back, nothing has happened."""
    scene = await loaded(start)
    gone = vanish(scene, share)
    for _ in range(2):
        facts = await scene.sync()
        assert outcome(facts) == BLAST
        assert f"{len(gone)} of {OFFERS} live records are missing" in facts["error_message"]
        assert f"syncd approve {facts['sync_id']}" in facts["error_message"]
        assert scene.tombstoned == set()
    assert look_ups(scene) == []
    scene.sandbox.catalogue.appear(sorted(map(int, gone)))
    assert outcome(await scene.sync()) == COMPLETE
    assert scene.live == scene.served
    assert scene.query("SELECT count(*) FROM change") == [(0,)]


@pytest.mark.parametrize(
    ("offers", "gone", "allowed"),
    [
        (2350, 235, True),
        (2350, 236, False),
        (90, 45, True),
        (90, 46, False),
        (4, 2, True),
        (4, 3, False),
        (1, 1, False),
    ],
)
async def test_the_blast_radius_is_what_the_contract_says(start: Start, offers: int, gone: int, allowed: bool) -> None:
    """More than max(50, 10 %), or more than half, or everything."""
    scene = await loaded(start, offers)
    missing = vanish(scene, gone)
    facts = await scene.sync()
    assert outcome(facts) == (COMPLETE if allowed else BLAST)
    assert scene.tombstoned == (missing if allowed else set())


async def test_two_per_cent_are_tombstoned_after_a_look_up_each(start: Start) -> None:
    """One call for each missing record; they come back as they went, and the log tells both."""
    scene = await loaded(start)
    before = scene.served
    gone = vanish(scene, 0.02)
    scene.sandbox.log.clear()
    facts = await scene.sync()
    assert outcome(facts) == COMPLETE
    assert facts["tombstoned"] == len(gone) == 47
    assert sorted(look_ups(scene)) == sorted(gone)
    assert scene.tombstoned == gone
    assert scene.live == scene.served

    scene.sandbox.catalogue.appear(sorted(map(int, gone)))
    facts = await scene.sync()
    assert (outcome(facts), facts["revived"], facts["inserted"]) == (COMPLETE, len(gone), 0)
    assert scene.live == before
    log = scene.query("SELECT key, array_agg(kind ORDER BY change_id) FROM change GROUP BY key")
    assert dict(log) == {key: ["tombstoned", "revived"] for key in gone}


async def test_without_look_ups_a_second_complete_sweep_decides(start: Start) -> None:
    """The cap on requests leaves none: the first sweep only notes what it missed."""
    scene = await loaded(start, 550)
    gone = vanish(scene, 11)
    sweep_calls = 1 + 6 + 1 + 1
    for expected in (set(), gone):
        scene.sandbox.log.clear()
        facts = await scene.sync(EMAG_SYNC_MAX_REQUESTS=str(sweep_calls))
        assert outcome(facts) == COMPLETE
        assert len(scene.sandbox.log) == sweep_calls
        assert scene.tombstoned == expected


async def test_a_record_that_is_seen_again_between_two_sweeps_is_not_gone(start: Start) -> None:
    """Missing, back, missing: each time it is the first time."""
    scene = await loaded(start, 250)
    calls = {"EMAG_SYNC_MAX_REQUESTS": "6"}
    for _ in range(2):
        gone = vanish(scene, [70_003])
        assert outcome(await scene.sync(**calls)) == COMPLETE
        assert scene.tombstoned == set()
        scene.sandbox.catalogue.appear([int(key) for key in gone])
        assert outcome(await scene.sync(**calls)) == COMPLETE
    assert scene.query("SELECT count(*) FROM change") == [(0,)]


async def test_the_consent_covers_the_listed_records_that_are_still_missing(start: Start) -> None:
    """Approved once, used by the next complete sweep, for those that did not come back; without look-ups."""
    scene = await loaded(start)
    gone = vanish(scene, 0.5)
    asked = await scene.sync()
    assert outcome(asked) == BLAST
    back = set(sorted(gone)[:100])
    scene.sandbox.catalogue.appear(sorted(map(int, back)))
    done = scene.program.call("approve", asked["sync_id"])
    assert done.returncode == 0, done.stderr
    facts = await scene.sync()
    assert outcome(facts) == COMPLETE
    assert scene.tombstoned == gone - back
    assert look_ups(scene) == []
    assert scene.live == scene.served


async def test_more_than_the_consent_covers_asks_again(start: Start) -> None:
    """Half was agreed to; then another third goes."""
    scene = await loaded(start, 900)
    vanish(scene, 0.5)
    asked = await scene.sync()
    assert scene.program.call("approve", asked["sync_id"]).returncode == 0
    vanish(scene, 0.3)
    again = await scene.sync()
    assert outcome(again) == BLAST
    assert scene.tombstoned == set()
    assert scene.program.call("approve", again["sync_id"]).returncode == 0
    assert outcome(await scene.sync()) == COMPLETE
    assert scene.live == scene.served
    assert len(scene.tombstoned) == 900 - len(scene.served)


async def test_an_approval_is_used_once(start: Start) -> None:
    """The same records, gone a second time, ask a second time."""
    scene = await loaded(start, 300)
    gone = vanish(scene, 0.5)
    asked = await scene.sync()
    assert scene.program.call("approve", asked["sync_id"]).returncode == 0
    assert outcome(await scene.sync()) == COMPLETE
    scene.sandbox.catalogue.appear(sorted(map(int, gone)))
    assert (await scene.sync())["revived"] == len(gone)
    vanish(scene, sorted(map(int, gone)))
    assert outcome(await scene.sync()) == BLAST
    assert scene.tombstoned == set()


async def test_an_empty_account_is_complete(start: Start) -> None:
    """Nothing there, nothing missing."""
    scene = await loaded(start, 0)
    assert scene.live == {}
    assert outcome(await scene.sync()) == COMPLETE
