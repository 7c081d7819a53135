"""Which documents can be stored: those on which `document::jsonb` will never fail, for anybody, later.

A column of type `json` takes what it cannot hand out again: after one `\\u0000` every query that casts
or extracts fails on the whole view. So each new or changed document is tried here before it is written:

    size ≤ 4 MiB · UTF-8 · no NUL escape · no lone surrogate · depth ≤ 200 · numbers that `numeric` holds

A page's documents were read as JSON already (`sources.decode`), which settles grammar, surrogates and
control characters. `find_fault` tries the rest and is cheap on an ordinary document: plain searches for
what might be a fault, and the exact look only where one hits. `diagnose` names the fault of bytes that
a JSON reader refused.

Bounds of `numeric`: 131,072 digits before the decimal point and 16,383 after it (PostgreSQL 14 to 18,
"Numeric Types"; both sides of each bound tried on 15). PostgreSQL's own `jsonb` limit of 256 MB a
string lies beyond 4 MiB.
"""

from __future__ import annotations

import re
from itertools import accumulate

from syncd.contract.records import MAX_DEPTH, MAX_DOCUMENT_BYTES
from syncd.contract.words import Rejection

MAX_INTEGER_DIGITS = 131_072
MAX_FRACTION_DIGITS = 16_383
# In a document's shape. A number is harmless with an exponent of -9999 to 99999 and fewer digits in a row than this.
_LONG_EXPONENT = b"e000000"
_MANY_DIGITS = b"0" * (MAX_FRACTION_DIGITS - 9999)
# PostgreSQL refuses longer exponents even of zero; short of that it takes 0e999999.
_MAX_EXPONENT_DIGITS = 6

# Also matches a string that is never closed: a pattern that fails there would be tried again at every quote.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+\\?"?', re.DOTALL)
_CONTROL = re.compile(rb"[\x00-\x1f]")
_NUL_ESCAPE = re.compile(rb"(?<!\\)(?:\\\\)*+\\u0000")
_UNICODE_ESCAPES = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)|[^\\]++", re.DOTALL)
_NUMBER = re.compile(rb"-?([0-9]++)(?:\.([0-9]++))?+(?:[eE]([+-]?)([0-9]++))?+")

# Digits and signs become 0, E becomes e, what opens becomes [, everything else x.
_SHAPE = bytes(
    ord("0") if byte in b"0123456789+-" else ord("e") if byte in b"eE" else ord("[") if byte in b"[{" else ord("x")
    for byte in range(256)
)
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")


def find_fault(document: bytes) -> Rejection | None:
    """Why a document that was read as JSON cannot be stored; None where it can."""
    if len(document) > MAX_DOCUMENT_BYTES:
        return Rejection.TOO_LARGE
    if not document.isascii() and not _is_utf8(document):
        return Rejection.NOT_UTF8
    if b"\\" in document and b"\\u0000" in document and _NUL_ESCAPE.search(document):
        return Rejection.NUL_ESCAPE
    shape = document.translate(_SHAPE)
    if shape.count(b"[") > MAX_DEPTH and _depth(document) > MAX_DEPTH:
        return Rejection.TOO_DEEP
    if _LONG_EXPONENT in shape or (len(shape) > len(_MANY_DIGITS) and _MANY_DIGITS in shape):
        return _number_fault(document)
    return None


def diagnose(document: bytes) -> Rejection:
    """Why a JSON reader refused these bytes."""
    fault = find_fault(document)
    if fault is not None:
        return fault
    if _has_lone_surrogate(document):
        return Rejection.LONE_SURROGATE
    if any(_CONTROL.search(string.group()) for string in _STRING.finditer(document)):
        return Rejection.NOT_JSONB
    return Rejection.NOT_JSON


def _is_utf8(document: bytes) -> bool:
    try:
        document.decode()
    except UnicodeDecodeError:
        return False
    return True


def _depth(document: bytes) -> int:
    """Deepest nesting, brackets inside strings not counted."""
    brackets = _STRING.sub(b"", document).translate(_STEPS, _NOT_BRACKETS)
    return max(accumulate(memoryview(brackets).cast("b")), default=0)


def _has_lone_surrogate(document: bytes) -> bool:
    """A high surrogate's escape must be followed at once by a low one's, a low one's preceded by a high one's."""
    awaits_low = False
    for token in _UNICODE_ESCAPES.finditer(document):
        unit = int(token[1], 16) if token[1] else 0
        is_low = 0xDC00 <= unit <= 0xDFFF
        if is_low != awaits_low:
            return True
        awaits_low = 0xD800 <= unit <= 0xDBFF
    return awaits_low


def _number_fault(document: bytes) -> Rejection | None:
    """Exact: every number outside a string against the bounds of `numeric`."""
    for number in _NUMBER.finditer(_STRING.sub(b'""', document)):
        whole, fraction, sign, exponent = (group or b"" for group in number.groups())
        exponent = exponent.lstrip(b"0")
        if len(exponent) > _MAX_EXPONENT_DIGITS:
            return Rejection.NOT_JSONB
        power = int(sign + (exponent or b"0"))
        digits = (whole + fraction).lstrip(b"0")
        leading_zeros = len(whole) + len(fraction) - len(digits)
        integer_digits = len(whole) + power - leading_zeros if digits else 0
        fraction_digits = len(fraction) - power
        if integer_digits > MAX_INTEGER_DIGITS or fraction_digits > MAX_FRACTION_DIGITS:
            return Rejection.NOT_JSONB
    return None
