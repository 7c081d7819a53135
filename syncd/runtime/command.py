"""What every command of ours does alike: its options, who gave it, how facts and failures are told."""

from __future__ import annotations

import getpass
import json
import os
import socket
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import click

from syncd.contract.errors import ConfigError, SchemaError, SyncError
from syncd.runtime.journal import PRIORITY_OF, stderr_is_journal

EXIT_FAILED = 1
EXIT_CONFIG = 78

P = TypeVar("P")
T = TypeVar("T")

json_option = click.option("--json", "as_json", is_flag=True, help="Print facts as JSON.")


def place_options(
    make: Callable[[Path | None, Path | None, int], P],
) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Adds --config, --env-file and -v to a command, which gets what is made of them as its first argument."""

    def with_place(command: Callable[..., T]) -> Callable[..., T]:
        @click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="Settings file (TOML).")
        @click.option("--env-file", type=click.Path(path_type=Path, dir_okay=False), help="File of KEY=VALUE lines.")
        @click.option("-v", "--verbose", count=True, help="Log more: -v what happens, -vv every call.")
        @wraps(command)
        def wrapped(config: Path | None, env_file: Path | None, verbose: int, **arguments: Any) -> T:
            return command(make(config, env_file, verbose), **arguments)

        return wrapped

    return with_place


def run_cli(cli: click.Group, name: str) -> None:
    """The console script: errors of ours become one clear text and an exit code, never a traceback."""
    try:
        cli.main(prog_name=name, standalone_mode=True)
    except ConfigError as error:
        count = len(error.problems)
        _leave(name, EXIT_CONFIG, f"{count} problem{'s' if count > 1 else ''} in the configuration:", error.problems)
    except SchemaError as error:
        _leave(name, EXIT_CONFIG, str(error))
    except SyncError as error:
        _leave(name, EXIT_FAILED, str(error))


def _leave(name: str, code: int, text: str, problems: Sequence[str] = ()) -> None:
    """Say it on standard error, and on standard output too where a machine waits for JSON."""
    mark = f"<{PRIORITY_OF['critical']}>" if stderr_is_journal(os.environ) else ""  # journald reads it from each line
    lines = [f"{name}: {text}", *(f"  - {problem}" for problem in problems)]
    click.echo("\n".join(mark + line for line in lines), err=True)
    if "--json" in sys.argv:
        click.echo(json.dumps({"error": text, "problems": list(problems), "exit_code": code}))
    sys.exit(code)


def initiator() -> str:
    """Who gave this command, for the ledger: `cli:user@host`."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # no such user in this container
        user = str(os.getuid())
    return f"cli:{user}@{socket.gethostname()}"


def print_json(facts: object) -> None:
    """One JSON document on standard output."""
    json.dump(facts, sys.stdout, default=_encode, ensure_ascii=False, indent=2)
    sys.stdout.write("\n")


def _encode(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(type(value).__name__)
