"""The documented filters of product_offer/read and product_offer/count (vendor document v4.4.9).

An unknown filter is silently ignored, and so is an empty one. `general_stock` and `estimated_stock` mean
0 … value, not equality. Every other filter is equality; a list of values means any of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from syncd.sandbox.offer import Facts

STOCK_FILTERS = ("general_stock", "estimated_stock")
EQUAL_FILTERS = (
    "id", "status", "part_number", "part_number_key", "validation_status", "offer_validation_status",
    "translation_validation_status",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Filters:
    """`equal`: (name, accepted values as text), sorted; `at_most`: (name, highest stock). False if none is set."""

    equal: tuple[tuple[str, frozenset[str]], ...] = ()
    at_most: tuple[tuple[str, int], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.equal or self.at_most)

    @property
    def ids(self) -> frozenset[int] | None:
        """The ids asked for, None without an id filter. What is no number can match no offer and is left out."""
        for name, values in self.equal:
            if name == "id":
                return frozenset(int(value) for value in values if _is_number(value))
        return None

    def match(self, facts: Facts) -> bool:
        """Whether an offer passes every filter."""
        for name, values in self.equal:
            if name != "id" and str(getattr(facts, name)) not in values:
                return False
        return all(0 <= getattr(facts, name) <= highest for name, highest in self.at_most)


NO_FILTERS = Filters()


def filters_of(parameters: Mapping[str, Any]) -> Filters:
    """The filters among a request's parameters; anything else in there is none of ours."""
    equal = ((name, _values(parameters.get(name))) for name in EQUAL_FILTERS)
    at_most = ((name, value) for name in STOCK_FILTERS for value in _values(parameters.get(name)))
    return Filters(
        tuple((name, values) for name, values in equal if values),
        tuple((name, int(value)) for name, value in at_most if _is_number(value)),
    )


def _is_number(text: str) -> bool:
    # int() refuses more than 4300 digits; no id and no stock has more than ten
    return text.isascii() and text.isdigit() and len(text) < 19


def _values(given: Any) -> frozenset[str]:
    """Texts of the scalars given, alone, in a list, or in the map that `id[0]=…` makes; all else dropped."""
    if isinstance(given, Mapping):
        given = list(given.values())
    many = given if isinstance(given, list) else [given]
    texts = (str(int(value)) if isinstance(value, bool) else str(value) for value in many if _is_scalar(value))
    return frozenset(text.strip() for text in texts if text.strip())


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | int | float)


def facts_of_document(offer_id: int, document: bytes) -> Facts:
    """The facts of bytes that a test has put in; what cannot be read counts as 0 or absent."""
    try:
        row = json.loads(document)
    except (ValueError, RecursionError):
        row = {}
    row = row if isinstance(row, dict) else {}

    def code(name: str) -> int:
        value = row.get(name)
        value = value[0] if isinstance(value, list) and value else value
        value = value.get("value") if isinstance(value, dict) else value
        return value if isinstance(value, int) else 0

    return Facts(
        id=offer_id,
        status=code("status"),
        part_number=str(row.get("part_number", "")),
        part_number_key=row.get("part_number_key"),
        general_stock=code("general_stock"),
        estimated_stock=code("estimated_stock"),
        validation_status=code("validation_status"),
        offer_validation_status=code("offer_validation_status"),
        translation_validation_status=code("translation_validation_status"),
    )
