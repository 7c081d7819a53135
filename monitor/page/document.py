"""The page as one HTML document: style and script are in it, their hashes are the policy's."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from html import escape as html_escape
from importlib import resources

from monitor.page.picture import SEE_MORE, Picture, ago, duration, group_errors
from monitor.summary import StreamSummary
from monitor.watch import Health
from syncd.contract.runs import RunRow
from syncd.contract.text import escape

RELOAD_SECONDS = 10
LONGEST_TEXT = 300


def _part(name: str) -> str:
    return resources.files("monitor.page").joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


_STYLE, _SCRIPT = _part("page.css"), _part("page.js")

HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Vary": "Accept",
}
"""To be sent with the document."""


def render(picture: Picture, *, counts_only: bool = False) -> str:
    """The whole page; counts_only for those who may not see more."""
    state = "unhealthy" if picture.summary is None else picture.summary.state
    title = {"healthy": "All good", "degraded": "Not well", "unhealthy": "Trouble"}[str(state)]
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title} - syncd</title>
<meta name="viewport" content="width=device-width,initial-scale=1">
<noscript><meta http-equiv="refresh" content="{RELOAD_SECONDS}"></noscript>
<style>{_STYLE}</style></head><body>
<header><b>syncd</b> <span>{picture.at:%Y-%m-%d %H:%M:%S} UTC</span> <span id="age"></span>
<button id="pause" type="button" aria-pressed="false" hidden>Pause</button></header>
<main>{_counts(picture) if counts_only else _main(picture)}</main>
<footer>syncd {_text(picture.version)} · <a href="/metrics">metrics</a> · <a href="/status.json">as JSON</a></footer>
<script>{_SCRIPT}</script></body></html>
"""


def _main(picture: Picture) -> str:
    summary = picture.summary
    if summary is None:
        return f'<h1 class="unhealthy" role="status">The ledger cannot be read: {_text(picture.trouble or "")}</h1>'
    streams = "".join(_stream(one) for one in summary.streams)
    return (
        f'<h1 class="{summary.state}" role="status">{_text(summary.sentence)}</h1>'
        f"<h2>Streams</h2>{streams or '<p>None is registered yet: run <code>syncd migrate</code>.</p>'}"
        f"{_errors(picture)}<h2>Last runs</h2>{_runs(picture)}"
    )


def _counts(picture: Picture) -> str:
    summary = picture.summary
    if summary is None:
        return '<h1 class="unhealthy" role="status">The ledger cannot be read</h1>'
    items = "".join(f"<li>{name}: {count:,}</li>" for name, count in summary.counts().items())
    return f'<h1 class="{summary.state}" role="status">{summary.state}</h1><ul>{items}</ul><p>{SEE_MORE}</p>'


def _stream(one: StreamSummary) -> str:
    facts, run = one.facts, one.facts.open_run
    state = str(one.verdict.health) if one.is_stuck and one.verdict else str(run.status if run else facts.status or "")
    words = [f"{facts.live:,.0f} records"]
    words.append("never complete yet" if one.age_seconds is None else f"complete {duration(one.age_seconds)} ago")
    words += ["<b>stale</b>"] if one.is_stale else []
    words += ["<b>paused</b>"] if facts.paused else []
    bar = ""
    if run is not None:
        most = run.pages_expected
        of = f" of {most}" if most else ""
        words.append(f"page {run.page}{of}, {run.requests} of {run.max_requests} calls")
        if run.running_seconds:
            words.append(f"{run.requests / run.running_seconds:.1f} of 3 calls a second")
        words += [f"ready in {duration(run.eta_seconds)}"] if run.eta_seconds is not None else []
        if most:
            label = _text(f"pages of {one.stream}")
            bar = f'<progress max="{most}" value="{min(run.page, most)}" aria-label="{label}"></progress>'
    if one.verdict is not None and one.verdict.health is not Health.HEALTHY:
        words.append(_text(f"the run {one.verdict.why}"))
    cause = f" ({_text(str(facts.cause))})" if facts.cause and run is None else ""
    return (
        f'<section class="stream"><h3>{_text(str(one.stream))} <span class="state {state}">{state}{cause}</span></h3>'
        f"{bar}<p>{' · '.join(words)}</p></section>"
    )


def _errors(picture: Picture) -> str:
    groups = group_errors(picture.runs)
    if not groups:
        return ""
    rows = "".join(
        f'<tr><td class="n">{group.count}</td><td>{_text(str(group.cause))}</td><td>{_text(group.message)}</td>'
        f"<td><code>{_text(group.journal_command)}</code></td></tr>"
        for group in groups
    )
    head = '<tr><th class="n">Times</th><th>Cause</th><th>Message</th><th>To see more</th></tr>'
    return (
        f'<h2>Errors</h2><div class="wide" tabindex="0"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>'
    )


def _runs(picture: Picture) -> str:
    if not picture.runs:
        return "<p>No run yet.</p>"
    rows = "".join(_run(run, picture) for run in picture.runs)
    head = "".join(
        f'<th class="n">{name}</th>' if name in ("Read", "New", "Changed", "Gone", "Took") else f"<th>{name}</th>"
        for name in ("Stream", "State", "Began", "Took", "Read", "New", "Changed", "Gone", "By")
    )
    return f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _run(run: RunRow, picture: Picture) -> str:
    began = run.started_at or run.queued_at
    cause = "" if run.cause is None or run.cause == "end_of_data" else f" ({run.cause})"
    counts = (run.fetched, run.inserted, run.updated, run.tombstoned)
    exactly = f'datetime="{began.isoformat()}" title="{began:%Y-%m-%d %H:%M:%S %Z}"'
    numbers = "".join(f'<td class="n">{count:,}</td>' for count in counts)
    return (
        f"<tr><td>{_text(str(run.stream))}</td>"
        f'<td><span class="state {run.status}" title="{run.run_id}">{run.status}</span>{_text(cause)}</td>'
        f"<td><time {exactly}>{ago(began, picture.at)}</time></td>"
        f'<td class="n">{duration(run.duration_seconds)}</td>{numbers}<td>{_text(run.initiated_by)}</td></tr>'
    )


def _text(text: str) -> str:
    """Remote text, made harmless in HTML and for the eye."""
    shown = text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"
    return html_escape(escape(shown))
