"""An answer becomes a page of raw records or an error with a name; nothing is lost on the way and nothing invented."""

from __future__ import annotations

import json
from contextlib import suppress
from hashlib import sha256

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from syncd.contract.errors import CallError
from syncd.contract.records import Page
from syncd.contract.words import Cause, Reason, Rejection
from syncd.sources import scan
from syncd.sources.decode import Count, decode_count, decode_page, excerpt, read_envelope

SURROGATE = rb'{"id":"the poison","a":"\ud800"}'


def body_of(*items: bytes, between: bytes = b",") -> bytes:
    return b'{"isError":false,"messages":[],"results":[' + between.join(items) + b"]}"


def page_of(*items: bytes) -> Page:
    return decode_page(body_of(*items), 1, max_items=100)


def failure_of(body: bytes, max_items: int = 100) -> CallError:
    with pytest.raises(CallError) as caught:
        decode_page(body, 17, max_items=max_items)
    assert str(caught.value).isprintable()
    return caught.value


def test_a_page_holds_the_bytes_as_served_their_keys_and_their_hashes() -> None:
    items = [b'{"id":1, "price":51.6477}', b'{"name":"\xc8\x98","id":"x-2","price":1E+2}']
    body = body_of(*items, between=b" ,\n\t")
    page = decode_page(body, 3, max_items=2)
    assert page.keys == ["1", "x-2"]
    assert page.documents == items
    assert page.hashes == [sha256(item).digest()[:16] for item in items]
    assert (page.number, page.received, page.size_bytes) == (3, 2, len(body))
    assert page.rejected == []


def test_an_empty_list_is_an_empty_page() -> None:
    page = page_of()
    assert (page.keys, page.documents, page.hashes, page.received) == ([], [], [], 0)


KEYS = {
    "1": "1",
    '"1"': "1",
    '"007"': "7",
    '"000"': "0",
    "0": "0",
    "-5": "-5",
    "-0": "0",
    '"-05"': "-05",
    '"a b"': "a b",
    '"\\u0031\\u0032"': "12",
    '"٣"': "٣",
    '" 7"': " 7",
    "123456789012345678901234567890": "123456789012345678901234567890",
    "9" * 200: "9" * 200,
    '"' + "0" * 300 + '7"': "7",
    '"' + "ș" * 200 + '"': "ș" * 200,
    '"no_key"': "no_key",
}
KEYLESS = {
    '"' + "x" * 201 + '"': Rejection.KEY_TOO_LONG,
    "9" * 201: Rejection.KEY_TOO_LONG,
    "9" * 5000: Rejection.KEY_TOO_LONG,
    **dict.fromkeys(
        ["1.0", "1e2", "true", "false", "null", "{}", "[]", "[1]", '""', '"a\\u0000b"'],
        Rejection.NO_KEY,
    ),
}


@pytest.mark.parametrize("poison", [(), (SURROGATE,)], ids=["fast", "slow"])
@pytest.mark.parametrize(("raw", "key"), KEYS.items())
def test_a_key_is_an_integer_or_a_string(raw: str, key: str, poison: tuple[bytes, ...]) -> None:
    page = page_of(f'{{"id":{raw}}}'.encode(), *poison)
    assert page.keys == [key]
    assert page.keyless == 0


@pytest.mark.parametrize("poison", [(), (SURROGATE,)], ids=["fast", "slow"])
@pytest.mark.parametrize(("raw", "rejection"), KEYLESS.items())
def test_what_is_no_key_sets_the_record_aside(raw: str, rejection: Rejection, poison: tuple[bytes, ...]) -> None:
    item = f'{{"id":{raw}}}'.encode()
    page = page_of(b'{"id":4}', item, *poison)
    assert page.keys == ["4"]
    assert (page.rejected[0].ordinal, page.rejected[0].key, page.rejected[0].raw) == (1, None, item)
    assert page.rejected[0].rejection is rejection
    assert page.keyless == 1


