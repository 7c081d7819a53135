"""Telling a catalogue from a treadmill: a page seen before, or pages that bring nothing new."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

SLOTS_A_KEY = 8
STALE_PAGES = 3
STALE_KEYS = 20
"""Both must be reached: single keys may look seen by chance."""


class LoopGuard:
    """Watches the pages of one pass, in order.

    Keys are remembered in a Bloom filter (two bytes of a table, addressed by the key's hash), so that
    200,000 of them cost 2 MiB and not twenty; a false "seen" needs a whole page of them to matter.
    """

    def __init__(self, expected: int | None) -> None:
        self._filters = [_new_filter(expected or 200_000)]
        self._room = len(self._filters[0]) // SLOTS_A_KEY
        self._pages: dict[bytes, int] = {}
        self._stale = self._stale_keys = 0

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
        if self._count_new(keys) or again:
            self._stale = self._stale_keys = 0
            return None
        self._stale, self._stale_keys = self._stale + 1, self._stale_keys + len(keys)
        if self._stale >= STALE_PAGES and self._stale_keys >= STALE_KEYS:
            return f"pages {number - self._stale + 1} to {number} brought no new key"
        return None

    def _count_new(self, keys: Sequence[str]) -> int:
        new = 0
        for key in keys:
            value = hash(key)
            if not any(seen[value % len(seen)] and seen[(value >> 32) % len(seen)] for seen in self._filters):
                if self._room == 0:  # more than was expected: a filter that is too full has seen everything
                    self._filters.append(_new_filter(2 * len(self._filters[-1]) // SLOTS_A_KEY))
                    self._room = len(self._filters[-1]) // SLOTS_A_KEY
                seen = self._filters[-1]
                seen[value % len(seen)] = seen[(value >> 32) % len(seen)] = 1
                self._room -= 1
                new += 1
        return new


def _new_filter(keys: int) -> bytearray:
    return bytearray(1 << max(16, (SLOTS_A_KEY * keys - 1).bit_length()))
