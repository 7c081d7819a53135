"""What the monitor reads of an account: how patient it is with its streams, and when their data is stale."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.config import Settings, load_settings
from monitor.view import watch_period_seconds
from monitor.work import expectation_of
from syncd.contract.words import Stream

MAIN, SLOW, OTHER = (Stream("emag", name, "offers") for name in ("main", "slow", "other"))
OF_ALL = 2 * 600 + 7200.0


def read(folder: Path, text: str, **environ: str) -> Settings:
    config = folder / "syncd.toml"
    config.write_text(f"[database]\nurl = 'postgresql:///syncd'\n{text}")
    return load_settings(config_path=config, environ=environ, system_directory=folder)


def test_an_account_has_its_own_interval_and_patience(tmp_path: Path) -> None:
    table = "[accounts.emag.slow]\ninterval_seconds = 86400\nstuck_threshold_hours = 6\nrequest_timeout_seconds = 120\n"
    settings = read(tmp_path, table)
    slow, other = settings.patience_with(SLOW), settings.patience_with(OTHER)
    assert (slow.threshold_seconds, slow.call_seconds) == (6 * 3600, 120)
    assert (other.threshold_seconds, other.call_seconds) == (3600, 30)
    promised = expectation_of(settings)
    assert promised.of(SLOW).stale_after_seconds == 2 * 86_400 + 7200
    assert promised.of(OTHER).stale_after_seconds == OF_ALL


def test_the_watch_looks_often_enough_for_the_shortest_lease(tmp_path: Path) -> None:
    assert watch_period_seconds(read(tmp_path, "")) == 30
    assert watch_period_seconds(read(tmp_path, "[accounts.emag.slow]\nlease_seconds = 300\n")) == 30
    assert watch_period_seconds(read(tmp_path, "[accounts.emag.slow]\nlease_seconds = 10\n")) == 5


def test_an_account_may_have_no_schedule_and_the_environment_wins_over_its_table(tmp_path: Path) -> None:
    table = "[accounts.emag.slow]\ninterval_seconds = 0\n"
    assert expectation_of(read(tmp_path, table)).of(SLOW).stale_after_seconds is None
    settings = read(tmp_path, table, EMAG_SYNC_INTERVAL_SECONDS="600")
    assert expectation_of(settings).of(SLOW).stale_after_seconds == OF_ALL


@pytest.mark.parametrize(
    "table",
    [
        "[accounts.emag.main]\ninterval_seconds = 'often'\n",
        "[accounts.emag]\nmain = 3\n",
        "[accounts]\nemag = 3\n",
        "[accounts.emag.main]\nunknown = 3\nbase_url = 'ftp://x'\n",
    ],
)
def test_a_mistake_in_an_account_does_not_blind_the_watch(tmp_path: Path, table: str) -> None:
    settings = read(tmp_path, table)
    assert settings.patience_with(MAIN).threshold_seconds == 3600
    assert expectation_of(settings).of(MAIN).stale_after_seconds == OF_ALL
