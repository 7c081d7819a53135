"""The pieces that dashboards are made of: variables, panels, and where they stand on Grafana's 24 columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]

RUNBOOK = "file:///opt/syncd/current/share/docs/runbook"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
ACCOUNT = 'job=~"$job",instance=~"$instance",account_type=~"$account"'
SERVICE = 'job=~"$job",instance=~"$instance"'
NAME = "{{source}}/{{account_type}}"
STATES = (
    ("none yet", "text"),
    ("running", "blue"),
    ("complete", "green"),
    ("failed", "red"),
    ("timeout", "orange"),
    ("partial", "yellow"),
    ("cancelled", "purple"),
)
"""Of a run, by the numbers of emag_sync_run_status."""
GOOD_BAD = [{"color": "red", "value": None}, {"color": "green", "value": 1}]
BAD_FROM_ONE = [{"color": "green", "value": None}, {"color": "orange", "value": 1}]
PLAIN = [{"color": "blue", "value": None}]


def target(expr: str, legend: str = NAME, **more: Any) -> Json:
    """One query."""
    return {"datasource": SOURCE, "expr": expr, "legendFormat": legend, **more}


def instant(expr: str, legend: str = NAME) -> Json:
    """One query whose newest value is all that counts."""
    return target(expr, legend, instant=True, range=False)


def panel(
    kind: str,
    title: str,
    description: str,
    targets: Sequence[Json],
    *,
    unit: str,
    size: tuple[int, int],
    steps: Sequence[Json] = (),
    options: Json | None = None,
    custom: Json | None = None,
    **defaults: Any,
) -> Json:
    """Any panel. size: columns of 24, and rows; steps: thresholds; defaults: more of the field's settings."""
    for name, one in zip("ABCDEFGH", targets, strict=False):
        one["refId"] = name
    thresholds = {"mode": "absolute", "steps": list(steps or PLAIN)}
    field = {"unit": unit, "thresholds": thresholds, "custom": custom or {}, "mappings": [], **defaults}
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": SOURCE,
        "targets": list(targets),
        "fieldConfig": {"defaults": field, "overrides": []},
        "options": options or {},
        "gridPos": {"w": size[0], "h": size[1]},
    }


def stat(title: str, description: str, expr: str, *, unit: str = "none", legend: str = NAME, **more: Any) -> Json:
    """One number a series, coloured by thresholds."""
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "background",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "auto",
    }
    more.setdefault("size", (4, 4))
    return panel("stat", title, description, [instant(expr, legend)], unit=unit, options=options, **more)


def lines(
    title: str, description: str, targets: Sequence[Json], *, unit: str, stacked: bool = False, **more: Any
) -> Json:
    """Curves over time."""
    options = {
        "legend": {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    custom = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 30 if stacked else 10,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
    }
    more.setdefault("size", (12, 8))
    more.setdefault("min", 0)
    return panel("timeseries", title, description, targets, unit=unit, options=options, custom=custom, **more)


def states(title: str, description: str, targets: Sequence[Json], mapping: Json, *, size: tuple[int, int]) -> Json:
    """Coloured bars over time; mapping: value → text and colour."""
    options = {
        "mergeValues": True,
        "showValue": "auto",
        "alignValue": "left",
        "rowHeight": 0.9,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    mappings = [{"type": "value", "options": mapping}]
    custom = {"fillOpacity": 80, "lineWidth": 0}
    return panel(
        "state-timeline", title, description, targets,
        unit="none", size=size, options=options, custom=custom, mappings=mappings,
    )  # fmt: skip


def heatmap(title: str, description: str, expr: str, *, size: tuple[int, int]) -> Json:
    """The buckets of a classic histogram."""
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {
            "mode": "scheme",
            "scheme": "Oranges",
            "exponent": 0.5,
            "steps": 64,
            "reverse": False,
            "fill": "dark-orange",
        },
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "tooltip": {"mode": "single", "yHistogram": False, "showColorScale": False},
        "yAxis": {"axisPlacement": "left", "reverse": False, "unit": "s"},
    }
    one = target(expr, "{{le}}", format="heatmap")
    return panel("heatmap", title, description, [one], unit="s", size=size, options=options)


def placed(rows: Sequence[tuple[str, Sequence[Json]]]) -> list[Json]:
    """All panels with ids and places: rows by their titles, panels from left to right, wrapped at 24 columns."""
    out: list[Json] = []
    x = y = height = 0
    for title, panels in rows:
        y, x = y + height, 0
        out.append({"type": "row", "title": title, "collapsed": False, "panels": [],
                    "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}})  # fmt: skip
        y, height = y + 1, 0
        for one in panels:
            place = one["gridPos"]
            if x + place["w"] > 24:
                x, y, height = 0, y + height, 0
            place |= {"x": x, "y": y}
            x, height = x + place["w"], max(height, place["h"])
            out.append(one)
    for number, one in enumerate(out, start=1):
        one["id"] = number
    return out


def _query_variable(name: str, label: str, query: str) -> Json:
    return {
        "type": "query", "name": name, "label": label, "datasource": SOURCE,
        "query": {"query": query, "refId": "StandardVariableQuery"}, "refresh": 2, "sort": 1, "multi": True,
        "includeAll": True, "allValue": ".+", "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "options": [], "hide": 0, "regex": "", "skipUrlSync": False,
    }  # fmt: skip


def dashboard(uid: str, title: str, description: str, rows: Sequence[tuple[str, Sequence[Json]]], other: Json) -> Json:
    """The whole. other: the dashboard that it links to, as uid and title."""
    services = '{job=~"emag-sync|syncd"}'
    return {
        "id": None, "uid": uid, "title": title, "description": description, "tags": ["emag-sync"],
        "schemaVersion": 39, "version": 1, "editable": False, "graphTooltip": 1,
        "timezone": "browser", "refresh": "30s", "time": {"from": "now-6h", "to": "now"}, "fiscalYearStartMonth": 0,
        "annotations": {"list": [{
            "builtIn": 1, "datasource": {"type": "grafana", "uid": "-- Grafana --"}, "enable": True, "hide": True,
            "iconColor": "rgba(0, 211, 255, 1)", "name": "Annotations & Alerts", "type": "dashboard",
        }]},
        "templating": {"list": [
            {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "refresh": 1,
             "options": [], "hide": 0, "includeAll": False, "multi": False, "regex": "",
             "skipUrlSync": False},
            _query_variable("job", "Job", f"label_values(up{services}, job)"),
            _query_variable("instance", "Instance", 'label_values(up{job=~"$job"}, instance)'),
            _query_variable("account", "Account", 'label_values(emag_sync_run_status{job=~"$job"}, account_type)'),
            {"type": "textbox", "name": "runbook", "label": "Runbook", "query": RUNBOOK, "hide": 2, "options": [],
             "current": {"text": RUNBOOK, "value": RUNBOOK}, "skipUrlSync": False},
        ]},
        "links": [
            {"type": "link", "title": "Runbook", "url": "${runbook}/README.md", "icon": "doc", "targetBlank": True,
             "asDropdown": False, "includeVars": False, "keepTime": False, "tags": [], "tooltip": "What to do"},
            {"type": "link", "title": other["title"], "url": f"/d/{other['uid']}", "icon": "dashboard",
             "targetBlank": False, "asDropdown": False, "includeVars": True, "keepTime": True, "tags": [],
             "tooltip": ""},
        ],
        "panels": placed(rows),
    }  # fmt: skip
