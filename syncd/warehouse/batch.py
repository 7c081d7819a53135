"""Several pages as one batch: a key that drifted onto two of them is written once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from syncd.contract.errors import FatalError
from syncd.contract.records import Page, Rejected
from syncd.contract.words import Cause, Rejection

MOST_REJECTED_SHARE = 0.5
FEW_REJECTED = 5


class Batch:
    """The distinct keys of some pages, with the documents that win.

    keys, hashes, documents, page_of and ordinal_of (where each stood) run in parallel. rejected has (page number,
    record), in page order.
    """

    def __init__(self, pages: Sequence[Page]) -> None:
        self.pages = pages
        self.received = sum(page.received for page in pages)
        self.identical_duplicates = sum(page.identical_duplicates for page in pages)
        self.rejected: list[tuple[int, Rejected]] = [(page.number, item) for page in pages for item in page.rejected]
        self.keys: list[str] = []
        self.hashes: list[bytes] = []
        self.documents: list[bytes] = []
        self.page_of: list[int] = []
        self.ordinal_of: Sequence[int] = []
        if len(pages) == 1:
            page = pages[0]
            self.keys, self.hashes, self.documents = page.keys, page.hashes, list(page.documents)
            self.page_of = [page.number] * len(page.keys)
            self.ordinal_of = page.ordinals or range(len(page.keys))
        else:
            self._merge()

    def _merge(self) -> None:
        documents = self.documents
        ordinals: list[int] = []
        self.ordinal_of = ordinals
        at: dict[str, int] = {}
        for page in self.pages:
            for index, key in enumerate(page.keys):
                earlier = at.get(key)
                if earlier is None:
                    at[key] = len(self.keys)
                    self.keys.append(key)
                    self.hashes.append(page.hashes[index])
                    documents.append(page.documents[index])
                    self.page_of.append(page.number)
                    ordinals.append(page.ordinal(index))
                elif self.hashes[earlier] == page.hashes[index]:
                    self.identical_duplicates += 1
                else:
                    loser = Rejected(ordinals[earlier], key, Rejection.DUPLICATE_KEY, bytes(documents[earlier]))
                    self.rejected.append((self.page_of[earlier], loser))
                    self.hashes[earlier] = page.hashes[index]
                    documents[earlier] = page.documents[index]
                    self.page_of[earlier] = page.number
                    ordinals[earlier] = page.ordinal(index)

    @property
    def name(self) -> str:
        """For messages."""
        first, last = self.pages[0].number, self.pages[-1].number
        return f"page {first}" if first == last else f"pages {first} to {last}"

    def manifest(self, *, listed: bool) -> dict[str, object]:
        """The manifest rows as parameters; none where these pages are stored in part only."""
        pages = self.pages if listed else []
        shown = [(key, page.number) for page in pages for key in page.seen_keys]
        return {
            "pages": [page.number for page in pages],
            "received": [page.received for page in pages],
            "keyless": [page.keyless for page in pages],
            "seen_keys": [key for key, _ in shown],
            "seen_pages": [number for _, number in shown],
            "last_page": self.pages[-1].number,
        }

    def check_rejections(self, rejected: Sequence[tuple[int, Rejected]]) -> None:
        """FatalError where more than half of a page, and at least 5 records, cannot be stored."""
        for number, count in Counter(page for page, _ in rejected).items():
            received = next(page.received for page in self.pages if page.number == number)
            if count >= FEW_REJECTED and count > received * MOST_REJECTED_SHARE:
                reasons = ", ".join(sorted({item.rejection for page, item in rejected if page == number}))
                raise FatalError(
                    f"page {number}: {count} of {received} records cannot be stored ({reasons}); nothing of it was "
                    "written: look at the API's answer before anything else",
                    cause=Cause.BAD_RESPONSE,
                )
