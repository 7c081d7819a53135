"""`trigger`, `pause`, `resume`, `cancel`, `approve`: through the daemon, or straight on the ledger (see way.py).

Either way the effect stands in the ledger, so it reaches the daemons of all hosts.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import click

from syncd.app import stream_of
from syncd.cli.ledger import DATABASE, find_run, parse_stream
from syncd.cli.options import Place, choose_accounts, with_place
from syncd.cli.run import EXIT_BUSY
from syncd.cli.way import Way, on_way, say_way
from syncd.contract.runs import Paused, RunRow
from syncd.contract.text import escape
from syncd.contract.words import Stream
from syncd.ledger import accounts, pauses
from syncd.ledger import runs as ledger
from syncd.ledger.overview import load_pauses
from syncd.ledger.queue import Living, Queued, Wanted, enqueue, find_obstacle
from syncd.runtime.command import EXIT_FAILED, initiator, json_option, print_json
from syncd.runtime.postgres import Postgres

Answer = Queued | Living | Paused

TO_COME_PAUSED = "streams that are registered later begin paused, until `syncd resume` without a stream"


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of one stream's trigger, and which way it went."""

    stream: Stream
    answer: Answer
    way: dict[str, str]


@click.command()
@click.argument("streams", nargs=-1, metavar="[STREAM]...")
@click.option("--dry-run", is_flag=True, help="Compare, write no record.")
@click.option("--max-pages", type=click.IntRange(min=1), help="Read at most so many pages.")
@click.option("--max-requests", type=click.IntRange(min=4), help="Make at most so many calls.")
@click.option("--limit", type=click.IntRange(min=1), help="Store at most so many records.")
@click.option("--force", is_flag=True, help="Queue it although the stream is paused: it begins after `syncd resume`.")
@json_option
@with_place
def trigger(
    place: Place,
    streams: tuple[str, ...],
    dry_run: bool,
    max_pages: int | None,
    max_requests: int | None,
    limit: int | None,
    force: bool,
    as_json: bool,
) -> None:
    """Ask for a sync by the daemon and return at once (all configured streams where none is named).

    Exit codes: 0 something was queued, 1 nothing was, because of a pause, 75 nothing was, because runs live.
    """
    settings = place.load()
    chosen = [stream_of(account) for account in choose_accounts(settings, streams)]
    wanted = Wanted(initiator(), dry_run, max_pages, max_requests, limit)

    async def ask(postgres: Postgres, way: Way) -> list[Asked]:
        answers = []
        for stream in chosen:
            answer = await _ask(postgres, way, stream, wanted, force=force)
            answers.append(Asked(stream, answer, way.facts))
        return answers

    answers = on_way(settings, ask)
    if as_json:
        print_json([_asked_facts(one) for one in answers])
    else:
        for one in answers:
            _say_asked(one)
    outcomes = {type(one.answer) for one in answers}
    if Queued not in outcomes:
        sys.exit(EXIT_FAILED if Paused in outcomes else EXIT_BUSY)


async def _ask(
    postgres: Postgres, way: Way, stream: Stream, wanted: Wanted, *, force: bool
) -> Queued | Living | Paused:
    if force:
        way.go_straight("only there a paused stream's run may be queued")
    body = {"stream": str(stream), "dry_run": wanted.dry_run}
    caps = {"max_pages": wanted.max_pages, "max_requests": wanted.max_requests, "limit": wanted.max_records}
    told = await way.post("/sync", body | {name: cap for name, cap in caps.items() if cap is not None})
    if told is None:
        await accounts.register(postgres, stream)
        obstacle = None if force else await find_obstacle(postgres, stream)
        return obstacle or await enqueue(postgres, stream, wanted)
    if told.is_done:
        return Queued(UUID(told.document["sync_id"]))
    if told.document.get("paused") and (pause := (await load_pauses(postgres)).get(stream)):
        return pause
    run_id = told.document.get("run_id")
    return Living(UUID(run_id) if run_id else None)


def _asked_facts(one: Asked) -> dict[str, Any]:
    answer = one.answer
    paused = {"by": answer.by, "since": answer.since, "reason": answer.reason} if isinstance(answer, Paused) else None
    return {
        "stream": str(one.stream),
        "sync_id": None if isinstance(answer, Paused) else answer.run_id,
        "queued": isinstance(answer, Queued),
        "paused": paused,
        **one.way,
    }


def _say_asked(one: Asked) -> None:
    if isinstance(one.answer, Queued):
        click.echo(f"{one.stream}: queued as run {one.answer.run_id}, {one.way['way']}")
        click.echo(f"  to follow it: syncd status --watch, or syncd explain {one.answer.run_id}")
    elif isinstance(one.answer, Living):
        living = f"run {one.answer.run_id}" if one.answer.run_id else "a run that has just ended"
        click.echo(f"{one.stream}: already being synced by {living}", err=True)
    else:
        since = f"since {one.answer.since:%Y-%m-%d %H:%M:%S %Z}"
        click.echo(
            f"{one.stream}: paused by {escape(one.answer.by)} {since}: {escape(one.answer.reason)}; "
            f"nothing was queued (`syncd resume {one.stream}`, or --force)",
            err=True,
        )


