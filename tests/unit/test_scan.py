"""The scanner splits what a JSON reader refuses: slices as served, all of them or none, in linear time."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncd.sources import scan

spaces = st.text(" \t\r\n", max_size=3).map(str.encode)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(['"', "\\", "[", "]}", '",', "{", '\\"', ":"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)
raw_values = st.builds(
    lambda value, ascii_only, indent: json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8"),
    values,
    st.booleans(),
    st.sampled_from([None, 1]),
)


@st.composite
def padded(draw: st.DrawFn, items: list[bytes]) -> bytes:
    return b",".join(draw(spaces) + item + draw(spaces) for item in items)


@settings(max_examples=200)
@given(st.data(), st.lists(raw_values, max_size=8))
def test_a_list_splits_into_exactly_its_items(data: st.DataObject, items: list[bytes]) -> None:
    text = data.draw(spaces) + b"[" + data.draw(padded(items) if items else spaces) + b"]" + data.draw(spaces)
    assert scan.split_list(text) == items


@settings(max_examples=200)
@given(st.data(), st.dictionaries(st.text(max_size=6), raw_values, max_size=6))
def test_an_object_splits_into_exactly_its_members(data: st.DataObject, members: dict[str, bytes]) -> None:
    parts = [
        json.dumps(name).encode() + data.draw(spaces) + b":" + data.draw(spaces) + raw for name, raw in members.items()
    ]
    text = b"{" + data.draw(padded(parts) if parts else spaces) + b"}"
    scan.check_tokens(text)
    assert scan.read_object(text) == members


@settings(max_examples=200)
@given(st.data(), st.lists(raw_values, min_size=1, max_size=5))
def test_a_list_cut_anywhere_is_refused(data: st.DataObject, items: list[bytes]) -> None:
    text = b'{"results":[' + b",".join(items) + b"]}"
    cut = text[: data.draw(st.integers(0, len(text) - 1))]
    with pytest.raises(ValueError, match="byte"):
        scan.read_object(cut)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[",
        b"[1",
        b"[1,]",
        b"[,1]",
        b"[1 2]",
        b"[1]]",
        b"[[1]",
        b"[{]}",
        b"[[[{]]]]",
        b"[}",
        b'["a]',
        b'["a" "b"]',
        b"{}{}",
        b"[] x",
        b"{1}",
        b"\xef\xbb\xbf[]",
    ],
)
def test_what_is_not_one_whole_list_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="byte"):
        scan.split_list(text)


@pytest.mark.parametrize(
    "text", [b'{"a"}', b'{"a":}', b'{"a" 1}', b'{"a":1,}', b"{a:1}", b'{"a":1 "b":2}', b"[]", b"5"]
)
def test_what_is_not_one_whole_object_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="byte"):
        scan.read_object(text)


def test_two_stray_quotes_do_not_fuse_the_records_between_them() -> None:
    text = b'[{"id":1,"n":"a" b"},{"id":2,"n":"x" y"}]'
    with pytest.raises(ValueError, match="byte 13"):
        scan.check_tokens(text)


def test_of_a_repeated_name_the_last_counts_as_in_every_json_reader() -> None:
    assert scan.read_object(b'{"id":1,"i\\u0064":2}') == {"id": b"2"}


def test_a_name_that_cannot_be_read_hides_no_other() -> None:
    assert scan.read_object(b'{"\xff":1,"\\ud800":2,"id":3}')["id"] == b"3"


HOSTILE = {
    "10,000 levels": b"[" * 10_000 + b"]" * 10_000,
    "2 million levels": b"[" * 2_000_000 + b"]" * 2_000_000,
    "objects in objects": b'{"a":' * 600_000 + b"1" + b"}" * 600_000,
    "empty lists": b"[" + b"[]," * 1_400_000 + b"1]",
    "lists five deep": b"[" + b"[[[[[]]]]]," * 350_000 + b"1]",
    "strings": b"[" + b'"",' * 1_400_000 + b'""]',
    "numbers": b"[" + b"1," * 2_000_000 + b"1]",
    "escapes": b'["' + rb"\"" * 2_000_000 + b'"]',
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_4_mib_of_anything_are_split_in_time_linear_in_their_size(value: bytes) -> None:
    text = b"[1," + value + b",2]"
    started = time.perf_counter()
    scan.check_tokens(text)
    items = scan.split_list(text)
    assert time.perf_counter() - started < 10  # under 1 s on an idle core; a quadratic scan takes hours
    assert items == [b"1", value, b"2"]


@pytest.mark.parametrize("text", [b'"\\' * 2_000_000, b'["' * 1_000_000, b"[{" * 1_000_000, b' "a"' * 1_000_000])
def test_4_mib_of_nonsense_are_refused_in_time_linear_in_their_size(text: bytes) -> None:
    started = time.perf_counter()
    with pytest.raises(ValueError, match="byte"):
        scan.read_object(text)
    with pytest.raises(ValueError, match="byte"):
        scan.split_list(text)
    assert time.perf_counter() - started < 10
