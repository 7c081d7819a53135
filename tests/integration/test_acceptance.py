"""A document that is accepted can be cast to jsonb by everybody, for ever; PostgreSQL itself is asked."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncd.contract.words import Rejection
from syncd.policy.acceptance import diagnose, find_fault

ACCEPTED = {
    "an escaped backslash before u0000": rb'{"a":"\\u0000"}',
    "a surrogate pair": rb'{"a":"\ud83d\ude00"}',
    "Romanian": '{"a":"ștearsă, înălțime"}'.encode(),
    "depth 200": b"[" * 200 + b"]" * 200,
    "200 brackets in a string": b'{"a":"' + b"[" * 500 + b'"}',
    "many lists side by side": b"[" + b"[]," * 1000 + b"1]",
    "an exponent in a string": b'{"a":"1e999999"}',
    "4 MiB": b'"' + b"x" * (4 * 1024 * 1024 - 2) + b'"',
    "pretty print": b'{\n\t"a": 1\r\n}',
    "131,072 digits": b"1" * 131_072,
    "the largest exponent": b"1e131071",
    "the largest exponent, shifted": b"0.001e131074",
    "16,383 decimals": b"1." + b"1" * 16_383,
    "the smallest exponent": b"1e-16383",
    "zero with a long exponent": b"0e999999",
    "the longest exponents that are not looked at": b"["
    + b"9" * 15_383
    + b"e9999,"
    + b"1."
    + b"9" * 15_383
    + b"e-999]",
    "an exponent with leading zeros": b"1e00000000000000005",
}
REFUSED = {
    "over 4 MiB": (b'"' + b"x" * (4 * 1024 * 1024 - 1) + b'"', Rejection.TOO_LARGE),
    "a stray byte": (b'{"a":"\xff"}', Rejection.NOT_UTF8),
    "an overlong NUL": (b'{"a":"\xc0\x80"}', Rejection.NOT_UTF8),
    "a surrogate as UTF-8": (b'{"a":"\xed\xa0\x80"}', Rejection.NOT_UTF8),
    "a NUL escape": (rb'{"a":"x\u0000"}', Rejection.NUL_ESCAPE),
    "a NUL escape after an escaped backslash": (rb'{"a":"\\\u0000"}', Rejection.NUL_ESCAPE),
    "a NUL escape in a name": (rb'{"\u0000":1}', Rejection.NUL_ESCAPE),
    "depth 201": (b"[" * 201 + b"]" * 201, Rejection.TOO_DEEP),
    "depth 201 dressed up with brackets in strings": (b'["]",' * 201 + b"1" + b"]" * 201, Rejection.TOO_DEEP),
    "depth of objects": (b'{"a":' * 300 + b"1" + b"}" * 300, Rejection.TOO_DEEP),
    "131,073 digits": (b"1" * 131_073, Rejection.NOT_JSONB),
    "an exponent too large": (b"1e131072", Rejection.NOT_JSONB),
    "an exponent too large, shifted": (b"10E+131071", Rejection.NOT_JSONB),
    "16,384 decimals": (b"1." + b"1" * 16_384, Rejection.NOT_JSONB),
    "16,384 decimals by a short exponent": (b"1." + b"1" * 6385 + b"e-9999", Rejection.NOT_JSONB),
    "six digits of exponent": (b"1E200000", Rejection.NOT_JSONB),
    "an exponent too small": (b"1e-16384", Rejection.NOT_JSONB),
    "zero too small": (b"0e-16384", Rejection.NOT_JSONB),
    "zero with an exponent beyond int": (b"0e1073741824", Rejection.NOT_JSONB),
}
UNREADABLE = {
    "a lone high surrogate": (rb'{"a":"\ud800"}', Rejection.LONE_SURROGATE),
    "a lone low surrogate": (rb'{"a":"\uDC00"}', Rejection.LONE_SURROGATE),
    "a pair the wrong way round": (rb'{"a":"\ude00\ud83d"}', Rejection.LONE_SURROGATE),
    "two high ones": (rb'{"a":"\ud83d\ud83d\ude00"}', Rejection.LONE_SURROGATE),
    "a pair with a letter between": (rb'{"a":"\ud83dx\ude00"}', Rejection.LONE_SURROGATE),
    "a control character": (b'{"a":"\x01"}', Rejection.NOT_JSONB),
    "a NUL byte in a string": (b'{"a":"\0"}', Rejection.NOT_JSONB),
    "NaN": (b'{"a":NaN}', Rejection.NOT_JSON),
    "a trailing comma": (b'{"a":1,}', Rejection.NOT_JSON),
    "10,000 levels": (b"[" * 10_000 + b"]" * 10_000, Rejection.TOO_DEEP),
    "nothing": (b"", Rejection.NOT_JSON),
}


@pytest.mark.parametrize("document", ACCEPTED.values(), ids=ACCEPTED)
def test_what_jsonb_takes_is_accepted(document: bytes) -> None:
    assert find_fault(document) is None


@pytest.mark.parametrize(("document", "fault"), REFUSED.values(), ids=REFUSED)
def test_what_jsonb_or_the_contract_refuses_is_named(document: bytes, fault: Rejection) -> None:
    assert find_fault(document) is fault


@pytest.mark.parametrize(("document", "fault"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_no_reader_takes_is_diagnosed(document: bytes, fault: Rejection) -> None:
    assert diagnose(document) is fault


HOSTILE = {
    "openers": b"[" * 4_000_000,
    "pairs": b"[[]]," * 800_000,
    "backslashes": b"\\" * 4_000_000,
    "NUL escapes, escaped": rb"\\u0000" * 500_000,
    "quotes": b'"' * 4_000_000,
    "exponents": b"1e0001," * 500_000,
    "digits": b"0" * 4_000_000,
    "a string never closed": b"[" * 300 + b"1e0001" + b'"\\' * 2_000_000,
    "control characters": b'"\x01' * 2_000_000,
    "surrogates": rb"\ud83d\ude00" * 300_000,
}


@pytest.mark.parametrize("document", HOSTILE.values(), ids=HOSTILE)
def test_hostile_documents_take_time_linear_in_their_size(document: bytes) -> None:
    started = time.perf_counter()
    diagnose(document)
    assert time.perf_counter() - started < 5


class Cast:
    """Asks PostgreSQL whether a document can be stored as json and cast to jsonb."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def refuses(self, document: bytes) -> str | None:
        try:
            self._connection.execute("SELECT convert_from(%b, 'UTF8')::json::jsonb IS NULL", [document])
        except psycopg.Error as error:
            return str(error)
        return None


