"""Counters of what happened, kept in the ledger so that they survive every restart.

A run collects deltas in memory; they are added to the ledger with each page, and at least every 5 s
besides, because calls happen without pages. A kill -9 loses at most those 5 s.

Nothing fences the additions: what happened has happened, also to a run that has lost its lease, and sums do not
depend on who comes first.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from psycopg import AsyncCursor

from syncd.ledger.activity import Activity
from syncd.runtime.postgres import Postgres

LATENCY_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
FLUSH_SECONDS = 5.0

Delta = tuple[str, str, str]
"""(metric, endpoint, detail); endpoint and detail are '' where the metric has no such label."""

# Sorted, so that two writers lock the rows in the same order.
ADD = """
INSERT INTO accumulator AS a (stream_id, metric, endpoint, detail, value)
SELECT %(stream_id)s, m, e, d, v
  FROM unnest(%(metrics)s::text[], %(endpoints)s::text[], %(details)s::text[], %(values)s::float8[]) AS u(m, e, d, v)
 {condition} ORDER BY m, e, d
    ON CONFLICT (stream_id, metric, endpoint, detail) DO UPDATE SET value = a.value + excluded.value
"""


def parameters(deltas: Mapping[Delta, float]) -> dict[str, object]:
    """The deltas as the parameters of ADD."""
    return {
        "metrics": [key[0] for key in deltas],
        "endpoints": [key[1] for key in deltas],
        "details": [key[2] for key in deltas],
        "values": [float(value) for value in deltas.values()],
    }


async def count_out_of_quarantine(cursor: AsyncCursor[Any], stream_id: int, rows: int) -> None:
    """So many rows have left the quarantine; what was put there stays counted. In the caller's transaction."""
    counted = parameters({("quarantine_pruned", "", ""): rows})
    await cursor.execute(ADD.format(condition=""), {"stream_id": stream_id, **counted})


class Recorder:
    """The deltas of one run that are not in the ledger yet; and what it does just now."""

    def __init__(self, stream_id: int) -> None:
        self.stream_id = stream_id
        self.requests = 0
        self.errors = 0
        self.activity = Activity()
        self._deltas: defaultdict[Delta, float] = defaultdict(float)
        self._flushing = asyncio.Lock()

    def add(self, metric: str, value: float = 1.0, *, endpoint: str = "", detail: str = "") -> None:
        """Count."""
        self._deltas[(metric, endpoint, detail)] += value

    def call_ended(self, endpoint: str, seconds: float, reason: str | None) -> None:
        """One call came back, or failed for `reason`."""
        self.requests += 1
        self.add("requests", endpoint=endpoint)
        self.add("latency_sum", seconds, endpoint=endpoint)
        bucket = next((str(limit) for limit in LATENCY_BUCKETS if seconds <= limit), "+Inf")
        self.add("latency_bucket", endpoint=endpoint, detail=bucket)
        if reason is not None:
            self.errors += 1
            self.add("request_errors", endpoint=endpoint, detail=reason)

    def call_abandoned(self, endpoint: str) -> None:
        """One call was not waited for: the run was stopped meanwhile. The marketplace has counted it all the same."""
        self.requests += 1
        self.add("requests", endpoint=endpoint)

    def drain(self) -> dict[Delta, float]:
        """Take the deltas out; give them back with `restore` where they did not reach the ledger."""
        taken = dict(self._deltas)
        self._deltas.clear()
        return taken

    def restore(self, deltas: Mapping[Delta, float]) -> None:
        """The transaction that carried these was rolled back."""
        for key, value in deltas.items():
            self._deltas[key] += value

    async def flush(self, postgres: Postgres, run_id: object) -> None:
        """Write what is collected, and the run's call counts, outside any page. After what is just being written: the
        end of a run cancels that, and what it gave back then nobody would write any more."""
        async with self._flushing:
            deltas = self.drain()
            if deltas:
                await self._write(postgres, run_id, deltas)

    async def _write(self, postgres: Postgres, run_id: object, deltas: Mapping[Delta, float]) -> None:
        try:
            async with postgres.connection("write the accumulators") as connection, connection.transaction():
                # The run first, then the counters: the order in which a page's transaction locks them.
                await connection.execute(
                    "UPDATE run SET requests = greatest(requests, %s), errors = greatest(errors, %s)"
                    " WHERE run_id = %s AND status = 'running'",
                    [self.requests, self.errors, run_id],
                )
                await connection.execute(ADD.format(condition=""), {"stream_id": self.stream_id, **parameters(deltas)})
        except BaseException:
            self.restore(deltas)
            raise
