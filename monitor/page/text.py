"""The same as plain text, for `curl`."""

from __future__ import annotations

from monitor.page.history import cause_of, change, number
from monitor.page.picture import SEE_MORE, Picture, ago, duration, group_errors
from monitor.page.streams import of_text, state_of, words_of
from syncd.contract.runs import RunRow
from syncd.contract.text import escape


def render_text(picture: Picture) -> str:
    """The verdict, a line a stream, the errors, what changed most, the last runs."""
    summary = picture.summary
    lines = [escape(picture.sentence)]
    if summary is None:
        return f"{lines[0]}\n"
    lines += [escape(one.sentence) for one in summary.troubles[1:]]
    lines += [escape(note) for note in summary.notes] if summary.troubles else []
    lines.append("")
    for one in summary.streams:
        lines.append(f"{one.stream}  {state_of(one)[1]}: {escape(of_text(words_of(one, picture)))}")
    for group in group_errors(picture.runs):
        lines += ["", f"{group.count} x {group.cause}: {escape(group.message)}", f"  {group.journal_command}"]
    lines += [""] if picture.jumps else []
    for jump in picture.jumps:
        name = f"  {escape(jump.name)}" if jump.name else ""
        was = f"{jump.field} {number(jump.old)} -> {number(jump.new)} ({change(jump)})"
        lines.append(f"{jump.account}/{escape(jump.key)}  {was}{name}")
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
    took = duration(run.duration_seconds) or "-"
    return (
        f"{ago(run.started_at or run.queued_at, picture.at):>16}  {run.stream}  {run.status}{cause_of(run)} in {took}: "
        f"{run.fetched:,} read, {run.inserted:,} new, {run.updated:,} changed, {run.tombstoned:,} gone  {run.run_id}"
    )
