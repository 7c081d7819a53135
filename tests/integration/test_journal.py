"""The journal's entries, as a journald of our own receives them over its datagram socket."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from syncd.runtime.journal import MESSAGE_IDS, PRIORITY_OF, Journal, stderr_is_journal
from syncd.runtime.log import adjust_log, configure_log, lost_entries
from tests.journald import Journald

SECRET = "canary-7f3a"
pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    receiver = Journald(tmp_path / "socket")
    yield receiver
    receiver.close()


@pytest.fixture
def log(journald: Journald) -> Iterator[Any]:
    """A logger that says everything to our journald, and a program with a secret; undone afterwards."""
    handlers = list(logging.getLogger().handlers)
    configure_log(2, secrets=[SECRET], target="journal", journal_path=journald.path)
    yield structlog.get_logger()
    configure_log(target="stderr")
    structlog.reset_defaults()
    logging.getLogger().handlers = handlers


@pytest.fixture
def journal(journald: Journald) -> Iterator[Journal]:
    opened = Journal("syncd", journald.path)
    yield opened
    opened.close()


def fill(journal: Journal) -> int:
    """Send until entries are lost; how many arrived."""
    arrived = 0
    while not journal.lost:
        assert journal.send("page.stored", "debug", "page.stored", {})
        arrived += 1
    return arrived - 1


def test_an_event_becomes_an_entry_with_its_fields(log: Any, journald: Journald) -> None:
    """`journalctl SYNC_RUN_ID=...` finds it, and its message reads well without the fields."""
    log.bind(run="r1", stream="emag/main/offers").notice("run.started", account="main", pages=100, text="două cuvinte")
    entry = journald.entry()
    assert entry.pop("CODE_FILE") == __file__
    assert int(entry.pop("CODE_LINE")) > 0
    assert entry == {
        "MESSAGE": 'run.started run=r1 stream=emag/main/offers account=main pages=100 text="două cuvinte"',
        "PRIORITY": "5",
        "SYSLOG_IDENTIFIER": "syncd",
        "MESSAGE_ID": MESSAGE_IDS["run.started"],
        "SYNC_RUN_ID": "r1",
        "SYNC_STREAM": "emag/main/offers",
        "SYNC_ACCOUNT": "main",
        "CODE_FUNC": "test_an_event_becomes_an_entry_with_its_fields",
    }


def test_every_level_has_its_priority_and_a_change_of_level_holds_at_once(log: Any, journald: Journald) -> None:
    """A logger bound before the change obeys it too."""
    bound = log.bind(page=1)
    for level in PRIORITY_OF:
        getattr(bound, level)("thing.happened")
    assert [entry["PRIORITY"] for entry in journald.entries()] == ["2", "3", "4", "5", "6", "7"]
    adjust_log(level="notice")
    for level in PRIORITY_OF:
        getattr(bound, level)("thing.happened")
    assert [entry["PRIORITY"] for entry in journald.entries()] == ["2", "3", "4", "5"]


def test_no_field_holds_a_secret(log: Any, journald: Journald) -> None:
    """Neither those of an event, nor a traceback, nor what a library says."""
    text = f"<{SECRET}>"
    facts = {"run": text, "stream": text, "account": text, "page": text, "cause": text, "duration_ms": text}
    log.warning(f"thing.happened {SECRET}", **facts, status=500, other=[text])
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("run.crashed")
    logging.getLogger("a.library").warning("cannot connect: %s", text)
    event, crash, library = journald.entries()
    assert all(SECRET not in value for entry in (event, crash, library) for value in entry.values())
    fields = ("SYNC_RUN_ID", "SYNC_STREAM", "SYNC_ACCOUNT", "SYNC_PAGE", "SYNC_CAUSE", "DURATION_MS")
    assert [event[name] for name in fields] == ["<***>"] * 6
    assert event["HTTP_STATUS"] == "500"
    assert event["MESSAGE"].count("***") == 8
    assert crash["MESSAGE"].endswith("ValueError: <***>")
    assert library["MESSAGE"].startswith("library.logged ")


def test_a_number_that_is_a_secret_is_hidden_in_every_field(log: Any, journald: Journald) -> None:
    """The last filter sees text only, whatever the facts were."""
    adjust_log(secrets=["20261122"])
    log.warning("thing.happened", page=20261122, status=20261122, duration_ms=20261122)
    entry = journald.entry()
    assert [entry[name] for name in ("SYNC_PAGE", "HTTP_STATUS", "DURATION_MS")] == ["***"] * 3
    assert entry["MESSAGE"] == "thing.happened page=*** status=*** duration_ms=***"


def test_remote_text_forges_no_field_and_no_line(log: Any, journald: Journald) -> None:
    """Only a traceback has lines of its own."""
    forged = "a\nPRIORITY=0\nMESSAGE_ID=0\x1b[2J\0"
    log.warning("thing.happened", run=forged, text=forged)
    entry = journald.entry()
    assert entry["PRIORITY"] == "4"
    assert "MESSAGE_ID" not in entry
    assert entry["SYNC_RUN_ID"] == r"a\nPRIORITY=0\nMESSAGE_ID=0\x1b[2J\x00"
    assert "\n" not in entry["MESSAGE"]


def test_a_traceback_keeps_its_lines(log: Any, journald: Journald) -> None:
    """A person reads it in `journalctl`."""
    try:
        raise ValueError("wrong")
    except ValueError:
        log.exception("run.crashed", run="r1")
    lines = journald.entry()["MESSAGE"].split("\n")
    assert lines[:2] == ["run.crashed run=r1", "Traceback (most recent call last):"]
    assert lines[-1] == "ValueError: wrong"


def test_an_entry_larger_than_the_socket_takes_arrives_whole(journal: Journal, journald: Journald) -> None:
    """As a sealed memory file, and no descriptor stays behind."""
    open_before = len(os.listdir("/proc/self/fd"))
    message = "ș" * (8 << 20) + "\nend"
    assert journal.send("cap.near", "warning", message, {"SYNC_PAGE": "9"})
    entry = journald.entry()
    assert journald.files == 1
    assert entry["MESSAGE"] == message
    assert entry["SYNC_PAGE"] == "9"
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_a_journald_that_does_not_read_costs_entries_and_no_time(journal: Journal, journald: Journald) -> None:
    """What is lost is counted, large entries too, and the count is said once there is room."""
    arrived = fill(journal)
    assert journal.send("page.stored", "debug", "x" * (16 << 20), {})
    assert journal.lost == 2
    assert len(journald.entries()) == arrived
    assert journal.send("page.stored", "debug", "after", {})
    after, said = journald.entries()
    assert after["MESSAGE"] == "after"
    assert said["MESSAGE"] == "log.lost entries=2"
    assert (said["PRIORITY"], said["MESSAGE_ID"]) == ("4", MESSAGE_IDS["log.lost"])
    assert journal.send("page.stored", "debug", "later", {})
    assert [entry["MESSAGE"] for entry in journald.entries()] == ["later"]


def test_the_count_of_lost_entries_survives_a_new_configuration(log: Any, journald: Journald) -> None:
    """A metric must not go backwards."""
    before = lost_entries()
    while lost_entries() < before + 3:
        log.debug("page.stored")
    configure_log(2, target="journal", journal_path=journald.path)
    assert lost_entries() == before + 3


def test_a_socket_that_journald_made_anew_is_found(journal: Journal, journald: Journald, tmp_path: Path) -> None:
    """journald was restarted without its socket unit."""
    assert journal.send("run.started", "notice", "one", {})
    assert journald.entry()["MESSAGE"] == "one"
    journald.socket.close()
    assert not journal.send("run.started", "notice", "nobody reads", {})
    journald.path.unlink()
    assert not journal.send("run.started", "notice", "nobody is there", {})
    again = Journald(journald.path)
    assert journal.send("run.started", "notice", "two", {})
    assert again.entry()["MESSAGE"] == "two"
    again.socket.close()


def test_without_a_journald_the_lines_go_to_standard_error_with_their_priority(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log: Any
) -> None:
    """Standard error is journald's stream there, which understands the mark."""
    configure_log(target="journal", journal_path=tmp_path / "nobody", secrets=[SECRET])
    log.warning("thing.happened", text=SECRET)
    try:
        raise ValueError("wrong")
    except ValueError:
        log.exception("run.crashed")
    lines = capsys.readouterr().err.splitlines()
    assert lines[:3] == ["<4>thing.happened text=***", "<3>run.crashed", "<3>Traceback (most recent call last):"]
    assert all(line.startswith("<3>") for line in lines[1:])


def test_standard_error_is_the_journal_only_while_it_is_that_very_stream(tmp_path: Path) -> None:
    """The variable is inherited by what runs in a terminal, or with its output redirected, too."""
    with open(tmp_path / "stream", "w") as stream, open(tmp_path / "other", "w") as other:
        facts = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{facts.st_dev}:{facts.st_ino}"}
        assert stderr_is_journal(environ, stream.fileno())
        assert not stderr_is_journal(environ, other.fileno())
        assert not stderr_is_journal({}, stream.fileno())
        number = stream.fileno()
    assert not stderr_is_journal(environ, number)
