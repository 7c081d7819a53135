"""Whoever has read README or runbook finds the answer to the five questions, by the commands that stand there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.deploy.machine import Machine
from tests.deploy.supplies import ROOT

QUESTIONS = ("Is it running?", "How far is it?", "Why did last night's run fail?", "What changed in my offers?",
             "How do I stop it now?")  # fmt: skip
HEALTH = "sync-monitor health"
"""1 where all is not well, as after a test that has an account refused."""
ONE_OTHER_PRICE = """
UPDATE sync.record SET hash = '\\x00',
       document = regexp_replace(document::text, '"sale_price": ?[0-9.]+', '"sale_price":1.5')::json
 WHERE key = (SELECT key FROM sync.record ORDER BY length(key) DESC, key DESC LIMIT 1)"""
"""Of the last page, which the run that was cut off has not read yet: the next one goes on at its checkpoint."""


def shown(page: Path) -> dict[str, list[str]]:
    """The commands that the page shows for each question; the block below the table for "the query below"."""
    text = page.read_text("utf-8")
    (query,) = re.findall(r"```sh\n(runuser .*?)```", text, re.DOTALL)
    cells = dict(re.findall(r"^\| (\w[^|]*\?) \| (.*) \|$", text, re.MULTILINE))
    return {
        question: [query] if "query below" in cells[question] else re.findall(r"`([^`]+)`", cells[question])
        for question in QUESTIONS
    }


def test_readme_and_runbook_show_the_same() -> None:
    assert shown(ROOT / "README.md") == shown(ROOT / "docs/runbook/README.md")


def test_the_five_questions_are_answered_by_the_commands_that_are_shown(machine: Machine) -> None:
    commands = shown(ROOT / "README.md")

    def answers(question: str, run_id: str = "") -> list[str]:
        said = []
        for command in commands[question]:
            if "--watch" not in command:
                done = machine.box.exec("bash", "-c", re.sub(r"\bRUN$", run_id, command), check=False)
                assert done.returncode == 0 or (command, done.returncode) == (HEALTH, 1), done.stdout + done.stderr
                said.append(done.stdout.strip())
        return said

    running, health = answers("Is it running?")
    assert (running.count("Active: active (running)"), health != "") == (2, True)
    run_id = machine.begin_run()
    assert re.search(r"^emag/main/offers +running: read +\d+/\d+", answers("How far is it?")[0], re.MULTILINE)
    machine.command("recover", "--older-than-hours", "0", program="sync-monitor")
    listed, explained, log = answers("Why did last night's run fail?", run_id)
    assert run_id[:13] in listed
    assert "failed" in explained
    assert "run.started" in log
    machine.query(ONE_OTHER_PRICE)
    machine.sync_completely()
    assert re.search(r"sale_price *\| 1\.5", answers("What changed in my offers?")[0])
    run_id = machine.begin_run()
    assert commands["How do I stop it now?"] == ["syncd stop", "syncd resume"]
    machine.box.say("syncd", "stop")
    assert machine.run_ended(run_id) == ("cancelled", "cancelled")
    machine.box.say("syncd", "resume")
