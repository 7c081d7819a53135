"""The same as plain text, for `curl`."""

from __future__ import annotations

from monitor.page.picture import SEE_MORE, Picture, ago, duration, group_errors
from monitor.watch import Health
from syncd.contract.runs import RunRow
from syncd.contract.text import escape


def render_text(picture: Picture) -> str:
    """The verdict, a line a stream, the errors, the last runs."""
    summary = picture.summary
    if summary is None:
        return f"The ledger cannot be read: {escape(picture.trouble or '')}\n"
    lines = [escape(summary.sentence), ""]
    for one in summary.streams:
        run, facts = one.facts.open_run, one.facts
        age = "never complete" if one.age_seconds is None else f"complete {duration(one.age_seconds)} ago"
        line = f"{one.stream}  {facts.live:,.0f} records, {age}"
        if run is not None:
            of = f"/{run.pages_expected}" if run.pages_expected else ""
            eta = f", ready in {duration(run.eta_seconds)}" if run.eta_seconds is not None else ""
            line += f"; {run.status}: page {run.page}{of}, {run.requests}/{run.max_requests} calls{eta}"
        line += "; paused" if facts.paused else ""
        line += "; stale" if one.is_stale else ""
        lines.append(line)
        if one.verdict is not None and one.verdict.health is not Health.HEALTHY:
            lines.append(f"  {one.verdict.health}: the run {escape(one.verdict.why)}")
    for group in group_errors(picture.runs):
        lines += ["", f"{group.count} x {group.cause}: {escape(group.message)}", f"  {group.journal_command}"]
    lines.append("")
    lines += [_line(run, picture) for run in picture.runs]
    return "\n".join(lines) + "\n"


def render_counts(picture: Picture) -> str:
    """For those who may not see more: a word and numbers."""
    if picture.summary is None:
        return "The ledger cannot be read\n"
    counts = "".join(f"{name}: {count:,}\n" for name, count in picture.summary.counts().items())
    return f"{picture.summary.state}\n{counts}{SEE_MORE}\n"


def _line(run: RunRow, picture: Picture) -> str:
    cause = f" ({run.cause})" if run.cause else ""
    return (
        f"{ago(run.started_at or run.queued_at, picture.at):>14}  {run.stream}  {run.status}{cause}  "
        f"{run.fetched:,} read, {run.inserted:,} new, {run.updated:,} changed, {run.tombstoned:,} gone"
    )