@pytest.mark.parametrize("item", [b"{}", b'{"ID":1}', b"5", b'"id"', b"null", b"[]", b'[{"id":1}]'])
def test_an_item_without_a_key_is_set_aside(item: bytes) -> None:
    page = page_of(item, b'{"id":4}')
    assert page.keys == ["4"]
    assert [(one.rejection, one.raw) for one in page.rejected] == [(Rejection.NO_KEY, item)]


def test_another_field_can_be_the_key() -> None:
    page = decode_page(body_of(b'{"id":1,"pnk":"DX"}'), 1, key_field="pnk", max_items=5)
    assert page.keys == ["DX"]


POISON = {
    "10,000 levels": (b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b',"id":5}', "5", Rejection.TOO_DEEP),
    "lone surrogate": (rb'{"id":"5","a":"\ud800"}', "5", Rejection.LONE_SURROGATE),
    "lone surrogate in the key": (rb'{"id":"\ud800"}', None, Rejection.LONE_SURROGATE),
    "not UTF-8 in the key": (b'{"id":"\xff"}', None, Rejection.NOT_UTF8),
    "not UTF-8 and deep": (b'{"\xff":"\xff","id":5,"a":' + b"[" * 5000 + b"]" * 5000 + b"}", "5", Rejection.NOT_UTF8),
    "NaN": (b'{"id":5,"a":NaN}', "5", Rejection.NOT_JSON),
    "control character": (b'{"id":5,"a":"\x01"}', "5", Rejection.NOT_JSONB),
    "trailing comma": (b'{"id":5,"a":[1,],}', None, Rejection.NOT_JSON),
}


@pytest.mark.parametrize(("item", "key", "rejection"), POISON.values(), ids=POISON)
def test_one_poison_record_does_not_cost_the_others(item: bytes, key: str | None, rejection: Rejection) -> None:
    page = page_of(b'{"id":1}', item, b'{"id":2}')
    assert page.keys == ["1", "2"]
    assert page.documents == [b'{"id":1}', b'{"id":2}']
    assert page.received == 3
    (rejected,) = page.rejected
    assert (rejected.ordinal, rejected.key, rejected.rejection, rejected.raw) == (1, key, rejection, item)
    assert page.seen_keys == (["1", "2", key] if key else ["1", "2"])


@pytest.mark.parametrize("poison", [(), (SURROGATE,)], ids=["fast", "slow"])
def test_identical_doubles_are_dropped_and_counted(poison: tuple[bytes, ...]) -> None:
    page = page_of(b'{"id":1}', b'{"id":2}', b'{"id":1}', b'{"id":1}', *poison)
    assert page.keys == ["1", "2"]
    assert page.identical_duplicates == 2
    assert page.received == 4 + len(poison)
    assert len(page.rejected) == len(poison)


def test_of_unlike_records_with_one_key_the_last_wins_and_the_others_are_kept_aside() -> None:
    page = page_of(b'{"id":1,"v":1}', b'{"id":"01","v":2}', b'{"id":2}', b'{"id":1,"v":1}')
    assert page.keys == ["2", "1"]
    assert page.documents == [b'{"id":2}', b'{"id":1,"v":1}']
    assert [(one.ordinal, one.key, one.rejection) for one in page.rejected] == [
        (0, "1", Rejection.DUPLICATE_KEY),
        (1, "1", Rejection.DUPLICATE_KEY),
    ]
    assert page.identical_duplicates == 0


def test_more_items_than_were_asked_for_end_the_run_as_an_ignored_page_size() -> None:
    for body in (body_of(*[b'{"id":1}'] * 3), body_of(b'{"id":1}', b'{"id":2}', SURROGATE)):
        error = failure_of(body, max_items=2)
        assert (error.reason, error.cause, error.retryable) == (Reason.BAD_BODY, Cause.BAD_RESPONSE, False)
        assert "page 17: 3 items" in str(error)
        assert "page size was ignored" in str(error)


