"""The documents: deterministic, exact, and as quirky as the real ones. And the ways a catalogue changes."""

from __future__ import annotations

import json
import re
from decimal import Decimal

import pytest

from syncd.sandbox import BIG_DESCRIPTION_ID, Catalogue
from syncd.sandbox.offer import SHOWCASE_PRICES, id_of, index_of

DOCUMENTED = {
    "id", "part_number", "name", "brand", "category_id", "vendor_category_id", "sale_price",
    "recommended_price", "min_sale_price", "max_sale_price", "best_offer_sale_price",
    "best_offer_recommended_price", "currency", "vat_id", "status", "general_stock", "estimated_stock", "stock",
    "handling_time", "availability", "warranty", "ean", "barcode", "images", "characteristics", "attachments",
    "family", "start_date", "offer_details", "content_details", "offer_properties", "commission",
    "rrp_guidelines", "weight", "number_of_offers", "buy_button_rank", "ownership", "validation_status",
    "offer_validation_status", "doc_errors", "genius_eligibility", "genius_eligibility_type", "genius_computed",
    "manufacturer", "eu_representative", "safety_information", "green_tax", "emag_club", "auto_translated",
    "reversible_vat_charging", "recycleWarranties", "description", "url",
}  # fmt: skip
SOMETIMES = {"part_number_key", "brand_name", "translation_validation_status"}


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue(2000, seed=1)


@pytest.fixture(scope="module")
def rows(catalogue) -> list[dict]:
    return [json.loads(document, parse_float=Decimal) for document in catalogue.values()]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(catalogue):
    assert dict(Catalogue(2000, seed=1)) == dict(catalogue)
    assert not set(Catalogue(2000, seed=2).values()) & set(catalogue.values())


async def test_a_page_holds_the_catalogues_bytes_exactly(start):
    caller = await start()
    documents = list(caller.sandbox.catalogue.values())[100:200]
    body = (await caller.read(2)).body
    assert body == b'{"isError":false,"messages":[],"errors":[],"results":[' + b",".join(documents) + b"]}"


def test_every_row_has_the_documented_fields_and_a_real_rows_size(catalogue, rows):
    for row in rows:
        assert set(row) - SOMETIMES == DOCUMENTED
    sizes = [len(document) for document in catalogue.values()]
    assert 2400 < sum(sizes) / len(sizes) < 3200


def test_keys_are_the_ids_unique_and_some_above_two_to_the_31(catalogue, rows):
    assert [row["id"] for row in rows] == list(catalogue)
    assert len(set(catalogue)) == 2000
    assert sum(offer_id > 2**31 for offer_id in catalogue) == 80
    assert max(catalogue) < 2**32
    assert all(index_of(id_of(index)) == index for index in range(2000))
    keys = [row["part_number_key"] for row in rows if row.get("part_number_key")]
    assert len(set(keys)) == len(keys)


def test_prices_are_spelt_as_int_float_string_and_exponent(catalogue, rows):
    spelt = [re.search(rb'"sale_price":([^,]+),', document)[1].decode() for document in catalogue.values()]
    assert tuple(spelt[:10]) == SHOWCASE_PRICES
    assert {"0.1", "1E+2", "12345678.99999", "51.6477", '"51.6477"'} <= set(SHOWCASE_PRICES)
    assert {type(row["sale_price"]) for row in rows} == {int, str, Decimal}
    assert any(re.fullmatch(r"\d+E\+1", price) for price in spelt[10:])
    assert all(Decimal(price.strip('"')) > 0 for price in spelt)


def test_types_are_as_loose_as_in_production(rows):
    def kinds(name):
        return {type(row[name]) for row in rows}

    assert kinds("ownership") == {bool, int}
    assert kinds("family") == {list, dict, type(None)}
    assert kinds("start_date") == {list}
    assert kinds("validation_status") == {list}
    assert all(len(row["validation_status"]) == 1 for row in rows)
    assert kinds("offer_validation_status") == {dict}
    assert {type(row["validation_status"][0]["errors"]) for row in rows} == {type(None), list, dict}
    assert kinds("vendor_category_id") == {type(None)}
    assert {"absent" if "part_number_key" not in row else type(row["part_number_key"]) for row in rows} == {
        "absent", type(None), str,
    }  # fmt: skip
    assert any(row["part_number"].endswith(f"-{row['id']}") for row in rows)
    assert all(len(row["part_number"]) <= 25 for row in rows)


def test_diacritics_come_raw_and_escaped_and_descriptions_are_html(catalogue, rows):
    raw = sum("ă".encode() in document for document in catalogue.values())
    escaped = sum(rb"\u0103" in document and b"<\\/p>" in document for document in catalogue.values())
    assert raw > 500
    assert escaped > 500
    assert all(re.search("[ăâîșț]", row["name"] + row["description"]) for row in rows)
    assert any("&lt;p&gt;" in row["description"] for row in rows)


