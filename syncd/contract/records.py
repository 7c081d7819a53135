"""What travels from a source to the warehouse: pages of raw records, the bytes as the API sent them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from syncd.contract.words import Rejection

MAX_KEY_CHARACTERS = 200
MAX_DEPTH = 200
MAX_DOCUMENT_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that cannot be stored: where it stood (0-based in its page), why, and its exact bytes.

    key is None where none could be read: such a record cannot count as seen.
    """

    ordinal: int
    key: str | None
    rejection: Rejection
    raw: bytes


@dataclass(slots=True)
class Page:
    """One answer of the list call, split but not interpreted.

    keys, documents and hashes run in parallel, one entry a distinct key of the page, in page order.
    documents are the exact bytes of each item; hashes are BLAKE2b-128 of those bytes.
    received counts the items of the answer, rejected and duplicate ones included.
    ordinals are the 0-based places of the keys in the answer; empty where that is their order here.
    """

    number: int
    keys: list[str]
    documents: Sequence[bytes]
    hashes: list[bytes]
    received: int
    size_bytes: int
    identical_duplicates: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    ordinals: Sequence[int] = ()

    @property
    def seen_keys(self) -> list[str]:
        """Every key that the page proves to exist: stored ones and quarantined ones."""
        extra = [item.key for item in self.rejected if item.key is not None]
        return list(dict.fromkeys([*self.keys, *extra])) if extra else self.keys

    @property
    def keyless(self) -> int:
        """Records without a usable key."""
        return sum(item.key is None for item in self.rejected)

    def ordinal(self, index: int) -> int:
        """Where the key of this index stood in the answer."""
        return self.ordinals[index] if self.ordinals else index

    def first(self, count: int) -> Page:
        """The first records of this page only, for a run that may store no more."""
        keys, documents, hashes = self.keys[:count], list(self.documents[:count]), self.hashes[:count]
        ordinals = self.ordinals[:count]
        return Page(self.number, keys, documents, hashes, len(keys), self.size_bytes, ordinals=ordinals)
