"""The monitor as a service: finds a frozen worker, ends it, shows it; and is there when nothing else is."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

from tests.acceptance.monitoring import Watch, watching
from tests.acceptance.processes import ended, running, until
from tests.acceptance.scene import Start, outcome
from tests.fault_proxy import FaultProxy
from tests.postgres import state_of

LEASE = {"EMAG_SYNC_LEASE_SECONDS": "5"}
MAIN = '{account_type="main",source="emag"}'


async def shows(watch: Watch, metric: str, value: float) -> None:
    """Within a minute."""
    async with asyncio.timeout(60):
        while (await watch.metrics()).get(metric) != value:  # noqa: ASYNC110  # another process: nothing to wait for
            await asyncio.sleep(0.1)


async def test_a_frozen_worker_is_found_within_its_lease_ended_and_succeeded(start: Start, tmp_path: Path) -> None:
    scene = await start(offers=1150, faults=["slow:page=all:seconds=0.15"])
    async with watching(scene, tmp_path, **LEASE) as watch, running(scene, **LEASE) as process:
        await until(lambda: scene.query("SELECT 1 FROM sweep_page WHERE page > 2"), "three pages are stored")
        process.send_signal(signal.SIGSTOP)
        await until(lambda: state_of(process.pid) == "T", "the process has stopped")
        await until(lambda: scene.query("SELECT 1 FROM run WHERE initiated_by = 'monitor'"), "it is succeeded")
        ((old, cause),) = scene.query("SELECT run_id, cause FROM run WHERE completed_at IS NOT NULL")
        assert cause == "lease_lost"
        ((late,),) = scene.query(
            "SELECT extract(epoch FROM found_at - (forensics -> 'lease' -> 0 ->> 'expires_at')::timestamptz)::float8"
            "  FROM rescue WHERE run_id = %s", old
        )  # fmt: skip
        assert late < 5
        pages = scene.query("SELECT count(*) FROM sweep_page")
        metrics = await watch.metrics()
        assert metrics[f"emag_sync_stuck_syncs_total{MAIN}"] == 1
        assert metrics[f"emag_sync_recovered_syncs_total{MAIN}"] == 1
        process.send_signal(signal.SIGCONT)
        assert (await ended(process))[0] == 70
        assert scene.query("SELECT count(*) FROM sweep_page") == pages
        scene.sandbox.faults.clear()
        assert outcome(await scene.sync()) == (0, "complete", "end_of_data")
        assert scene.live == scene.served


async def test_the_port_shows_a_sync_in_metrics_page_text_and_json(start: Start, tmp_path: Path) -> None:
    scene = await start(offers=250)
    async with watching(scene, tmp_path) as watch:
        before = await watch.metrics()
        assert before[f"emag_sync_offers_processed_total{MAIN}"] == 0
        assert outcome(await scene.sync())[0] == 0
        await shows(watch, f"emag_sync_run_status{MAIN}", 2)
        metrics = await watch.metrics()
        assert metrics[f"emag_sync_offers_processed_total{MAIN}"] == 250
        assert metrics['emag_sync_records{account_type="main",source="emag",state="live"}'] == 250
        read = '{account_type="main",endpoint="product_offer/read",source="emag"}'
        assert metrics[f"emag_sync_requests_total{read}"] == len(scene.list_calls)
        assert metrics["emag_sync_up"] == 1
        status, page = await watch.get("/", Accept="text/html")
        assert (status, "All good: main finished" in page) == (200, True)
        _, text = await watch.get("/", Accept="text/plain")
        assert text.startswith("All good: main finished")
        _, facts = await watch.get("/status.json")
        assert json.loads(facts)["status"] == "healthy"
        watch.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(watch.process.wait, 10) == 0


async def test_a_database_that_freezes_is_told_and_returned_to(start: Start, tmp_path: Path) -> None:
    scene = await start(offers=20)
    async with FaultProxy(scene.program.database) as proxy:
        proxy.hold()
        async with watching(scene, tmp_path, DATABASE_URL=proxy.conninfo) as watch:
            metrics = await watch.metrics()
            assert metrics["emag_sync_up"] == 0
            assert not [name for name in metrics if "offers_processed" in name]
            _, page = await watch.get("/", Accept="text/html")
            assert "The ledger cannot be read" in page
            assert (await watch.get("/livez"))[0] == 200
            assert (await watch.get("/readyz"))[0] == 503
            proxy.pass_on()
            proxy.cut_all()
            await shows(watch, "emag_sync_up", 1)
            await shows(watch, "emag_sync_monitor_status", 1)
