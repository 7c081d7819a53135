"""Which tests of a run on several processes go to the same one: those on a real systemd, which share a box.

Everything else is dealt out one by one. Not by xdist's own groups: with pytest 9.2 its version 3.8 does not see them.
"""

from __future__ import annotations

from typing import Any

import pytest

BOX = "tests/deploy/"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """What shares a box is the largest group, and so it is begun first."""
    from xdist.scheduler import LoadScopeScheduling

    class OneBox(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return BOX if nodeid.startswith(BOX) else nodeid

    return OneBox(config, log)
