"""What a release brings along: all that catalog, alerts, dashboards and papers point to lies where they say."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.observe.dashboards import DASHBOARDS
from tests.observe.prometheus import ROOT, load_rules

SHARE = "/opt/syncd/current/share"
CATALOG = (ROOT / "deploy/systemd/syncd.catalog").read_text("utf-8")
FOR_OPERATORS = ("README.md", "CHANGELOG.md", "docs/runbook/*.md")


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the installer makes of this source tree."""
    target = tmp_path_factory.mktemp("release") / "share"
    script = 'SOURCE=$1; source "$1/deploy/lib/release.sh"; copy_share "$2"'
    subprocess.run(["bash", "-euc", script, "bash", ROOT, target], check=True, timeout=60)
    return target


def shipped(share: Path, url: str) -> Path:
    """Where it lies, of a link or a path to where releases are installed."""
    return share / url.removeprefix("file://").removeprefix(SHARE).lstrip("/")


def test_every_entry_of_the_catalog_leads_to_a_page(share: Path) -> None:
    links = re.findall(r"^(?:Support|Documentation): (\S+)$", CATALOG, re.MULTILINE)
    assert len(links) == 2 * CATALOG.count("\n-- ")
    for link in links:
        assert link.startswith(f"file://{SHARE}/")
        assert shipped(share, link).is_file(), link


def test_an_entry_of_the_catalog_and_the_alert_about_the_same_lead_to_the_same_page() -> None:
    """Of what is alerted on, journal and alert tell one story."""
    page_of = dict(re.findall(r"^# (\S+)\n(?:.+\n)*Documentation: (\S+)$", CATALOG, re.MULTILINE))
    links = {rule["annotations"]["runbook_url"] for rule in load_rules("alerts")}
    of_alerts = {link for link in page_of.values() if "/EmagSync" in link}
    assert len(of_alerts) > 5
    assert of_alerts <= links
    for event, alert in (
        ("run.stuck", "Stuck"),
        ("run.not_recovered", "RecoveryFailing"),
        ("cap.near", "WillMissItsCap"),
    ):
        assert Path(page_of[event]).stem == f"EmagSync{alert}"


def test_every_alert_and_every_dashboard_leads_to_a_page(share: Path) -> None:
    for rule in load_rules("alerts"):
        assert shipped(share, rule["annotations"]["runbook_url"]).is_file(), rule["alert"]
    for dashboard in DASHBOARDS.values():
        (base,) = [one["query"] for one in dashboard["templating"]["list"] if one["name"] == "runbook"]
        links = [link["url"].replace("${runbook}", base) for link in dashboard["links"] if "${runbook}" in link["url"]]
        assert links
        assert all(shipped(share, link).is_file() for link in links)


def test_what_papers_units_and_provisioning_name_below_the_release_is_there(share: Path) -> None:
    papers = [path for pattern in FOR_OPERATORS for path in ROOT.glob(pattern)]
    for path in [*papers, *(one for one in (ROOT / "deploy").rglob("*") if one.is_file() and one.suffix != ".py")]:
        for named in re.findall(rf"{SHARE}[\w/.-]*", path.read_text("utf-8")):
            assert shipped(share, named.rstrip(".")).exists(), (path.name, named)


def test_a_page_leads_only_to_what_is_shipped_with_it(share: Path) -> None:
    for path in (one for pattern in FOR_OPERATORS for one in share.glob(pattern)):
        for link in re.findall(r"\]\(([^)#\s]+)", path.read_text("utf-8")):
            assert "://" in link or (path.parent / link).exists(), (path.name, link)


@pytest.mark.parametrize(
    "path",
    [
        "docs/runbook/README.md",
        "deploy/prometheus/prometheus.yml",
        "deploy/prometheus/alerts.rules.yml",
        "deploy/prometheus/recording.rules.yml",
        "deploy/grafana/dashboards/emag-sync-overview.json",
        "deploy/grafana/provisioning/dashboards/emag-sync.yml",
        "drop-ins/scraper-elsewhere.conf",
        "deploy_sync_system.sh",
    ],
)
def test_what_an_operator_is_told_to_take_is_there(share: Path, path: str) -> None:
    assert (share / path).is_file()
