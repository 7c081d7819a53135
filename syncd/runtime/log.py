"""What the program says while it works: one line an event on standard error, secrets blotted out last.

Events are named `noun.verb_past`. Tracebacks never show local variables: those hold documents and passwords.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable

import structlog
from structlog.typing import EventDict, WrappedLogger

from syncd.contract.text import escape

SHORTEST_SECRET = 4  # blotting out shorter ones would shred every line and hide nothing


def configure_log(verbosity: int = 0, *, secrets: Iterable[str] = (), level: int | None = None) -> None:
    """verbosity 0 warnings, 1 information, 2 everything; `level` overrides it."""
    hidden = sorted({text for text in secrets if len(text) >= SHORTEST_SECRET}, key=len, reverse=True)
    if level is None:
        level = {0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG)

    def redact(_: WrappedLogger, __: str, event: EventDict | str) -> str:
        text = escape(str(event), keep="\n")
        for secret in hidden:
            text = text.replace(secret, "***")
        return text

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False),
            redact,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
