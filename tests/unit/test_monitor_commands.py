"""The commands of the monitor: what they take, and what they say to who types them wrongly."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from monitor import cleanup_stuck_syncs
from monitor.cli import cli

COMMANDS = {"serve", "stuck", "recover", "prune", "health"}


def options_of(command: click.Command) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


def test_every_command_has_help_says_more_and_says_facts_to_machines() -> None:
    assert set(cli.commands) == COMMANDS
    for name, command in cli.commands.items():
        shown = CliRunner().invoke(cli, [name, "--help"])
        assert shown.exit_code == 0
        assert command.get_short_help_str()
        assert {"-v", "--config", "--env-file"} <= options_of(command)
        assert ("--json" in options_of(command)) == (name != "serve")


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["recover", "--older-than-hours", "-1"], ["recover", "--older-than-hours", "nan"],
     ["recover", "01a2", "--older-than-hours", "0"],
     ["prune", "--older-than-days", "0"], ["prune", "--older-than-days", "36501"], ["stuck", "too", "many"]],
)  # fmt: skip
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(cli, arguments).exit_code == 2


@pytest.mark.parametrize("hours", [-1, float("nan")])
def test_a_script_ends_no_sync_by_what_is_no_age(hours: float) -> None:
    """-1 was every open sync."""
    with pytest.raises(ValueError, match="max_age_hours"):
        cleanup_stuck_syncs(max_age_hours=hours)


def test_a_configuration_with_problems_ends_with_78_and_names_each() -> None:
    """Before any database is asked; also on standard output where a machine waits for JSON."""
    environment = {"DATABASE_URL": "postgresql://u@192.0.2.1/x", "EMAG_SYNC_LEASE_SECONDS": "soon", "DB_POOL_MAX": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "monitor", "health", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 78
    assert "EMAG_SYNC_LEASE_SECONDS" in done.stderr
    assert "DB_POOL_MAX" in done.stderr
    assert '"exit_code": 78' in done.stdout
    assert "Traceback" not in done.stderr
