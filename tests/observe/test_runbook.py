"""What the runbook tells people to type exists: commands, options, units, events, queries."""

from __future__ import annotations

import json
import re
import subprocess
from itertools import pairwise
from pathlib import Path

import click
import psycopg
import pytest

from monitor.cli import cli as monitor_cli
from syncd.cli import cli as syncd_cli
from syncd.runtime.journal import MESSAGE_IDS
from tests.observe.papers import FOLDER, PAGES, blocks, commands
from tests.observe.prometheus import ROOT, load_rules

UNITS = {"syncd", "sync-monitor", "sync-monitor-prune.timer", "prometheus", "grafana-server", "postgresql*"}
FOREIGN = {
    "systemctl", "journalctl", "curl", "psql", "pg_dump", "pg_restore", "promtool", "tar", "chmod", "chown", "install",
    "cd", "ps",
}  # fmt: skip
"""Programs of the machine, of PostgreSQL and of Prometheus."""
SECTIONS = ["Meaning", "Impact", "First look", "Mitigation"]
SPOKEN = {"RUN": "01a204c0"}
ROOTS = {"syncd": syncd_cli, "sync-monitor": monitor_cli}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)


@each_page
def test_every_command_of_ours_is_one_with_these_options(page: Path) -> None:
    for words in commands(page):
        if words[0] in ROOTS and len(words) > 1:
            _parse(ROOTS[words[0]], [SPOKEN.get(word, word) for word in words[1:]])
        elif words[0] == "./deploy_sync_system.sh":
            script = ROOT / "deploy_sync_system.sh"
            assert not script.exists() or set(words[1:]) <= set(re.findall(r"--[a-z-]+", script.read_text("utf-8")))
        else:
            assert words[0] in FOREIGN, words


def _parse(group: click.Group, words: list[str]) -> None:
    if words == ["--version"]:
        return
    command = group.get_command(click.Context(group), words[0])
    assert command is not None, words
    if len(words) == 1:  # a sentence that speaks of the command
        return
    try:
        command.make_context(words[0], words[1:])
    except click.UsageError as error:
        raise AssertionError(f"{words}: {error.format_message()}") from None


@each_page
def test_every_unit_and_event_is_ours(page: Path) -> None:
    for words in commands(page):
        if words[0] in {"systemctl", "journalctl"}:
            units = words[2:] if words[0] == "systemctl" else [a for o, a in pairwise(words) if o == "-u"]
            assert {unit.removesuffix(".service") for unit in units} <= UNITS, words
        for word in words:
            if word.startswith("MESSAGE_ID="):
                assert word.removeprefix("MESSAGE_ID=") in MESSAGE_IDS.values(), words


@each_page
def test_every_query_is_accepted_by_the_ledger(page: Path, database: str) -> None:
    """Of the blocks of SQL, and what psql is given; queries on the old scripts' tables aside."""
    inline = re.findall(r"<<'SQL'\n(.*?)^SQL$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    with psycopg.connect(database, autocommit=True) as connection:
        for query in [*blocks(page, "sql"), *inline]:
            if "app." not in query:
                connection.execute(query.encode())


def test_every_page_of_an_alert_has_the_four_sections_and_a_command() -> None:
    for rule in load_rules("alerts"):
        page = FOLDER / f"{rule['alert']}.md"
        text = page.read_text("utf-8")
        assert text.startswith(f"# {rule['alert']}\n")
        assert re.findall(r"^## (.*)", text, re.MULTILINE) == SECTIONS
        assert "```sh" in text.split("## First look")[1].split("## Mitigation")[0]


def test_the_index_knows_every_page_and_the_severity_of_each_alert() -> None:
    index = (FOLDER / "README.md").read_text("utf-8")
    linked = set(re.findall(r"\]\(([\w-]+)\.md\)", index))
    assert linked == {page.stem for page in PAGES} - {"README"}
    rows = dict(re.findall(r"^\| \[(\w+)\][^|]*\| (\w+) \|", index, re.MULTILINE))
    assert rows == {rule["alert"]: rule["labels"]["severity"] for rule in load_rules("alerts")}


def test_links_to_a_headline_of_another_page_lead_somewhere() -> None:
    for page in PAGES:
        for name, anchor in re.findall(r"\]\(([\w-]+\.md)#([^)]+)\)", page.read_text("utf-8")):
            headlines = re.findall(r"^#+ (.*)", (FOLDER / name).read_text("utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^a-z0-9 -]", "", line.lower()).replace(" ", "-") for line in headlines}


def test_the_paths_under_deploy_exist() -> None:
    for page in PAGES:
        text = page.read_text("utf-8")
        for path in re.findall(r"`(deploy/[\w/.-]+)`", text) + [
            f"deploy/{path}" for path in re.findall(r"(?<![/\w])((?:prometheus|grafana)/[\w/.-]+\.yml)", text)
        ]:
            assert (ROOT / path).exists(), (page.name, path)


def test_an_empty_shell_can_read_every_block(tmp_path: Path) -> None:
    """`bash -n`: quotes and here-documents are closed."""
    for page in PAGES:
        for block in blocks(page, "sh"):
            done = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True, timeout=20, check=False)
            assert done.returncode == 0, json.dumps([page.name, done.stderr])
