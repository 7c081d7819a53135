"""Everything that the metrics show, in one query: a row a stream, its counters in it.

Gauges of records come from the counters, too: live = inserted + revived - tombstoned. Counting a table of
millions at every scrape would not do, and the counters are committed together with the records.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from psycopg.rows import tuple_row

from syncd.contract.words import Cause, Status, Stream
from syncd.ledger.accumulators import Delta
from syncd.runtime.postgres import Postgres

_SCRAPE = """
SELECT a.source, a.name, s.resource, s.paused_at IS NOT NULL, n.status, n.cause,
       extract(epoch FROM c.completed_at)::float8, extract(epoch FROM n.heartbeat_at)::float8,
       extract(epoch FROM n.progress_at)::float8,
       o.status, extract(epoch FROM clock_timestamp() - o.started_at)::float8,
       coalesce(o.last_page, o.start_page - 1, 0), o.pages, ceil(o.expected::float8 / nullif(w.page_size, 0)),
       o.requests, o.max_requests,
       (SELECT json_agg(json_build_array(metric, endpoint, detail, value)) FROM accumulator
         WHERE stream_id = s.stream_id)::text
  FROM stream s JOIN account a USING (account_id)
  LEFT JOIN run o ON o.stream_id = s.stream_id AND o.status IN ('queued', 'running')
  LEFT JOIN sweep w ON w.sweep_id = o.sweep_id
  LEFT JOIN LATERAL (SELECT status, cause, heartbeat_at, progress_at FROM run
                      WHERE stream_id = s.stream_id AND status <> 'queued' AND NOT dry_run
                      ORDER BY queued_at DESC LIMIT 1) n ON true
  LEFT JOIN LATERAL (SELECT completed_at FROM run
                      WHERE stream_id = s.stream_id AND status = 'complete' AND NOT dry_run
                      ORDER BY queued_at DESC LIMIT 1) c ON true
 ORDER BY 1, 2, 3
"""

_decode = msgspec.json.Decoder(list[tuple[str, str, str, float]]).decode


@dataclass(frozen=True, slots=True)
class OpenRunFacts:
    """The stream's open run. page: the last one stored, of pages_expected; running_seconds None while queued."""

    status: Status
    running_seconds: float | None
    page: int
    pages: int
    pages_expected: int | None
    requests: int
    max_requests: int

    @property
    def eta_seconds(self) -> float | None:
        """At the pace so far; None before the first page, and where nobody knows how many there are."""
        if self.pages_expected is None or not self.pages or not self.running_seconds:
            return None
        return max(0, self.pages_expected - self.page) * self.running_seconds / self.pages


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """One stream. status and cause are of its newest run that has begun; `_at` are Unix times in seconds.

    counters  (metric, endpoint, detail) → value; what is not there is 0
    """

    stream: Stream
    paused: bool
    status: Status | None
    cause: Cause | None
    succeeded_at: float | None
    heartbeat_at: float | None
    progress_at: float | None
    open_run: OpenRunFacts | None
    counters: Mapping[Delta, float]

    def counter(self, metric: str, detail: str) -> float:
        """A counter that has no endpoint."""
        return self.counters.get((metric, "", detail), 0.0)

    @property
    def tombstoned(self) -> float:
        """Records that are marked as gone."""
        return self.counter("records", "tombstoned") - self.counter("records", "revived")

    @property
    def live(self) -> float:
        """Records that are not."""
        return self.counter("records", "inserted") - self.tombstoned


async def load_facts(postgres: Postgres) -> list[StreamFacts]:
    """Every stream, by its name."""
    async with postgres.connection("read the metrics") as connection:
        cursor = connection.cursor(row_factory=tuple_row)
        await cursor.execute(_SCRAPE)
        rows = await cursor.fetchall()
    found = []
    for source, account, resource, paused, status, cause, succeeded, beat, progress, *run, counters in rows:
        open_status, seconds, page, pages, expected, requests, most = run
        open_run = None
        if open_status is not None:
            expected = None if expected is None else int(expected)
            open_run = OpenRunFacts(Status(open_status), seconds, page, pages, expected, requests, most or 0)
        values = {(m, e, d): value for m, e, d, value in _decode(counters)} if counters else {}
        found.append(
            StreamFacts(
                Stream(source, account, resource),
                paused,
                Status(status) if status else None,
                Cause(cause) if cause else None,
                succeeded,
                beat,
                progress,
                open_run,
                defaultdict(float, values),
            )
        )
    return found
