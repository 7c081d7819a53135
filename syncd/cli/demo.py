"""`syncd demo`: PostgreSQL, a simulated marketplace, two syncs and both services, in a folder that it can remove."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import click

from syncd.demo.place import default_folder
from syncd.demo.story import Demo, Stopped

DEFAULT_OFFERS = 5000


@click.command()
@click.option(
    "--offers",
    type=click.IntRange(10, 100_000),
    default=DEFAULT_OFFERS,
    show_default=True,
    help="Offers to begin with.",
)
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="Where everything lies.")
@click.option("--postgres", type=click.Choice(["local", "wheel"]), default="local", help="Whose programs to prefer.")
@click.option("--keep-running", is_flag=True, help="Keep everything that it started up until Ctrl-C.")
@click.option("--remove", is_flag=True, help="Delete the folder, and do nothing else.")
@click.option("-v", "--verbose", count=True, help="Let the commands that it shows log more: -v, -vv.")
def demo(
    offers: int,
    folder: Path | None,
    postgres: Literal["local", "wheel"],
    keep_running: bool,
    remove: bool,
    verbose: int,
) -> None:
    """Watch a catalogue arrive in PostgreSQL: two syncs of a simulated marketplace, then daemon and monitor.

    Needs no account, no server, no root, no free port. Everything lies in one folder: below /var/tmp for root,
    else below ~/.local/state. Ignores every DATABASE_*, DB_*, EMAG_* of the environment.
    """
    chosen = Demo(folder or default_folder(), offers=offers, prefer=postgres, verbose=verbose)
    if remove:
        click.echo("The demo's folder is gone." if chosen.remove() else "There was no demo.")
        return
    try:
        chosen.play(keep_running=keep_running)
    except Stopped as stopped:
        click.echo("\nStopped. Nothing is left running.", err=True)
        sys.exit(128 + stopped.number)
