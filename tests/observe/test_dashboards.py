"""The dashboards by the rules of Grafana's dashboard-linter, and by what Grafana needs to load them.

The linter (github.com/grafana/dashboard-linter) is a Go program that has not been run on these dashboards. Its rules
were first written down here from memory, and then, in 2026-11, compared with its list of 17 (docs/index.md at b9474179)
and with the source of six: template-datasource, template-job, template-on-time-change-reload, panel-units,
target-rate-interval, target-counter-agg. The others are held as the list's sentence about each says; its two for LogQL
find nothing here. Of `increase` we ask more than it does. Exceptions stand in EXCEPTIONS with their reason. The queries
are tried in test_live.py.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.observe.dashboards import DASHBOARDS, FOLDER, Query, panels, queries
from tests.observe.prometheus import DEPLOY, load_rules

UNITS = {"s", "none", "short", "percentunit", "reqps", "cps", "cpm", "bytes"}
"""Of Grafana's own list of unit ids, those in use; another one is looked up there first."""
OPTIONS = {
    "stat": {"reduceOptions", "colorMode", "graphMode", "justifyMode", "orientation", "textMode"},
    "timeseries": {"legend", "tooltip"},
    "state-timeline": {"mergeValues", "showValue", "alignValue", "rowHeight", "legend", "tooltip"},
    "heatmap": {"calculate", "cellGap", "color", "exemplars", "filterValues", "legend", "rowsFrame", "tooltip",
                "yAxis"},
    "table": {"showHeader", "cellHeight"},
}  # fmt: skip
"""What each kind of panel may be told (@grafana/schema 13, panelcfg of each)."""
EXCEPTIONS = {
    ("target-job-rule", "Alerts"): "ALERTS has the labels of the alert, and an alert for missing series has no job",
    ("target-rate-interval-rule", "Stuck and ended, by cause"): "rare events: a count within a fixed time",
    ("target-rate-interval-rule", "Found stuck"): "rare events: a count within a fixed time",
    ("target-rate-interval-rule", "Ended"): "rare events: a count within a fixed time",
    ("target-rate-interval-rule", "Stale writes refused"): "rare events: a count within a fixed time",
}

named = pytest.mark.parametrize("name", DASHBOARDS)
each_query = pytest.mark.parametrize("query", list(queries()), ids=str)


def excused(rule: str, query: Query) -> bool:
    return (rule, query.panel["title"]) in EXCEPTIONS


def variables(name: str) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in DASHBOARDS[name]["templating"]["list"]}


def test_the_files_are_what_their_source_makes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, DEPLOY / "grafana/build.py", tmp_path], check=True, timeout=60)
    made = {path.name: path.read_text("utf-8") for path in tmp_path.glob("*.json")}
    assert made == {path.name: path.read_text("utf-8") for path in FOLDER.glob("*.json")}


def test_no_exception_is_out_of_use() -> None:
    titles = {query.panel["title"] for query in queries()}
    assert {title for _, title in EXCEPTIONS} <= titles


@named
def test_grafana_finds_what_it_needs_to_load_it(name: str) -> None:
    dashboard = DASHBOARDS[name]
    assert (dashboard["uid"], dashboard["id"]) == (name, None)
    assert 39 <= dashboard["schemaVersion"] <= 41
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    for panel in panels(dashboard):
        assert set(panel["options"]) == OPTIONS[panel["type"]], panel["title"]
        assert set(panel["fieldConfig"]) == {"defaults", "overrides"}
        steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert steps[0]["value"] is None
        assert [step["value"] for step in steps[1:]] == sorted(step["value"] for step in steps[1:])


@named
def test_no_panel_covers_another_and_all_are_on_the_grid(name: str) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARDS[name]["panels"]:
        place = panel["gridPos"]
        assert 0 <= place["x"] <= place["x"] + place["w"] <= 24, panel["title"]
        for cell in itertools.product(
            range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        ):
            assert taken.setdefault(cell, panel["title"]) == panel["title"]


@named
def test_uneditable_dashboard_rule(name: str) -> None:
    assert DASHBOARDS[name]["editable"] is False


@named
def test_template_rules(name: str) -> None:
    """template-datasource, template-job, template-instance, template-label-promql, template-on-time-change-reload."""
    known = variables(name)
    source = known["datasource"]
    assert (source["type"], source["query"], source["label"]) == ("datasource", "prometheus", "Data source")
    for one in ("job", "instance", "account"):
        variable = known[one]
        assert variable["datasource"]["uid"] == "${datasource}"
        assert (variable["type"], variable["label"]) == ("query", one.capitalize())
        assert (variable["multi"], variable["allValue"]) == (True, ".+")
        assert variable["refresh"] == 2
        assert re.fullmatch(r"label_values\(\w+\{.+\}, \w+\)", variable["query"]["query"])


@named
def test_panel_rules(name: str) -> None:
    """panel-datasource, panel-title-description, panel-units, panel-no-targets."""
    for panel in panels(DASHBOARDS[name]):
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["title"]
        assert len(panel["description"]) > 10, panel["title"]
        assert panel["description"].endswith((".", "approve.")), panel["title"]
        assert panel["targets"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
    titles = [panel["title"] for panel in panels(DASHBOARDS[name])]
    assert len(titles) == len(set(titles))


@each_query
def test_target_rules(query: Query) -> None:
    """target-job, target-instance, target-rate-interval, target-counter-agg; the datasource is the variable."""
    assert query.target["datasource"]["uid"] == "${datasource}"
    selectors = re.findall(r"(\w+)\{([^}]*)\}", query.expr)
    assert selectors
    for metric, matchers in selectors:
        if not excused("target-job-rule", query):
            assert 'job=~"$job"' in matchers
            assert 'instance=~"$instance"' in matchers
        counter = re.search(rf"(\w+)\({metric}\{{", query.expr)
        if metric.endswith(("_total", "_bucket", "_count", "_sum")):
            assert counter, metric
            assert counter[1] in {"rate", "irate", "increase"}
    for window in re.findall(r"(?:rate|increase)\([^\[]*\[([^\]]+)\]", query.expr):
        assert window == "$__rate_interval" or excused("target-rate-interval-rule", query)


@named
def test_every_variable_that_is_used_is_there(name: str) -> None:
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARDS[name])))
    assert used - {"__rate_interval", "__data", "__all"} <= set(variables(name))


def test_the_dashboards_lead_to_each_other_and_to_the_runbook() -> None:
    for name, dashboard in DASHBOARDS.items():
        urls = {link["url"] for link in dashboard["links"]}
        assert urls == {"${runbook}/README.md"} | {f"/d/{other}" for other in DASHBOARDS if other != name}
        runbook = variables(name)["runbook"]["query"]
        assert all(rule["annotations"]["runbook_url"].startswith(f"{runbook}/") for rule in load_rules("alerts"))


def test_the_provisioning_files_name_what_is_there() -> None:
    sources = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text("utf-8"))
    assert [(one["type"], one["access"]) for one in sources["datasources"]] == [("prometheus", "proxy")]
    provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/emag-sync.yml").read_text("utf-8"))
    (one,) = provider["providers"]
    assert (one["type"], one["allowUiUpdates"]) == ("file", False)
    shipped = Path(one["options"]["path"]).relative_to("/opt/syncd/current/share")
    assert list((DEPLOY.parent / shipped).glob("*.json"))
