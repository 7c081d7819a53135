"""GET /metrics of the daemon: its own process, its event loop, its connections. What it syncs is the monitor's."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Iterator

from aiohttp import web
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from syncd.control.call import Call
from syncd.http.problem import answer_metrics

SAMPLE_SECONDS = 0.1
BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class LoopLag:
    """How late the event loop comes back from a sleep."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS) + 1)
        self._sum = 0.0

    async def sample(self) -> None:
        """For ever."""
        loop = asyncio.get_running_loop()
        while True:
            asleep_at = loop.time()
            await asyncio.sleep(SAMPLE_SECONDS)
            self.observe(max(0.0, loop.time() - asleep_at - SAMPLE_SECONDS))

    def observe(self, seconds: float) -> None:
        """Count one."""
        self._counts[bisect_left(BUCKETS, seconds)] += 1
        self._sum += seconds

    def metric(self) -> Metric:
        """As a histogram."""
        total, buckets = 0, []
        for limit, count in zip([*map(str, BUCKETS), "+Inf"], self._counts, strict=True):
            total += count
            buckets.append((limit, float(total)))
        name, text = "syncd_event_loop_lag_seconds", "How late the event loop wakes up, sampled ten times a second."
        return HistogramMetricFamily(name, text, buckets=buckets, sum_value=self._sum)


class _Own(Collector):
    """What is asked for at each scrape."""

    def __init__(
        self, lag: LoopLag, gauges: dict[str, tuple[str, Callable[[], float]]], ended: Callable[[], int]
    ) -> None:
        self._lag = lag
        self._gauges = gauges
        self._ended = ended

    def collect(self) -> Iterator[Metric]:
        yield self._lag.metric()
        for name, (text, value) in self._gauges.items():
            yield GaugeMetricFamily(name, text, value=value())
        yield CounterMetricFamily(
            "syncd_control_connections_ended_total", "Connections ended to make room for others.", value=self._ended()
        )


class Metrics:
    """Answers the scrape."""

    def __init__(
        self, lag: LoopLag, gauges: dict[str, tuple[str, Callable[[], float]]], ended: Callable[[], int]
    ) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self._registry.register(_Own(lag, gauges, ended))

    async def scrape(self, _: Call) -> web.StreamResponse:
        """A few dozen lines, so it needs no thread."""
        return answer_metrics(generate_latest(self._registry))