@pytest.fixture
def cast(empty_database: str) -> Iterator[Cast]:
    with psycopg.connect(empty_database, autocommit=True) as connection:
        yield Cast(connection)


@pytest.mark.parametrize("document", ACCEPTED.values(), ids=ACCEPTED)
def test_postgresql_takes_what_is_accepted(cast: Cast, document: bytes) -> None:
    assert cast.refuses(document) is None


OURS_ALONE = ("over 4 MiB", "depth")


@pytest.mark.parametrize(
    "document",
    [document for name, (document, _) in {**REFUSED, **UNREADABLE}.items() if not name.startswith(OURS_ALONE)],
)
def test_postgresql_refuses_what_is_refused_but_for_our_own_bounds(cast: Cast, document: bytes) -> None:
    # 10,000 levels are taken by a server with the usual stack
    assert cast.refuses(document) is not None or document.startswith(b"[[")


@pytest.mark.parametrize("document", [document for document, _ in UNREADABLE.values()], ids=UNREADABLE)
def test_what_is_diagnosed_is_what_the_reader_refuses(document: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError, RecursionError)):
        msgspec.json.decode(document, type=msgspec.Raw)


digits = st.builds(lambda digit, count: digit * count, st.sampled_from("0123456789"), st.integers(1, 40)) | st.builds(
    lambda digit, count: digit * count,
    st.sampled_from("019"),
    st.sampled_from([16_382, 16_383, 16_384, 131_072, 131_073]),
)
exponents = st.integers(-20_000, 20_000) | st.integers(131_060, 131_085) | st.integers(-16_390, -16_375)
numbers = st.builds(
    lambda sign, whole, fraction, exponent: f"{sign}{whole.lstrip('0') or '0'}{fraction}{exponent}".encode(),
    st.sampled_from(["", "-"]),
    digits,
    st.just("") | digits.map(lambda text: "." + text),
    st.just("") | exponents.map(lambda number: f"e{number}") | exponents.map(lambda number: f"E{number:+}"),
)
pieces = st.sampled_from(
    rb"\u0000 \\u0000 \ud83d \ude00 \" \\ \uFFFF u0000 e12345 [ ]} a".split()
    + "ș|\0|\x1f|\x7f".encode().split(b"|")
    + [b"\xff"]
)
strings = st.lists(pieces, max_size=6).map(lambda parts: b'"' + b"".join(parts) + b'"')
plain = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
).map(lambda value: json.dumps(value).encode())
values = numbers | strings | plain
documents = st.builds(
    lambda names, items, depth: (
        b'{"a":' * depth
        + b"{"
        + b",".join(name + b":" + item for name, item in zip(names, items, strict=False))
        + b"}"
        + b"}" * depth
    ),
    st.lists(strings, max_size=4),
    st.lists(values, max_size=4),
    st.sampled_from([0, 0, 1, 198, 199, 200]),
)


def is_read(document: bytes) -> bool:
    try:
        msgspec.json.decode(document, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


@settings(max_examples=1500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=documents | numbers)
def test_whatever_is_read_and_accepted_never_fails_as_jsonb(cast: Cast, document: bytes) -> None:
    if is_read(document):
        fault = find_fault(document)
        refusal = cast.refuses(document)
        assert fault is not None or refusal is None
        # and nothing is refused without need
        assert fault in (None, Rejection.TOO_DEEP) or refusal is not None
    else:
        assert isinstance(diagnose(document), Rejection)
