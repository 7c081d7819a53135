"""`syncd plan`: read the API, write nothing, show what a sync would change and cost."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import click

from syncd.app import open_postgres, plan_account, stream_of
from syncd.cli.options import Place, choose_accounts, with_place
from syncd.cli.progress import ProgressView, progress_view
from syncd.cli.run import EXIT_COMPLETE, EXIT_FAILED, EXIT_PARTIAL, stop_on_signals
from syncd.config import AccountSettings, Settings
from syncd.contract.text import escape
from syncd.contract.words import Status, Stream, status_of
from syncd.engine.plan import PlanReport
from syncd.engine.stop import StopSignal
from syncd.ledger.schema import check_schema
from syncd.policy.completeness import exceeds_blast_radius
from syncd.runtime.command import json_option, print_json


@click.command()
@click.argument("streams", nargs=-1, metavar="[STREAM]...")
@click.option("--max-pages", type=click.IntRange(min=1), help="Read at most so many pages.")
@click.option("--max-requests", type=click.IntRange(min=4), help="Make at most so many calls.")
@json_option
@with_place
def plan(place: Place, streams: tuple[str, ...], as_json: bool, **overrides: Any) -> None:
    """Show what a sync would insert, update and miss, without writing a record.

    Exit codes: 0 read to the end, 3 a cap came first, 1 failed.
    """
    settings = place.load(overrides)
    chosen = choose_accounts(settings, streams)
    with progress_view(wanted=not as_json) as view:
        reports = asyncio.run(_plan_all(settings, chosen, view))
    if as_json:
        print_json([_facts(stream, report) for stream, report in reports])
    for stream, report in [] if as_json else reports:
        _print(stream, report)
    codes = {Status.COMPLETE: EXIT_COMPLETE, Status.PARTIAL: EXIT_PARTIAL}
    found = {codes.get(status_of(report.end.cause), EXIT_FAILED) for _, report in reports}
    sys.exit(EXIT_FAILED if EXIT_FAILED in found else max(found))


async def _plan_all(
    settings: Settings, chosen: list[AccountSettings], view: ProgressView
) -> list[tuple[Stream, PlanReport]]:
    stops = [StopSignal() for _ in chosen]  # of each its own: the time cap of one ends no other
    stop_on_signals(stops)
    reports = []
    async with open_postgres(settings) as postgres:
        await check_schema(postgres)
        for account, stop in zip(chosen, stops, strict=True):
            report = await plan_account(postgres, account, stop, view.observer(account))
            reports.append((stream_of(account), report))
    return reports


def _facts(stream: Stream, report: PlanReport) -> dict[str, Any]:
    return {
        "stream": str(stream),
        "end": report.end.cause,
        "message": report.end.message,
        "expected_records": report.expected,
        **{name: report.counts[name] for name in ("fetched", "inserted", "updated", "unchanged", "revived")},
        "quarantined": report.counts["quarantined"],
        "would_vanish": report.would_vanish,
        "needs_approval": report.would_vanish is not None and exceeds_blast_radius(report.would_vanish, report.live),
        "largest_jumps": [
            {"key": jump.key, "field": jump.field, "old": str(jump.old), "new": str(jump.new)} for jump in report.jumps
        ],
        "requests": report.requests,
    }


def _print(stream: Stream, report: PlanReport) -> None:
    counts = report.counts
    click.echo(f"{stream}: a plan; no record was written")
    click.echo(
        f"  would insert {counts['inserted']:,}, update {counts['updated']:,}, bring back {counts['revived']:,}; "
        f"{counts['unchanged']:,} unchanged, {counts['quarantined']:,} to quarantine"
    )
    if report.would_vanish is None:
        click.echo(f"  did not reach the end ({report.end.cause}: {escape(report.end.message or '')})")
    else:
        needs = exceeds_blast_radius(report.would_vanish, report.live)
        click.echo(
            f"  {report.would_vanish:,} of {report.live:,} live records stand on no page"
            + (": too many to tombstone without `syncd approve`" if needs else "")
        )
    for jump in report.jumps:
        click.echo(f"  {escape(jump.key)}: {jump.field} {jump.old} → {jump.new}")
    click.echo(f"  cost: {report.requests} requests, about {report.requests / 177:.1f} minutes at the API's rate")
