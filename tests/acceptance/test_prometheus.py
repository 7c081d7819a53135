"""What Prometheus sees of the real services, through restarts of both, a prune and an outage of the API.

Its raw samples never fall, and their difference is what the marketplace counted. Only what a daemon that was killed
had not written yet may be missing: the calls of its last 5 seconds.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from syncd.ledger.accumulators import FLUSH_SECONDS
from tests.acceptance.daemon import Daemon, free_port, serving
from tests.acceptance.monitoring import Watch, watching
from tests.acceptance.processes import until
from tests.acceptance.prometheus import SCRAPE_SECONDS, Prometheus, scraping
from tests.acceptance.scene import Scene, Start
from tests.old_runs import insert_old_runs

ALIVE = "SELECT 1 FROM run WHERE status IN ('queued', 'running')"
QUICK_TO_FAIL = {"EMAG_SYNC_MAX_ATTEMPTS": "2", "EMAG_SYNC_LEASE_SECONDS": "6"}


@dataclass
class Stage:
    """Both services and Prometheus; each service may be replaced by a new process."""

    scene: Scene
    prometheus: Prometheus
    folder: Path
    stack: AsyncExitStack
    port: int
    may_be_lost: int = 0
    table: list[str] = field(default_factory=list)

    async def new_monitor(self, old: Watch | None = None, number: int = signal.SIGKILL) -> Watch:
        if old is not None:
            old.process.send_signal(number)
            await asyncio.to_thread(old.process.wait)
        settings = QUICK_TO_FAIL | {"EMAG_SYNC_METRICS_PORT": str(self.port)}
        return await self.stack.enter_async_context(watching(self.scene, self.folder, **settings))

    async def new_daemon(self, old: Daemon | None = None, number: int = signal.SIGTERM) -> Daemon:
        if old is not None:
            old.process.send_signal(number)
            await old.ended()
        return await self.stack.enter_async_context(serving(self.scene, **QUICK_TO_FAIL))

    async def killed(self, daemon: Daemon) -> Daemon:
        """A new daemon after a kill -9; what may be lost with the old one is noted."""
        written = self.counted
        daemon.process.kill()
        await asyncio.to_thread(daemon.process.wait)
        log = self.scene.sandbox.log
        recent = sum(call.at_seconds > log[-1].at_seconds - FLUSH_SECONDS - 1 for call in log)
        self.may_be_lost += min(recent, len(log) - written)
        return await self.new_daemon()

    @property
    def counted(self) -> int:
        ((value,),) = self.scene.query("SELECT coalesce(sum(value), 0) FROM accumulator WHERE metric = 'requests'")
        return int(value)

    async def quiet(self) -> None:
        """No run lives, and whatever was written has been scraped."""
        await until(lambda: not self.scene.query(ALIVE), "no run is open", 60)
        await self.seen(self.counted)

    async def seen(self, requests: int | None) -> None:
        """Prometheus has scraped this count; None: any."""
        total: float | None = None
        async with asyncio.timeout(30):
            while total is None or total != (total if requests is None else requests):
                await asyncio.sleep(SCRAPE_SECONDS / 2)
                total = await self.prometheus.total("emag_sync_requests_total")

    async def compare(self, when: str) -> None:
        """Prometheus and the marketplace tell one story, as soon as it has been scraped."""
        await self.quiet()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + 30
        rows = await self._look()
        while not self._agree(rows) and loop.time() < deadline:
            await asyncio.sleep(SCRAPE_SECONDS / 2)
            rows = await self._look()
        self.table += [f"{when:40} {name:20} true {true:7} seen {seen:9}" for name, true, seen in rows]
        assert self._agree(rows), "\n".join(self.table)

    async def _look(self) -> list[tuple[str, int, float | None]]:
        log, ask = list(self.scene.sandbox.log), self.prometheus.total
        ((offers, quarantined),) = self.scene.query("SELECT sum(fetched), (SELECT count(*) FROM quarantine) FROM run")
        failed = sum(call.status is not None and call.status >= 500 for call in log)
        return [
            ("calls", len(log), await ask("emag_sync_requests_total")),
            ("HTTP 5xx", failed, await ask('emag_sync_request_errors_total{reason="http_5xx"}')),
            ("offers", int(offers), await ask("emag_sync_offers_processed_total")),
            ("live", len(self.scene.live), await ask('emag_sync_records{state="live"}')),
            ("kept in quarantine", int(quarantined), await ask("emag_sync_quarantined_records")),
        ]

    def _agree(self, rows: list[tuple[str, int, float | None]]) -> bool:
        lost = {"calls": self.may_be_lost, "HTTP 5xx": self.may_be_lost}
        return all(seen is not None and true - lost.get(name, 0) <= seen <= true for name, true, seen in rows)

    async def never_fell(self) -> int:
        """No counter has a smaller sample after a greater one; how many samples there were."""
        counters = await self.prometheus.counters()
        for name, values in counters.items():
            assert values == sorted(values), f"{name} fell: {values}"
            assert values[0] == 0, f"{name} was not there before its first event: {values[:5]}"
        assert any(values[-1] > 0 for values in counters.values())
        return sum(map(len, counters.values()))

    async def sync(self, daemon: Daemon) -> None:
        assert (await daemon.call("POST", "/sync", {}))[0] == 202

    async def pages(self, at_least: int) -> None:
        """The newest run has stored so many pages."""
        query = "SELECT pages FROM run WHERE status = 'running'"
        await until(lambda: (self.scene.query(query) or [(0,)])[0][0] >= at_least, f"{at_least} pages", 60)


async def play(start: Start, folder: Path, rounds: int) -> list[str]:
    """The same day again and again: restarts, kills, a prune, an outage; the comparisons as a table."""
    port = free_port()
    scene = await start(offers=1150, faults=["slow:page=all:seconds=0.05"], settings={"EMAG_SYNC_CONCURRENCY": "2"})
    async with AsyncExitStack() as stack:
        prometheus = await stack.enter_async_context(scraping(folder, port))
        stage = Stage(scene, prometheus, folder, stack, port)
        monitor = await stage.new_monitor()
        await stage.seen(None)
        daemon = await stage.new_daemon()
        for number in range(1, rounds + 1):
            monitor, daemon = await one_round(stage, monitor, daemon, f"round {number}:")
        samples = await stage.never_fell()
    return [*stage.table, f"{samples} samples of counters, none fell; {stage.may_be_lost} calls may have been lost"]


async def one_round(stage: Stage, monitor: Watch, daemon: Daemon, name: str) -> tuple[Watch, Daemon]:
    scene = stage.scene
    if name != "round 1:":
        await stage.sync(daemon)
    await stage.pages(3)
    monitor = await stage.new_monitor(monitor)
    await stage.compare(f"{name} monitor killed mid-run")
    await stage.sync(daemon)
    await stage.pages(3)
    daemon = await stage.new_daemon(daemon)
    await stage.compare(f"{name} daemon stopped mid-run")
    insert_old_runs(scene.program.database, count=50)
    done = await asyncio.to_thread(scene.program.monitor, "prune")
    assert "50 runs" in done.stdout, done
    await stage.compare(f"{name} pruned")
    scene.sandbox.faults.add("500:page=all:times=forever")
    await stage.sync(daemon)
    monitor = await stage.new_monitor(monitor, signal.SIGTERM)
    await stage.compare(f"{name} API away, no page")
    scene.sandbox.faults.clear()
    scene.sandbox.faults.add("slow:page=all:seconds=0.05")
    scene.query("UPDATE account SET breaker_failures = 0, breaker_open_until = NULL RETURNING 1")
    await stage.sync(daemon)
    await stage.pages(3)
    daemon = await stage.killed(daemon)
    await stage.compare(f"{name} daemon killed mid-run")
    return monitor, daemon


async def test_prometheus_sees_what_the_marketplace_counted(start: Start, tmp_path: Path) -> None:
    print("\n".join(await play(start, tmp_path, 1)))


@pytest.mark.prove
async def test_prometheus_sees_it_for_some_minutes(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = await play(start, tmp_path, 12)
    with capsys.disabled():
        print("\n" + "\n".join(table))
