"""A run that asks for missing records one by one stores no page meanwhile, and is healthy all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.watch import Health
from tests.acceptance.matrix import LEASE, watched
from tests.acceptance.processes import ended, running
from tests.acceptance.scene import Start, outcome

GONE = 40
CALLS_PER_SECOND = 4
BRIEF = {"EMAG_SYNC_REQUEST_TIMEOUT_SECONDS": "1", **LEASE}


@pytest.mark.parametrize(
    ("threshold_seconds", "faults"),
    [(4, []), pytest.param(3600, ["429:page=lookup:retry_after=6"], marks=pytest.mark.prove)],
    ids=["longer than the threshold", "after a declared wait, for longer than a call and a lease"],
)
async def test_many_look_ups_are_no_standstill(
    start: Start, tmp_path: Path, threshold_seconds: float, faults: list[str]
) -> None:
    scene = await start(offers=100, account={"calls_per_second": str(CALLS_PER_SECOND)})
    assert outcome(await scene.sync()) == (0, "complete", "end_of_data")
    gone = {str(key) for key in scene.sandbox.catalogue.vanish(GONE)}
    scene.sandbox.faults.add(*faults)
    async with watched(scene, tmp_path, threshold_seconds, **BRIEF) as seen, running(scene, **BRIEF) as process:
        exit_code, facts = await ended(process, 90)
    assert (exit_code, facts["status"]) == (0, "complete"), facts
    assert scene.tombstoned == gone
    assert scene.query("SELECT count(*) FROM rescue") == [(0,)]
    assert Health.STUCK not in seen.verdicts
