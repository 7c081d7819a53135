"""Whether our peak memory depends on how many offers there are: the same sync at two sizes."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from bench.rounds import Rounds
from bench.sides import Ours
from bench.surroundings import ApiServer
from syncd.runtime.embedded import EmbeddedPostgres

MOST_BYTES = 90 * 1_000_000
MOST_GROWTH = 1.10


@dataclass(frozen=True, slots=True)
class Scaling:
    """offers → the largest resident memory of a cold and two unchanged runs, in bytes."""

    peaks: dict[int, int]

    @property
    def growth(self) -> float:
        """The peak at the most offers over the one at the fewest."""
        return self.peaks[max(self.peaks)] / self.peaks[min(self.peaks)]

    @property
    def is_bounded(self) -> bool:
        """Whether both promises hold."""
        return max(self.peaks.values()) < MOST_BYTES and self.growth <= MOST_GROWTH


def measure_scaling(postgres: EmbeddedPostgres, folder: Path, sizes: tuple[int, int]) -> Scaling | str:
    """The peaks; or what went wrong."""
    peaks = {}
    for offers in sizes:
        print(f"  memory at {offers:,} offers", file=sys.stderr, flush=True)
        with ApiServer(offers, states=1) as api:
            rounds = Rounds(postgres, api, folder, passes={"cold": 0, "unchanged": 0})
            rounds.run_all([Ours], rounds=1, slow_rounds=0)
        if Ours.name in rounds.findings.faults:
            return rounds.findings.faults[Ours.name]
        runs = rounds.findings.costs[Ours.name]
        peaks[offers] = max(cost.peak_bytes for costs in runs.values() for cost in costs)
    return Scaling(peaks)
