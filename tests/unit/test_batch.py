"""Several pages as one batch."""

from __future__ import annotations

from hashlib import sha256

import pytest

from syncd.contract.errors import FatalError
from syncd.contract.records import Page, Rejected
from syncd.contract.words import Cause, Rejection
from syncd.warehouse.batch import Batch


def page(number: int, documents: dict[str, bytes], rejected: list[Rejected] | None = None) -> Page:
    hashes = [sha256(document).digest()[:16] for document in documents.values()]
    received = len(documents) + len(rejected or [])
    return Page(number, list(documents), list(documents.values()), hashes, received, 1000, rejected=rejected or [])


def test_a_key_on_two_pages_with_the_same_bytes_is_written_once() -> None:
    """The catalogue drifted while it was read."""
    batch = Batch([page(1, {"1": b"a", "2": b"b"}), page(2, {"2": b"b", "3": b"c"})])
    assert (batch.keys, batch.identical_duplicates, batch.rejected) == (["1", "2", "3"], 1, [])


def test_a_key_on_two_pages_with_other_bytes_keeps_the_last() -> None:
    """The earlier one goes to quarantine, with the page on which it stood."""
    batch = Batch([page(1, {"1": b"old", "2": b"b"}), page(2, {"1": b"new"})])
    assert dict(zip(batch.keys, batch.documents, strict=True)) == {"1": b"new", "2": b"b"}
    assert batch.rejected == [(1, Rejected(0, "1", Rejection.DUPLICATE_KEY, b"old"))]


@pytest.mark.parametrize("pages_before", [0, 1])
def test_every_record_is_known_by_its_place_on_its_own_page(pages_before: int) -> None:
    """Also where a double or a rejected record stood before it, and in a batch of several pages."""
    shifted = page(7, {"a": b"1", "b": b"2"})
    shifted.ordinals = [3, 5]
    batch = Batch([*(page(6, {"x": b"0"}) for _ in range(pages_before)), shifted])
    assert list(batch.ordinal_of)[pages_before:] == [3, 5]
    lost = Batch([shifted, page(8, {"c": b"4", "b": b"new"})])
    assert lost.rejected == [(7, Rejected(5, "b", Rejection.DUPLICATE_KEY, b"2"))]


def test_the_manifest_shows_quarantined_keys_too() -> None:
    """They exist, so they are not missing."""
    lost = [Rejected(1, "9", Rejection.NUL_ESCAPE, b"x"), Rejected(2, None, Rejection.NO_KEY, b"y")]
    rows = Batch([page(1, {"1": b"a"}, lost), page(2, {})]).manifest(listed=True)
    assert rows["seen_keys"] == ["1", "9"]
    assert (rows["pages"], rows["received"], rows["keyless"]) == ([1, 2], [3, 0], [1, 0])


def test_a_page_stored_in_part_leaves_no_manifest() -> None:
    """--limit: the checkpoint never passes it."""
    assert Batch([page(1, {"1": b"a"})]).manifest(listed=False)["pages"] == []


@pytest.mark.parametrize(("bad", "good", "fails"), [(4, 0, False), (5, 5, False), (5, 4, True), (60, 40, True)])
def test_more_than_half_of_a_page_and_at_least_five_fail_the_run(bad: int, good: int, fails: bool) -> None:
    """A few bad records are quarantined; a bad page is a bad answer."""
    lost = [Rejected(n, None, Rejection.NO_KEY, b"x") for n in range(bad)]
    batch = Batch([page(1, {str(n): b"a" for n in range(good)}, lost)])
    if not fails:
        batch.check_rejections(batch.rejected)
        return
    with pytest.raises(FatalError, match=f"{bad} of {bad + good} records") as caught:
        batch.check_rejections(batch.rejected)
    assert caught.value.cause is Cause.BAD_RESPONSE
