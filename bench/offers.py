"""The offers that every side reads, and what must be in a table that holds them: a count and a digest.

The digest is over one line an offer, sorted by key: the key and its four prices as exact decimals without
trailing zeros. Python computes it from the served bytes, PostgreSQL from each side's table.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from hashlib import md5

from syncd.sandbox.catalogue import Catalogue

SEED = 8
CHANGED_SHARE = 0.05
PAGE_SIZE = 100
PRICES = ("sale_price", "recommended_price", "min_sale_price", "max_sale_price")


@dataclass(frozen=True, slots=True)
class Contents:
    """What a right copy of the offers holds."""

    count: int
    prices_digest: str


def catalogues(offers: int) -> tuple[Catalogue, Catalogue]:
    """The offers as they are at first, and after 5 % of them changed their price and stock."""
    before, after = Catalogue(offers, SEED), Catalogue(offers, SEED)
    after.change(CHANGED_SHARE)
    return before, after


def line_of(document: bytes) -> str:
    """One offer's line of the digest."""
    offer = json.loads(document, parse_float=Decimal)
    return " ".join([str(offer["id"]), *(_plain(offer[name]) for name in PRICES)])


def contents_of(lines: list[str]) -> Contents:
    """The count and the digest of all lines."""
    return Contents(len(lines), md5("\n".join(sorted(lines)).encode(), usedforsecurity=False).hexdigest())


def contents_query(table: str, key: str, prices: tuple[str, ...]) -> str:
    """The same in SQL: `key` and `prices` are expressions over the table, the prices numeric."""
    line = " || ' ' || ".join([f"({key})::text", *(f"trim_scale({price})::text" for price in prices)])
    return f"""SELECT count(*), coalesce(md5(string_agg(line, E'\\n' ORDER BY line COLLATE "C")), '')
                 FROM (SELECT {line} AS line FROM {table}) AS lines"""


def _plain(value: object) -> str:
    return format(Decimal(str(value)).normalize(), "f")
