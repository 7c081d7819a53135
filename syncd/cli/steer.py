"""`trigger`, `pause`, `resume`, `stop`: straight on the ledger, where every daemon looks a few times a minute.

So they work with the daemon up or down, and reach the daemons of all hosts.
"""

from __future__ import annotations

import sys

import click

from syncd.app import stream_of
from syncd.cli import EXIT_FAILED
from syncd.cli.ledger import DATABASE, parse_stream
from syncd.cli.options import Place, choose_accounts, initiator, json_option, on_ledger, print_json, with_place
from syncd.contract.errors import SyncError
from syncd.contract.words import Stream
from syncd.ledger import accounts, pauses
from syncd.ledger.queue import Living, Queued, Wanted, enqueue
from syncd.runtime.postgres import Postgres

EXIT_BUSY = 75
WAY = "straight on the ledger; a daemon takes it up within a few seconds"


@click.command()
@click.argument("streams", nargs=-1, metavar="[STREAM]...")
@click.option("--dry-run", is_flag=True, help="Compare, write no record.")
@click.option("--max-pages", type=click.IntRange(min=1), help="Read at most so many pages.")
@click.option("--max-requests", type=click.IntRange(min=4), help="Make at most so many calls.")
@click.option("--limit", type=click.IntRange(min=1), help="Store at most so many records.")
@json_option
@with_place
def trigger(
    place: Place,
    streams: tuple[str, ...],
    dry_run: bool,
    max_pages: int | None,
    max_requests: int | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Ask for a sync by the daemon and return at once (all configured streams where none is named).

    Exit codes: 0 queued, 75 all of them have a living run.
    """
    settings = place.load()
    chosen = [stream_of(account) for account in choose_accounts(settings, streams)]
    wanted = Wanted(initiator(), dry_run, max_pages, max_requests, limit)

    async def ask(postgres: Postgres) -> list[tuple[Stream, Queued | Living]]:
        for stream in chosen:
            await accounts.register(postgres, stream)
        return [(stream, await enqueue(postgres, stream, wanted)) for stream in chosen]

    answers = on_ledger(settings, ask)
    if as_json:
        print_json(
            [
                {"stream": str(stream), "sync_id": answer.run_id, "queued": isinstance(answer, Queued)}
                for stream, answer in answers
            ]
        )
    for stream, answer in [] if as_json else answers:
        if isinstance(answer, Queued):
            click.echo(f"{stream}: queued as run {answer.run_id} ({WAY})")
        else:
            click.echo(f"{stream}: already being synced by run {answer.run_id}")
    if not any(isinstance(answer, Queued) for _, answer in answers):
        sys.exit(EXIT_BUSY)


@click.command()
@click.argument("stream", required=False)
@click.option("--reason", required=True, help="Why; shown to everybody who wonders.")
@with_place
def pause(place: Place, stream: str | None, reason: str) -> None:
    """Hold a stream (all where none is named) back until `syncd resume`. What runs goes on."""
    wanted = parse_stream(stream)
    held = on_ledger(
        place.load(need=DATABASE), lambda postgres: pauses.pause(postgres, wanted, by=initiator(), reason=reason)
    )
    _say_held(held)


@click.command()
@click.argument("stream", required=False)
@with_place
def resume(place: Place, stream: str | None) -> None:
    """Let a stream (all where none is named) go on."""
    wanted = parse_stream(stream)
    count = on_ledger(place.load(need=DATABASE), lambda postgres: pauses.resume(postgres, wanted))
    click.echo(f"resumed {count} stream{'s' if count != 1 else ''} ({WAY})")


@click.command()
@click.option("--reason", default="emergency stop", show_default=True, help="Why.")
@with_place
def stop(place: Place, reason: str) -> None:
    """Emergency stop: hold every stream back and ask what runs to end at its next page."""

    async def halt(postgres: Postgres) -> tuple[list[Stream], int]:
        held = await pauses.pause(postgres, None, by=initiator(), reason=reason)
        return held, await pauses.cancel_open(postgres, None, by=initiator())

    try:
        held, cancelled = on_ledger(place.load(need=DATABASE), halt)
    except SyncError as error:
        click.echo(f"syncd: the ledger cannot be reached, nothing was stopped: {error}", err=True)
        click.echo("  to stop the daemon of this machine: systemctl stop syncd", err=True)
        sys.exit(EXIT_FAILED)
    _say_held(held)
    click.echo(f"asked {cancelled} run{'s' if cancelled != 1 else ''} to end; `syncd resume` lets them go on")


def _say_held(held: list[Stream]) -> None:
    for stream in held:
        click.echo(f"{stream}: paused")
    if not held:
        click.echo("no stream is registered yet: nothing to pause")
