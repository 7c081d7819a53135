"""What a request says, judged strictly: all faults at once, by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from syncd.contract.text import escape
from syncd.contract.words import Stream
from syncd.http.problem import Problem, invalid

INT32 = 2**31 - 1
REASON_CHARACTERS = 500

Reader = Callable[[object], Any]
"""Turns a JSON value into ours; ValueError says what was expected."""


def decode_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a body; no body at all is an empty one. Raises 400."""
    if not body:
        return {}
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, f"the body is not JSON: {escape(str(error))[:200]}") from None
    if not isinstance(decoded, dict):
        raise Problem(422, "the body must be a JSON object", errors=[{"pointer": "#", "detail": "expected an object"}])
    return decoded


def read_fields(given: Mapping[str, Any], readers: Mapping[str, Reader], *, required: str = "") -> dict[str, Any]:
    """The fields that were given, as ours. Raises 422 with every unknown, missing and unusable one."""
    errors = [
        _fault(name, f"unknown, expected one of {', '.join(readers) or 'none'}")
        for name in given
        if name not in readers
    ]
    if required and required not in given:
        errors.append(_fault(required, "required"))
    read = {}
    for name, reader in readers.items():
        if name in given:
            try:
                read[name] = reader(given[name])
            except ValueError as error:
                errors.append(_fault(name, str(error)))
    if errors:
        raise invalid(errors)
    return read


def _fault(name: str, detail: str) -> dict[str, str]:
    pointer = escape(name)[:100].replace("~", "~0").replace("/", "~1")
    return {"pointer": f"#/{pointer}", "detail": detail}


def read_query(request: web.BaseRequest, readers: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    """The query parameters as ours. Raises 422 with every unknown, repeated and unusable one."""
    errors, read = [], {}
    for name in dict.fromkeys(request.query):
        values = request.query.getall(name)
        try:
            if name not in readers:
                raise ValueError(f"unknown, expected one of {', '.join(readers)}")
            if len(values) > 1:
                raise ValueError("given more than once")
            read[name] = readers[name](values[0])
        except ValueError as error:
            errors.append({"parameter": escape(name)[:100], "detail": str(error)})
    if errors:
        raise invalid(errors)
    return read


def whole(low: int, high: int = INT32) -> Reader:
    """A whole JSON number within bounds (to JSON Schema 1.0 is one, too); neither true nor "1"."""

    def read(value: Any) -> int:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not low <= value <= high or value != int(value):
            raise ValueError(f"expected a whole number from {low} to {high}")
        return int(value)

    return read


def whole_text(low: int, high: int) -> Callable[[str], int]:
    """A whole number in a query."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) or not low <= int(text) <= high:
            raise ValueError(f"expected a whole number from {low} to {high}")
        return int(text)

    return read


def flag(value: object) -> bool:
    """true or false, nothing that only looks like it."""
    if not isinstance(value, bool):
        raise ValueError("expected true or false")
    return value


def reason(value: object) -> str:
    """Words for people; what terminals and the ledger cannot take is made visible."""
    if not isinstance(value, str) or not value.strip(" ") or len(value) > REASON_CHARACTERS:
        raise ValueError(f"expected 1 to {REASON_CHARACTERS} characters, not only blanks")
    return escape(value).strip(" ")


def stream_among(streams: tuple[Stream, ...]) -> Reader:
    """The name of a configured stream."""
    known = {str(stream): stream for stream in streams}

    def read(value: object) -> Stream:
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"not a configured stream, expected one of {', '.join(known)}")
        return known[value]

    return read


def account_among(streams: tuple[Stream, ...]) -> Reader:
    """The name of a configured account."""
    known = dict.fromkeys(stream.account for stream in streams)

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"not a configured account, expected one of {', '.join(known)}")
        return value

    return read
