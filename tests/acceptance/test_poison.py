"""One record that cannot be stored costs that record, not its page, and never poisons the table."""

from __future__ import annotations

import pytest

from syncd.sandbox.fault import Fault
from syncd.sandbox.poison import change_rows
from tests.acceptance.scene import MOST_MIB, Start, outcome

COMPLETE = (0, "complete", "end_of_data")
INCOMPLETE = (3, "partial", "incomplete")
OFFERS = 550

REASONS = {
    "nul_escape": "nul_escape",
    "lone_surrogate": "lone_surrogate",
    "invalid_utf8": "not_utf8",
    "no_id": "no_key",
    "long_id": "key_too_long",
    "deep": "too_deep",
    "huge_number": "not_jsonb",
    "big_record": "too_large",
    "duplicate_id_extra": "duplicate_key",
}
KEYLESS = {"no_id", "long_id"}
PAGE = 6  # the short one: a page with a row more than was asked for would be refused as a whole


@pytest.mark.parametrize("kind", REASONS)
async def test_one_poison_record_is_set_aside_raw_with_its_reason(start: Start, kind: str) -> None:
    """The others of its page are stored, the run is complete, and every query over the view works."""
    scene = await start(offers=OFFERS, faults=[f"{kind}:page={PAGE}"])
    rows = [scene.served[key] for key in list(scene.served)[(PAGE - 1) * 100 :]]
    poisoned = change_rows(rows, Fault(kind))
    facts = await scene.sync()
    assert outcome(facts) == COMPLETE
    assert facts["quarantined"] == 1
    assert facts["peak_mib"] < MOST_MIB

    middle = str(list(scene.sandbox.catalogue)[(PAGE - 1) * 100 + len(rows) // 2])
    [(page, ordinal, key, reason, raw)] = scene.query("SELECT page, ordinal, key, reason, raw FROM quarantine")
    assert (page, reason) == (PAGE, REASONS[kind])
    assert bytes(raw) == poisoned[ordinal]
    assert key == (None if kind in KEYLESS else middle)
    if kind == "duplicate_id_extra":  # the last of two wins
        assert scene.live == {**scene.served, middle: poisoned[-1]}
    else:
        assert scene.live == {key: document for key, document in scene.served.items() if key != middle}

    everything = scene.query("SELECT * FROM emag_product_offers")
    assert len(everything) == len(scene.live)
    assert scene.query("SELECT count(*) FROM emag_product_offers WHERE raw_data ? 'id'") == [(len(everything),)]
    assert f"reason={REASONS[kind]}" in facts["stderr"]


async def test_poison_in_a_record_that_is_stored_keeps_it_and_tombstones_nothing(start: Start) -> None:
    """A readable key counts as seen; a record without one could be any of the missing: no tombstones at all."""
    scene = await start(offers=OFFERS)
    await scene.sync()
    before = scene.served
    for kind in REASONS:
        scene.sandbox.faults.add(f"{kind}:page={PAGE}")
        gone = scene.sandbox.catalogue.vanish(2) if kind in KEYLESS else []
        facts = await scene.sync()
        assert outcome(facts) == COMPLETE, (kind, facts)
        assert (facts["quarantined"], facts["tombstoned"]) == (1, 0), (kind, facts)
        scene.sandbox.faults.clear()
        scene.sandbox.catalogue.appear(gone)
    assert set(scene.live) == set(before)
    assert outcome(await scene.sync()) == COMPLETE
    assert scene.live == before
    assert {row[0] for row in scene.query("SELECT kind FROM change")} <= {"updated"}


async def test_every_sweep_meets_it_and_it_is_kept_once(start: Start) -> None:
    """With the newest run, and since when; what the metrics call kept is what lies there."""
    scene = await start(offers=OFFERS, faults=[f"no_id:page={PAGE}", "deep:page=2"])
    await scene.sync()
    kept = "SELECT reason, raw, caught_at FROM quarantine ORDER BY reason"
    before = scene.query(kept)
    facts = await scene.sync()
    assert facts["quarantined"] == 2
    assert scene.query(kept) == before
    newest = scene.query("SELECT run_id FROM run ORDER BY queued_at DESC LIMIT 1")
    assert scene.query("SELECT DISTINCT run_id FROM quarantine") == newest
    counted = "SELECT value FROM accumulator WHERE 'quarantined' = detail OR metric = 'quarantine_pruned'"
    assert sorted(scene.query(counted)) == [(2,), (4,)]


async def test_an_offer_that_a_doubled_one_pushed_out_is_missed(start: Start) -> None:
    """The same id twice on a page, in the place of another: quarantined, and the count tells that one is missing."""
    scene = await start(offers=OFFERS)
    await scene.sync()
    scene.sandbox.faults.add("duplicate_id:page=2")
    facts = await scene.sync()
    assert outcome(facts) == INCOMPLETE
    assert "count says 550, the pages showed 549" in facts["error_message"]
    assert {row[0] for row in scene.query("SELECT reason FROM quarantine")} == {"duplicate_key"}
    scene.sandbox.faults.clear()
    assert outcome(await scene.sync()) == COMPLETE
    assert scene.live == scene.served


async def test_every_kind_at_once_costs_a_record_each(start: Start) -> None:
    """One poison on each of eight pages."""
    kinds = [kind for kind in REASONS if kind != "duplicate_id_extra"]
    faults = [f"{kind}:page={number}" for number, kind in enumerate(kinds, 1)]
    scene = await start(offers=950, faults=faults)
    facts = await scene.sync()
    assert outcome(facts) == COMPLETE
    assert facts["quarantined"] == len(kinds)
    assert len(scene.live) == 950 - len(kinds)
    reasons = dict(scene.query("SELECT page, reason FROM quarantine"))
    assert reasons == {number: REASONS[kind] for number, kind in enumerate(kinds, 1)}
    assert len(scene.query("SELECT * FROM emag_product_offers WHERE raw_data ? 'id'")) == len(scene.live)


async def test_a_page_that_is_mostly_poison_is_not_believed(start: Start) -> None:
    """More than half and at least five: the run fails, and nothing of the page is written."""
    scene = await start(offers=350)
    for number, key in enumerate(list(scene.served)[100:200]):
        document = scene.served[key].replace(b'"name":"', b'"name":"\\u0000', 1)
        if number < 51:
            scene.sandbox.catalogue.put(int(key), document)
    facts = await scene.sync()
    assert outcome(facts) == (1, "failed", "bad_response")
    assert "page 2: 51 of 100 records cannot be stored (nul_escape)" in facts["error_message"]
    assert scene.query("SELECT count(*) FROM quarantine") == [(0,)]
    assert len(scene.live) == 100


async def test_more_rows_than_asked_for_are_not_believed(start: Start) -> None:
    """The page size was ignored: whatever else the answer says, page numbers mean something else."""
    scene = await start(faults=["duplicate_id_extra:page=1"])
    facts = await scene.sync()
    assert outcome(facts) == (1, "failed", "bad_response")
    assert "page 1: 101 items where at most 100 were asked for" in facts["error_message"]
    assert scene.live == {}


@pytest.mark.parametrize(
    ("field", "text", "column"),
    [
        ("sale_price", b'"12,50"', "sale_price"),
        ("sale_price", b"true", "sale_price"),
        ("sale_price", b"[1]", "sale_price"),
        ("status", b"9223372036854775808", "status"),
        ("vat_id", b"{}", "vat_id"),
        ("category_id", b"1.5", "category_id"),
    ],
)
async def test_an_odd_field_is_null_in_its_column_and_kept_in_the_document(
    start: Start, field: str, text: bytes, column: str
) -> None:
    """A field fault is counted and costs the column only: the run is complete."""
    scene = await start(offers=3)
    key, document = next(iter(scene.served.items()))
    head, _, tail = document.partition(f'"{field}":'.encode())
    end = min(place for place in (tail.find(b","), tail.find(b"}")) if place >= 0)
    scene.sandbox.catalogue.put(int(key), head + f'"{field}":'.encode() + text + tail[end:])
    facts = await scene.sync()
    assert (outcome(facts), facts["field_faults"], facts["quarantined"]) == (COMPLETE, 1, 0)
    assert scene.query(f"SELECT {column} FROM record WHERE key = %s", key) == [(None,)]
    assert scene.live == scene.served
