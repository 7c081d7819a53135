"""The streams of the page: a card each, what needs a look first."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.page.markup import isolated, text
from monitor.page.picture import Picture, duration
from monitor.summary import StreamSummary
from monitor.watch import Health
from syncd.contract.words import Status

MOST_STREAMS = 20
LONGEST_VALUE = 160
API_CALLS_PER_SECOND = 3.0
"""What the marketplace allows a login; syncd keeps it over all processes."""


def streams(picture: Picture) -> str:
    """All cards; beyond MOST_STREAMS a line that says where the others are."""
    assert picture.summary is not None  # noqa: S101  # asked for where there is one
    found = picture.summary.streams
    if not found:
        return "<p>None is registered yet: <code>syncd migrate</code> registers those that are configured.</p>"
    troubled = {trouble.stream for trouble in picture.summary.troubles}
    ordered = sorted(found, key=lambda one: (one.stream not in troubled, one.facts.open_run is None, one.stream))
    cards = "".join(_card(one, picture) for one in ordered[:MOST_STREAMS])
    more = len(found) - MOST_STREAMS
    rest = (
        f'<p>{more} more, without trouble or behind these: <a href="/status.json">as JSON</a>.</p>' if more > 0 else ""
    )
    return f'<div class="cards">{cards}</div>{rest}'


def words_of(one: StreamSummary, picture: Picture) -> list[tuple[str, str]]:
    """What is known of a stream: (name, value) in plain text, for page and text alike."""
    facts, run, outlook = one.facts, one.facts.open_run, one.outlook
    unit = picture.summary.unit if picture.summary is not None else "records"
    age = "never complete yet" if one.age_seconds is None else f"complete {duration(round(one.age_seconds))} ago"
    words = [("Data", f"{age}{', stale' if one.is_stale else ''}"), (unit.capitalize(), f"{facts.live:,.0f}")]
    if run is not None:
        of = f" of {run.pages_expected:,}" if run.pages_expected else ""
        words += [("Page", f"{run.page:,}{of}"), ("Calls", f"{run.requests:,} of {run.max_requests:,}")]
        words += _rate(one, picture)
        ends, miss = one.forecast.ends_in_seconds, one.forecast.why
        words += [("Ready in", duration(round(ends)))] if ends is not None and not one.is_stuck else []
        words += [("Forecast", miss)] if miss else []
    elif outlook is not None and outlook.next_in_seconds is not None and not facts.paused:
        due = round(outlook.next_in_seconds)
        words.append(("Next run", f"in {duration(due)}" if due > 0 else f"due {duration(-due)} ago"))
    if outlook is not None and outlook.breaker_seconds is not None:
        words.append(("Breaker", f"open for {duration(round(outlook.breaker_seconds))}: the API kept failing"))
    if outlook is not None and outlook.paused is not None:
        words.append(("Paused", f"by {outlook.paused.by}: {outlook.paused.reason}"))
    if one.verdict is not None and one.verdict.health is not Health.HEALTHY:
        words.append(("Watch", f"the run {one.verdict.why}"))
    return words


def _rate(one: StreamSummary, picture: Picture) -> list[tuple[str, str]]:
    run, run_id = one.facts.open_run, one.outlook.open_run_id if one.outlook is not None else None
    rate = picture.rates.get(run_id) if run_id is not None else None
    if rate is None and run is not None and run.running_seconds:
        rate = run.requests / run.running_seconds
    if rate is None:
        return []
    limit = f" of {API_CALLS_PER_SECOND:g}" if rate < API_CALLS_PER_SECOND + 0.5 else ""
    return [("Rate", f"{rate:.1f}{limit} calls/s")]


def state_of(one: StreamSummary) -> tuple[str, str]:
    """(class, words) of its state now."""
    facts, run = one.facts, one.facts.open_run
    if one.verdict is not None and one.verdict.health in (Health.STUCK, Health.LATE, Health.WAITING):
        return str(one.verdict.health), str(one.verdict.health)
    if run is not None:
        phase = one.outlook.phase if one.outlook is not None else None
        return str(run.status), f"{run.status} ({phase})" if phase not in (None, "idle", "read") else str(run.status)
    if facts.paused:
        return "paused", "paused"
    if facts.status is None:
        return "none", "never run"
    cause = f" ({facts.cause})" if facts.cause and facts.status is not Status.COMPLETE else ""
    return str(facts.status), f"{facts.status}{cause}"


def _card(one: StreamSummary, picture: Picture) -> str:
    kind, words = state_of(one)
    rows = [
        f"<div><dt>{text(name)}</dt><dd>{isolated(value, LONGEST_VALUE)}</dd></div>"
        for name, value in words_of(one, picture)
    ]
    head = f'<h3>{text(str(one.stream))} <span class="state {kind}">{text(words)}</span></h3>'
    return f'<section class="stream {kind}">{head}{_bar(one)}<dl>{"".join(rows)}</dl></section>'


def _bar(one: StreamSummary) -> str:
    run = one.facts.open_run
    if run is None or not run.pages_expected:
        return ""
    page, most = min(run.page, run.pages_expected), run.pages_expected
    label = text(f"Pages of {one.stream}")
    return (
        f'<div class="bar"><progress max="{most}" value="{page}" aria-label="{label}"></progress>'
        f"<span>{100 * page // most} %</span></div>"
    )


def of_text(found: Sequence[tuple[str, str]]) -> str:
    """One line."""
    return ", ".join(f"{name.lower()} {value}" for name, value in found)
