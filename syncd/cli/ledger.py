"""`status`, `runs`, `explain`, `cancel`, `approve`: what the ledger says, and what may be asked of it.

Until the daemon answers, these go straight to the ledger, and say so with -v.
"""

from __future__ import annotations

import sys
from itertools import takewhile

import click

from syncd.cli import EXIT_FAILED
from syncd.cli.options import Place, initiator, json_option, on_ledger, print_json, with_place
from syncd.cli.summary import COLOURS, print_run
from syncd.config import Settings
from syncd.contract.errors import ConfigError
from syncd.contract.runs import RunRow
from syncd.contract.text import escape
from syncd.contract.words import Cause, Status, Stream
from syncd.ledger import runs as ledger
from syncd.ledger.accounts import registered_streams
from syncd.policy.explanation import explain as explanation
from syncd.policy.facts import run_facts
from syncd.runtime.postgres import Postgres

DATABASE = frozenset({"database"})
SAME_GAP_LOOKBACK = 10


def _open(place: Place) -> Settings:
    settings = place.load(need=DATABASE)
    if place.verbose:
        click.echo("straight on the ledger", err=True)
    return settings


@click.command()
@json_option
@with_place
def status(place: Place, as_json: bool) -> None:
    """Each stream: its newest run, how far it is, how old its data are."""
    settings = _open(place)

    async def load(postgres: Postgres) -> list[tuple[Stream, RunRow | None]]:
        streams = await registered_streams(postgres)
        return [(one, next(iter(await ledger.load_runs(postgres, stream=one, limit=1)), None)) for one in streams]

    newest = on_ledger(settings, load)
    if as_json:
        print_json([{"stream": str(stream), "run": run_facts(run) if run else None} for stream, run in newest])
    elif not newest:
        click.echo("no stream is registered yet: `syncd run` registers the configured ones")
    for stream, run in [] if as_json else newest:
        click.echo(_status_line(stream, run))


def _status_line(stream: Stream, run: RunRow | None) -> str:
    if run is None:
        return f"{stream}  never synced"
    word = click.style(f"{run.status:<9}", fg=COLOURS[run.status])
    if run.status is Status.RUNNING:
        pages = f"/{-(-run.expected // run.page_size)}" if run.expected and run.page_size else ""
        return f"{stream}  {word} page {run.checkpoint_page or 0}{pages} {run.progress_percent}%  {run.phase}"
    ended = f"{run.completed_at:%Y-%m-%d %H:%M:%S %Z}" if run.completed_at else "waiting"
    return f"{stream}  {word} {run.cause or ''}  {ended}  {run.fetched:,} records"


@click.command()
@click.argument("stream", required=False)
@click.option("--last", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many.")
@json_option
@with_place
def runs(place: Place, stream: str | None, last: int, as_json: bool) -> None:
    """The newest runs first, of one stream or of all."""
    settings = _open(place)
    wanted = parse_stream(stream)
    rows = on_ledger(settings, lambda postgres: ledger.load_runs(postgres, stream=wanted, limit=last))
    if as_json:
        print_json([run_facts(row) for row in rows])
        return
    for row in rows:
        word = click.style(f"{row.status:<9}", fg=COLOURS[row.status])
        began = f"{row.started_at or row.queued_at:%Y-%m-%d %H:%M:%S}"
        seconds = f"{row.duration_seconds or 0:>7.1f} s"
        counts = f"{row.fetched:>8,} read {row.inserted:>7,} new {row.updated:>7,} changed {row.tombstoned:>6,} gone"
        click.echo(f"{row.run_id}  {began}  {row.stream}  {word} {row.cause or '':<12} {seconds} {counts}")


def parse_stream(text: str | None) -> Stream | None:
    """A stream as people name it, the account's name alone will do; ConfigError where it is none."""
    if text is None:
        return None
    try:
        return Stream.parse(text if "/" in text else f"emag/{text}/offers")
    except ValueError as error:
        raise ConfigError([str(error)]) from error


@click.command()
@click.argument("run", metavar="RUN")
@json_option
@with_place
def explain(place: Place, run: str, as_json: bool) -> None:
    """Why a run is in its state, and what happens next. RUN: an id, or how it begins."""
    settings = _open(place)

    async def load(postgres: Postgres) -> tuple[RunRow, int]:
        row = await _find(postgres, run)
        if row.cause is not Cause.INCOMPLETE:
            return row, 0
        earlier = await ledger.load_runs(postgres, stream=row.stream, limit=SAME_GAP_LOOKBACK)
        up_to = [one for one in earlier if one.queued_at <= row.queued_at]
        return row, sum(1 for _ in takewhile(lambda one: _same_gap(one, row), up_to))

    row, same = on_ledger(settings, load)
    sentences = explanation(row, same_gap_runs=same)
    if as_json:
        print_json({**run_facts(row), "explanation": sentences})
        return
    print_run(row, explained=False)
    for sentence in sentences:
        click.echo(f"  {escape(sentence)}")


def _same_gap(one: RunRow, other: RunRow) -> bool:
    return one.cause is other.cause and one.error_message == other.error_message


@click.command()
@click.argument("run", metavar="RUN")
@with_place
def cancel(place: Place, run: str) -> None:
    """Ask a run to end; pages already received are stored first."""
    settings = _open(place)

    async def ask(postgres: Postgres) -> tuple[RunRow, bool]:
        row = await _find(postgres, run)
        return row, await ledger.request_cancel(postgres, row.run_id, initiator())

    row, asked = on_ledger(settings, ask)
    if not asked:
        click.echo(f"run {row.run_id} has ended already: {row.status} ({row.cause})", err=True)
        sys.exit(EXIT_FAILED)
    click.echo(f"run {row.run_id} was asked to end")


@click.command()
@click.argument("run", metavar="RUN")
@with_place
def approve(place: Place, run: str) -> None:
    """Agree that the records which a run found missing are really gone."""
    settings = _open(place)

    async def agree(postgres: Postgres) -> tuple[RunRow, int | None]:
        row = await _find(postgres, run)
        return row, await ledger.approve(postgres, row.run_id, initiator())

    row, keys = on_ledger(settings, agree)
    if keys is None:
        why = "a later sweep has settled it" if row.consent_keys is not None else "it asked for no consent"
        click.echo(f"run {row.run_id} ({row.status}, {row.cause}): nothing to approve: {why}", err=True)
        sys.exit(EXIT_FAILED)
    click.echo(
        f"agreed: {keys:,} records of {row.stream} may be tombstoned by the next complete sweep, "
        "those of them that are still missing"
    )


async def _find(postgres: Postgres, text: str) -> RunRow:
    """The one run whose id begins so."""
    rows = await ledger.find_runs(postgres, text.strip().lower())
    if len(rows) != 1:
        what = "no such run" if not rows else "several runs begin so: give more of the id"
        raise ConfigError([f"RUN {text[:40]!r}: {what}; `syncd runs` lists them"])
    return rows[0]
