"""What was, on the page: the last days, errors, what changed most, the last runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal

from monitor.page.markup import isolated, moment, table, text
from monitor.page.picture import ErrorGroup, Picture, duration, group_errors
from syncd.contract.runs import RunRow
from syncd.contract.words import Cause, Status, Stream
from syncd.ledger.days import DAYS
from syncd.ledger.jumps import Jump

MOST_STRIPS = 4
"""With more streams, one strip tells of all of them."""
_MARKS = {"complete": "✓", "mixed": "~", "failed": "×", "none": "·"}
_FIELDS = {"sale_price": "price"}


def days(picture: Picture) -> str:
    """A strip a stream, a mark a day."""
    if not picture.days:
        return ""
    streams = sorted({one.stream for one in picture.days})
    if len(streams) > MOST_STRIPS:
        strips = _strip("all streams", _by_day(picture, streams), picture.at.date())
    else:
        strips = "".join(_strip(str(one), _by_day(picture, [one]), picture.at.date()) for one in streams)
    legend = "✓ every run complete, ~ some, × none, · no run ended"
    return f'<h2>Last {DAYS} days</h2>{strips}<p class="faint">{legend}. Days are UTC.</p>'


def _by_day(picture: Picture, streams: Iterable[Stream]) -> dict[date, Counter[Status]]:
    found: dict[date, Counter[Status]] = {}
    for one in picture.days:
        if one.stream in streams:
            found.setdefault(one.day, Counter()).update(one.runs)
    return found


def mark_of(runs: Mapping[Status, int]) -> str:
    """One of the marks' names."""
    complete, others = runs.get(Status.COMPLETE, 0), sum(runs.values()) - runs.get(Status.COMPLETE, 0)
    if not complete and not others:
        return "none"
    return "failed" if not complete else "mixed" if others else "complete"


def _strip(name: str, runs: Mapping[date, Mapping[Status, int]], today: date) -> str:
    cells = []
    for past in range(DAYS - 1, -1, -1):
        day = today - timedelta(days=past)
        mark = mark_of(runs.get(day, {}))
        counts = ", ".join(f"{count:,} {status}" for status, count in sorted(runs.get(day, {}).items())) or "no run"
        seen = f'<i aria-hidden="true">{_MARKS[mark]}</i><span>{day:%d %b}: {counts}</span>'
        cells.append(f'<li class="{mark}">{seen}</li>')
    return f'<h3 class="strip">{text(name)}</h3><ol class="strip">{"".join(cells)}</ol>'


def errors(picture: Picture) -> str:
    """Those that differ in numbers only, once each, with the line that shows their log."""
    groups = group_errors(picture.runs)
    if not groups:
        return ""
    rows = [_error(number, group, picture) for number, group in enumerate(groups)]
    head = ("Times", "Cause", "Last", "Message, and the line that shows its log")
    return f"<h2>Errors</h2>{table('Errors', head, rows, ('Times',))}"


def _error(number: int, group: ErrorGroup, picture: Picture) -> str:
    cause = text(str(group.cause))
    button = f'<button type="button" id="copy-{number}" aria-label="Copy the command for {cause}">Copy</button>'
    return (
        f'<tr><td class="n">{group.count}</td><td>{cause}</td><td>{moment(group.last_at, picture.at)}</td>'
        f'<td class="long">{isolated(group.message)}'
        f'<div class="copy"><code>{text(group.journal_command)}</code> {button}</div></td></tr>'
    )


def jumps(picture: Picture) -> str:
    """The largest jumps of price and stock."""
    if not picture.jumps:
        return ""
    rows = [_jump(one, picture) for one in picture.jumps]
    head = ("Account", "Offer", "Name", "What", "From → to", "By", "Seen")
    return f"<h2>What changed most</h2>{table('What changed most', head, rows, ('From → to', 'By'))}"


def _jump(one: Jump, picture: Picture) -> str:
    name = isolated(one.name or "", 80)
    return (
        f'<tr><td>{text(one.account)}</td><td>{isolated(one.key, 40)}</td><td class="long">{name}</td>'
        f'<td>{text(_FIELDS.get(one.field, one.field))}</td><td class="n">{number(one.old)} → {number(one.new)}</td>'
        f'<td class="n">{change(one)}</td><td>{moment(one.changed_at, picture.at)}</td></tr>'
    )


def number(value: Decimal) -> str:
    """Its own digits, without an exponent."""
    return f"{value.normalize():,f}"


def change(one: Jump) -> str:
    """By how much, in percent; beyond ten times as a factor."""
    if not one.old:
        return "from 0"
    ratio = one.new / one.old
    return f"{ratio:,.0f} times" if ratio > 10 else f"{(ratio - 1) * 100:+.0f} %"


def runs(picture: Picture) -> str:
    """The last runs, the newest first."""
    if not picture.runs:
        return "<h2>Last runs</h2><p>No run yet.</p>"
    head = ("Stream", "State", "Began", "Took", "Read", "New", "Changed", "Gone", "By", "Run")
    numbers = ("Took", "Read", "New", "Changed", "Gone")
    return f"<h2>Last runs</h2>{table('Last runs', head, [_run(run, picture) for run in picture.runs], numbers)}"


def _run(run: RunRow, picture: Picture) -> str:
    counts: Sequence[int] = (run.fetched, run.inserted, run.updated, run.tombstoned)
    numbers = "".join(f'<td class="n">{count:,}</td>' for count in counts)
    state = f'<span class="state {run.status}">{run.status}</span>{cause_of(run)}{" plan" if run.dry_run else ""}'
    return (
        f"<tr><td>{text(str(run.stream))}</td><td>{state}</td>"
        f"<td>{moment(run.started_at or run.queued_at, picture.at)}</td>"
        f'<td class="n">{duration(run.duration_seconds)}</td>{numbers}<td>{isolated(run.initiated_by, 40)}</td>'
        f'<td><code title="{run.run_id}">{str(run.run_id)[:13]}</code></td></tr>'
    )


def cause_of(run: RunRow) -> str:
    """Why it ended, where its state does not say it already."""
    says_it = run.cause is None or run.cause is Cause.END_OF_DATA or str(run.cause) == str(run.status)
    return "" if says_it else f" ({run.cause})"
