"""What changed in a record, top-level key by top-level key, as the exact JSON text of both sides."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import msgspec

_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

Change = tuple[str, bytes | None, bytes | None]
"""(field, old JSON text, new JSON text); None where the key was not there."""


def find_changes(old: bytes, new: bytes, ignored: Collection[str]) -> Iterator[Change]:
    """The fields in which two versions of a document differ. White space around values does not count."""
    before, after = _read(old), _read(new)
    for name in before.keys() | after.keys():
        was, now = before.get(name), after.get(name)
        if was != now and name not in ignored:
            yield name, was, now


def _read(document: bytes) -> dict[str, bytes]:
    try:
        return {name: bytes(value).strip() for name, value in _decode(document).items()}
    except msgspec.ValidationError:  # a record that is no object: one field without a name
        return {"": document}
