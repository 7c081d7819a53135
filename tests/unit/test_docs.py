"""What the documents name exists: commands, options, settings, exit codes, words, paths and symbols."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import click
import pytest
from click.testing import CliRunner

import monitor as monitor_package
from monitor.cli import cli as monitor
from syncd import __version__
from syncd.accounts import DEFAULT_BASE_URL
from syncd.cli import cli
from syncd.cli import run as run_command
from syncd.config import load_settings
from syncd.contract.runs import Claim, Sweep
from syncd.contract.words import Cause, Rejection, Status, Stream
from syncd.control.server import load_description
from syncd.daemon.view import StreamView
from syncd.runtime.journal import MESSAGE_IDS
from syncd.runtime.settings.database import PARTS, DatabaseSettings
from syncd.runtime.settings.sync import CREDENTIALS, VARIABLES, SyncSettings

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
README = (ROOT / "README.md").read_text("utf-8")
INSTALLER = (ROOT / "deploy_sync_system.sh").read_text("utf-8")
GLOSSARY = (ROOT / "docs/glossary.md").read_text("utf-8")
NAMED_OTHERWISE = {*VARIABLES.values(), "EMAG_FBE_API_BASE_URL", "EMAG_FBE_API_USERNAME", "EMAG_FBE_API_PASSWORD"}
"""Composed in the code; the settings table is compared with them."""
NOT_OURS = {"_at", "bytea", "last_seen_run", "pkill"}
OF_OTHER_PROGRAMS = {"--schema"}
"""pg_dump; the runbook's commands are tried by tests/observe."""


