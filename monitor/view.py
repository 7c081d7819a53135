"""What the monitor knows at this moment: filled by the watch and by the port's own looks, shown by the port."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from monitor.config import Settings
from monitor.metrics import accounts_of, families
from monitor.page.picture import Picture
from monitor.recovery import Look
from monitor.summary import Summary, summarise
from monitor.work import expectation_of
from syncd import __version__
from syncd.contract.errors import SyncError
from syncd.contract.runs import RunRow
from syncd.ledger.runs import load_runs
from syncd.ledger.scrape import StreamFacts, load_facts
from syncd.runtime.postgres import Postgres
from syncd.runtime.waiting import OutOfTimeError, give_up_after

FRESH_SECONDS = 1.0
LONGEST_READ_SECONDS = 3.0
RUNS_SHOWN = 20
WATCH_STATES = ("ok", "degraded", "failing")


class View:
    """The ledger as it was at most FRESH_SECONDS ago, and the last look of the watch.

    However many ask at once, one of them reads and the others wait for what it finds.
    """

    def __init__(self, postgres: Postgres, settings: Settings) -> None:
        self.settings = settings
        self._postgres = postgres
        self._reading = asyncio.Lock()
        self._started_at = time.time()
        self._read_at = -FRESH_SECONDS
        self._read_seconds = 0.0
        self._facts: Sequence[StreamFacts] = ()
        self._runs: Sequence[RunRow] = ()
        self._trouble: str | None = "it has not been read yet"
        self.look: Look | None = None
        self.looked_at: float | None = None
        """When the last look that succeeded ended, by the event loop's clock."""

    def saw(self, look: Look) -> None:
        """The watch has looked."""
        self.look, self.looked_at = look, asyncio.get_running_loop().time()

    @property
    def watch_state(self) -> str:
        """One of WATCH_STATES: failing where no look has succeeded for two periods."""
        since = self.seconds_since_look
        if since is None or since > 2 * watch_period_seconds(self.settings) + LONGEST_READ_SECONDS:
            return "failing"
        return "degraded" if self.look is not None and self.look.failed else "ok"

    @property
    def seconds_since_look(self) -> float | None:
        """None before the first one."""
        return None if self.looked_at is None else asyncio.get_running_loop().time() - self.looked_at

    async def refresh(self) -> None:
        """Read the ledger, unless that was done a moment ago; never raises for a database that is away."""
        loop = asyncio.get_running_loop()
        async with self._reading:
            if loop.time() - self._read_at < FRESH_SECONDS:
                return
            began = loop.time()
            try:
                self._facts, self._runs = await give_up_after(LONGEST_READ_SECONDS, self._read())
                self._trouble = None
            except SyncError as error:
                self._trouble = str(error)
            except OutOfTimeError:
                self._trouble = f"no answer within {LONGEST_READ_SECONDS:.0f} s"
            self._read_at = loop.time()
            self._read_seconds = self._read_at - began

    async def _read(self) -> tuple[Sequence[StreamFacts], Sequence[RunRow]]:
        return await load_facts(self._postgres), await load_runs(self._postgres, limit=RUNS_SHOWN)

    def summary(self) -> Summary | None:
        """None where the ledger cannot be read."""
        if self._trouble is not None:
            return None
        verdicts = self.look.verdicts if self.look is not None else []
        return summarise(self._facts, verdicts, expectation_of(self.settings), time.time())

    def picture(self) -> Picture:
        """For the page."""
        return Picture(datetime.now(UTC), __version__, self.summary(), self._runs, self._trouble)

    def exposition(self) -> bytes:
        """For Prometheus, in its text format. Without the ledger its own series are absent, not 0."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Shown(self._metrics()))
        return generate_latest(registry)

    def _metrics(self) -> list[Metric]:
        is_up = self._trouble is None
        state = self.watch_state
        states = GaugeMetricFamily("emag_sync_monitor_state", "The watch: 1 for the state it is in.", labels=["state"])
        for one in WATCH_STATES:
            states.add_metric([one], one == state)
        build = InfoMetricFamily("emag_sync_build", "The release that runs.", value={"version": __version__})
        own = [
            GaugeMetricFamily("emag_sync_up", "Whether the ledger could be read for this scrape.", value=is_up),
            GaugeMetricFamily("emag_sync_monitor_status", "1 while the watch is healthy.", value=state == "ok"),
            states,
            GaugeMetricFamily(
                "emag_sync_collector_duration_seconds", "How long reading the ledger took.", value=self._read_seconds
            ),
            GaugeMetricFamily(
                "emag_sync_interval_seconds",
                "From the end of a run to the next one, as set; 0: nothing is scheduled.",
                value=scheduled_interval_seconds(self.settings),
            ),
            GaugeMetricFamily(
                "process_start_time_seconds", "When this process began, in Unix time.", value=self._started_at
            ),
            build,
        ]
        return [*own, *families(self._facts), self._stuck_now()] if is_up else own

    def _stuck_now(self) -> Metric:
        family = GaugeMetricFamily(
            "emag_sync_stuck_runs", "Runs that are stuck now.", labels=["source", "account_type"]
        )
        stuck = {run.stream for run, _ in self.look.stuck} if self.look is not None else set()
        for account in accounts_of(self._facts):
            family.add_metric(account.labels, sum(facts.stream in stuck for facts in account.streams))
        return family


class _Shown(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics


def scheduled_interval_seconds(settings: Settings) -> float:
    """As promised for every account; 0 where nothing starts by itself."""
    return 0.0 if settings.disable_auto_sync else float(settings.sync.interval_seconds)


def watch_period_seconds(settings: Settings) -> float:
    """From look to look: a lapsed lease is found within one lease, everything else within the interval."""
    return min(0.5 * settings.sync.lease_seconds, settings.sync.monitor_interval)