@click.command()
@click.argument("stream", required=False)
@click.option("--reason", required=True, help="Why; shown to everybody who wonders.")
@json_option
@with_place
def pause(place: Place, stream: str | None, reason: str, as_json: bool) -> None:
    """Hold a stream back until `syncd resume`; without one everything, accounts to come included.

    What runs goes on.
    """
    wanted = parse_stream(stream)
    if not reason.strip():
        raise click.BadParameter("must not be empty", param_hint="--reason")
    reason = escape(reason).strip()[:500]

    async def hold(postgres: Postgres, way: Way) -> tuple[list[str], Way]:
        told = await way.post("/pause", {"reason": reason, **({"stream": str(wanted)} if wanted else {})})
        if told is not None and told.is_done:
            return list(told.document["paused"]), way
        return [str(one) for one in await pauses.pause(postgres, wanted, by=initiator(), reason=reason)], way

    held, way = on_way(place.load(need=DATABASE), hold)
    if as_json:
        print_json({"paused": held, **way.facts})
    else:
        for name in held:
            click.echo(f"{name}: paused")
        if not wanted and not held:
            click.echo("no stream is registered yet")
        if not wanted:
            click.echo(TO_COME_PAUSED)
        say_way(way)
    if wanted and not held:
        click.echo(f"syncd: {wanted} is not registered: nothing to pause; `syncd status` lists the streams", err=True)
        sys.exit(EXIT_FAILED)


@click.command()
@click.argument("stream", required=False)
@json_option
@with_place
def resume(place: Place, stream: str | None, as_json: bool) -> None:
    """Let a stream go on; without one everything, accounts to come included. A backoff is forgotten.

    A stream that is named goes on alone: where everything is paused, the rest stays so.
    """
    wanted = parse_stream(stream)

    async def let_go(postgres: Postgres, way: Way) -> tuple[int, list[str], bool, Way]:
        told = await way.post("/resume", {"stream": str(wanted)} if wanted else {})
        if told is not None and told.is_done:
            document = told.document
            return int(document["resumed"]), list(document["paused"]), bool(document["everything"]), way
        count = await pauses.resume(postgres, wanted)
        left = [str(one) for one in await pauses.paused_streams(postgres)]
        return count, left, await pauses.load_standing(postgres) is not None, way

    count, left, everything, way = on_way(place.load(need=DATABASE), let_go)
    if as_json:
        print_json({"resumed": count, "paused": left, "everything": everything, **way.facts})
        return
    click.echo(f"resumed {count} stream{'s' if count != 1 else ''}")
    if left:
        click.echo(f"still paused: {', '.join(left)}")
    if everything:
        click.echo(TO_COME_PAUSED)
    say_way(way)


@click.command()
@click.argument("run", metavar="RUN")
@json_option
@with_place
def cancel(place: Place, run: str, as_json: bool) -> None:
    """Ask a run to end; pages already received are stored first. RUN: an id, or how it begins."""

    async def ask(postgres: Postgres, way: Way) -> tuple[RunRow, bool, Way]:
        row = await find_run(postgres, run)
        told = await way.post(f"/syncs/{row.run_id}/cancel")
        if told is not None:
            asked = told.is_done
        else:
            asked = await ledger.request_cancel(postgres, row.run_id, initiator())
        return (await ledger.load_run(postgres, row.run_id)) or row, asked, way

    row, asked, way = on_way(place.load(need=DATABASE), ask)
    if as_json:
        print_json({"sync_id": row.run_id, "asked": asked, "status": row.status, "cause": row.cause, **way.facts})
    elif asked:
        click.echo(f"run {row.run_id} was asked to end")
        say_way(way)
    if not asked:
        click.echo(f"run {row.run_id} has ended already: {row.status} ({row.cause})", err=True)
        sys.exit(EXIT_FAILED)


@click.command()
@click.argument("run", metavar="RUN")
@json_option
@with_place
def approve(place: Place, run: str, as_json: bool) -> None:
    """Agree that the records which a run found missing are really gone. RUN: an id, or how it begins."""

    async def agree(postgres: Postgres, way: Way) -> tuple[RunRow, int | None, Way]:
        row = await find_run(postgres, run)
        told = await way.post(f"/syncs/{row.run_id}/approve")
        if told is not None:
            return row, told.document.get("approved_keys"), way
        return row, await ledger.approve(postgres, row.run_id, initiator()), way

    row, keys, way = on_way(place.load(need=DATABASE), agree)
    if as_json:
        print_json({"sync_id": row.run_id, "stream": str(row.stream), "approved_keys": keys, **way.facts})
    if keys is None:
        why = "a later sweep has settled it" if row.consent_keys is not None else "it asked for no consent"
        click.echo(f"run {row.run_id} ({row.status}, {row.cause}): nothing to approve: {why}", err=True)
        sys.exit(EXIT_FAILED)
    if not as_json:
        click.echo(
            f"agreed: {keys:,} records of {row.stream} may be tombstoned by the next complete sweep, "
            "those of them that are still missing"
        )
        say_way(way)
