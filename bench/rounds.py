"""The order of the measurements: sides alternate, so that a busy minute of the machine hits all of them.

    a round:  every side's database made anew
              cold       each side in turn
              unchanged  each side in turn, the quick ones several times
              (the server changes 5 % of the offers)
              changed    each side in turn

After every single run the side's table is compared with what was served. A side that differs, or fails, is
out: its runs so far are dropped and no rate is shown for it.
"""

from __future__ import annotations

import shutil
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.offers import Contents
from bench.sides import Dlt, Place, Side, Singer
from bench.surroundings import ApiServer, Cost, Database, SideFailedError
from syncd.runtime.embedded import EmbeddedPostgres

PASSES = {"cold": 0, "unchanged": 0, "changed": 1}
SLOW: tuple[type[Side], ...] = (Dlt, Singer)
UNCHANGED_REPEATS = 2  # of the quick sides


@dataclass(slots=True)
class Findings:
    """costs: side → pass → its runs. faults: side → why no rate is shown."""

    costs: dict[str, dict[str, list[Cost]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    faults: dict[str, str] = field(default_factory=dict)
    compression: dict[str, str] = field(default_factory=dict)


class Rounds:
    """Runs sides against one server of each kind and keeps what was found."""

    def __init__(
        self, postgres: EmbeddedPostgres, api: ApiServer, folder: Path, *, passes: dict[str, int] = PASSES
    ) -> None:
        self._passes = passes
        self._postgres = postgres
        self._api = api
        self._folder = folder
        self.findings = Findings()

    def run_all(self, sides: Sequence[type[Side]], *, rounds: int, slow_rounds: int) -> None:
        """All rounds; the slow sides take part in the first ones only."""
        for number in range(1, max(rounds, slow_rounds) + 1):
            taking_part = [kind for kind in sides if number <= (slow_rounds if kind in SLOW else rounds)]
            self._round(number, [kind for kind in taking_part if kind.name not in self.findings.faults])

    def _round(self, number: int, kinds: list[type[Side]]) -> None:
        prepared = [self._prepare(kind) for kind in kinds]
        for name, state in self._passes.items():
            for repeat in range(UNCHANGED_REPEATS if name == "unchanged" else 1):
                for side in prepared:
                    left_out = (side.cold_only and name != "cold") or (repeat and isinstance(side, SLOW))
                    if not left_out and side.name not in self.findings.faults:
                        self._run(number, side, name, state)

    def _prepare(self, kind: type[Side]) -> Side:
        folder = self._folder / kind.__name__.lower()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        database = Database(self._postgres, kind.__name__.lower())
        database.create()
        side = kind(Place(database, self._api, folder))
        side.prepare()
        return side

    def _run(self, number: int, side: Side, name: str, state: int) -> None:
        served = self._api.serve(state)
        expected = Contents(served["count"], served["prices_digest"])
        try:
            cost = side.run()
            stored = side.place.database.contents(side.query)
            if stored != expected:
                raise SideFailedError(f"wrong after {name}: stored {stored}, served {expected}")
        except SideFailedError as error:
            self.findings.faults[side.name] = str(error)
            self.findings.costs.pop(side.name, None)
            print(f"  {side.name}, {name}: {error}", file=sys.stderr, flush=True)
            return
        self.findings.costs[side.name][name].append(cost)
        self.findings.compression[side.name] = side.compression
        rate = expected.count / cost.work_seconds
        print(f"  round {number}  {side.name:9}  {name:9}  {rate:8,.0f} rows/s", file=sys.stderr, flush=True)
