"""One box for all tests on a real systemd; they run in one worker, in their order (xdist group `box`)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.box import Box, booted, why_impossible
from tests.deploy.supplies import SOURCE, WHEELS, Supplies, gathered


@pytest.fixture(scope="session")
def supplies(tmp_path_factory: pytest.TempPathFactory) -> Supplies:
    """The source tree and the wheels that an operator brings along."""
    if reason := why_impossible():
        pytest.skip(reason)
    return gathered(tmp_path_factory.mktemp("supplies"))


@pytest.fixture(scope="session")
def box(supplies: Supplies) -> Iterator[Box]:
    """An empty machine with a systemd; the source tree at /srv/syncd, the wheels at /srv/wheels."""
    with booted({supplies.source: SOURCE, supplies.wheels: WHEELS}) as box:
        yield box
