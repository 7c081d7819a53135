"""Text on its way into HTML. Whatever comes from elsewhere passes `text`, and nothing else writes it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape as html_escape

from monitor.page.picture import ago
from syncd.contract.text import escape

LONGEST_TEXT = 240
ROOM = 1.25
"""Bytes a character: what is longer in HTML, quotes or foreign letters, ends sooner, so that the page stays small."""


def text(remote: str, longest: int = LONGEST_TEXT, room: float = ROOM) -> str:
    """Harmless in HTML and for the eye: control and bidirectional characters become visible, and it ends somewhere."""
    shown = escape(remote)
    fits = shown[:longest]
    while len(html := html_escape(fits).encode()) > longest * room:
        fits = fits[: min(len(fits) - 1, int(len(fits) * longest * room / len(html)))]
    return html.decode() + ("" if fits == shown else "…")


def isolated(remote: str, longest: int = LONGEST_TEXT) -> str:
    """The same, so that letters that are written from right to left do not reorder what stands beside them."""
    return f"<bdi>{text(remote, longest)}</bdi>"


def sentence(remote: str) -> str:
    """A sentence of ours about remote things: what stands in backquotes is shown as something to type."""
    parts = text(remote, 2 * LONGEST_TEXT, 2 * ROOM).split("`")  # its end says what to do
    if len(parts) % 2 == 0:  # cut short within one
        parts[-2:] = ["`".join(parts[-2:])]
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))


def moment(at: datetime, now: datetime) -> str:
    """Relative, and exact under the pointer."""
    return f'<time datetime="{at:%Y-%m-%dT%H:%M:%SZ}" title="{at:%Y-%m-%d %H:%M:%S} UTC">{ago(at, now)}</time>'


def table(label: str, head: Sequence[str], rows: Sequence[str], numbers: Sequence[str] = ()) -> str:
    """In a box of its own that can be scrolled by keyboard, too. numbers: the columns that are aligned right."""
    cells = "".join(
        f'<th scope="col" class="n">{name}</th>' if name in numbers else f'<th scope="col">{name}</th>' for name in head
    )
    key = label.lower().replace(" ", "-")
    return (
        f'<div class="wide" id="t-{key}" role="region" aria-label="{label}" tabindex="0"><table>'
        f"<thead><tr>{cells}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
