"""A request's parameters: JSON, form-encoded as PHP reads it, or nothing, and where they are honoured.

Sources disagree on the place (vendor document v4.4.9 says under `data`, integrations in production send
them at the top level, and each reports that the other place is silently ignored), so it is a switch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl

from syncd.sandbox.filters import NO_FILTERS, Filters, filters_of

MAX_INPUT_VARS = 4000
"""Input elements in one request (vendor document v4.4.9); beyond, the answer is isError true."""

MAX_PER_PAGE = 100


class Wrap(StrEnum):
    """Where parameters are honoured: at the top level, under `data`, or in both (`data` wins)."""

    TOP = "top"
    DATA = "data"
    BOTH = "both"


class UnreadableBodyError(Exception):
    """The body is neither JSON nor a form."""


@dataclass(frozen=True, slots=True)
class Query:
    """What a call asks for: pages count from 1; `given` holds the parameters as sent, for the log."""

    page: int = 1
    per_page: int = MAX_PER_PAGE
    filters: Filters = NO_FILTERS
    given: Mapping[str, Any] = field(default_factory=dict, compare=False)


def decode(body: bytes, content_type: str) -> dict[str, Any]:
    """The parameters as sent. Told apart by the body's first byte, since clients mislabel it; empty = none."""
    body = body.strip()
    if not body:
        return {}
    if body[:1] in b'{["' or "json" in content_type:
        try:
            decoded = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise UnreadableBodyError(str(error)) from error
        return decoded if isinstance(decoded, dict) else {}
    return decode_form(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def decode_form(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Nest pairs as PHP does: `data[id][]=7` is {"data": {"id": {"0": "7"}}}; at most three levels deep."""
    nested: dict[str, Any] = {}
    for name, value in pairs:
        keys = [re.split(r"\[", name, maxsplit=1)[0], *re.findall(r"\[([^\]]*)\]", name)[:3]]
        place = nested
        for key in keys[:-1]:
            inner = place.setdefault(key, {})
            if not isinstance(inner, dict):
                inner = place[key] = {}
            place = inner
        place[keys[-1] or str(len(place))] = value
    return nested


def count_elements(decoded: Any) -> int:
    """How many scalars a decoded body holds; without recursion, since a body may be nested as deep as it likes."""
    waiting, found = [decoded], 0
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        else:
            found += 1
    return found


def query_of(given: Mapping[str, Any], wrap: Wrap) -> Query:
    """Read the paging and the filters from where they are honoured; elsewhere they are silently ignored."""
    data = given.get("data")
    honoured: dict[str, Any] = dict(given) if wrap is not Wrap.DATA else {}
    if wrap is not Wrap.TOP and isinstance(data, Mapping):
        honoured.update(data)
    return Query(
        page=_positive(honoured.get("currentPage"), 1),
        per_page=_positive(honoured.get("itemsPerPage"), MAX_PER_PAGE),
        filters=filters_of(honoured),
        given=given,
    )


def _positive(value: Any, default: int) -> int:
    """An int of at least 1, sent as a number or in digits; anything else is the default."""
    text = str(value) if isinstance(value, str | int) else ""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        return default
    return int(text) or default
