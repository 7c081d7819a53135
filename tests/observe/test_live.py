"""A real Prometheus over the real services: a normal run, a stuck one, an outage. What is asked for is there."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.daemon import QUICK, Daemon, serving
from tests.acceptance.monitoring import Watch, watching
from tests.acceptance.processes import until
from tests.acceptance.scene import SceneWithServer
from tests.observe.dashboards import Query, metrics_in, queries
from tests.observe.prometheus import PERIOD_SECONDS, Prometheus, load_rules, program, prometheus
from tests.postgres import state_of

DIVISOR = 120
"""Two minutes become a second."""
LEASE = {"EMAG_SYNC_LEASE_SECONDS": "5"}
RUNS = "SELECT count(*) FROM run WHERE status = 'complete'"


@asynccontextmanager
async def observed(
    scene: SceneWithServer,
    folder: Path,
    *,
    divisor: float = DIVISOR,
    alertmanager: str | None = None,
    interval_seconds: int = 3,
    period_seconds: int = PERIOD_SECONDS,
) -> AsyncIterator[tuple[Daemon, Watch, Prometheus]]:
    """Daemon and monitor of the scene, and what scrapes them."""
    interval = {**LEASE, "EMAG_SYNC_INTERVAL_SECONDS": str(interval_seconds)}
    program("prometheus")  # or skip, before anything is started
    async with (
        serving(scene, **QUICK | interval, EMAG_SYNC_CONCURRENCY="1") as daemon,
        watching(scene, folder, **interval) as watch,
        prometheus(
            folder,
            monitor=watch.url.removeprefix("http://"),
            daemon=f"127.0.0.1:{daemon.port}",
            divisor=divisor,
            alertmanager=alertmanager,
            period_seconds=period_seconds,
        ) as server,
    ):
        yield daemon, watch, server


@pytest.mark.prove
async def test_every_panel_shows_something_of_a_normal_run_a_stuck_one_and_an_outage(
    scene: SceneWithServer, tmp_path: Path
) -> None:
    """No query is refused, none is empty over the whole; and everything that rules and panels name is exported."""
    began = time.time()
    async with observed(scene, tmp_path) as (daemon, _, server):
        await until(lambda: scene.query(RUNS)[0][0], "a run is complete")
        scene.sandbox.faults.add("500:page=2:times=2")
        await until(lambda: scene.query("SELECT 1 FROM run WHERE status = 'running' AND pages > 1"), "pages are stored")
        await server.becomes("emag_sync_run_pages > 1", "the run is scraped")
        daemon.process.send_signal(signal.SIGSTOP)
        await until(lambda: state_of(daemon.process.pid) == "T", "the daemon has stopped")
        await server.becomes("emag_sync_stuck_syncs_total > 0", "the stuck run is found")
        await server.becomes('ALERTS{alertname="EmagSyncStuck"}', "the alert")
        daemon.process.send_signal(signal.SIGCONT)
        await asyncio.to_thread(scene.server.stop)
        await server.becomes("emag_sync_up == 0", "the outage is scraped")
        assert await server.series("emag_sync_run_status") == [], "without the ledger its series are absent"
        scene.server.start()
        await server.becomes("emag_sync_up == 1 and on () emag_sync_run_status", "the end of the outage is scraped")
        assert await empty_queries(server, began) == []
        assert await unknown_metrics(server) == set()
        (rules,) = [(await server.ask("rules"))["groups"]]
        unwell = [rule["name"] for group in rules for rule in group["rules"] if rule["health"] == "err"]
        assert unwell == []


async def empty_queries(server: Prometheus, began: float) -> list[str]:
    """The dashboards' queries that find no sample in all the time since; one that is refused fails at once."""
    found = []
    for query in queries():
        samples = await over_time(server, query, began)
        if not samples:
            found.append(str(query))
    return found


async def over_time(server: Prometheus, query: Query, began: float) -> list[Any]:
    """As Grafana asks: a range query, from the beginning to now."""
    span = {"start": f"{began:.3f}", "end": f"{time.time():.3f}", "step": "1"}
    series = (await server.ask("query_range", query=query.plain, **span))["result"]
    return [value for one in series for value in one["values"] if value[1] != "NaN"]


async def unknown_metrics(server: Prometheus) -> set[str]:
    """What rules and panels name, and neither a service nor a rule makes."""
    exported = set(await server.ask("label/__name__/values"))
    exported |= {name.removesuffix("_bucket") for name in exported}
    exprs = [rule["expr"] for rule in load_rules("alerts") + load_rules("recording")]
    exprs += [query.expr for query in queries()]
    recorded = {rule["record"] for rule in load_rules("recording")}
    return {name for expr in exprs for name in metrics_in(expr)} - exported - recorded
