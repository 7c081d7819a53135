"""What is stored is what was served: byte for byte, digit for digit, and only what changed is written."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from syncd.sandbox.offer import BIG_DESCRIPTION_ID, SHOWCASE_PRICES, id_of
from tests.acceptance.scene import Scene, Start, outcome

OFFERS = 2350
PRICES = ("sale_price", "recommended_price", "min_sale_price", "max_sale_price")
TEXTS = ("part_number_key", "part_number", "name", "brand", "currency")
INTEGERS = ("category_id", "status", "vat_id")
WAL_BYTES_A_RECORD = 100


def exact(document: bytes) -> dict[str, Any]:
    """The document with every number as its own digits say it."""
    read: dict[str, Any] = json.loads(document, parse_float=Decimal)
    return read


def stored(scene: Scene) -> dict[str, tuple[Any, ...]]:
    """Everything about each record that a write would touch."""
    rows = scene.query("SELECT key, xmin, ctid, updated_at, updated_run, hash, missing_since FROM record")
    return {row[0]: row[1:] for row in rows}


async def test_every_document_is_stored_as_the_bytes_that_were_served(start: Start) -> None:
    """2,350 offers, one of them with a description of 1 MiB, in two spellings of Romanian."""
    scene = await start(offers=OFFERS, big_description=True)
    assert outcome(await scene.sync()) == (0, "complete", "end_of_data")
    assert scene.live == scene.served
    assert len(scene.served[str(BIG_DESCRIPTION_ID)]) > 1 << 20


async def test_every_column_says_what_the_served_text_says(start: Start) -> None:
    """Prices digit for digit, whether they were served as numbers or as strings; diacritics in every spelling."""
    scene = await start(offers=OFFERS)
    await scene.sync()
    columns = (*PRICES, *TEXTS, *INTEGERS, "stock")
    rows = scene.query(f"SELECT key, {', '.join(columns)} FROM record")
    assert len(rows) == OFFERS
    served = scene.served
    for key, *values in rows:
        offer = exact(served[key])
        found = dict(zip(columns, values, strict=True))
        for name in PRICES:
            assert str(found[name]) == plain(offer[name]), (key, name)
        for name in (*TEXTS, *INTEGERS):
            assert found[name] == offer.get(name), (key, name)
        assert found["stock"] == sum(entry["value"] for entry in offer["stock"])
    assert any("Ș" in row[7] or "ă" in row[7] for row in rows)


def plain(served: Decimal | int | str) -> str:
    """A served price as `numeric` writes it: the same digits and the same scale, without an exponent."""
    return f"{Decimal(served):f}"


async def test_the_prices_that_floats_spoil_are_exact(start: Start) -> None:
    """0.1, 1E+2, 12345678.99999, 51.6477 as float and as string: none of them passes through a float."""
    scene = await start(offers=len(SHOWCASE_PRICES))
    await scene.sync()
    rows = dict(scene.query("SELECT key, sale_price FROM record"))
    for index, spelling in enumerate(SHOWCASE_PRICES):
        assert rows[str(id_of(index))] == Decimal(spelling.strip('"'))
    assert scene.query("SELECT sum(sale_price) FROM emag_product_offers")[0][0] == sum(
        Decimal(spelling.strip('"')) for spelling in SHOWCASE_PRICES
    )


async def test_the_second_run_changes_nothing(start: Start) -> None:
    """0 records written, no line in the change log, and next to no WAL."""
    scene = await start(offers=OFFERS)
    await scene.sync()
    before = stored(scene)
    wal_before = scene.query("SELECT pg_current_wal_insert_lsn()")[0][0]
    facts = await scene.sync()
    wal_bytes = scene.query("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), %s)::bigint", wal_before)[0][0]
    assert outcome(facts) == (0, "complete", "end_of_data")
    assert (facts["inserted"], facts["updated"], facts["skipped"]) == (0, 0, OFFERS)
    assert stored(scene) == before
    assert scene.query("SELECT count(*) FROM change") == [(0,)]
    assert wal_bytes < WAL_BYTES_A_RECORD * OFFERS


async def test_the_change_log_says_exactly_what_changed(start: Start) -> None:
    """Changed, new, vanished and returned offers, each field once, with the exact text of both sides."""
    scene = await start(offers=OFFERS)
    await scene.sync()
    before = scene.served
    changed = {str(key) for key in scene.sandbox.catalogue.change(40, fields=("price", "stock", "name"))}
    changed |= {str(key) for key in scene.sandbox.catalogue.change(10, fields=("price",))}
    vanished = {str(key) for key in scene.sandbox.catalogue.vanish(20)}
    appeared = {str(key) for key in scene.sandbox.catalogue.appear(15, at=700)}
    after = scene.served
    facts = await scene.sync()

    changed -= vanished
    assert outcome(facts) == (0, "complete", "end_of_data")
    counts = [facts[name] for name in ("inserted", "updated", "tombstoned", "revived")]
    assert counts == [len(appeared), len(changed), len(vanished), 0]
    expected = {(key, "tombstoned", None, None, None) for key in vanished}
    for key in changed:
        old, new = raw_members(before[key]), raw_members(after[key])
        expected |= {(key, "updated", name, old[name], new[name]) for name in old if old[name] != new[name]}
    log = scene.query("SELECT key, kind, field, old::text, new::text FROM change")
    assert len(log) == len(set(log))
    assert set(log) == expected
    assert scene.live == after


def raw_members(document: bytes) -> dict[str, str]:
    """The top-level members, each as its exact text."""
    members, decoder, text = {}, json.JSONDecoder(), document.decode()
    position = 1
    while text[position - 1] != "}":
        name, position = decoder.raw_decode(text, position)
        _, end = decoder.raw_decode(text, position + 1)
        members[name] = text[position + 1 : end]
        position = end + 1
    return members


async def test_changes_of_the_marketplaces_own_ranks_are_stored_but_not_logged(start: Start) -> None:
    """`ignore_changes`: other sellers' prices move these fields all day; the document is kept current."""
    scene = await start()
    await scene.sync()
    changed = scene.sandbox.catalogue.change(30, fields=("rank",))
    facts = await scene.sync()
    assert (facts["updated"], facts["tombstoned"]) == (len(changed), 0)
    assert scene.query("SELECT count(*) FROM change") == [(0,)]
    assert scene.live == scene.served
