"""Changes that happen on the sandbox's own initiative: while a sweep reads, or by the clock.

The drift is the change that defeats a count: after a page was served, one offer of a page already read
vanishes and a new one appears at the end. Rows move up by one, so the first row of the next page slips
onto a page already read, while the number of offers stays as it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Literal

from syncd.sandbox.catalogue import Catalogue
from syncd.sandbox.transport import stopped_within

AfterPage = int | Literal["every"]
"""A page number: once, after that page was next served. "every": after every page that has rows."""


@dataclass(frozen=True, slots=True)
class Drifted:
    """What one drift did: after which page, and the offer ids."""

    page: int
    vanished: int
    appeared: int


class Drift:
    """The drifts still to come (`planned`, may be appended to) and those `done`."""

    def __init__(self, planned: Iterable[AfterPage], catalogue: Catalogue) -> None:
        self.planned = list(planned)
        self.done: list[Drifted] = []
        self._catalogue = catalogue
        self._random = Random(f"drift of {catalogue.seed}")  # noqa: S311 - reproducible on purpose

    def served(self, page: int, per_page: int) -> None:
        """A list page without filters goes out now; the change shows from the next answer on."""
        if page in self.planned:
            self.planned.remove(page)
        elif "every" not in self.planned:
            return
        already_read = min(page * per_page, len(self._catalogue))
        if already_read == 0:
            return
        victim = list(self._catalogue)[self._random.randrange(already_read)]
        self._catalogue.vanish([victim])
        [appeared] = self._catalogue.appear(1)
        self.done.append(Drifted(page, victim, appeared))


async def mutate_every(seconds: float, catalogue: Catalogue, stopping: asyncio.Event) -> None:
    """Until the sandbox stops, every so many seconds: 1 % change, one vanishes, appears, moves to the front."""
    while not await stopped_within(seconds, stopping):
        catalogue.change(0.01)
        catalogue.vanish(1)
        catalogue.appear(1)
        catalogue.move(list(catalogue)[-1], 0)
