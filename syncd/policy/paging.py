"""Telling a catalogue from a treadmill: a page seen before, or pages that bring nothing new."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

STALE_PAGES = 3


class LoopGuard:
    """Watches the pages of one pass, in order.

    Keys are remembered in a Bloom filter (two bytes of a table, addressed by the key's hash), so that
    200,000 of them cost 2 MiB and not twenty; a false "seen" needs a whole page of them to matter.
    """

    def __init__(self, expected: int | None) -> None:
        size = 1 << max(16, (8 * (expected or 200_000)).bit_length())
        self._seen = bytearray(size)
        self._mask = size - 1
        self._pages: dict[bytes, int] = {}
        self._stale = 0

    def seed(self, pages: Iterable[Sequence[str]]) -> None:
        """Remember the keys of pages that earlier runs of the sweep stored."""
        for keys in pages:
            self._count_new(keys)

    def find_loop(self, number: int, keys: Sequence[str], *, again: bool = False) -> str | None:
        """Why this page shows that paging loops; None where it does not. Empty pages never do.

        again: the overlap page of a resumed run, which cannot bring anything new.
        """
        if not keys:
            return None
        digest = blake2b("\n".join(keys).encode("utf-8", "surrogatepass"), digest_size=16).digest()
        earlier = self._pages.setdefault(digest, number)
        if earlier != number:
            return f"page {number} shows the same {len(keys)} keys as page {earlier}"
        self._stale = 0 if self._count_new(keys) or again else self._stale + 1
        if self._stale >= STALE_PAGES:
            return f"pages {number - STALE_PAGES + 1} to {number} brought no new key"
        return None

    def _count_new(self, keys: Sequence[str]) -> int:
        seen, mask, new = self._seen, self._mask, 0
        for key in keys:
            value = hash(key)
            first, second = value & mask, (value >> 32) & mask
            if not (seen[first] and seen[second]):
                seen[first] = seen[second] = 1
                new += 1
        return new
