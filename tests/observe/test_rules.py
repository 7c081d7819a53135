"""The shipped rules, by Prometheus's own tools: they load, every alert fires when it should and only then."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.observe.dashboards import metrics_in
from tests.observe.prometheus import ROOT, RULES, load_rules, program

ALERTS = {rule["alert"]: rule for rule in load_rules("alerts")}
CASES = sorted((RULES / "tests").glob("*.test.yml"))
RUNBOOK = "file:///opt/syncd/current/share/docs/runbook"
NEVER = "vector(0) > 1"


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program("promtool"), *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )


def test_the_configuration_and_the_rules_load() -> None:
    for arguments in (["config", RULES / "prometheus.yml"], ["rules", *sorted(RULES.glob("*.rules.yml"))]):
        done = promtool("check", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_the_alerts_fire_and_are_quiet_as_they_should(case: Path) -> None:
    done = promtool("test", "rules", case)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_seen_to_fire_to_be_quiet_and_without_its_series() -> None:
    """In missing.test.yml no series is there at all, and what fires is listed by name: that covers all of them."""
    named: dict[str, set[str]] = {alert: set() for alert in ALERTS}
    for group in _groups():
        if found := re.match(r"(\w+) (fires|is quiet): ", group["name"]):
            named[found[1]].add(found[2])
            for test in group["promql_expr_test"]:
                assert f'alertname="{found[1]}"' in test["expr"], group["name"]
                assert bool(test["exp_samples"]) == (found[2] == "fires"), group["name"]
    assert {alert for alert, kinds in named.items() if kinds != {"fires", "is quiet"}} == set()
    empty = [group for group in _groups() if not group.get("input_series")]
    assert [test["expr"] for group in empty for test in group["promql_expr_test"]] == [
        'count by (alertname) (ALERTS{alertstate="firing"})'
    ]


def _groups() -> Iterator[dict[str, Any]]:
    for case in CASES:
        yield from yaml.safe_load(case.read_text("utf-8"))["tests"]


def test_every_alert_says_how_bad_what_why_and_where_to_read_on() -> None:
    for name, rule in ALERTS.items():
        assert re.fullmatch(r"EmagSync[A-Z]\w+", name)
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}, name
        assert rule["annotations"]["runbook_url"] == f"{RUNBOOK}/{name}.md"


def test_every_alert_has_a_page_in_the_runbook_and_every_page_an_alert() -> None:
    assert {path.stem for path in (ROOT / "docs/runbook").glob("EmagSync*.md")} == set(ALERTS)


def test_every_recorded_series_that_is_named_is_recorded() -> None:
    recorded = {rule["record"] for rule in load_rules("recording")}
    exprs = [rule["expr"] for rule in load_rules("alerts") + load_rules("recording")]
    named = {name for expr in exprs for name in metrics_in(expr) if ":" in name}
    assert named <= recorded
    assert {name for name in recorded if ":emag_sync_" not in name} == set(), "level:metric:operations"


def _changed(rule: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The alert without one of the things that it consists of."""
    expr = rule["expr"]
    yield "it never fires", {**rule, "expr": NEVER}
    if "for" in rule:
        yield "it waits for nothing", {name: value for name, value in rule.items() if name != "for"}
        doubled = re.sub(r"\d+", lambda found: str(2 * int(found[0])), rule["for"])
        yield "it waits twice as long", {**rule, "for": doubled}
    for part in re.findall(r" (?:and|unless|or) (?:(?! and | unless | or ).)+", expr):
        yield f"without{part}", {**rule, "expr": expr.replace(part, "")}
    for found in re.finditer(r"> (\d[\d.]*)", expr):
        limit = float(found[1])
        for other in (limit * 3 or 5.0, limit / 3 or -1.0):
            text = f"{expr[: found.start()]}> {other:g}{expr[found.end() :]}"
            yield f"{found[0]} becomes {other:g}", {**rule, "expr": text}


@pytest.mark.prove
@pytest.mark.parametrize("name", ALERTS)
def test_no_part_of_an_alert_can_be_changed_unnoticed(name: str, tmp_path: Path) -> None:
    """Each part is taken out or moved, and at least one case must fail."""
    copied = tmp_path / "prometheus"
    shutil.copytree(RULES, copied)
    cases = [path for path in sorted(copied.glob("tests/*.yml")) if name in path.read_text("utf-8")]
    whole = yaml.safe_load((RULES / "alerts.rules.yml").read_text("utf-8"))
    lives = []
    for what, rule in _changed(ALERTS[name]):
        document = copy.deepcopy(whole)
        for group in document["groups"]:
            group["rules"] = [rule if one["alert"] == name else one for one in group["rules"]]
        (copied / "alerts.rules.yml").write_text(yaml.safe_dump(document))
        if all(promtool("test", "rules", case).returncode == 0 for case in cases):
            lives.append(what)
    assert lives == []
