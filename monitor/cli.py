"""The commands of `sync-monitor`."""

from __future__ import annotations

import asyncio
import math
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click
import structlog

from monitor import work
from monitor.config import Settings, load_settings, secrets_of
from monitor.summary import State
from syncd import __version__
from syncd.contract.errors import SyncError
from syncd.contract.text import escape
from syncd.ledger.retention import prune as prune_ledger
from syncd.runtime.command import EXIT_FAILED, initiator, json_option, place_options, print_json, run_cli
from syncd.runtime.log import configure_log
from syncd.runtime.postgres import Postgres
from syncd.runtime.service import reader_of
from syncd.runtime.systemd import Notifier

log = structlog.get_logger()

T = TypeVar("T")


class Place:
    """Where a command finds its settings, and how much it says."""

    def __init__(self, config: Path | None, env_file: Path | None, verbose: int) -> None:
        self._config = config
        self._env_file = env_file
        self.verbose = verbose

    def read(self) -> Settings:
        """The settings as they stand now."""
        return load_settings(config_path=self._config, env_file=self._env_file, environ=os.environ)


with_place = place_options(Place)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sync-monitor")
def cli() -> None:
    """See which sync is stuck, end it, and show how everything is."""


@cli.command()
@with_place
def serve(place: Place) -> None:
    """Watch, recover and show, until SIGTERM.

    \b
    SIGHUP reads the configuration anew; a second SIGTERM ends at once.
    Exit codes: 0 told to stop, 78 configuration, 1 the port is taken.
    """
    from monitor.service import Monitor

    first = place.read()
    level = "debug" if place.verbose else first.sync.log_level
    configure_log(secrets=secrets_of(first), level=level, identifier="sync-monitor")
    load = reader_of(place.read, secrets_of, verbose=place.verbose)

    async def run() -> None:
        await Monitor(load, Notifier()).run()

    try:
        asyncio.run(run())
    except SyncError:
        raise
    except Exception:  # the supervisor: Python's own traceback would pass the journal and its filter by
        log.critical("monitor.crashed", exc_info=True)
        sys.exit(EXIT_FAILED)


@cli.command()
@json_option
@with_place
def stuck(place: Place, as_json: bool) -> None:
    """List the runs that are stuck now; nothing is done about them.

    Exit codes: 0 there is none, 1 there are some, or the ledger does not answer.
    """
    found = _on_ledger(place, work.stuck)
    if as_json:
        print_json({"stuck": found})
    elif not found:
        click.echo("No run is stuck.")
    for run in [] if as_json else found:
        click.echo(f"{run['run_id']}  {run['stream']}  {run['cause']}: {escape(run['why'])}")
    sys.exit(EXIT_FAILED if found else 0)


@cli.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--older-than-hours", type=click.FloatRange(min=0), help="Every run that began so long ago; 0: all.")
@click.option("--resume", is_flag=True, help="Queue a run that goes on from the checkpoint.")
@json_option
@with_place
def recover(place: Place, runs: tuple[str, ...], older_than_hours: float | None, resume: bool, as_json: bool) -> None:
    """End runs by hand, so that they stay ended: RUNS (the beginning of an id is enough), or the stuck ones.

    The old process can write nothing afterwards, and is asked nothing. `--older-than-hours 0` is the emergency
    reset: every open run. Exit codes: 0 done, 1 some could not be ended, or the ledger does not answer.
    """
    if runs and older_than_hours is not None:
        raise click.UsageError("RUNS and --older-than-hours exclude each other")
    if older_than_hours is not None and not math.isfinite(older_than_hours):
        raise click.UsageError(f"--older-than-hours: found {older_than_hours}, expected a number of hours")
    by = initiator()

    async def end(postgres: Postgres, settings: Settings) -> list[dict[str, Any]]:
        ended = await work.recover(
            postgres, settings, by=by, runs=runs, older_than_hours=older_than_hours, resume=resume
        )
        return [
            {"run_id": one.run_id, "stream": str(one.stream), "cause": one.fault.cause, "successor": one.successor}
            for one in ended
        ]

    ended = _on_ledger(place, end)
    if as_json:
        print_json({"recovered": ended})
    else:
        click.echo(f"Recovered {len(ended)} stuck syncs")


@cli.command()
@click.option("--older-than-days", type=click.IntRange(1, 36_500), help="Instead of EMAG_SYNC_RETENTION_DAYS.")
@json_option
@with_place
def prune(place: Place, older_than_days: int | None, as_json: bool) -> None:
    """Delete old runs with their changes, quarantine and pages. Counters and records stay."""

    async def delete(postgres: Postgres, settings: Settings) -> dict[str, Any]:
        days = older_than_days or settings.sync.retention_days
        return asdict(await prune_ledger(postgres, older_than_days=days))

    pruned = _on_ledger(place, delete)
    if as_json:
        print_json(pruned)
    else:
        click.echo("Deleted " + ", ".join(f"{count:,} {name}" for name, count in pruned.items()))


@cli.command()
@json_option
@with_place
def health(place: Place, as_json: bool) -> None:
    """Say how everything is, in a sentence.

    Exit codes: 0 all is healthy, 1 it is not, or the ledger does not answer.
    """
    summary = _on_ledger(place, work.report)
    if as_json:
        print_json(summary.as_dict())
    else:
        click.echo(escape(summary.sentence))
    sys.exit(0 if summary.state is State.HEALTHY else EXIT_FAILED)


def main() -> None:
    """The console script."""
    run_cli(cli, "sync-monitor")


def _on_ledger(place: Place, ask: Callable[[Postgres, Settings], Awaitable[T]]) -> T:
    settings = place.read()
    for warning in settings.warnings:
        click.echo(f"sync-monitor: {warning}", err=True)
    configure_log(place.verbose, secrets=secrets_of(settings))

    async def run() -> T:
        async with work.open_ledger(settings) as postgres:
            return await ask(postgres, settings)

    return asyncio.run(run())
