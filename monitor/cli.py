"""The commands of `sync-monitor`."""

from __future__ import annotations

import asyncio
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
from syncd.contract.errors import ConfigError, SchemaError, SyncError
from syncd.contract.text import escape
from syncd.ledger.retention import prune as prune_ledger
from syncd.runtime.command import initiator, print_json
from syncd.runtime.log import adjust_log, configure_log
from syncd.runtime.postgres import Postgres
from syncd.runtime.systemd import Notifier

log = structlog.get_logger()

EXIT_FAILED = 1
EXIT_CONFIG = 78

T = TypeVar("T")
_json = click.option("--json", "as_json", is_flag=True, help="Print facts as JSON.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sync-monitor")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="Settings file (TOML).")
@click.option("--env-file", type=click.Path(path_type=Path, dir_okay=False), help="File of KEY=VALUE lines.")
@click.option("-v", "--verbose", count=True, help="Log more.")
@click.pass_context
def cli(context: click.Context, config: Path | None, env_file: Path | None, verbose: int) -> None:
    """See which sync is stuck, end it, and show how everything is."""
    context.obj = (config, env_file, verbose)


@cli.command()
@click.pass_obj
def serve(place: tuple[Path | None, Path | None, int]) -> None:
    """Watch, recover and show, until SIGTERM. SIGHUP reads the configuration anew."""
    from monitor.service import Monitor

    config, env_file, verbose = place

    def load() -> Settings:
        settings = load_settings(config_path=config, env_file=env_file, environ=os.environ)
        adjust_log(level=None if verbose else settings.sync.log_level, secrets=secrets_of(settings))
        for warning in settings.warnings:
            log.warning("config.warning", warning=warning)
        return settings

    first = load_settings(config_path=config, env_file=env_file, environ=os.environ)
    configure_log(
        secrets=secrets_of(first), level="debug" if verbose else first.sync.log_level, identifier="sync-monitor"
    )

    async def run() -> None:
        await Monitor(load, Notifier()).run()

    asyncio.run(run())


@cli.command()
@_json
@click.pass_obj
def stuck(place: tuple[Path | None, Path | None, int], as_json: bool) -> None:
    """List the runs that are stuck now. Exit code 1 where there are any."""

    async def ask(postgres: Postgres, settings: Settings) -> list[dict[str, Any]]:
        return await work.stuck(postgres, settings)

    found = _on_ledger(place, ask)
    if as_json:
        print_json({"stuck": found})
    elif not found:
        click.echo("No run is stuck.")
    for run in [] if as_json else found:
        click.echo(f"{run['run_id']}  {run['stream']}  {run['cause']}: {escape(run['why'])}")
    sys.exit(EXIT_FAILED if found else 0)


@cli.command()
@click.argument("runs", nargs=-1)
@click.option("--older-than-hours", type=click.FloatRange(min=0), help="Every run that began so long ago; 0: all.")
@click.option("--resume", is_flag=True, help="Queue a run that goes on from the checkpoint.")
@_json
@click.pass_obj
def recover(
    place: tuple[Path | None, Path | None, int],
    runs: tuple[str, ...],
    older_than_hours: float | None,
    resume: bool,
    as_json: bool,
) -> None:
    """End runs by hand, so that they stay ended: RUNS, or the stuck ones.

    The old process can write nothing afterwards, and is asked nothing. `--older-than-hours 0` is the emergency
    reset: every open run.
    """
    by = initiator()

    async def end(postgres: Postgres, settings: Settings) -> list[dict[str, Any]]:
        ended = await work.recover(
            postgres, settings, by=by, runs=runs, older_than_hours=older_than_hours, resume=resume
        )
        return [{"run_id": one.run_id, "cause": one.fault.cause, "successor": one.successor} for one in ended]

    ended = _on_ledger(place, end)
    if as_json:
        print_json({"recovered": ended})
    else:
        click.echo(f"Recovered {len(ended)} stuck syncs")


@cli.command()
@click.option("--older-than-days", type=click.IntRange(min=1), help="Instead of EMAG_SYNC_RETENTION_DAYS.")
@_json
@click.pass_obj
def prune(place: tuple[Path | None, Path | None, int], older_than_days: int | None, as_json: bool) -> None:
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
@_json
@click.pass_obj
def health(place: tuple[Path | None, Path | None, int], as_json: bool) -> None:
    """Say how everything is. Exit code 0 where all is healthy, else 1."""
    summary = _on_ledger(place, work.report)
    if as_json:
        print_json(summary.as_dict())
    else:
        click.echo(escape(summary.sentence))
    sys.exit(0 if summary.state is State.HEALTHY else EXIT_FAILED)


def main() -> None:
    """The console script: errors of ours become one clear text and an exit code, never a traceback."""
    try:
        cli.main(prog_name="sync-monitor", standalone_mode=True)
    except ConfigError as error:
        click.echo("\n  - ".join(["sync-monitor: the configuration has problems:", *error.problems]), err=True)
        sys.exit(EXIT_CONFIG)
    except SchemaError as error:
        click.echo(f"sync-monitor: {error}", err=True)
        sys.exit(EXIT_CONFIG)
    except SyncError as error:
        click.echo(f"sync-monitor: {error}", err=True)
        sys.exit(EXIT_FAILED)


def _on_ledger(place: tuple[Path | None, Path | None, int], ask: Callable[[Postgres, Settings], Awaitable[T]]) -> T:
    config, env_file, verbose = place
    settings = load_settings(config_path=config, env_file=env_file, environ=os.environ)
    for warning in settings.warnings:
        click.echo(f"sync-monitor: {warning}", err=True)
    configure_log(verbose, secrets=secrets_of(settings))

    async def run() -> T:
        async with work.open_ledger(settings) as postgres:
            return await ask(postgres, settings)

    return asyncio.run(run())
