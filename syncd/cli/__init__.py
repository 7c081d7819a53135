"""The commands. Each lives in a module of its own, which is imported when the command is called."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Sequence

import click

from syncd import __version__
from syncd.contract.errors import ConfigError, SchemaError, SyncError
from syncd.runtime.journal import PRIORITY_OF, stderr_is_journal

EXIT_FAILED = 1
EXIT_CONFIG = 78

_COMMANDS = {
    "run": "syncd.cli.run",
    "plan": "syncd.cli.plan",
    "serve": "syncd.cli.serve",
    "trigger": "syncd.cli.steer",
    "pause": "syncd.cli.steer",
    "resume": "syncd.cli.steer",
    "stop": "syncd.cli.stop",
    "status": "syncd.cli.status",
    "runs": "syncd.cli.ledger",
    "explain": "syncd.cli.ledger",
    "cancel": "syncd.cli.steer",
    "approve": "syncd.cli.steer",
    "check": "syncd.cli.check",
    "migrate": "syncd.cli.migrate",
    "sandbox": "syncd.sandbox.command",
    "demo": "syncd.cli.demo",
}


class _Commands(click.Group):
    """Imports a command's module when it is called: the sandbox does not weigh on a sync."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(importlib.import_module(_COMMANDS[cmd_name]), cmd_name)
        assert isinstance(command, click.Command)  # noqa: S101  # our own table
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="syncd")
def cli() -> None:
    """Sync a marketplace's offers into PostgreSQL, and say "complete" only when that is proven."""


def main() -> None:
    """The console script: errors of ours become one clear text and an exit code, never a traceback."""
    try:
        cli.main(prog_name="syncd", standalone_mode=True)
    except ConfigError as error:
        count = len(error.problems)
        _leave(EXIT_CONFIG, f"{count} problem{'s' if count > 1 else ''} in the configuration:", error.problems)
    except SchemaError as error:
        _leave(EXIT_CONFIG, str(error))
    except SyncError as error:
        _leave(EXIT_FAILED, str(error))


def _leave(code: int, text: str, problems: Sequence[str] = ()) -> None:
    """Say it on standard error, and on standard output too where a machine waits for JSON."""
    mark = f"<{PRIORITY_OF['critical']}>" if stderr_is_journal(os.environ) else ""  # journald reads it from each line
    lines = [f"syncd: {text}", *(f"  - {problem}" for problem in problems)]
    click.echo("\n".join(mark + line for line in lines), err=True)
    if "--json" in sys.argv:
        click.echo(json.dumps({"error": text, "problems": list(problems), "exit_code": code}))
    sys.exit(code)
