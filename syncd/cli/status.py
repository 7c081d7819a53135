"""`status`: each stream at a glance, once, or again and again until Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from syncd.app import open_postgres
from syncd.cli.glance import HEADLINES, View, cells, foot, lines, look, stream_facts
from syncd.cli.ledger import DATABASE
from syncd.cli.options import Place, with_place
from syncd.cli.summary import COLOURS
from syncd.cli.way import Way, on_way, open_door
from syncd.config import Settings
from syncd.contract.errors import DatabaseAwayError
from syncd.ledger.identity import load_ledger_id
from syncd.ledger.schema import check_schema
from syncd.runtime.command import json_option, print_json
from syncd.runtime.service import leave_at_once

if TYPE_CHECKING:
    from rich.live import Live

LOOK_SECONDS = 5.0


@click.command()
@click.option("--watch", is_flag=True, help="Look again and again until Ctrl-C (exit 130).")
@click.option("--interval", type=click.FloatRange(0.2, 3600), default=2.0, show_default=True, help="Seconds between.")
@json_option
@with_place
def status(place: Place, watch: bool, interval: float, as_json: bool) -> None:
    """Each stream: what it does, how far it is, how old its data are, when it runs next, who holds it back."""
    if watch and as_json:
        raise click.UsageError("--watch is for people; ask again for --json")
    settings = place.load(need=DATABASE)
    if watch:
        sys.exit(asyncio.run(_watch(settings, interval)))
    view = on_way(settings, look)
    if as_json:
        print_json([stream_facts(one, view) for one in view.streams])
    else:
        _print(view)


def _print(view: View) -> None:
    """A table on a terminal, aligned lines elsewhere."""
    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(_table(view))
    elif view.streams:
        click.echo("\n".join(lines([HEADLINES, *map(cells, view.streams)])))
    click.echo(f"({foot(view)})", err=True)


def _table(view: View) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in HEADLINES:
        table.add_column(name, no_wrap=name in ("STREAM", "PAGE", "%", "REQ/S"), overflow="fold")
    for one in view.streams:
        style = "red" if one.pause else COLOURS[one.run.status] if one.run else ""
        row = [Text(cell) for cell in cells(one)]
        row[1].stylize(style)
        table.add_row(*row)
    return table


async def _watch(settings: Settings, interval: float) -> int:
    """Until a signal; the exit code. Works on while the ledger is away."""
    ended: list[int] = []
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  # asyncio.run made one

    def end(number: signal.Signals) -> None:
        if ended:
            if sys.stdout.isatty():
                os.write(1, b"\x1b[?25h\n")  # the cursor that the live table had hidden
            leave_at_once(128 + number)
        ended.append(128 + number)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, end, number)
    try:
        with _live() as live:
            await _look_again_and_again(settings, interval, live)
    except asyncio.CancelledError:
        if not ended:
            raise
    return ended[0]


async def _look_again_and_again(settings: Settings, interval: float, live: Live | None) -> None:
    view, ledger_id = View(), ""
    async with open_postgres(settings) as postgres, open_door(settings) as door:
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    if not ledger_id:
                        await check_schema(postgres)
                        ledger_id = await load_ledger_id(postgres)
                    view = await look(postgres, Way(door, ledger_id, None))
            except (DatabaseAwayError, TimeoutError) as error:
                view.away = str(error) or f"no answer within {LOOK_SECONDS:.0f} s"
            _show(view, live)
            await asyncio.sleep(interval)


def _live() -> Any:
    """The live table on a terminal; elsewhere each look is printed below the one before."""
    if not sys.stdout.isatty():
        return nullcontext(None)
    from rich.live import Live

    return Live(auto_refresh=False, vertical_overflow="crop")


def _show(view: View, live: Live | None) -> None:
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
    if live is None:
        rows = lines([HEADLINES, *map(cells, view.streams)]) if view.streams else []
        click.echo("\n".join([now, *rows, f"({foot(view)})"]))
        return
    from rich.console import Group
    from rich.text import Text

    below = Text(f"{now}  ({foot(view)})  Ctrl-C ends", style="yellow" if view.away else "dim")
    live.update(Group(_table(view), below), refresh=True)
