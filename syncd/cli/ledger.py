"""`runs` and `explain`: what the ledger says of the runs. They read it themselves, whether a daemon lives or not."""

from __future__ import annotations

from dataclasses import asdict
from itertools import takewhile

import click

from syncd.cli.options import Place, on_ledger, with_place
from syncd.cli.summary import COLOURS, print_run
from syncd.cli.way import Way, on_way
from syncd.contract.errors import ConfigError
from syncd.contract.observation import Rescue
from syncd.contract.runs import RunRow
from syncd.contract.text import escape
from syncd.contract.words import Cause, Status, Stream
from syncd.ledger import runs as ledger
from syncd.ledger.rescue import load_rescue
from syncd.ledger.situation import load_states
from syncd.policy.explanation import Around, explain_rescue, explain_stream
from syncd.policy.explanation import explain as explanation
from syncd.policy.facts import run_facts
from syncd.runtime.command import json_option, print_json
from syncd.runtime.postgres import Postgres
from syncd.runtime.process import proven_dead

DATABASE = frozenset({"database"})
SAME_GAP_LOOKBACK = 10
FROM_LEDGER = "straight from the ledger"


@click.command()
@click.argument("stream", required=False)
@click.option("--last", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many.")
@click.option("--status", type=click.Choice([str(one) for one in Status]), help="Only those in this state.")
@json_option
@with_place
def runs(place: Place, stream: str | None, last: int, status: str | None, as_json: bool) -> None:
    """The newest runs first, of one stream or of all."""
    wanted = parse_stream(stream)
    state = Status(status) if status else None
    rows = on_ledger(
        place.load(need=DATABASE),
        lambda postgres: ledger.load_history(postgres, before=None, limit=last, stream=wanted, status=state),
    )
    if as_json:
        print_json([{**run_facts(row), "via": "ledger"} for row in rows])
        return
    for row in rows:
        word = click.style(f"{row.status:<9}", fg=COLOURS[row.status])
        began = f"{row.started_at or row.queued_at:%Y-%m-%d %H:%M:%S}"
        seconds = f"{row.duration_seconds or 0:>7.1f} s"
        counts = f"{row.fetched:>8,} read {row.inserted:>7,} new {row.updated:>7,} changed {row.tombstoned:>6,} gone"
        click.echo(f"{row.run_id}  {began}  {row.stream}  {word} {row.cause or '':<12} {seconds} {counts}")
    click.echo(f"({FROM_LEDGER})" if rows else f"(no such runs; {FROM_LEDGER})", err=True)


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

    async def load(postgres: Postgres, way: Way) -> tuple[RunRow, Rescue | None, list[str]]:
        row = await find_run(postgres, run)
        same = await _same_gaps(postgres, row)
        rescue = await load_rescue(postgres, row.run_id)
        rescued = explain_rescue(row, rescue) if rescue is not None else []
        around = explain_stream(row, await _stream_of(postgres, way, row))
        return row, rescue, [*explanation(row, same_gap_runs=same), *rescued, *around]

    row, rescue, sentences = on_way(place.load(need=DATABASE), load)
    if as_json:
        found = {} if rescue is None else {"rescue": asdict(rescue)}
        print_json({**run_facts(row), "explanation": sentences, **found, "via": "ledger"})
        return
    print_run(row, explained=False)
    for sentence in sentences:
        click.echo(f"  {escape(sentence)}")
    click.echo(f"({FROM_LEDGER})", err=True)


async def _same_gaps(postgres: Postgres, row: RunRow) -> int:
    """How many runs in a row ended incomplete as this one did."""
    if row.cause is not Cause.INCOMPLETE:
        return 0
    earlier = await ledger.load_runs(postgres, stream=row.stream, limit=SAME_GAP_LOOKBACK)
    up_to = [one for one in earlier if one.queued_at <= row.queued_at]
    return sum(1 for _ in takewhile(lambda one: _same_gap(one, row), up_to))


def _same_gap(one: RunRow, other: RunRow) -> bool:
    return one.cause is other.cause and one.error_message == other.error_message


async def _stream_of(postgres: Postgres, way: Way, row: RunRow) -> Around:
    """What stands around the run: its neighbours, its stream's pause and slot, the daemon."""
    newest = await ledger.load_runs(postgres, stream=row.stream, limit=1)
    before = await ledger.load_history(postgres, before=(row.queued_at, row.run_id), limit=1, stream=row.stream)
    state = (await load_states(postgres))[row.stream]
    planned, name = await way.next_runs(), str(row.stream)
    no_daemon = None if await way.look() else way.why_not
    if planned is not None and name not in planned:
        no_daemon = f"the one at {way.place} does not serve this stream; its log says why"
    return Around(
        newest=newest[0].run_id,
        before=before[0] if before else None,
        is_paused=state.paused,
        is_dead=state.open_run is not None and proven_dead(state.open_run.owner),
        next_in_seconds=(planned or {}).get(name, state.next_in_seconds),
        failures=state.failures,
        no_daemon=no_daemon,
    )


async def find_run(postgres: Postgres, text: str) -> RunRow:
    """The one run whose id begins so."""
    rows = await ledger.find_runs(postgres, text.strip().lower())
    if len(rows) != 1:
        what = "no such run" if not rows else "several runs begin so: give more of the id"
        raise ConfigError([f"RUN {text[:40]!r}: {what}; `syncd runs` lists them"])
    return rows[0]
