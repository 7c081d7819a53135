"""One poison row of each kind: broken in exactly that way, and nothing else on its page."""

from __future__ import annotations

import json

import msgspec
import pytest

from syncd.sandbox.fault import POISONS
from syncd.sandbox.poison import LONG_ID

MIDDLE = 50


async def poisoned(start, kind: str, **options) -> tuple[list[bytes], list[bytes]]:
    """The documents of page 1 as they are, and the rows as served."""
    caller = await start(**options, faults=[f"{kind}:page=1"])
    good = list(caller.sandbox.catalogue.values())[:100]
    body = (await caller.read(1)).body
    assert (await caller.read(1)).body == body, "a poison stays"
    head, tail = b'{"isError":false,"messages":[],"errors":[],"results":[', b"]}"
    assert body.startswith(head + b",".join(good[:MIDDLE]) + b",")
    assert body.endswith(tail)
    rest = body[len(head) + len(b",".join(good[:MIDDLE])) + 1 : -len(tail)]
    after = b",".join(good[MIDDLE + 1 :])
    assert rest.endswith(after)
    return good, [*good[:MIDDLE], rest[: -len(after) - 1], *good[MIDDLE + 1 :]]


@pytest.mark.parametrize("kind", [kind for kind in POISONS if kind != "duplicate_id_extra"])
async def test_a_poison_takes_the_place_of_one_row_and_leaves_the_others_alone(start, kind):
    good, served = await poisoned(start, kind)
    assert served[MIDDLE] != good[MIDDLE]
    assert sum(one != other for one, other in zip(good, served, strict=True)) == 1


async def test_nul_and_surrogate_are_valid_json_that_a_database_cannot_keep(start):
    for kind, character in (("nul_escape", "\0"), ("lone_surrogate", "\ud800")):
        good, served = await poisoned(start, kind)
        row, offer = json.loads(served[MIDDLE]), json.loads(good[MIDDLE])
        assert row["name"] == character + offer["name"]
        assert row["id"] == offer["id"]


async def test_invalid_utf8_is_not_utf8(start):
    good, served = await poisoned(start, "invalid_utf8")
    with pytest.raises(UnicodeDecodeError):
        served[MIDDLE].decode()
    assert served[MIDDLE].replace(b"\xff\xfe", b"") == good[MIDDLE]


async def test_an_id_can_be_absent_or_too_long(start):
    _, served = await poisoned(start, "no_id")
    assert "id" not in json.loads(served[MIDDLE])
    _, served = await poisoned(start, "long_id")
    assert json.loads(served[MIDDLE])["id"] == LONG_ID
    assert len(LONG_ID) == 300


async def test_deep_nesting_breaks_a_recursive_decoder(start):
    good, served = await poisoned(start, "deep")
    with pytest.raises(RecursionError):
        msgspec.json.decode(served[MIDDLE])
    shallow = served[MIDDLE].replace(b'"deep":' + b"[" * 10_000 + b"]" * 10_000 + b",", b"")
    assert shallow == good[MIDDLE]


async def test_a_number_can_be_huge_and_a_record_big(start):
    _, served = await poisoned(start, "huge_number")
    assert b'"sale_price":1e999999,' in served[MIDDLE]
    _, served = await poisoned(start, "big_record")
    assert len(served[MIDDLE]) > 5 << 20
    assert json.loads(served[MIDDLE])["id"]


async def test_the_same_id_twice_pushes_an_offer_out_or_is_one_row_more(start):
    _, served = await poisoned(start, "duplicate_id")
    rows = [json.loads(document) for document in served]
    assert rows[MIDDLE]["id"] == rows[MIDDLE - 1]["id"]
    assert rows[MIDDLE]["name"] != rows[MIDDLE - 1]["name"]
    caller = await start(faults=["duplicate_id_extra:page=3"])
    ids = (await caller.read(3)).ids
    assert len(ids) == 51
    assert ids[-1] == ids[25]
    assert len(set(ids)) == 50


async def test_hostile_text_is_well_formed_json(start):
    good, served = await poisoned(start, "hostile_text")
    name = json.loads(served[MIDDLE])["name"]
    assert name.endswith(json.loads(good[MIDDLE])["name"])
    assert "\x1b[2J" in name
    assert "<script>" in name


async def test_a_page_without_rows_has_no_poison_and_a_lookup_may_have_one(start):
    caller = await start(faults=["nul_escape:page=lookup", "no_id"])
    assert (await caller.read(9)).results == []
    offer_id = next(iter(caller.sandbox.catalogue))
    [row] = (await caller.read(id=offer_id)).results
    assert (row["id"], row["name"][0]) == (offer_id, "\0")
