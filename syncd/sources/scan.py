"""Splits JSON that a JSON reader refuses, so that one bad record does not cost the 99 good ones of its page.

A reader gives up on a whole page for a single lone surrogate or 10,000 nested lists. This scanner
looks at structure only (strings, brackets, commas) and leaves the inside of values unread.

Invariants:
    1. Linear in the bytes, no recursion: depth costs one byte of memory a level.
    2. A slice is exactly the served bytes, without the white space around it.
    3. Never fewer items silently: what is cut off, unbalanced, or holds a quote where none can stand
       (after which strings and structure change places) raises ValueError.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

_SPACE = rb"[ \t\n\r]*+"
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_SCALAR = rb'[^ \t\n\r"\[\]{},:]++'
_PUNCTUATION = rb"[ \t\n\r\[\]{},:]*+"
_TOKENS_PATTERN = (
    _PUNCTUATION + b"(?:(?:" + _STRING + b"|" + _SCALAR + b")" + _SPACE + b"[,:\\]}]" + _PUNCTUATION + b")*+"
)


def _shallow(levels: int) -> bytes:
    """A pattern of anything that is balanced and at most this deep: the bulk of every ordinary record."""
    pattern = rb'[^"\[\]{}]++|' + _STRING
    if levels:
        inner = b"(?:" + _shallow(levels - 1) + b")*+"
        pattern += rb"|\[" + inner + rb"\]|\{" + inner + rb"\}"
    return pattern


_SPACES = re.compile(_SPACE)
_STRING_TOKEN = re.compile(_STRING, re.DOTALL)
_SCALAR_TOKEN = re.compile(_SCALAR)
_TOKENS = re.compile(_TOKENS_PATTERN, re.DOTALL)
_OPENINGS = rb'(?:[\[{](?:"[^"\\\[\]{}]*+"' + _SPACE + b":" + _SPACE + b")?+)++"
_BRACKETS = re.compile(b"(?:" + _shallow(3) + b")++|(" + _OPENINGS + rb")|([\]}]++)", re.DOTALL)
_NOT_OPENERS = bytes(byte for byte in range(256) if byte not in b"[{")
_CLOSERS = bytes.maketrans(b"[{", b"]}")


def check_tokens(data: bytes) -> None:
    """Raise ValueError where a string or a bare word of a container is not followed by `,` `:` `]` or `}`.

    Without this, two stray quotes could fuse the records between them into one.
    """
    match = _TOKENS.match(data)
    end = match.end() if match else 0
    if end != len(data):
        raise ValueError(f"no JSON token at byte {end}")


def read_object(data: bytes) -> dict[str, bytes]:
    """The members of the object that `data` is, each value as raw bytes; of a repeated name the last one."""
    members: dict[str, bytes] = {}
    position = 0
    for start, end in _children(data, b"{", b"}"):
        name_end = _string_end(data, start)
        colon = _skip_spaces(data, name_end)
        if data[colon : colon + 1] != b":":
            raise ValueError(f"expected ':' at byte {colon}")
        position = _skip_spaces(data, colon + 1)
        members[_name(data[start:name_end])] = data[position:end]
    return members


def split_list(data: bytes) -> list[bytes]:
    """The items of the list that `data` is, in order, as raw bytes."""
    return [data[start:end] for start, end in _children(data, b"[", b"]")]


def _children(data: bytes, opener: bytes, closer: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of each child of the one container that `data` is; a member of an object is one child."""
    position = _skip_spaces(data, 0)
    if data[position : position + 1] != opener:
        raise ValueError(f"expected {opener.decode()!r} at byte {position}")
    position = _skip_spaces(data, position + 1)
    if data[position : position + 1] != closer:
        while True:
            start = position
            position = _value_end(data, start)
            if opener == b"{":
                colon = _skip_spaces(data, position)
                position = _value_end(data, _skip_spaces(data, colon + 1))
            yield start, position
            position = _skip_spaces(data, position)
            if data[position : position + 1] != b",":
                break
            position = _skip_spaces(data, position + 1)
    if data[position : position + 1] != closer:
        raise ValueError(f"expected {closer.decode()!r} at byte {position}")
    if _skip_spaces(data, position + 1) != len(data):
        raise ValueError(f"something follows the end at byte {position + 1}")


def _value_end(data: bytes, start: int) -> int:
    """Where the value that begins at `start` ends."""
    first = data[start : start + 1]
    if first == b'"':
        return _string_end(data, start)
    if first in (b"[", b"{"):
        return _container_end(data, start)
    scalar = _SCALAR_TOKEN.match(data, start)
    if scalar is None:
        raise ValueError(f"expected a value at byte {start}")
    return scalar.end()


def _container_end(data: bytes, start: int) -> int:
    """Where the container that opens at `start` closes. Runs of brackets are taken at once."""
    awaited = bytearray(data[start : start + 1].translate(_CLOSERS))
    for token in _BRACKETS.finditer(data, start + 1):
        opening, closing = token.groups()
        if opening:
            awaited += opening.translate(_CLOSERS, _NOT_OPENERS)
        elif closing:
            count = min(len(closing), len(awaited))
            if awaited[-count:][::-1] != closing[:count]:
                raise ValueError(f"mismatched bracket near byte {token.start()}")
            del awaited[-count:]
            if not awaited:
                return token.start() + count
    raise ValueError(f"the container at byte {start} is never closed")


def _string_end(data: bytes, start: int) -> int:
    string = _STRING_TOKEN.match(data, start)
    if string is None:
        raise ValueError(f"expected a string at byte {start}")
    return string.end()


def _skip_spaces(data: bytes, position: int) -> int:
    match = _SPACES.match(data, position)
    return match.end() if match else position


def _name(raw: bytes) -> str:
    """A member's name; one that cannot be read keeps its quotes, so that it equals no readable name."""
    try:
        return msgspec.json.decode(raw, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return raw.decode("latin-1")
