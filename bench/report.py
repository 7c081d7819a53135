"""The table, the ratios against what was promised, and bench/results.json."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from bench.memory import Scaling
from bench.rounds import Findings
from bench.surroundings import Cost

MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Target:
    """One promise: what was measured, and whether it holds."""

    what: str
    measured: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Setting:
    """What everything was measured on and with."""

    offers: int
    average_bytes: int
    postgres: dict[str, str]
    versions: dict[str, str]
    notes: dict[str, str]
    load_before: float
    load_after: float

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"{self.offers:,} offers of {self.average_bytes:,} bytes on average, pages of 100, answers not compressed",
            f"{os.cpu_count()} processors ({platform.machine()}), load {self.load_before:.1f} before and "
            f"{self.load_after:.1f} after; Python {platform.python_version()}",
            "PostgreSQL " + ", ".join(f"{name} {value}" for name, value in self.postgres.items()),
            *(f"{side}: {note}" for side, note in self.notes.items()),
            "versions: " + ", ".join(f"{name} {version}" for name, version in self.versions.items()),
        ]


class Report:
    """What the rounds found, as medians."""

    def __init__(self, setting: Setting, findings: Findings, scaling: Scaling | str | None) -> None:
        self._setting = setting
        self._findings = findings
        self._scaling = scaling

    def rate(self, side: str, name: str) -> float | None:
        """Rows a second from the first call to the end; None where there is no run."""
        costs = self._costs(side, name)
        return self._setting.offers / median(cost.work_seconds for cost in costs) if costs else None

    def targets(self) -> list[Target]:
        """Every promise for which there are measurements."""
        found = [
            self._ratio("cold", "dlt", 8.0),
            self._ratio("cold", "bare COPY", 0.4),
            self._ratio("unchanged", "dlt", 20.0),
        ]
        unchanged = self._costs("ours", "unchanged")
        if unchanged:
            written = max(cost.written for cost in unchanged)
            wal = max(cost.wal_bytes for cost in unchanged) / self._setting.offers
            found.append(Target("unchanged: 0 records written", str(written), written == 0))
            found.append(Target("unchanged: WAL under 100 bytes a row", f"{wal:.0f}", wal < 100))
        if isinstance(self._scaling, Scaling):
            shown = ", ".join(f"{peak / MEGABYTE:.1f} MB at {n:,}" for n, peak in self._scaling.peaks.items())
            what = "peak memory under 90 MB, and within 10 % over the number of offers"
            measured = f"{shown} ({self._scaling.growth - 1:+.1%})"
            found.append(Target(what, measured, self._scaling.is_bounded))
        return [target for target in found if target is not None]

    def text(self) -> str:
        """The whole report."""
        lines = [*self._setting.lines(), "", *self._table(), ""]
        lines += [
            "Medians. rows/s: from the first call to the API to the end of the last process, interpreters' start and",
            "imports left out for everybody; `command`: the whole command. CPU: user + system of the side's processes.",
            "Peak: resident, a pipeline's processes added up. WAL after a checkpoint, full-page images included.",
            "Written: rows of the side's table inserted or rewritten. After every run count and price digest were",
            "compared with what was served.",
            "",
        ]
        lines += [f"{side}: NOT MEASURED: {fault}" for side, fault in self._findings.faults.items()]
        if isinstance(self._scaling, str):
            lines.append(f"memory: NOT MEASURED: {self._scaling}")
        for target in self.targets():
            lines.append(f"{'holds ' if target.holds else 'MISSED'}  {target.what}: {target.measured}")
        return "\n".join(lines)

    def facts(self) -> dict[str, Any]:
        """Everything, every single run included, for results.json."""
        runs = {
            side: {name: [_without_output(cost) for cost in costs] for name, costs in passes.items()}
            for side, passes in self._findings.costs.items()
        }
        rates = {side: {name: round(self.rate(side, name) or 0) for name in passes} for side, passes in runs.items()}
        scaling = self._scaling
        return {
            "setting": asdict(self._setting),
            "rows_per_second": rates,
            "targets": [asdict(target) for target in self.targets()],
            "compression": self._findings.compression,
            "faults": self._findings.faults,
            "memory": scaling.peaks if isinstance(scaling, Scaling) else scaling,
            "runs": runs,
        }

    def _table(self) -> list[str]:
        rows: list[tuple[str, ...]] = [
            ("side", "pass", "rows/s", "range", "command", "CPU", "peak", "WAL/row", "written", "document")
        ]
        for side, passes in self._findings.costs.items():
            for name, costs in passes.items():
                rows.append(self._row(side, name, costs))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        shown = []
        for row in rows:
            cells = [
                cell.ljust(width) if index in (0, 1, 9) else cell.rjust(width)
                for index, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            shown.append("  ".join(cells).rstrip())
        return [shown[0], "-" * len(shown[0]), *shown[1:]]

    def _row(self, side: str, name: str, costs: list[Cost]) -> tuple[str, ...]:
        offers = self._setting.offers
        rates = sorted(offers / cost.work_seconds for cost in costs)
        return (
            side,
            name,
            f"{self.rate(side, name):,.0f}",
            f"{rates[0]:,.0f}–{rates[-1]:,.0f} of {len(rates)}",
            f"{median(cost.seconds for cost in costs):.2f} s",
            f"{median(cost.cpu_seconds for cost in costs):.2f} s",
            f"{median(cost.peak_bytes for cost in costs) / MEGABYTE:.0f} MB",
            f"{median(cost.wal_bytes for cost in costs) / offers:,.0f} B",
            f"{median(cost.written for cost in costs):,.0f}",
            self._findings.compression[side],
        )

    def _ratio(self, name: str, other: str, least: float) -> Target | None:
        ours, theirs = self.rate("ours", name), self.rate(other, name)
        if ours is None or theirs is None:
            return None
        whole = self._median_seconds(other, name) / self._median_seconds("ours", name)
        measured = f"{ours / theirs:.2f} (whole commands: {whole:.2f})" if other == "dlt" else f"{ours / theirs:.2f}"
        return Target(f"{name}: at least {least:g} × {other}", measured, ours / theirs >= least)

    def _median_seconds(self, side: str, name: str) -> float:
        return median(cost.seconds for cost in self._costs(side, name))

    def _costs(self, side: str, name: str) -> list[Cost]:
        return self._findings.costs.get(side, {}).get(name, [])


def _without_output(cost: Cost) -> dict[str, Any]:
    return {name: value for name, value in asdict(cost).items() if name != "output"}
