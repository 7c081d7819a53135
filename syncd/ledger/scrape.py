"""Everything that the metrics show, in one query: a row a stream, its counters in it.

Gauges of records come from the counters, too: live = inserted + revived - tombstoned. Counting a table of
millions at every scrape would not do, and the counters are committed together with the records.

Reading hundreds of streams gives way to the event loop every few of them: who waits for it is not the only one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.rows import tuple_row

from syncd.contract.words import Cause, Status, Stream
from syncd.runtime.postgres import Postgres

STREAMS_AT_ONCE = 5
"""Half a millisecond's work."""

# Counters as lines of text: as JSON they took the server twice as long, and us three times.
_SCRAPE = """
SELECT a.account_id, a.source, a.name, s.resource, extract(epoch FROM t.now)::float8, s.paused_at IS NOT NULL,
       extract(epoch FROM s.next_attempt_at - t.now)::float8, n.status, n.cause,
       extract(epoch FROM c.completed_at)::float8, extract(epoch FROM n.heartbeat_at)::float8,
       extract(epoch FROM n.progress_at)::float8,
       (SELECT string_agg(concat_ws(E'\\t', metric, endpoint, detail, value), E'\\n') FROM accumulator
         WHERE stream_id = s.stream_id),
       o.status, extract(epoch FROM t.now - o.started_at)::float8,
       coalesce(o.last_page, o.start_page - 1, 0), o.pages, ceil(o.expected::float8 / nullif(w.page_size, 0))::int,
       coalesce(o.max_pages, 0), o.requests, coalesce(o.max_requests, 0),
       extract(epoch FROM o.deadline_at - t.now)::float8, extract(epoch FROM o.wait_until - t.now)::float8
  FROM (SELECT statement_timestamp() AS now) t CROSS JOIN stream s JOIN account a USING (account_id)
  LEFT JOIN run o ON o.stream_id = s.stream_id AND o.status IN ('queued', 'running')
  LEFT JOIN sweep w ON w.sweep_id = o.sweep_id
  LEFT JOIN LATERAL (SELECT status, cause, heartbeat_at, progress_at FROM run
                      WHERE stream_id = s.stream_id AND status <> 'queued' AND NOT dry_run
                      ORDER BY queued_at DESC LIMIT 1) n ON true
  LEFT JOIN LATERAL (SELECT completed_at FROM run
                      WHERE stream_id = s.stream_id AND status = 'complete' AND NOT dry_run
                      ORDER BY queued_at DESC LIMIT 1) c ON true
 ORDER BY 2, 3, 4
"""


def counter_key(metric: str, endpoint: str = "", detail: str = "") -> str:
    """How a counter is called in StreamFacts.counters."""
    return f"{metric}\t{endpoint}\t{detail}"


@dataclass(frozen=True, slots=True)
class OpenRunFacts:
    """The stream's open run. page: the last one stored, of pages_expected (None: nobody knows); times in seconds.

    running_seconds        None while queued
    pages                  that this run has stored, of max_pages
    deadline_seconds_left  until the run's time is up; None while queued
    wait_seconds_left      until the end of its declared wait, negative after it; None where none is declared
    """

    status: Status
    running_seconds: float | None
    page: int
    pages: int
    pages_expected: int | None
    max_pages: int
    requests: int
    max_requests: int
    deadline_seconds_left: float | None
    wait_seconds_left: float | None

    @property
    def eta_seconds(self) -> float | None:
        """At the pace so far; None before the first page, and where nobody knows how many there are."""
        if self.pages_expected is None or not self.pages or not self.running_seconds:
            return None
        return max(0, self.pages_expected - self.page) * self.running_seconds / self.pages


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """One stream. status and cause are of its newest run that has begun; `_at` are Unix times in seconds, all by the
    database's clock.

    account_id       grows with each account that is registered
    next_in_seconds  until its next slot by the ledger's book, negative after it; None where none is set
    counters         counter_key(…) → value; what is not there is 0
    read_at          when all this was so
    """

    account_id: int
    stream: Stream
    paused: bool
    next_in_seconds: float | None
    status: Status | None
    cause: Cause | None
    succeeded_at: float | None
    heartbeat_at: float | None
    progress_at: float | None
    open_run: OpenRunFacts | None
    counters: Mapping[str, float]
    read_at: float = 0.0

    def counter(self, metric: str, detail: str) -> float:
        """A counter that has no endpoint."""
        return self.counters.get(counter_key(metric, "", detail), 0.0)

    @property
    def tombstoned(self) -> float:
        """Records that are marked as gone."""
        return self.counter("records", "tombstoned") - self.counter("records", "revived")

    @property
    def live(self) -> float:
        """Records that are not."""
        return self.counter("records", "inserted") - self.tombstoned


def ledger_time(facts: Sequence[StreamFacts]) -> float:
    """When they were read, as Unix time by the database's clock: ours may be wrong. Without any, by ours."""
    return max((one.read_at for one in facts), default=0.0) or time.time()


async def load_facts(postgres: Postgres) -> list[StreamFacts]:
    """Every stream, by its name."""
    async with postgres.connection("read the metrics") as connection:
        cursor = connection.cursor(row_factory=tuple_row)
        facts: list[StreamFacts] = []
        async for row in cursor.stream(_SCRAPE):  # while the server is still at the next ones
            facts.append(_facts_of(*row))
            if len(facts) % STREAMS_AT_ONCE == 0:
                await asyncio.sleep(0)
    return facts


def _facts_of(account_id: int, source: str, account: str, resource: str, read_at: float, *row: Any) -> StreamFacts:
    paused, next_in, status, cause, succeeded, beat, progress, counters, open_status, *run = row
    return StreamFacts(
        account_id,
        Stream(source, account, resource),
        paused,
        next_in,
        Status(status) if status else None,
        Cause(cause) if cause else None,
        succeeded,
        beat,
        progress,
        OpenRunFacts(Status(open_status), *run) if open_status else None,
        _read_counters(counters) if counters else {},
        read_at,
    )


def _read_counters(text: str) -> dict[str, float]:
    parts = (line.rpartition("\t") for line in text.split("\n"))
    return {key: float(value) for key, _, value in parts}
