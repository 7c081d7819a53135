"""The texts that settings come from, and the words in which a wrong one is reported.

Invariant: nothing that a parser says about a text is passed on, for it may quote a secret: only the place.
"""

from __future__ import annotations

import difflib
import io
import re
import tomllib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from dotenv.parser import parse_stream

_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class EnvLine:
    """One NAME=VALUE, `number` from 1; name is None where the line cannot be read."""

    number: int
    name: str | None
    value: str = field(default="", repr=False)
    is_read_otherwise_by_systemd: bool = False


def parse_toml(text: str) -> dict[str, object]:
    """The document; ValueError names the place of the fault, for people, and quotes nothing."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"line \d+, column \d+", str(error))
        fault = f"a fault at {place.group()}" if place else "a fault at its end"
    except RecursionError:
        fault = "too many brackets within brackets"
    raise ValueError(fault)


def parse_env(text: str) -> Iterator[EnvLine]:
    """Lines of NAME=VALUE with `export`, quotes and comments; $ means nothing. A name without = is skipped."""
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            yield EnvLine(binding.original.line, None)
        elif binding.key is not None and binding.value is not None:
            raw = binding.original.string.partition("=")[2].strip()
            yield EnvLine(binding.original.line, binding.key, binding.value, _is_ambiguous(raw))


def _is_ambiguous(raw: str) -> bool:
    # systemd.exec(5), EnvironmentFile=: an unquoted backslash escapes, and a # within a line is no comment.
    return "\\" in raw or (raw[:1] not in {"'", '"'} and re.search(r"['\"]|\s#", raw) is not None)


def shown(value: object) -> str:
    """A value that is no secret, safe for a terminal and short."""
    text = ascii(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def toml_name(*path: str) -> str:
    """`[sync] max_pages`, as one finds it in the file."""
    *tables, key = (part if re.fullmatch(r"[A-Za-z0-9_-]{1,60}", part) else shown(part) for part in path)
    return f"[{'.'.join(tables)}] {key}" if tables else key


def did_you_mean(name: str, known: Collection[str]) -> str:
    """What to write instead of an unknown name."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"another one: did you mean {near[0]}?" if near else f"one of {', '.join(sorted(known))}"
