"""What to look at afterwards: each query as a person would type it, with its answer."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, LiteralString, NamedTuple

import click
import psycopg

from syncd.contract.text import escape

_CELL_CHARACTERS = 44
_INDENT = "  "


class Query(NamedTuple):
    """A question in words and in SQL."""

    title: str
    sql: LiteralString


CHANGE_LOG = Query(
    "The change log: which key of which offer, from what to what",
    """SELECT key, kind, field, old::text, new::text
  FROM sync.change
 WHERE run_id = (SELECT sync_id FROM sync.emag_offer_syncs ORDER BY started_at DESC LIMIT 1)
 ORDER BY change_id LIMIT 12;""",
)

QUERIES = (
    Query(
        "The dearest offers: prices are exact decimals",
        """SELECT emag_offer_id, name, sale_price, currency, stock
  FROM sync.emag_product_offers
 WHERE missing_since IS NULL
 ORDER BY sale_price DESC LIMIT 5;""",
    ),
    Query(
        "Gone from the marketplace: marked, never deleted",
        """SELECT emag_offer_id, name, missing_since
  FROM sync.emag_product_offers
 WHERE missing_since IS NOT NULL
 ORDER BY missing_since DESC LIMIT 5;""",
    ),
    Query(
        "Inside the documents: everything that the API sent is there",
        """SELECT raw_data -> 'validation_status' -> 0 ->> 'description' AS validation, count(*) AS offers
  FROM sync.emag_product_offers
 GROUP BY 1 ORDER BY 2 DESC LIMIT 5;""",
    ),
    Query(
        "What the syncs did",
        """SELECT started_at, run_status, cause, total_offers_processed AS read, offers_created AS new,
       offers_updated AS changed, offers_skipped AS unchanged, round(duration_seconds, 1) AS seconds
  FROM sync.emag_offer_syncs
 ORDER BY started_at DESC LIMIT 5;""",
    ),
)


def show(connection: psycopg.Connection[Any], query: Query) -> None:
    """Print the query and what it answers."""
    click.echo(f"\n{click.style(query.title, bold=True)}")
    click.echo(click.style(query.sql, fg="cyan"))
    cursor = connection.execute(query.sql)
    names = [column.name for column in cursor.description or ()]
    for line in table(names, cursor.fetchall()):
        click.echo(f"{_INDENT}{line}")


def table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of aligned columns, a headline first; long cells are cut."""
    cells = [[_cell(value) for value in row] for row in rows]
    if not cells:
        return ["(no rows)"]
    widths = [max(map(_width, column)) for column in zip(names, *cells, strict=True)]
    lines = [names, ["-" * width for width in widths], *cells]
    return [
        "  ".join(_padded(cell, width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    ]


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else escape(str(value))
    return text if len(text) <= _CELL_CHARACTERS else f"{text[: _CELL_CHARACTERS - 1]}…"


def _width(text: str) -> int:
    return sum(0 if unicodedata.combining(char) else 1 for char in text)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))
