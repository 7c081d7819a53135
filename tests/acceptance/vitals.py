"""What a running daemon uses: CPU, memory, descriptors from /proc; tasks, loop lag, connections from /metrics."""

from __future__ import annotations

import asyncio
import os
import re
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.daemon import Daemon
from tests.acceptance.scene import Scene

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
LAG = "syncd_event_loop_lag_seconds"


@dataclass(frozen=True)
class Vitals:
    """One look. memory_mib is resident; database_sessions are those of the program in its database."""

    taken_at: float
    cpu_seconds: float
    memory_mib: float
    peak_mib: float
    descriptors: int
    threads: int
    tasks: int
    database_sessions: int
    control_connections: int
    lags: dict[float, float]
    """Samples of the event loop's lag, cumulated: seconds → so many were no longer."""

    def share_within(self, seconds: float, since: Vitals) -> float:
        """Of the lag samples since the earlier look, the share that was no longer than this bucket's limit."""
        return (self.lags[seconds] - since.lags[seconds]) / (self.lags[float("inf")] - since.lags[float("inf")])


async def vitals(scene: Scene, daemon: Daemon) -> Vitals:
    """As of now."""
    return await asyncio.to_thread(_look, scene, daemon)


def _look(scene: Scene, daemon: Daemon) -> Vitals:
    process = Path(f"/proc/{daemon.process.pid}")
    # the second field, the name, may hold blanks; 14 and 15 are user and system time
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
    with urllib.request.urlopen(f"http://127.0.0.1:{daemon.port}/metrics", timeout=10) as answer:
        metrics = answer.read().decode()
    buckets = re.findall(rf'^{LAG}_bucket{{le="([^"]+)"}} (\S+)$', metrics, re.MULTILINE)
    ((sessions,),) = scene.query(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'syncd %'"
    )
    return Vitals(
        taken_at=time.monotonic(),
        cpu_seconds=(int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND,
        memory_mib=int(status["VmRSS"].split()[0]) / 1024,
        peak_mib=int(status["VmHWM"].split()[0]) / 1024,
        descriptors=len(list((process / "fd").iterdir())),
        threads=int(status["Threads"]),
        tasks=int(float(re.findall(r"^syncd_asyncio_tasks (\S+)$", metrics, re.MULTILINE)[0])),
        database_sessions=sessions,
        control_connections=int(float(re.findall(r"^syncd_control_connections (\S+)$", metrics, re.MULTILINE)[0])),
        lags={float(limit.replace("+Inf", "inf")): float(count) for limit, count in buckets},
    )
