"""One box and one installation for all tests on a real systemd.

They run in one worker (tests/one_box.py), in the order of their files: from an empty machine to a purged one. Each
fixture takes what the one before left; a test that needs an installed machine also runs alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from tests.deploy.box import booted, why_impossible
from tests.deploy.machine import ACCOUNT, QUICK, Machine, bindings, prepare
from tests.deploy.supplies import SOURCE, WHEELS, Supplies, gathered

HERE = Path(__file__).parent
OLD_MONITOR = "[Service]\nExecStart=/bin/sleep 1d\n[Install]\nWantedBy=multi-user.target\n"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test also waits for the wheels and the installation, on a machine that others use, too."""
    for item in items:
        if item.path.parent == HERE and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def supplies(tmp_path_factory: pytest.TempPathFactory) -> Supplies:
    """The source tree and the wheels that an operator brings along."""
    if reason := why_impossible():
        pytest.skip(reason)
    return gathered(tmp_path_factory.mktemp("supplies"))


@pytest.fixture(scope="session")
def empty(supplies: Supplies) -> Iterator[Machine]:
    """A machine with systemd, PostgreSQL's packages and a marketplace, and nothing of ours."""
    with booted({supplies.source: SOURCE, supplies.wheels: WHEELS, **bindings()}) as box:
        yield prepare(box)


@pytest.fixture(scope="session")
def untouched(empty: Machine) -> dict[str, str]:
    """The tree of the empty machine; asked for before anything is installed."""
    return empty.tree()


@pytest.fixture(scope="session")
def machine(empty: Machine, untouched: dict[str, str]) -> Machine:
    """Installed by one command, over the unit of an older monitor; a first sync is complete."""
    empty.write("/etc/systemd/system/sync-monitor.service", OLD_MONITOR)
    empty.write("/etc/syncd/syncd.env", QUICK)
    empty.box.exec("systemctl", "enable", "--now", "sync-monitor.service")
    began = monotonic()
    said = empty.deploy(*ACCOUNT, "--replace-old")
    print(f"one command to a green system: {monotonic() - began:.1f} s\n{said}")
    empty.box.until(lambda: empty.query("SELECT 1 FROM sync.run WHERE status = 'complete'"), "a complete sync", 60)
    return empty
