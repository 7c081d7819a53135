"""The page as one HTML document: style and script are in it, their hashes are the policy's.

Each part with `data-live` is filled anew by the script where it has changed; without the script the page reloads.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from importlib import resources
from urllib.parse import quote

from monitor.page.history import days, errors, jumps, runs
from monitor.page.markup import sentence, text
from monitor.page.picture import SEE_MORE, Picture, duration
from monitor.page.streams import streams

RELOAD_SECONDS = 10
MOST_TROUBLES = 10
_COLOURS = {"healthy": "#1a6d43", "held": "#2f6fb0", "degraded": "#a86500", "unhealthy": "#b3261e"}


def _part(name: str) -> str:
    return resources.files("monitor.page").joinpath(name).read_text("utf-8")


def _hash(part: str) -> str:
    return f"'sha256-{b64encode(sha256(part.encode()).digest()).decode()}'"


_STYLE, _SCRIPT = _part("page.css"), _part("page.js")

HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; "
    "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Vary": "Accept",
}
"""To be sent with the document."""


def render(picture: Picture, *, counts_only: bool = False) -> str:
    """The whole page; counts_only for those who may not see more."""
    word = picture.state if counts_only else picture.sentence.partition(":")[0][:40]
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{text(word)} - syncd</title>
<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="color-scheme" content="light dark">
<link rel="icon" href="{_icon(picture.state)}">
<noscript><meta http-equiv="refresh" content="{RELOAD_SECONDS}"></noscript>
<style>{_STYLE}</style></head><body>
<header><b>syncd</b> <span id="at" data-live>{picture.at:%Y-%m-%d %H:%M:%S} UTC</span> <span id="age"></span>
<button id="pause" type="button" aria-pressed="false">Pause</button></header>
<main>{_counts(picture) if counts_only else _main(picture)}</main>
<footer>syncd {text(picture.version)} · <a href="/metrics">metrics</a> · <a href="/status.json">as JSON</a></footer>
<p id="said" class="unseen" role="status"></p>
<script>{_SCRIPT}</script></body></html>
"""


def _icon(state: str) -> str:
    """A dot in the tab, in the state's colour."""
    dot = f'<circle cx="4.5" cy="4.5" r="4" fill="{_COLOURS[state]}"/>'
    return "data:image/svg+xml," + quote(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9">{dot}</svg>')


def _main(picture: Picture) -> str:
    if picture.summary is None:
        rest = '<div id="more" data-live></div><div id="streams" data-live></div>'
    else:
        rest = (
            f'<div id="more" data-live>{_more(picture)}</div>'
            f'<div id="streams" data-live><h2>Streams</h2>{streams(picture)}</div>'
            f'<div id="errors" data-live>{errors(picture)}</div>'
            f'<div id="runs" data-live>{runs(picture)}</div>'
            f'<div id="days" data-live>{days(picture)}</div>'
            f'<div id="jumps" data-live>{jumps(picture)}</div>'
        )
    return f'<div id="first" class="first {picture.state}" data-live><h1>{sentence(picture.sentence)}</h1></div>{rest}'


def _more(picture: Picture) -> str:
    """The other troubles, what is held back, and whether anybody watches."""
    assert picture.summary is not None  # noqa: S101  # asked for where there is one
    troubles, notes = picture.summary.troubles, picture.summary.notes
    lines = [sentence(one.sentence) for one in troubles[1:MOST_TROUBLES]]
    lines += [f"{len(troubles) - MOST_TROUBLES} more"] if len(troubles) > MOST_TROUBLES else []
    lines += [sentence(note) for note in notes] if troubles else []
    if picture.watch_state == "failing":
        since = picture.seconds_since_look
        lines.append(
            f"The watch has not looked {'yet' if since is None else f'for {duration(since)}'}: nothing is recovered"
        )
    return f"<ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul>" if lines else ""


def _counts(picture: Picture) -> str:
    summary = picture.summary
    if summary is None:
        return '<div id="first" class="first unhealthy" data-live><h1>The ledger cannot be read</h1></div>'
    items = "".join(f"<li>{name}: {count:,}</li>" for name, count in summary.counts().items())
    return (
        f'<div id="first" class="first {picture.state}" data-live><h1>{summary.state}</h1></div>'
        f'<div id="more" data-live><ul>{items}</ul><p>{SEE_MORE}</p></div>'
    )
