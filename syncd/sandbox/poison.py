"""Changes to a page's rows: the shortened page, the poison row, hostile text.

A poison takes the place of the row in the middle of the page, so the page keeps its length and, where the
kind leaves the id readable, its id. The offer itself stays in the catalogue as it was.
`duplicate_id` pushes an offer out of the answer, as a broken join does: count and rows then disagree on the
number of keys. `duplicate_id_extra` pushes nothing out; the page is one row longer, but counts all ids.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from syncd.sandbox.fault import Fault

DEPTH = 10_000
LONG_ID = "x" * 300
HOSTILE_TEXT = (
    r"\u001b[31mRo\u0219u\u001b[0m\u001b]0;owned\u0007\u001b[2J\r"
    '<script>alert(1)</script><img src=x onerror=\\"alert(2)\\">&lt;b&gt;[/bold][link=x]'
)
"""ANSI colours, a terminal title, a cleared screen, a script, markup; as the content of a JSON string."""

_ID = re.compile(rb'"id":(\d+|"[^"]*"),?')
_PRICE = re.compile(rb'"sale_price":("[^"]*"|[^,}]+)')


def _in_name(text: bytes) -> Callable[[bytes, Fault], bytes]:
    return lambda row, _: row.replace(b'"name":"', b'"name":"' + text, 1)


def _deep(row: bytes, _: Fault) -> bytes:
    return row.replace(b'"name":', b'"deep":' + b"[" * DEPTH + b"]" * DEPTH + b',"name":', 1)


def _big(row: bytes, fault: Fault) -> bytes:
    return row.replace(b'"name":"', b'"big":"' + b"b" * ((fault.mib or 5) << 20) + b'","name":"', 1)


_POISONED: dict[str, Callable[[bytes, Fault], bytes]] = {
    "nul_escape": _in_name(b"\\u0000"),
    "lone_surrogate": _in_name(b"\\ud800"),
    "invalid_utf8": _in_name(b"\xff\xfe"),
    "hostile_text": _in_name(HOSTILE_TEXT.encode()),
    "no_id": lambda row, _: _ID.sub(b"", row, count=1),
    "long_id": lambda row, _: _ID.sub(b'"id":"%s",' % LONG_ID.encode(), row, count=1),
    "huge_number": lambda row, _: _PRICE.sub(b'"sale_price":1e999999', row, count=1),
    "deep": _deep,
    "big_record": _big,
}


def change_rows(rows: list[bytes], fault: Fault) -> list[bytes]:
    """The rows of a page as this fault leaves them. A page without rows stays as it is."""
    if not rows or fault.kind == "empty":
        return []
    if fault.kind == "short":
        return rows[: len(rows) // 2]
    middle = len(rows) // 2
    if fault.kind == "duplicate_id_extra":
        return [*rows, _other_bytes(rows[middle])]
    if fault.kind == "duplicate_id":
        return [*rows[:middle], _other_bytes(rows[middle - 1]), *rows[middle + 1 :]]
    return [*rows[:middle], _POISONED[fault.kind](rows[middle], fault), *rows[middle + 1 :]]


def _other_bytes(row: bytes) -> bytes:
    return _in_name(b"dublura ")(row, Fault("duplicate_id"))