@pytest.fixture(params=DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def document(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture(scope="module")
def sources() -> str:
    """All text that documents may name a word of."""
    kinds = ("*.py", "*.sql")
    files = [path for folder in ("syncd", "monitor", "tests") for kind in kinds for path in (ROOT / folder).rglob(kind)]
    files = [path for path in files if path != Path(__file__)]
    files += [ROOT / name for name in ("Makefile", "setup.cfg", "pyproject.toml", ".ci/run", "deploy_sync_system.sh")]
    files += [*ROOT.glob("deploy/prometheus/*.yml"), *ROOT.glob("deploy/grafana/*.py")]
    return "\n".join(path.read_text("utf-8") for path in files)


def _commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        yield name, command


def _code_spans(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


def _rows(section: str, text: str = README) -> list[list[str]]:
    """The cells of the tables below a headline, without their headlines."""
    part = re.split(rf"^#+ {re.escape(section)}$", text, flags=re.MULTILINE)[1]
    part = re.split(r"^#+ ", part, flags=re.MULTILINE)[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_settings_table_is_the_settings() -> None:
    documented = {
        variable: (cells[1], cells[2]) for cells in _rows("Settings") for variable in re.findall(r"`(\w+)`", cells[0])
    }
    logins = {f"EMAG_{fbe}API_{half}" for fbe in ("", "FBE_") for half in ("BASE_URL", "USERNAME", "PASSWORD")}
    database = {"DATABASE_SYNC_URL", "DATABASE_URL", *PARTS, "DB_SCHEMA", "DB_POOL_MAX"}
    assert set(documented) == {*VARIABLES.values(), *logins, *database, "DISABLE_AUTO_SYNC"}
    defaults = {VARIABLES[name]: field.default for name, field in SyncSettings.model_fields.items()}
    defaults |= {
        "DB_SCHEMA": DatabaseSettings.model_fields["schema_name"].default,
        "DB_POOL_MAX": DatabaseSettings.model_fields["pool_max"].default,
        "EMAG_API_BASE_URL": DEFAULT_BASE_URL,
        "DISABLE_AUTO_SYNC": "false",
    }
    for variable, (default, _) in documented.items():
        value = defaults.get(variable)
        expected = (
            "–"
            if value is None
            else "the addresses above"
            if value == ()
            else f"{value:g}"
            if isinstance(value, float)
            else str(value)
        )
        assert default.strip("`") == expected, variable


def test_the_sample_file_is_accepted(tmp_path: Path) -> None:
    sample = tmp_path / "syncd.toml"
    sample.write_text(re.findall(r"^```toml\n(.*?)^```", README, re.DOTALL | re.MULTILINE)[0])
    credentials = tmp_path / "credentials"
    credentials.mkdir(mode=0o700)
    password = credentials / "emag-main-password"
    password.touch(mode=0o600)
    password.write_text("secret")
    environ = {"CREDENTIALS_DIRECTORY": str(credentials)}
    settings = load_settings(config_path=sample, environ=environ, system_directory=tmp_path / "nowhere")
    assert settings.warnings == ()
    (account,) = settings.accounts
    assert (account.name, account.username, account.sync.interval_seconds) == ("main", "seller", 900)


def test_every_credential_is_named() -> None:
    assert set(CREDENTIALS.values()) <= set(_code_spans(README))


def test_the_exit_codes_are_those_of_the_command() -> None:
    documented = {int(code) for code, _ in _rows("Exit codes")}
    assert documented == {value for name, value in vars(run_command).items() if name.startswith("EXIT_")}


def test_the_exit_codes_of_the_other_commands_are_of_commands() -> None:
    rows = _rows("Exit codes of the other commands")
    named = {name for cells in rows for name in re.findall(r"`syncd (\w+)`", cells[0])}
    assert named <= {name for name, _ in _commands()} - {"run"}
    assert all(re.fullmatch(r"\d+(, \d+)*", cells[1]) for cells in rows)


def test_the_exit_codes_of_the_installer_are_those_of_the_script() -> None:
    documented = {int(code) for code, _ in _rows("Exit codes of the installer")}
    assert documented == {0, *map(int, re.findall(r"\bEXIT_[A-Z_]+=(\d+)", INSTALLER))}


def test_every_option_of_the_installer_is_in_its_help() -> None:
    accepted = set(re.findall(r"^ {6}(?:\| )?(--[a-z-]+)", INSTALLER, re.MULTILINE))
    shown = set(re.findall(r"--[a-z-]+", INSTALLER.split("set -Eeuo")[0]))
    assert accepted - shown == set()


def test_the_answers_in_the_readme_are_those_of_the_control_api() -> None:
    """Real output, whose members the hand-written description names, and requires."""
    schemas = load_description()["components"]["schemas"]
    shown = re.findall(r'^\{\n.*?^\}$|^\{"[^\n]*$', README.split("### Control API")[1], re.MULTILINE | re.DOTALL)
    started, progress, run, problem = map(json.loads, shown[:4])
    assert set(started) == set(schemas["SyncStarted"]["required"])
    assert set(progress) < set(schemas["ProgressFacts"]["required"])
    assert set(run) < set(schemas["Sync"]["required"])
    assert {"type", "title", "status", "detail", "instance"} == set(problem)


async def test_the_status_line_in_the_readme_is_that_of_the_daemon() -> None:
    """But for its numbers."""
    shown = re.findall(r'^ +Status: "(.*)"$', README, re.MULTILINE)[0]
    stream = Stream("emag", "main", "offers")
    view = StreamView(stream, lambda: None)
    view.claimed(Claim(stream, 1, 1, UUID(int=1), 1, 60.0), Sweep(UUID(int=2), 100, 1, 5002, 0))
    view.page, view.requests = 21, 23
    assert _numberless(view.status_line()) == _numberless(shown)


def _numberless(line: str) -> str:
    return re.sub(r"[0-9]+(\.[0-9]+)?", "N", line)


def test_the_journal_lines_in_the_readme_have_the_facts_that_are_logged(sources: str) -> None:
    """Each event has its MESSAGE_ID, each fact its place in the source."""
    lines = re.findall(r"syncd\[\d+\]: (\S+) (.*)$", README, re.MULTILINE)
    lines += re.findall(r"sync-monitor\[\d+\]: (\S+) (.*)$", README, re.MULTILINE)
    assert [event for event, _ in lines] == ["sync.requested", "run.started", "run.ended", "run.stuck", "run.recovered"]
    for event, facts in lines:
        assert event in MESSAGE_IDS
        for name in re.findall(r"(?:^| )(\w+)=", facts):
            assert re.search(rf'"{name}"|\b{name}=', sources), f"{event} {name}"


def test_every_command_has_help_and_stands_in_the_readme() -> None:
    documented = {match[1] for cells in _rows("Using it for real") if (match := re.match(r"`syncd (\w+)", cells[0]))}
    assert documented == {name for name, _ in _commands()}
    for name, command in _commands():
        shown = CliRunner().invoke(cli, [name, "--help"])
        assert shown.exit_code == 0
        assert command.get_short_help_str()
        assert all(getattr(option, "help", "") for option in command.params if isinstance(option, click.Option)) or (
            name == "sandbox"
        )


def test_every_command_of_the_monitor_stands_in_the_readme() -> None:
    named = {match[1] for cells in _rows("The monitor") if (match := re.match(r"`sync-monitor (\w+)", cells[0]))}
    assert named == set(monitor.commands)


def test_the_functions_for_scripts_are_those_of_the_package() -> None:
    (shown,) = [block for block in re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.M) if "monitor" in block]
    imported = re.findall(r"^from monitor import (.*)$", shown, re.MULTILINE)
    assert [set(names.split(", ")) for names in imported] == [set(monitor_package.__all__)]
    compile(shown, "README.md", "exec")


def test_every_command_can_say_more_and_those_with_facts_say_them_to_machines() -> None:
    """`-v` everywhere; `--json` but for the daemon itself and the demo's story."""
    options = {
        name: {option for parameter in command.params for option in parameter.opts} for name, command in _commands()
    }
    assert [name for name, known in options.items() if "-v" not in known] == []
    assert {name for name, known in options.items() if "--json" not in known} == {"serve", "demo"}


def test_every_option_that_is_named_exists(document: Path) -> None:
    known = {option for _, command in _commands() for parameter in command.params for option in parameter.opts}
    known |= {option for one in monitor.commands.values() for parameter in one.params for option in parameter.opts}
    known |= {"--version", "--help", "--quick"}
    known |= set(re.findall(r"^#.* (--[a-z-]+)", INSTALLER, re.MULTILINE)) | set(
        re.findall(r"\[(--[a-z-]+)", INSTALLER)
    )
    named = re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", " ".join(_code_spans(document.read_text("utf-8"))))
    assert set(named) <= known | {"--allow-mass-delete"} | OF_OTHER_PROGRAMS


def test_every_make_target_that_is_named_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", document.read_text("utf-8"))) <= targets


def test_every_path_and_link_exists(document: Path) -> None:
    text = document.read_text("utf-8")
    named = {
        span for span in _code_spans(text) if re.fullmatch(r"(syncd|monitor|tests|docs|bench|\.ci)/[\w./-]+", span)
    }
    assert [path for path in named if not (ROOT / path).exists()] == []
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    assert [link for link in links if not (document.parent / link).exists()] == []
    headlines = {
        re.sub(r"[^a-z0-9 -]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^#+ (.*)", text, re.M)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= headlines


def test_every_symbol_that_is_named_exists(document: Path, sources: str) -> None:
    known = set(re.findall(r"\w+", sources)) | NAMED_OTHERWISE | NOT_OURS
    known |= {f"emag_sync_{word}" for word in known}  # metrics: all of them are compared in test_metrics.py
    spans = _code_spans(document.read_text("utf-8"))
    assert {span for span in spans if re.fullmatch(r"\w{3,}", span)} - known == set()
    for symbol, path in re.findall(r"`(\w+)` (?:in|\()\s*`([\w/]+\.py)`", document.read_text("utf-8")):
        assert re.search(rf"\b{symbol}\b", (ROOT / path).read_text("utf-8")), f"{symbol} in {path}"


def test_the_words_are_complete() -> None:
    spans = set(_code_spans(GLOSSARY))
    assert {*Status, *Cause, *Rejection} <= spans
    explained = {cause for cells in _rows("When something is odd") for cause in _code_spans(cells[0])}
    assert explained == {*Cause} - {Cause.END_OF_DATA}


def test_the_changelog_knows_this_version() -> None:
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_no_line_numbers_are_cited(document: Path) -> None:
    assert re.findall(r"\.(?:py|sql):\d+|\blines? \d+", json.dumps(document.read_text("utf-8"))) == []
