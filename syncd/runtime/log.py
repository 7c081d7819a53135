"""What the program says while it works: one line or journal entry an event, secrets blotted out last.

Events are named `noun.verb_past`. Tracebacks never show local variables: those hold documents and passwords.

    facts -> text, blotted -> rendered -> escaped -> blotted -> journal, where standard error is the journal
                                                             -> standard error, a line of logfmt

Levels: debug, info, notice (a run starts or ends), warning, error, critical. The facts `run`, `stream`, `account`,
`page`, `cause`, `status` (HTTP) and `duration_ms` become fields of the journal entry as well as part of its message.

Invariants:
    1. Whatever leaves, message or field, has been through `redact` as its very last step.
    2. A change of level or secrets holds for every logger, bound before it or not: all share one `_Output`.
    3. Saying something never raises and never stops the caller for the journal's sake.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, TextIO
from urllib.parse import quote, quote_plus
from uuid import UUID

import structlog
from structlog.processors import CallsiteParameter, CallsiteParameterAdder, LogfmtRenderer
from structlog.typing import EventDict, WrappedLogger

from syncd.contract.text import escape
from syncd.contract.words import Stream
from syncd.runtime.journal import JOURNAL_SOCKET, PRIORITY_OF, Journal, fields_of, stderr_is_journal

SHORTEST_SECRET = 4  # blotting out shorter ones would shred every line and hide nothing
NOTICE = 25
LEVELS = {  # from low to high
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "notice": NOTICE,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
Target = Literal["auto", "journal", "stderr"]

_OF_A_RUN = ["run", "stream", "account"]
_LINE = LogfmtRenderer(key_order=["timestamp", "level", "event", *_OF_A_RUN], drop_missing=True, bool_as_flag=False)
_FACTS = LogfmtRenderer(key_order=_OF_A_RUN, drop_missing=True, bool_as_flag=False)
_SITE = CallsiteParameterAdder(
    [CallsiteParameter.PATHNAME, CallsiteParameter.LINENO, CallsiteParameter.FUNC_NAME],
    additional_ignores=[__name__],
)


def configure_log(
    verbosity: int = 0,
    *,
    secrets: Iterable[str] = (),
    level: int | str | None = None,
    target: Target = "auto",
    identifier: str = "syncd",
    journal_path: Path = JOURNAL_SOCKET,
) -> None:
    """Verbosity 0 warnings, 1 information, 2 everything; `level` overrides it. `identifier` is the journal's."""
    if level is None:
        level = {0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG)
    to_journal = target == "journal" or (target == "auto" and stderr_is_journal(os.environ))
    _OUTPUT.lead(sys.stderr, Journal(identifier, journal_path) if to_journal else None)
    _OUTPUT.level = _number(level)
    _OUTPUT.hide(secrets, forget=True)
    structlog.configure(
        wrapper_class=Log,
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.processors.format_exc_info,
            _facts_to_text,
        ],
        logger_factory=lambda *_: _OUTPUT,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, _FromLibraries)]
    root.addHandler(_FromLibraries())


def adjust_log(*, level: int | str | None = None, secrets: Iterable[str] = ()) -> None:
    """While running (SIGHUP), for every logger. Secrets are added: the old ones may be in flight still."""
    if level is not None:
        _OUTPUT.level = _number(level)
    _OUTPUT.hide(secrets)


def redact(text: str) -> str:
    """The text without any secret that `configure_log` and `adjust_log` were told of."""
    return _OUTPUT.redact(text)


def about(stream: Stream, run_id: UUID | None = None) -> AbstractContextManager[None]:
    """Every line said in the block, and by the tasks that begin in it, names the stream, its account and the run."""
    run = {} if run_id is None else {"run": str(run_id)}
    return structlog.contextvars.bound_contextvars(stream=str(stream), account=stream.account, **run)


def lost_entries() -> int:
    """Journal entries that a full socket refused since the start."""
    return _OUTPUT.lost


