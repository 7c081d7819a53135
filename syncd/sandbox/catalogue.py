"""What the sandbox offers at this moment: an ordered set of offers, and the ways it changes.

The order is the order in which pages are cut. A new catalogue holds the offers 0 … n-1 of its seed;
only what differs from the seed is stored, so that 200,000 offers cost a list of ids.
Every change raises `version`. The choices made for a fraction or a number come from the seed too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from random import Random

from syncd.sandbox.filters import Filters, facts_of_document
from syncd.sandbox.offer import FRESH, Facts, Revision, facts_of, id_of, index_of, render

Which = Collection[int] | int | float | None
"""Which offers: their ids; how many; a fraction (a float, 0.0 to 1.0); None = all."""

CHANGEABLE = ("price", "stock", "name", "rank")


class Catalogue(Mapping[int, bytes]):
    """A mapping from offer id to the exact bytes served for it on list reads, in page order."""

    def __init__(self, offers: int, seed: int, *, big_description: bool = False) -> None:
        """`offers`: how many to begin with. `big_description`: see `offer.BIG_DESCRIPTION_ID`."""
        self.seed = seed
        self.version = 0
        self._big_description = big_description
        self._next_index = offers
        self._order = [id_of(index) for index in range(offers)]
        self._served = set(self._order)
        self._revisions: dict[int, Revision] = {}
        self._documents: dict[int, bytes] = {}
        self._random = Random(f"mutations of {seed}")  # noqa: S311 - reproducible on purpose
        self._selections: dict[Filters, list[int]] = {}

    def __getitem__(self, offer_id: int) -> bytes:
        return self.document(offer_id)

    def __iter__(self) -> Iterator[int]:
        return iter(tuple(self._order))

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, offer_id: object) -> bool:
        return offer_id in self._served

    def document(self, offer_id: int, *, single: bool = False) -> bytes:
        """The offer's exact bytes; `single` as in a read filtered to this one product. KeyError if it is gone."""
        if offer_id not in self._served:
            raise KeyError(offer_id)
        if (document := self._documents.get(offer_id)) is not None:
            return document
        revision = self._revisions.get(offer_id, FRESH)
        return render(self.seed, index_of(offer_id), revision, single=single, big_description=self._big_description)

    def slice(self, first: int, count: int, filters: Filters) -> list[int]:
        """The ids at positions first (from 0) … first+count-1 among the offers that the filters let through."""
        return self._selected(filters)[first : first + count]

    def count(self, filters: Filters) -> int:
        """How many offers the filters let through."""
        return len(self._selected(filters))

    def _selected(self, filters: Filters) -> list[int]:
        if not filters:
            return self._order
        if (wanted := filters.ids) is not None:
            candidates = [offer_id for offer_id in self._order if offer_id in wanted] if wanted & self._served else []
            return [offer_id for offer_id in candidates if filters.match(self._facts(offer_id))]
        if filters not in self._selections:
            if len(self._selections) >= 16:
                self._selections.clear()
            matching = [offer_id for offer_id in self._order if filters.match(self._facts(offer_id))]
            self._selections[filters] = matching
        return self._selections[filters]

    def _facts(self, offer_id: int) -> Facts:
        if (document := self._documents.get(offer_id)) is not None:
            return facts_of_document(offer_id, document)
        return facts_of(self.seed, index_of(offer_id), self._revisions.get(offer_id, FRESH))

    def change(self, which: Which = None, fields: Collection[str] = ("price", "stock")) -> list[int]:
        """Change these groups of fields (of CHANGEABLE) of some offers; the ids changed, in page order.

        price: sale_price. stock: general_stock, estimated_stock, stock, perhaps availability. name: name.
        rank: number_of_offers, buy_button_rank. Documents set by `put` stay as they are.
        """
        if unknown := set(fields) - set(CHANGEABLE):
            raise ValueError(f"cannot change {sorted(unknown)}: expected some of {', '.join(CHANGEABLE)}")
        chosen = [offer_id for offer_id in self._choose(which) if offer_id not in self._documents]
        for offer_id in chosen:
            revision = self._revisions.get(offer_id, FRESH)
            raised = {field: getattr(revision, field) + 1 for field in fields}
            self._revisions[offer_id] = replace(revision, **raised)
        self._moved_on()
        return chosen

    def vanish(self, which: Which = None) -> list[int]:
        """Take some offers out; later ones move up. The ids taken out, in page order."""
        chosen = self._choose(which)
        gone = set(chosen)
        self._order = [offer_id for offer_id in self._order if offer_id not in gone]
        self._served -= gone
        self._moved_on()
        return chosen

    def appear(self, which: Collection[int] | int = 1, *, at: int | None = None) -> list[int]:
        """Add so many new offers, or bring vanished ids back as they were; at a position, else at the end.

        The ids added, in order. ValueError for ids that this catalogue never served.
        """
        if isinstance(which, int):
            first, self._next_index = self._next_index, self._next_index + which
            added = [id_of(index) for index in range(first, first + which)]
        else:
            added = [offer_id for offer_id in which if offer_id not in self._served]
            if strangers := [offer_id for offer_id in added if not self._was_served(offer_id)]:
                raise ValueError(f"no offers to bring back: {strangers}")
        position = len(self._order) if at is None else at
        self._order[position:position] = added
        self._served.update(added)
        self._moved_on()
        return added

    def _was_served(self, offer_id: int) -> bool:
        index = index_of(offer_id)
        return offer_id in self._documents or (0 <= index < self._next_index and id_of(index) == offer_id)

    def move(self, offer_id: int, position: int) -> None:
        """Put one offer at another position (from 0)."""
        self._order.remove(offer_id)
        self._order.insert(position, offer_id)
        self._moved_on()

    def shuffle(self) -> None:
        """Put all offers into another order, as an API without a promised order may at any time."""
        self._random.shuffle(self._order)
        self._moved_on()

    def put(self, offer_id: int, document: bytes) -> None:
        """Serve exactly these bytes for an offer, from now on; an unknown id is added at the end."""
        if offer_id not in self._served:
            self._order.append(offer_id)
            self._served.add(offer_id)
        self._documents[offer_id] = document
        self._moved_on()

    def _choose(self, which: Which) -> list[int]:
        if which is None:
            return list(self._order)
        if isinstance(which, int | float):
            wanted = which if isinstance(which, int) else round(which * len(self._order))
            positions = self._random.sample(range(len(self._order)), min(wanted, len(self._order)))
            return [self._order[position] for position in sorted(positions)]
        named = set(which)
        return [offer_id for offer_id in self._order if offer_id in named]

    def _moved_on(self) -> None:
        self.version += 1
        self._selections.clear()
