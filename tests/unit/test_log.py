"""What the log shows, hides and escapes, on standard error."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import structlog
from hypothesis import example, given
from hypothesis import strategies as st

import monitor
import syncd
from syncd.contract.words import Cause
from syncd.runtime.journal import FIELD_OF, MESSAGE_IDS, PRIORITY_OF, encode_entry, fields_of
from syncd.runtime.log import LEVELS, adjust_log, configure_log, redact

SECRET = 'p"a\\ss wörd\t%/1'
EVERY_LEVEL = list(LEVELS)


@pytest.fixture(autouse=True)
def log() -> Iterator[Any]:
    """A logger; what the test configures is undone."""
    handlers = list(logging.getLogger().handlers)
    yield structlog.get_logger()
    configure_log(target="stderr")
    structlog.reset_defaults()
    logging.getLogger().handlers = handlers


def say_at_every_level(log: Any) -> None:
    for level in EVERY_LEVEL:
        getattr(log, level)("thing.happened")


def levels_shown(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return re.findall(r"level=(\w+)", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("chosen", "lowest"),
    [
        ({}, "warning"),
        ({"verbosity": 1}, "info"),
        ({"verbosity": 2}, "debug"),
        ({"verbosity": 3}, "debug"),
        ({"level": "notice"}, "notice"),
        ({"level": logging.ERROR, "verbosity": 2}, "error"),
    ],
)
def test_each_verbosity_shows_its_level_and_all_above(
    log: Any, capsys: pytest.CaptureFixture[str], chosen: dict[str, Any], lowest: str
) -> None:
    """Notice, where a run starts and ends, stands between information and warnings."""
    configure_log(**chosen, target="stderr")
    say_at_every_level(log)
    assert levels_shown(capsys) == EVERY_LEVEL[EVERY_LEVEL.index(lowest) :]


def test_a_change_of_level_holds_for_loggers_bound_before_it(log: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """SIGHUP changes it in the middle of a run, whose loggers have long been bound."""
    configure_log(level="warning", target="stderr")
    bound = log.bind(run="r1")
    say_at_every_level(bound)
    assert levels_shown(capsys) == ["warning", "error", "critical"]
    adjust_log(level="debug")
    say_at_every_level(bound)
    assert levels_shown(capsys) == EVERY_LEVEL
    configure_log(level="error", target="stderr")
    say_at_every_level(bound)
    assert levels_shown(capsys) == ["error", "critical"]


def test_a_new_secret_is_hidden_by_loggers_bound_before_it_and_the_old_one_stays_hidden(
    log: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A rotated password may still be in flight."""
    configure_log(1, secrets=["old-password"], target="stderr")
    bound = log.bind(run="r1")
    adjust_log(secrets=["new-password"])
    bound.info("thing.happened", text="old-password new-password")
    assert 'text="*** ***"' in capsys.readouterr().err