async def test_one_description_can_be_a_mebibyte_long(start):
    caller = await start(big_description=True)
    answer = await caller.read()
    sizes = {row["id"]: len(row["description"]) for row in answer.results}
    assert [offer_id for offer_id, size in sizes.items() if size > 10_000] == [BIG_DESCRIPTION_ID]
    assert len(caller.sandbox.catalogue[BIG_DESCRIPTION_ID]) > 1 << 20


def changed_fields(before: bytes, after: bytes) -> set[str]:
    old, new = json.loads(before), json.loads(after)
    return {name for name in old | new if old.get(name) != new.get(name)}


def test_a_change_touches_exactly_the_named_fields_of_the_named_offers():
    catalogue = Catalogue(50, seed=3)
    before = dict(catalogue)
    some = list(before)[5:8]
    assert catalogue.change(some, ["price"]) == some
    assert {offer_id for offer_id in before if catalogue[offer_id] != before[offer_id]} == set(some)
    assert all(changed_fields(before[i], catalogue[i]) == {"sale_price"} for i in some)
    once = dict(catalogue)
    catalogue.change(some, ["name", "rank"])
    fields = {"name", "number_of_offers", "buy_button_rank"}
    assert all({"name"} < changed_fields(once[i], catalogue[i]) <= fields for i in some)
    assert all(catalogue[i] == Catalogue(50, seed=3)[i] for i in before if i not in some)


@pytest.mark.parametrize("fields", [["price"], ["stock"], ["name"], ["rank"]])
def test_every_change_is_a_change(fields):
    catalogue = Catalogue(300, seed=4)
    for _ in range(3):
        before = dict(catalogue)
        assert len(catalogue.change(fields=fields)) == 300
        assert all(catalogue[offer_id] != before[offer_id] for offer_id in before)


def test_a_fraction_a_number_or_all_can_be_chosen_and_the_seed_chooses_alike():
    one, other = Catalogue(200, seed=5), Catalogue(200, seed=5)
    assert one.change(0.05) == other.change(0.05)
    assert len(one.vanish(0.5)) == 100
    assert len(one.vanish(3)) == 3
    assert len(one.vanish()) == 97
    assert len(one) == 0
    with pytest.raises(ValueError, match="expected some of price"):
        one.change(1, ["colour"])


def test_what_vanished_is_gone_and_can_come_back_as_it_was():
    catalogue = Catalogue(10, seed=6)
    before = dict(catalogue)
    gone = list(before)[2]
    assert catalogue.vanish([gone]) == [gone]
    assert gone not in catalogue
    with pytest.raises(KeyError):
        catalogue.document(gone)
    assert catalogue.appear([gone], at=0) == [gone]
    assert next(iter(catalogue)) == gone
    assert dict(catalogue) == before
    with pytest.raises(ValueError, match="bring back"):
        catalogue.appear([5])


def test_new_offers_have_new_ids_and_move_and_shuffle_keep_the_set():
    catalogue = Catalogue(100, seed=7)
    before = list(catalogue)
    added = catalogue.appear(5)
    assert list(catalogue) == before + added
    catalogue.move(added[0], 0)
    assert next(iter(catalogue)) == added[0]
    order = list(catalogue)
    catalogue.shuffle()
    assert list(catalogue) != order
    assert set(catalogue) == set(order)


async def test_a_mutation_shows_on_the_next_page_served(start):
    caller = await start()
    await caller.read(2)
    caller.sandbox.catalogue.vanish(list(caller.sandbox.catalogue)[:10])
    assert (await caller.read(2)).ids == list(caller.sandbox.catalogue)[100:200]


async def test_a_drift_hides_an_offer_from_a_reader_while_the_count_stays(start):
    caller = await start(drift=[2])
    before, seen = list(caller.sandbox.catalogue), []
    for page in (1, 2, 3):
        seen += (await caller.read(page)).ids
    [drifted] = caller.sandbox.drift.done
    assert drifted.page == 2
    assert drifted.vanished in before[:200]
    assert (await caller.count()).results["noOfItems"] == "250"
    assert len(seen) == len(set(seen)) == 250
    assert set(caller.sandbox.catalogue) - set(seen) == {before[200]}, "the first row of page 3 slipped to page 2"
    assert drifted.appeared in seen


async def test_it_can_drift_after_every_page_but_not_after_a_lookup(start):
    caller = await start(drift=["every"])
    for page in range(1, 4):
        await caller.read(page)
    await caller.read(id=5)
    assert [drifted.page for drifted in caller.sandbox.drift.done] == [1, 2, 3]


async def test_the_catalogue_can_change_by_the_clock(start):
    caller = await start(mutate_every=0.01)
    version = caller.sandbox.catalogue.version
    while caller.sandbox.catalogue.version < version + 12:
        await caller.count()
    assert len(caller.sandbox.catalogue) == 250
