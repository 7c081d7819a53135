"""The shipped dashboards, as tests see them: panels, targets, and their queries without variables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.observe.prometheus import DEPLOY

FOLDER = DEPLOY / "grafana" / "dashboards"
DASHBOARDS = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))}
VALUES = {"$__rate_interval": "10s", "$__interval": "1s", "$__range": "60s", "$job": ".+", "$instance": ".+"}
METRIC = re.compile(r"\b((?:emag_sync|syncd|process|account:emag_sync)_\w+(?::\w+)?)\b")


@dataclass(frozen=True)
class Query:
    """One target of one panel."""

    dashboard: str
    panel: dict[str, Any]
    target: dict[str, Any]

    @property
    def expr(self) -> str:
        return str(self.target["expr"])

    @property
    def is_instant(self) -> bool:
        return bool(self.target.get("instant"))

    @property
    def plain(self) -> str:
        """With every variable at a value that Grafana would put there: all jobs, instances and accounts."""
        text = self.expr
        for name, value in {**VALUES, "$account": ".+"}.items():
            text = text.replace(name, value)
        assert "$" not in text, text
        return text

    def __str__(self) -> str:
        return f"{self.dashboard}: {self.panel['title']}: {self.expr}"


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """All that show something: rows aside."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries() -> Iterator[Query]:
    """Of all panels of all dashboards."""
    for name, dashboard in DASHBOARDS.items():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                yield Query(name, panel, target)


def metrics_in(expr: str) -> set[str]:
    """The metrics that a query or rule names, without what PromQL adds to a histogram's name."""
    names = set(METRIC.findall(re.sub(r'"[^"]*"', '""', expr)))
    return {re.sub(r"(latency|lag)_seconds_(bucket|sum|count)$", r"\1_seconds", name) for name in names}