def test_a_secret_is_hidden_wherever_it_stands_and_however_it_is_spelled(
    log: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """In facts, names of events, nested values, tracebacks, context and what libraries say."""
    configure_log(2, secrets=[SECRET], target="stderr")
    with structlog.contextvars.bound_contextvars(where=f"context {SECRET}"):
        log.bind(bound=SECRET).warning(
            f"thing.happened {SECRET}",
            text=f"<{SECRET}>",
            nested={"a": [SECRET]},
            url="x://u:p%22a%5Css%20w%C3%B6rd%09%25%2F1@h",
        )
    try:
        raise ValueError(f"refused: {SECRET!r}, {SECRET}")
    except ValueError:
        log.exception("thing.failed")
    logging.getLogger("some.library").error("cannot connect with %s", SECRET)
    shown = capsys.readouterr().err
    assert shown.count("***") == 9
    assert "wörd" not in shown
    assert "ss w" not in shown
    assert len(shown.splitlines()) == 3


def test_a_number_that_is_a_secret_is_hidden(log: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The last filter sees text only, whatever the facts were."""
    configure_log(2, secrets=["20261122"], target="stderr")
    log.warning("thing.happened", count=20261122)
    assert "count=***" in capsys.readouterr().err


@given(
    st.text(st.characters(exclude_characters="*"), min_size=4, max_size=12), st.text(max_size=5), st.text(max_size=5)
)
@example("\ud800 half", "", "")  # of a variable that is no UTF-8
def test_no_text_keeps_a_secret(secret: str, before: str, after: str) -> None:
    """Also where it repeats or overlaps itself. With asterisks in it the replacement could complete it anew."""
    configure_log(secrets=[secret], target="stderr")
    assert secret not in redact(f"{before}{secret}{after}")


def test_remote_text_cannot_move_the_cursor_or_begin_a_line(log: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Control and bidirectional characters are shown, not obeyed."""
    configure_log(1, target="stderr")
    log.info("thing.happened", text="a\x1b[2Jb\nlevel=critical\u202e\ud800")
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 1
    assert r"a\x1b[2Jb\nlevel=critical\u202e\ud800" in shown


def test_tracebacks_hold_no_local_variables(log: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """They hold documents and passwords."""
    configure_log(target="stderr")
    document = "a whole " + "document"
    try:
        raise ValueError(len(document))
    except ValueError:
        log.exception("thing.failed")
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert document not in shown


def test_a_closed_standard_error_costs_the_line_and_no_more(log: Any) -> None:
    """Nobody's work ends because it could not be told."""
    stream = io.StringIO()
    with redirect_stderr(stream):
        configure_log(target="stderr")
    log.warning("thing.happened")
    assert "event=thing.happened" in stream.getvalue()
    stream.close()
    log.warning("thing.happened")


def test_message_ids_are_random_ids_each_used_once() -> None:
    """As sd-id128(3) wants them."""
    assert len(set(MESSAGE_IDS.values())) == len(MESSAGE_IDS)
    for event, number in MESSAGE_IDS.items():
        assert re.fullmatch(r"[a-z]+\.[a-z_]+", event)
        assert re.fullmatch(r"[0-9a-f]{32}", number)
        assert UUID(number).version == 4


_SAID = re.compile(r'(?:\blog\.\w+|\b_?say|\b_changed)\(\s*(?:call, |record\.levelno, )?"([a-z]+\.[a-z_]+)"')


def test_every_event_has_a_message_id_and_every_id_an_event() -> None:
    """So that whatever the journal holds of us can be asked for by it."""
    packages = [Path(package.__file__).parent for package in (syncd, monitor)]
    sources = [path.read_text() for package in packages for path in package.rglob("*.py")]
    said = {event for source in sources for event in _SAID.findall(source)}
    assert len(said) > 40
    assert set(MESSAGE_IDS) - said == {"log.lost"}  # the journal's own
    assert said <= set(MESSAGE_IDS)


def test_no_level_is_broadcast_to_every_terminal() -> None:
    """journald does that to 0, and some to 1."""
    assert list(PRIORITY_OF) == EVERY_LEVEL[::-1]
    assert list(PRIORITY_OF.values()) == [2, 3, 4, 5, 6, 7]


def test_facts_become_fields_by_their_names() -> None:
    """A run's status is not HTTP's."""
    facts = {"run": "r1", "stream": "a/b/c", "account": "b", "page": 7, "cause": Cause.END_OF_DATA, "duration_ms": 1.5}
    fields = fields_of({**facts, "status": 429, "other": 1})
    assert list(fields) == [FIELD_OF[name] for name in [*facts, "status"]]
    assert fields["SYNC_CAUSE"] == str(Cause.END_OF_DATA)
    assert fields["HTTP_STATUS"] == "429"
    assert fields_of({"status": "complete", "page": None}) == {}


def test_values_of_many_lines_travel_with_their_size() -> None:
    """Or their second line would be a field."""
    entry = encode_entry({"MESSAGE": "a\nPRIORITY=0", "PRIORITY": "6", "TEXT": "ș=\ud800"})
    size = b"\x0c\0\0\0\0\0\0\0"
    assert entry == b"MESSAGE\n" + size + b"a\nPRIORITY=0\nPRIORITY=6\nTEXT=\xc8\x99=\\ud800\n"
