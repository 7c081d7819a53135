"""Whoever has read README or runbook finds the answer to the five questions, by the commands that stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.deploy.machine import Machine
from tests.deploy.supplies import ROOT

QUESTIONS = ("Is it running?", "How far is it?", "Why did last night's run fail?", "What changed in my offers?",
             "How do I stop it now?")  # fmt: skip
ONE_OTHER_PRICE = """
UPDATE sync.record SET hash = '\\x00',
       document = regexp_replace(document::text, '"sale_price": ?[0-9.]+', '"sale_price":1.5')::json
 WHERE key = (SELECT min(key) FROM sync.record)"""


def shown(page: Path) -> dict[str, list[str]]:
    """The commands that the page shows for each question; the block below the table for "the query below"."""
    text = page.read_text("utf-8")
    (query,) = re.findall(r"```sh\n(runuser .*?)```", text, re.DOTALL)
    cells = dict(re.findall(r"^\| (\w[^|]*\?) \| (.*) \|$", text, re.MULTILINE))
    return {
        question: [query] if "query below" in cells[question] else re.findall(r"`([^`]+)`", cells[question])
        for question in QUESTIONS
    }


@pytest.mark.parametrize("page", ["README.md", "docs/runbook/README.md"])
def test_the_five_questions_are_answered_by_the_commands_that_are_shown(machine: Machine, page: str) -> None:
    commands = shown(ROOT / page)

    def answers(question: str, **spoken: str) -> list[str]:
        said = []
        for command in commands[question]:
            for name, value in spoken.items():
                command = re.sub(rf"\b{name}$", value, command)
            if "--watch" not in command:
                said.append(machine.box.say("bash", "-c", f"SYSTEMD_COLORS=0 SYSTEMD_PAGER= {command}"))
        return said

    running, health = answers("Is it running?")
    assert running.count("Active: active (running)") == 2
    assert health
    run_id = machine.begin_run()
    (far,) = answers("How far is it?")
    assert re.search(r"running.*\bpage \d+", far, re.DOTALL)
    machine.command("recover", "--older-than-hours", "0", program="sync-monitor")
    listed, explained, *_ = answers("Why did last night's run fail?", RUN=run_id)
    assert run_id[:13] in listed
    assert "failed" in explained
    machine.query(ONE_OTHER_PRICE)
    machine.sync_completely()
    assert re.search(r"sale_price *\| 1\.5", answers("What changed in my offers?")[0])
    machine.begin_run()
    stop, resume = commands["How do I stop it now?"][:2]
    assert (stop.split()[:2], resume) == (["syncd", "stop"], "syncd resume")
    machine.box.say("bash", "-c", stop)
    machine.box.until(lambda: machine.query("SELECT 1 FROM sync.run WHERE status = 'running'") == [], "it has stopped")
    machine.box.say("bash", "-c", resume)
