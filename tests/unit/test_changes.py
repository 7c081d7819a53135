"""What the change log says of two versions of a document."""

from __future__ import annotations

from syncd.warehouse.changes import find_changes


def test_changed_added_and_removed_keys_are_told_with_their_exact_text() -> None:
    """1.0 and 1.00 differ: the log keeps digits, not values."""
    old = b'{"a":1.0,"b":"x","c":[1, 2],"d":null}'
    new = b'{"b":"x","a":1.00,"c":[1,2],"e":{"f":"\xc4\x83"}}'
    assert sorted(find_changes(old, new, ())) == [
        ("a", b"1.0", b"1.00"),
        ("c", b"[1, 2]", b"[1,2]"),
        ("d", b"null", None),
        ("e", None, b'{"f":"\xc4\x83"}'),
    ]


def test_another_order_or_more_space_between_keys_is_no_change() -> None:
    """Only values count."""
    assert list(find_changes(b'{"a": 1 ,"b":2}', b'{"b":2,"a":1}', ())) == []


def test_ignored_keys_are_not_logged() -> None:
    """The buy button's rank changes all day."""
    assert list(find_changes(b'{"rank":1,"x":1}', b'{"rank":2,"x":1}', {"rank"})) == []
