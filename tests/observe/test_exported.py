"""What the rules need of the exporter beyond the contract: who waits for a person, and how often syncs are promised."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.acceptance.monitoring import watching
from tests.acceptance.scene import Start, outcome
from tests.acceptance.test_monitor import MAIN, shows

INTERVAL = f"emag_sync_interval_seconds{MAIN}"


async def test_a_run_that_asks_for_consent_is_shown_until_it_has_it(start: Start, tmp_path: Path) -> None:
    scene = await start(offers=250)
    async with watching(scene, tmp_path) as watch:
        assert outcome(await scene.sync())[0] == 0
        await shows(watch, f"emag_sync_awaiting_approval{MAIN}", 0)
        scene.sandbox.catalogue.vanish(200)
        asked = await scene.sync()
        assert outcome(asked) == (3, "partial", "blast_radius")
        await shows(watch, f"emag_sync_awaiting_approval{MAIN}", 1)
        config = ("--config", str(scene.program.config))
        done = await asyncio.to_thread(scene.program.call, "approve", asked["sync_id"], *config)
        assert done.returncode == 0, done.stderr
        assert outcome(await scene.sync())[0] == 0
        await shows(watch, f"emag_sync_awaiting_approval{MAIN}", 0)


async def test_the_promised_interval_is_shown_and_none_where_nothing_starts_by_itself(
    start: Start, tmp_path: Path
) -> None:
    scene = await start(offers=20)
    async with watching(scene, tmp_path, EMAG_SYNC_INTERVAL_SECONDS="900") as watch:
        metrics = await watch.metrics()
        assert metrics[INTERVAL] == 900
        assert metrics["process_start_time_seconds"] > 1e9
    async with watching(scene, tmp_path, EMAG_SYNC_INTERVAL_SECONDS="900", DISABLE_AUTO_SYNC="true") as watch:
        assert (await watch.metrics())[INTERVAL] == 0
