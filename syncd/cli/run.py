"""`syncd run`: one sync now, in the foreground."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from typing import Any

import click

from syncd.app import RunReport, RunRequest, open_postgres, stream_of, sync_account
from syncd.cli.forecast import print_forecast
from syncd.cli.options import Place, choose_accounts, with_place
from syncd.cli.progress import ProgressView, progress_view
from syncd.cli.summary import print_report
from syncd.config import AccountSettings, Settings
from syncd.contract.errors import ConfigError, SyncError
from syncd.contract.runs import Busy, Outcome, Paused
from syncd.contract.words import Cause, Status, status_of
from syncd.engine.observer import Observer
from syncd.engine.stop import StopSignal
from syncd.ledger.schema import check_schema
from syncd.policy.facts import run_facts
from syncd.runtime.command import initiator, json_option, print_json
from syncd.runtime.service import leave_at_once

EXIT_COMPLETE, EXIT_FAILED, EXIT_PARTIAL = 0, 1, 3
EXIT_LEASE_LOST, EXIT_BUSY, EXIT_CONFIG, EXIT_SIGINT = 70, 75, 78, 130
_PRECEDENCE = (EXIT_CONFIG, EXIT_LEASE_LOST, EXIT_FAILED, EXIT_BUSY, EXIT_PARTIAL, EXIT_COMPLETE)


@click.command()
@click.argument("streams", nargs=-1, metavar="[STREAM]...")
@click.option("--limit", type=click.IntRange(min=1), help="Store at most so many records.")
@click.option("--max-pages", type=click.IntRange(min=1), help="Read at most so many pages.")
@click.option("--max-requests", type=click.IntRange(min=4), help="Make at most so many calls.")
@click.option("--request-delay", type=click.FloatRange(min=0), help="Extra pause between calls, seconds.")
@click.option("--timeout-hours", type=click.FloatRange(min=0, min_open=True), help="Hard deadline.")
@click.option("--fresh", is_flag=True, help="Start a new sweep instead of going on at the checkpoint.")
@click.option("--force", is_flag=True, help="Although the stream is paused.")
@click.option("--dry-run", is_flag=True, help="Call nothing: show checkpoint, caps and what a run would cost.")
@json_option
@with_place
def run(
    place: Place,
    streams: tuple[str, ...],
    limit: int | None,
    fresh: bool,
    force: bool,
    dry_run: bool,
    as_json: bool,
    **overrides: Any,
) -> None:
    """Sync streams now (all configured ones where none is named), with a progress bar and a summary.

    \b
    Exit codes: 0 complete, 1 failed or cancelled, 3 partial, 70 could not renew its lease,
    75 the stream has a living run, 78 configuration, 130 Ctrl-C.
    """
    settings = place.load(overrides)
    chosen = choose_accounts(settings, streams)
    if dry_run:
        print_forecast(settings, chosen, fresh=fresh, limit=limit, as_json=as_json)
        return
    request = RunRequest(initiator(), max_records=limit, fresh=fresh, force=force)
    with progress_view(wanted=not as_json) as view:
        reports, interrupted = asyncio.run(_run_all(settings, chosen, request, _observers(view, quiet=as_json)))
    code = _exit_code(reports)
    if interrupted and code != EXIT_LEASE_LOST:
        code = EXIT_SIGINT
    if as_json:
        print_json({"syncs": [_facts(report) for report in reports], "exit_code": code})
    else:
        for report in reports:
            print_report(report)
    sys.exit(code)


def _observers(view: ProgressView, *, quiet: bool) -> Callable[[AccountSettings], Observer]:
    if quiet:
        return lambda account: Observer()
    return view.observer


async def _run_all(
    settings: Settings,
    chosen: list[AccountSettings],
    request: RunRequest,
    observer_of: Callable[[AccountSettings], Observer],
) -> tuple[list[RunReport], bool]:
    """All streams side by side; (their reports in order, whether Ctrl-C ended them)."""
    stops = [StopSignal() for _ in chosen]
    interrupted = stop_on_signals(stops)
    async with open_postgres(settings) as postgres:
        await check_schema(postgres)

        async def one(account: AccountSettings, stop: StopSignal) -> RunReport:
            try:
                report = await sync_account(postgres, account, request, stop, observer_of(account))
            except ConfigError as error:
                return RunReport(stream_of(account), problems=error.problems)
            except SyncError as error:  # before the claim, or the ledger is away: nothing was begun
                return RunReport(stream_of(account), Outcome(error.cause, str(error)))
            report.say_end()
            return report

        reports = await asyncio.gather(*map(one, chosen, stops))
    return list(reports), interrupted.is_set()


def stop_on_signals(stops: list[StopSignal]) -> asyncio.Event:
    """The first signal stops gently, a second one at once. The event: it was SIGINT."""
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    heard: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        if heard:
            leave_at_once(128 + number)
        heard.append(number)
        if number is signal.SIGINT:
            interrupted.set()
        for one in stops:
            one.stop(Cause.SHUTDOWN, f"stopped by {number.name}")

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    return interrupted


def _exit_code(reports: list[RunReport]) -> int:
    codes = {_code_of(report) for report in reports}
    return next(code for code in _PRECEDENCE if code in codes)


def _code_of(report: RunReport) -> int:
    if report.problems:
        return EXIT_CONFIG
    if report.outcome is None:
        return EXIT_BUSY if isinstance(report.refused, Busy) else EXIT_FAILED
    if report.outcome.cause is Cause.LEASE_LOST:
        return EXIT_LEASE_LOST
    codes = {Status.COMPLETE: EXIT_COMPLETE, Status.PARTIAL: EXIT_PARTIAL}
    return codes.get(status_of(report.outcome.cause), EXIT_FAILED)


def _facts(report: RunReport) -> dict[str, Any]:
    if report.row is not None:
        return run_facts(report.row)
    facts: dict[str, Any] = {"stream": str(report.stream)}
    if report.problems:
        return facts | {"status": "refused", "problems": report.problems}
    if isinstance(report.refused, Busy):
        return facts | {"status": "busy", "sync_id": report.refused.run_id, "owner": report.refused.owner}
    if isinstance(report.refused, Paused):
        return facts | {"status": "paused", "by": report.refused.by, "reason": report.refused.reason}
    assert report.outcome is not None  # noqa: S101  # a report has one or the other
    status = status_of(report.outcome.cause)
    return facts | {"status": status, "cause": report.outcome.cause, "error_message": report.outcome.message}
