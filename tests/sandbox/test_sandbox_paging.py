"""Where parameters are honoured, pages, filters and the count."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.sandbox.parameters import UnreadableBodyError, Wrap, decode, decode_form, query_of


async def test_defaults_are_page_1_and_100_rows_for_an_empty_body(start):
    caller = await start()
    answer = await caller.call("product_offer/read", data=b"")
    assert answer.ids == list(caller.sandbox.catalogue)[:100]
    assert answer.headers["Content-Type"].startswith("application/json")
    envelope = answer.json()
    assert (envelope["isError"], envelope["messages"], envelope["errors"]) == (False, [], [])


async def test_the_pages_together_are_the_catalogue_and_past_the_end_is_empty(start):
    caller = await start()
    pages = [(await caller.read(page)).ids for page in range(1, 5)]
    assert [len(page) for page in pages] == [100, 100, 50, 0]
    assert [offer_id for page in pages for offer_id in page] == list(caller.sandbox.catalogue)


@pytest.mark.parametrize(
    ("wrap", "body", "honoured"),
    [
        ("top", {"currentPage": 3, "itemsPerPage": 10}, True),
        ("top", {"data": {"currentPage": 3, "itemsPerPage": 10}}, False),
        ("data", {"currentPage": 3, "itemsPerPage": 10}, False),
        ("data", {"data": {"currentPage": "3", "itemsPerPage": "10"}}, True),
        ("both", {"currentPage": 3, "itemsPerPage": 10}, True),
        ("both", {"data": {"currentPage": 3, "itemsPerPage": 10}}, True),
    ],
)
async def test_parameters_in_the_other_place_are_silently_ignored(start, wrap, body, honoured):
    caller = await start(wrap=wrap)
    every = list(caller.sandbox.catalogue)
    expected = every[20:30] if honoured else every[:100]
    assert (await caller.call("product_offer/read", json=body)).ids == expected
    fields = {f"data[{name}]": str(value) for name, value in body["data"].items()} if "data" in body else body
    assert (await caller.call("product_offer/read", data=fields)).ids == expected


async def test_more_than_100_a_page_is_clamped_or_rejected(start):
    clamping, rejecting = await start(), await start(over_100="reject")
    assert len((await clamping.read(itemsPerPage=300)).ids) == 100
    assert (await clamping.count(itemsPerPage=300)).results["itemsPerPage"] == "100"
    refused = await rejecting.read(itemsPerPage=101)
    assert (refused.status, refused.json()["isError"]) == (400, True)
    assert len((await rejecting.read(itemsPerPage=100)).ids) == 100


@pytest.mark.parametrize("nonsense", [0, -1, "x", None, "", 1.5, [], {"a": 1}, "9" * 50])
async def test_paging_that_is_no_number_is_the_default(start, nonsense):
    caller = await start()
    answer = await caller.read(nonsense, itemsPerPage=nonsense)
    assert answer.ids == list(caller.sandbox.catalogue)[:100]


@pytest.mark.parametrize("body", [b"{not json", b'["a"', b'{"a":' + b"[" * 100_000])
async def test_a_body_that_cannot_be_read_is_refused_in_the_envelope(start, body):
    caller = await start()
    answer = await caller.call("product_offer/read", data=body)
    assert (answer.status, answer.json()["isError"]) == (200, True)


async def test_more_than_4000_input_elements_are_refused(start):
    caller = await start()
    refused = await caller.read(id=list(range(4000)))
    assert refused.json()["isError"] is True
    assert "Maximum input vars of 4000 exceeded" in refused.json()["messages"][0]
    assert (await caller.read(id=list(range(3999)))).results == []


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("9" * 5000)
NAMES = st.sampled_from(["data", "id", "status", "general_stock", "currentPage", "itemsPerPage"]) | st.text()
BODIES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=20)


@settings(max_examples=40)
@given(st.dictionaries(NAMES, BODIES))
def test_no_body_breaks_the_parameters(body):
    given_ = decode(json.dumps(body).encode(), "application/json")
    query = query_of(given_, Wrap.BOTH)
    assert query.page >= 1
    assert query.per_page >= 1
    assert query.filters.ids is None or all(offer_id >= 0 for offer_id in query.filters.ids)


@settings(max_examples=40)
@given(st.binary())
def test_no_bytes_break_the_form(body):
    with suppress(UnreadableBodyError):
        query_of(decode(body, "application/x-www-form-urlencoded"), Wrap.BOTH)


@pytest.mark.parametrize("name", ["id", "currentPage", "general_stock", "other"])
async def test_deep_and_endless_parameters_are_answered(start, name):
    caller = await start()
    for body in (b"[" * 900 + b"]" * 900, b'"' + b"9" * 5000 + b'"'):
        answer = await caller.call("product_offer/read", data=b'{"%s":%s}' % (name.encode(), body))
        assert answer.status == 200


def test_a_form_nests_as_php_does():
    pairs = [("data[id][]", "7"), ("data[id][]", "8"), ("data[currentPage]", "2"), ("status", "1")]
    assert decode_form(pairs) == {"data": {"id": {"0": "7", "1": "8"}, "currentPage": "2"}, "status": "1"}


async def test_an_id_filter_takes_a_number_digits_or_a_list(start):
    caller = await start()
    first, second, *_ = caller.sandbox.catalogue
    assert (await caller.read(id=first)).ids == [first]
    assert (await caller.read(id=str(first))).ids == [first]
    assert (await caller.read(id=[second, str(first), 5])).ids == [first, second]
    assert (await caller.read(id=5)).ids == []
    assert (await caller.read(id="abc")).ids == []
    form = await caller.call("product_offer/read", data={"data[id]": str(second)})
    assert form.ids == [second]
    assert (await caller.read(2, id=first)).ids == []


async def test_a_read_of_one_product_names_manufacturer_and_representative(start):
    caller = await start()
    assert all(isinstance(row["manufacturer"], bool) for row in (await caller.read()).results)
    known = next(row for row in (await caller.read()).results if row["manufacturer"])
    [row] = (await caller.read(id=known["id"])).results
    assert set(row["manufacturer"][0]) == {"name", "address", "email"}
    assert isinstance(row["eu_representative"], list)
    contacts = ("manufacturer", "eu_representative")
    assert {k: v for k, v in row.items() if k not in contacts} == {k: v for k, v in known.items() if k not in contacts}
    several = (await caller.read(id=[known["id"], 5])).results
    assert several == [known], "two ids asked for is a list read"


def value_of(row, name):
    value = row.get(name)
    value = value[0] if isinstance(value, list) else value
    return value["value"] if isinstance(value, dict) else value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", 0), ("status", "1"), ("part_number", "TST-3"), ("part_number_key", "DXBI000BM"),
        ("validation_status", 9), ("offer_validation_status", 2), ("translation_validation_status", 13),
    ],
)  # fmt: skip
async def test_each_equality_filter_lets_exactly_the_right_rows_through(start, name, value):
    caller = await start()
    rows = [json.loads(document) for document in caller.sandbox.catalogue.values()]
    expected = [row["id"] for row in rows if str(value_of(row, name)) == str(value)]
    assert 0 < len(expected) < len(rows)
    assert (await caller.read(**{name: value})).ids == expected[:100]
    assert (await caller.count(**{name: value})).results["noOfItems"] == str(len(expected))


@pytest.mark.parametrize("name", ["general_stock", "estimated_stock"])
async def test_a_stock_filter_means_from_zero_to_the_value(start, name):
    caller = await start()
    rows = [json.loads(document) for document in caller.sandbox.catalogue.values()]
    expected = [row["id"] for row in rows if 0 <= row[name] <= 60]
    assert 0 < len(expected) < 100
    assert (await caller.read(**{name: 60})).ids == expected


async def test_unknown_and_empty_filters_are_silently_ignored(start):
    caller = await start()
    answer = await caller.read(modified={"from": "2026-01-01"}, Status=0, brand="x", id="", status=None)
    assert answer.ids == list(caller.sandbox.catalogue)[:100]


async def test_the_filters_follow_a_change_and_a_document_put_in(start):
    caller = await start()
    first, second, *_ = caller.sandbox.catalogue
    await caller.read(status=7)
    caller.sandbox.catalogue.put(second, b'{"id":%d,"status":7,"name":"own"}' % second)
    caller.sandbox.catalogue.put(9, b"not even json")
    assert (await caller.read(status=7)).ids == [second]
    stock = json.loads(caller.sandbox.catalogue[first])["general_stock"]
    caller.sandbox.catalogue.change([first], ["stock"])
    assert json.loads(caller.sandbox.catalogue[first])["general_stock"] != stock


async def test_the_count_is_in_strings_and_counts_what_the_filters_let_through(start):
    caller = await start(offers=797)
    assert (await caller.count()).results == {"noOfItems": "797", "noOfPages": "8", "itemsPerPage": "100"}
    assert (await caller.count(itemsPerPage=10)).results["noOfPages"] == "80"
    assert (await caller.count(id=5)).results == {"noOfItems": "0", "noOfPages": "0", "itemsPerPage": "100"}


async def test_the_count_can_be_wrong_or_missing(start):
    wrong, missing = await start(count="wrong"), await start(count="missing")
    assert (await wrong.count()).results["noOfItems"] == "257"
    assert (await missing.count()).status == 404
    assert (await missing.read()).status == 200


async def test_an_empty_catalogue_has_no_pages(start):
    caller = await start(offers=0)
    assert (await caller.read()).results == []
    assert (await caller.count()).results["noOfPages"] == "0"
