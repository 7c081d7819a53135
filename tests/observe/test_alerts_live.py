"""Alerts reach people: a real Prometheus and a real Alertmanager beside the real services, minutes made seconds."""

from __future__ import annotations

import asyncio
import re
import signal
from pathlib import Path

import pytest

from tests.acceptance.processes import until
from tests.acceptance.scene import SceneWithServer
from tests.observe.alertmanager import Alertmanager, alertmanager
from tests.observe.prometheus import ROOT
from tests.observe.test_live import RUNS, observed
from tests.postgres import state_of

DIVISOR = 60
INTERVAL_SECONDS = 10
PERIOD_SECONDS = 4
"""From scrape to scrape, and the most that one may take: without its ledger the monitor answers after 3 s."""


async def fires_and_is_whole(manager: Alertmanager, name: str) -> None:
    """It arrives, its texts have every value, and its page exists."""
    alert = await manager.says(name, "firing")
    texts = alert["annotations"]
    for text in texts.values():
        assert not re.search(r"no value|\{\{|%!|error", text), text
    assert (ROOT / "docs/runbook" / Path(texts["runbook_url"]).name).exists()
    print(f"\n{name}: {texts['summary']}. {texts['description']}")


@pytest.mark.prove
@pytest.mark.timeout(900)
async def test_a_stuck_run_an_outage_and_stale_data_are_told_and_their_end_too(
    scene: SceneWithServer, tmp_path: Path
) -> None:
    async with (
        alertmanager(tmp_path) as manager,
        observed(
            scene,
            tmp_path,
            divisor=DIVISOR,
            alertmanager=manager.address,
            interval_seconds=INTERVAL_SECONDS,
            period_seconds=PERIOD_SECONDS,
        ) as (daemon, _, server),
    ):
        await until(lambda: scene.query(RUNS)[0][0], "a run is complete")
        await server.becomes("emag_sync_run_status == 2", "the complete run is scraped")
        # Prometheus looks for its targets 5 s after its start: a shortened minute says that they are gone
        await server.becomes('absent(ALERTS{alertstate="firing"})', "all is quiet")

        await daemon.call("POST", "/sync", {})
        await until(lambda: scene.query("SELECT 1 FROM run WHERE status = 'running' AND pages > 1"), "pages are stored")
        daemon.process.send_signal(signal.SIGSTOP)
        await until(lambda: state_of(daemon.process.pid) == "T", "the daemon has stopped")
        await fires_and_is_whole(manager, "EmagSyncStuck")
        await fires_and_is_whole(manager, "EmagSyncDaemonSilent")
        daemon.process.send_signal(signal.SIGCONT)
        await manager.says("EmagSyncDaemonSilent", "resolved")
        await manager.says("EmagSyncStuck", "resolved")

        await asyncio.to_thread(scene.server.stop)
        await fires_and_is_whole(manager, "EmagSyncDatabaseUnreachable")
        scene.server.start()
        await manager.says("EmagSyncDatabaseUnreachable", "resolved")

        scene.sandbox.faults.add("500:page=all:times=forever")
        await fires_and_is_whole(manager, "EmagSyncDataStale")
        scene.sandbox.faults.clear()
        await daemon.call("POST", "/resume", {})
        await daemon.call("POST", "/sync", {})
        await manager.says("EmagSyncDataStale", "resolved")
