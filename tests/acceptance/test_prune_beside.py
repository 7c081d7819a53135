"""A sync at full speed beside a big prune: how much slower it gets."""

from __future__ import annotations

import asyncio
import time

import pytest

from syncd.ledger.retention import prune
from syncd.runtime.postgres import Postgres
from tests.acceptance.scene import Scene, Start, outcome
from tests.old_runs import insert_old_runs

OLD_RUNS, CHANGES = 5_000, 30
ROUNDS = 2
MOST_LOSS = 0.5
"""Of its speed, where database, prune, sync and marketplace share two cores. With cores to spare it is far less."""
CAPS = {"EMAG_SYNC_MAX_PAGES": "1000", "EMAG_SYNC_MAX_REQUESTS": "2000"}


async def sync_seconds(scene: Scene) -> float:
    """Every offer is new to the ledger each time."""
    scene.query("DELETE FROM record RETURNING 1")
    began = time.monotonic()
    assert outcome(await scene.sync("--fresh", **CAPS)) == (0, "complete", "end_of_data")
    return time.monotonic() - began


@pytest.mark.prove
async def test_a_prune_leaves_a_sync_its_speed(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    scene = await start(offers=10_000, account={"calls_per_second": "1000"})
    await sync_seconds(scene)
    alone, beside, pruned = [], [], 0
    for _ in range(ROUNDS):
        alone.append(await sync_seconds(scene))
        insert_old_runs(scene.program.database, count=OLD_RUNS, changes=CHANGES)
        async with Postgres(scene.program.database, "sync") as postgres:
            pruning = asyncio.create_task(prune(postgres, older_than_days=30))
            beside.append(await sync_seconds(scene))
            assert not pruning.done(), "the prune was over too early to say anything"
            pruned += (await pruning).runs
    loss = 1 - min(alone) / min(beside)
    with capsys.disabled():
        print(
            f"\nalone {min(alone):.2f} s, beside a prune {min(beside):.2f} s: {loss:.0%} slower; {pruned:,} runs pruned"
        )
    assert pruned == ROUNDS * OLD_RUNS
    assert loss < MOST_LOSS
