"""The commands. Each lives in a module of its own, which is imported when the command is called."""

from __future__ import annotations

import importlib

import click

from syncd import __version__
from syncd.runtime.command import run_cli

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
    """The console script."""
    run_cli(cli, "syncd")
