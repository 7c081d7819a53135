"""How a finished run, and a run in the ledger, read to a person."""

from __future__ import annotations

import click

from syncd.app import RunReport
from syncd.contract.runs import Busy, Paused, RunRow
from syncd.contract.text import escape
from syncd.contract.words import Status, status_of
from syncd.policy.explanation import explain

COLOURS = {
    Status.COMPLETE: "green",
    Status.PARTIAL: "yellow",
    Status.FAILED: "red",
    Status.CANCELLED: "magenta",
    Status.RUNNING: "cyan",
    Status.QUEUED: "blue",
}


def print_report(report: RunReport) -> None:
    """What one `syncd run` did to one stream."""
    for problem in report.problems:
        click.echo(f"syncd: {problem}", err=True)
    for note in report.notes:
        click.echo(f"{report.stream}: {note}")
    if isinstance(report.refused, Busy):
        click.echo(f"{report.stream}: already being synced by run {report.refused.run_id} ({report.refused.owner})")
    elif isinstance(report.refused, Paused):
        who = f"{escape(report.refused.by)} on {report.refused.since:%Y-%m-%d %H:%M}"
        click.echo(
            f"{report.stream}: paused by {who}: {escape(report.refused.reason or '')}; --force syncs all the same"
        )
    elif report.row is not None:
        print_run(report.row)
    elif report.outcome is not None:
        word = click.style(status_of(report.outcome.cause), fg=COLOURS[status_of(report.outcome.cause)])
        click.echo(f"{report.stream}: {word} ({report.outcome.cause}): {escape(report.outcome.message or '')}")


def print_run(run: RunRow, *, explained: bool = True) -> None:
    """One run in a few lines; why it did not complete, where `explained`."""
    status = click.style(run.status, fg=COLOURS[run.status], bold=True)
    cause = f" ({run.cause})" if run.cause else ""
    seconds = f" in {run.duration_seconds:.1f} s" if run.duration_seconds is not None else ""
    click.echo(f"{run.stream}  {status}{cause}{seconds}")
    click.echo(
        f"  records   {run.fetched:,} read: {run.inserted:,} new, {run.updated:,} changed, "
        f"{run.unchanged:,} unchanged, {run.revived:,} back again, {run.tombstoned:,} gone"
    )
    if run.quarantined or run.field_faults or run.duplicates:
        click.echo(
            f"  odd       {run.quarantined:,} in quarantine, {run.field_faults:,} fields unreadable, "
            f"{run.duplicates:,} identical duplicates"
        )
    click.echo(
        f"  calls     {run.requests:,} of {run.max_requests or 0:,} requests, {run.errors:,} failed; "
        f"{run.pages:,} of {run.max_pages or 0:,} pages"
    )
    click.echo(f"  run       {run.run_id} by {escape(run.initiated_by)}")
    if explained and run.status is not Status.COMPLETE:
        for sentence in explain(run):
            click.echo(f"  {escape(sentence)}")