class Log(structlog.BoundLoggerBase):
    """structlog's logger with a level `notice`; below the output's level a call is one comparison."""

    def debug(self, event: str, **facts: Any) -> None:
        self._say("debug", event, facts)

    def info(self, event: str, **facts: Any) -> None:
        self._say("info", event, facts)

    def notice(self, event: str, **facts: Any) -> None:
        self._say("notice", event, facts)

    def warning(self, event: str, **facts: Any) -> None:
        self._say("warning", event, facts)

    def error(self, event: str, **facts: Any) -> None:
        self._say("error", event, facts)

    def critical(self, event: str, **facts: Any) -> None:
        self._say("critical", event, facts)

    def exception(self, event: str, **facts: Any) -> None:
        """An error, with the traceback of the exception that is being handled."""
        self._say("error", event, {"exc_info": True} | facts)

    def log(self, level: int, event: str, **facts: Any) -> None:
        """Any number; it counts as the highest level of ours that it reaches."""
        reached = [name for name, number in LEVELS.items() if number <= level]
        self._say(reached[-1] if reached else "debug", event, facts)

    def _say(self, level: str, event: str, facts: dict[str, Any]) -> None:
        if LEVELS[level] >= _OUTPUT.level:
            self._proxy_to_logger(level, event, **facts)


class _Output:
    """Where the process's events go. There is one: a process has one standard error.

    level   events below it are not said
    """

    def __init__(self) -> None:
        self.level = logging.WARNING
        self._stream: TextIO | None = sys.stderr
        self._journal: Journal | None = None
        self._secrets: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self._lost_before = 0

    @property
    def lost(self) -> int:
        return self._lost_before + (self._journal.lost if self._journal else 0)

    def lead(self, stream: TextIO | None, journal: Journal | None) -> None:
        if self._journal is not None:
            self._lost_before += self._journal.lost
            self._journal.close()
        self._stream, self._journal = stream, journal

    def hide(self, secrets: Iterable[str], *, forget: bool = False) -> None:
        known = set() if forget else self._secrets
        self._secrets = known | {text for text in secrets if len(text) >= SHORTEST_SECRET}
        spellings = {spelling for text in self._secrets for spelling in _spellings(text)}
        longest_first = sorted(spellings, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def redact(self, text: str) -> str:
        return self._pattern.sub("***", text) if self._pattern else text

    def write(self, **event: Any) -> None:
        if self._journal is None:
            self._print(self.redact(escape(str(_LINE(None, "", event)))))
        else:
            self._write_journal(self._journal, event)

    debug = info = notice = warning = error = critical = write

    def _write_journal(self, journal: Journal, event: EventDict) -> None:
        level, name = event.pop("level"), str(event.pop("event"))
        event.pop("timestamp", None)
        fields = fields_of(event)
        traceback = event.pop("exception", None)
        message = f"{escape(name)} {_FACTS(None, '', event)}".rstrip()
        if traceback:
            message += f"\n{traceback}"
        site = _SITE(None, "", {})  # type: ignore[arg-type]  # it looks at the stack alone
        fields |= {"CODE_FILE": site["pathname"], "CODE_LINE": str(site["lineno"]), "CODE_FUNC": site["func_name"]}
        message = self.redact(escape(message, keep="\n"))
        if not journal.send(name, level, message, {key: self.redact(escape(text)) for key, text in fields.items()}):
            # standard error is journald's stream, which reads a priority from each line
            self._print("\n".join(f"<{PRIORITY_OF[level]}>{line}" for line in message.split("\n")))

    def _print(self, text: str) -> None:
        if self._stream is not None:
            with contextlib.suppress(OSError, ValueError):  # closed, full disk, the reader is gone
                self._stream.write(f"{text}\n")
                self._stream.flush()


class _FromLibraries(logging.Handler):
    """What libraries say through `logging`, from warnings up: their texts may hold secrets too."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except (TypeError, ValueError, KeyError):  # arguments that do not fit the format
            text = str(record.msg)
        log = structlog.get_logger()
        log.log(record.levelno, "library.logged", library=record.name, text=text, exc_info=record.exc_info)


def _facts_to_text(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Blot before rendering too: quoting would tear apart a secret that holds quotes or backslashes."""
    plain = (bool, int, float, type(None))
    return {name: value if type(value) in plain else _OUTPUT.redact(str(value)) for name, value in event.items()}


def _spellings(secret: str) -> set[str]:
    """How a secret reads in tracebacks, JSON, URLs and escaped text."""
    json_spelling, repr_spelling = json.dumps(secret)[1:-1], repr(secret)[1:-1]
    in_urls = (spell(secret, safe="", errors="surrogatepass") for spell in (quote, quote_plus))
    return {secret, escape(secret), json_spelling, repr_spelling, *in_urls}


def _number(level: int | str) -> int:
    return level if isinstance(level, int) else LEVELS[level.lower()]


_OUTPUT = _Output()