BAD = {
    "empty": b"",
    "HTML": b"<html>Maintenance \x1b[31m</html>",
    "a list": b"[]",
    "a word": b"null",
    "no isError": b'{"results":[]}',
    "Kong": b'{"message":"API rate limit exceeded"}',
    "isError 0": b'{"isError":0,"results":[]}',
    "isError null": b'{"isError":null,"results":[]}',
    "isError as string": b'{"isError":"false","results":[]}',
    "no results": b'{"isError":false}',
    "results null": b'{"isError":false,"results":null}',
    "results object": b'{"isError":false,"results":{"noOfItems":1}}',
    "cut": body_of(b'{"id":1}', b'{"id":2}')[:-1],
    "cut in an item": body_of(b'{"id":1}', b'{"id":2}')[:-5],
    "cut in a string": body_of(b'{"id":1,"a":"bc"}')[:-6],
    "something after": body_of(b'{"id":1}') + b"x",
    "PHP notice before": b"<br />Notice: x" + body_of(),
    "mark of byte order": b"\xef\xbb\xbf" + body_of(),
    "unbalanced item": body_of(b'{"id":1]'),
    "missing bracket": body_of(b'{"id":5,"a":[1}', b'{"id":6}', b'{"id":7]}'),
    "missing comma": body_of(b'{"id":5} {"id":6}'),
    "stray quotes": body_of(b'{"id":1,"n":"a" b"}', b'{"id":2,"n":"x" y"}'),
    "garbage outside of the items": b'{"isError":false,"results":[],"x":01}',
    "deep messages": b'{"isError":false,"messages":' + b"[" * 5000 + b"]" * 5000 + b',"results":[]}',
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_an_answer_that_is_no_whole_page_is_a_bad_body_and_worth_another_try(body: bytes) -> None:
    error = failure_of(body)
    assert (error.reason, error.cause, error.retryable) == (Reason.BAD_BODY, Cause.BAD_RESPONSE, True)


def test_is_error_true_is_named_with_its_messages() -> None:
    error = failure_of(b'{"isError":true,"messages":["Invalid filter"],"results":[]}')
    assert (error.reason, error.cause, error.retryable) == (Reason.API_IS_ERROR, Cause.BAD_RESPONSE, True)
    assert "Invalid filter" in str(error)


@pytest.mark.parametrize(
    "messages",
    [
        b'"messages":["ERROR: Invalid Vendor IP [1.2.3.4]"]',
        b'"errors":[{"message":"invalid vendor ip"}]',
        b'"messages":[{"text":"You are not allowed to use this API."}]',
        b'"messages":"INVALID VENDOR IP"',
    ],
)
def test_a_refused_account_or_address_is_auth_and_final(messages: bytes) -> None:
    error = failure_of(b'{"isError":true,' + messages + b',"results":[]}')
    assert (error.reason, error.cause, error.retryable) == (Reason.AUTH, Cause.AUTH, False)


def test_an_offer_that_mentions_a_blocked_address_is_just_an_offer() -> None:
    assert page_of(b'{"id":1,"name":"Invalid vendor ip"}').keys == ["1"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
key_values = st.integers() | st.text(max_size=5) | st.sampled_from(["007", "no_key"]) | json_values
records = st.dictionaries(st.sampled_from(["id", "a", "b", '"', "]"]), key_values, max_size=4) | json_values
spaces = st.text(" \n\r\t", max_size=2).map(str.encode)


@settings(max_examples=300)
@given(st.lists(records, max_size=8), st.booleans(), spaces, spaces)
@example([{"id": 1}, {"id": 1}, {"id": "1", "a": 2}], True, b" ", b"\n")
def test_both_paths_agree_on_any_page_and_lose_nothing(
    values: list[object], ascii_only: bool, before: bytes, after: bytes
) -> None:
    items = [json.dumps(value, ensure_ascii=ascii_only).encode() for value in values]
    between = before + b"," + after
    fast = decode_page(body_of(*items, between=between), 1, max_items=9)
    slow = decode_page(body_of(*items, SURROGATE, between=between), 1, max_items=9)
    assert slow.rejected.pop().key == "the poison"
    assert (fast.keys, fast.documents, fast.hashes) == (slow.keys, slow.documents, slow.hashes)
    assert (fast.rejected, fast.identical_duplicates) == (slow.rejected, slow.identical_duplicates)
    assert fast.received == slow.received - 1 == len(items)
    assert len(fast.keys) + len(fast.rejected) + fast.identical_duplicates == len(items)
    assert all(items[one.ordinal] == one.raw for one in fast.rejected)
    assert scan.split_list(read_envelope(body_of(*items, between=between))["results"]) == items


@settings(max_examples=200)
@given(st.lists(records, min_size=1, max_size=4), st.data())
def test_a_body_cut_anywhere_never_passes_for_a_shorter_page(values: list[object], data: st.DataObject) -> None:
    body = body_of(*[json.dumps(value).encode() for value in values], data.draw(st.sampled_from([b"{}", SURROGATE])))
    with pytest.raises(CallError):
        decode_page(body[: data.draw(st.integers(0, len(body) - 1))], 1, max_items=100)


@settings(max_examples=300)
@given(st.binary(max_size=40))
def test_any_bytes_at_all_are_a_page_or_a_call_error(noise: bytes) -> None:
    for body in (noise, body_of(noise), body_of(b'{"id":1,"a":"' + noise + b'"}')):
        with suppress(CallError):
            page = decode_page(body, 1, max_items=100)
            assert len(page.keys) + len(page.rejected) + page.identical_duplicates == page.received


COUNTS = {
    b'{"noOfItems":"797","noOfPages":"8","itemsPerPage":"100"}': Count(797, 8, 100),
    b'{"noOfItems":797,"noOfPages":8,"itemsPerPage":100}': Count(797, 8, 100),
    b'{"noOfItems":"0"}': Count(0, None, None),
    b'{"noOfItems":5,"noOfPages":null,"itemsPerPage":-1}': Count(5, None, None),
}


@pytest.mark.parametrize(("results", "count"), COUNTS.items())
def test_a_count_comes_as_strings_or_integers(results: bytes, count: Count) -> None:
    assert decode_count(b'{"isError":false,"results":' + results + b"}") == count


@pytest.mark.parametrize(
    "results",
    [
        *[b"[]", b"null", b"5", b"{}", b'{"noOfItems":null}', b'{"noOfItems":"many"}', b'{"noOfItems":-1}'],
        *[b'{"noOfItems":1.5}', b'{"noOfItems":true}', b'{"noOfItems":""}', b'{"noOfItems":' + b"9" * 30 + b"}"],
    ],
)
def test_a_count_without_a_number_of_items_is_a_bad_body(results: bytes) -> None:
    with pytest.raises(CallError, match="count") as caught:
        decode_count(b'{"isError":false,"results":' + results + b"}")
    assert (caught.value.reason, caught.value.cause) == (Reason.BAD_BODY, Cause.BAD_RESPONSE)


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"", "(empty)"),
        (b"plain", "plain"),
        ("Stoc epuizat în București".encode(), "Stoc epuizat în București"),
        (b"\x1b[2J\x00\r\n\t", r"\x1b[2J\x00\r\n\t"),
        ("\u202eevil\u200b".encode(), r"\u202eevil\u200b"),
        (b"\xff\xfe", r"\xff\xfe"),
        (b"x" * 200, "x" * 200),
        (b"x" * 201, "x" * 200 + "…"),
        (b"\x1b" * 200, r"\x1b" * 50 + "…"),
    ],
)
def test_remote_bytes_are_shown_harmless_and_short(body: bytes, shown: str) -> None:
    assert excerpt(body) == shown
