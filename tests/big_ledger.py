"""A ledger with a long history: millions of finished runs, hundreds of open ones, full counters."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

_INDICES = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'sync' AND tablename = 'run' AND indexname <> 'run_pkey'"
_DROP = """
SELECT format('DROP INDEX sync.%I', indexname) FROM pg_indexes
 WHERE schemaname = 'sync' AND tablename = 'run' AND indexname <> 'run_pkey'
"""

_STREAMS = """
INSERT INTO account (source, name)
SELECT 'emag', 'shop-' || lpad(n::text, 3, '0') FROM generate_series(1, %(streams)s) n;
INSERT INTO stream (account_id, resource) SELECT account_id, 'offers' FROM account ORDER BY account_id;
INSERT INTO lease (stream_id) SELECT stream_id FROM stream;
"""

_FINISHED = """
INSERT INTO run (run_id, stream_id, status, cause, initiated_by, queued_at, started_at, heartbeat_at, progress_at,
                 completed_at, pages, requests, fetched, unchanged, max_pages, max_requests)
SELECT (lpad(to_hex(floor(extract(epoch FROM t) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(n), 19, '0'))::uuid,
       1 + n %% %(streams)s, CASE WHEN n / %(streams)s %% 20 = 0 THEN 'failed' ELSE 'complete' END,
       CASE WHEN n / %(streams)s %% 20 = 0 THEN 'upstream' ELSE 'end_of_data' END, 'scheduler', t, t, t, t,
       t + interval '40 seconds', 12, 14, 1150, 1150, 100, 500
  FROM generate_series(%(from)s, %(to)s) n,
       LATERAL (SELECT clock_timestamp() - make_interval(secs => 60 + (%(finished)s - n) * 1.2) AS t) x
"""

_OPEN = """
WITH w AS (INSERT INTO sweep (stream_id, page_size, expected, checkpoint_page)
           SELECT stream_id, 100, 41000, 118 FROM stream RETURNING sweep_id, stream_id)
INSERT INTO run (stream_id, sweep_id, status, fence, initiated_by, started_at, heartbeat_at, progress_at, deadline_at,
                 expected, start_page, last_page, pages, requests, max_pages, max_requests, phase)
SELECT stream_id, sweep_id, 'running', 1, 'scheduler', clock_timestamp() - interval '40 seconds', clock_timestamp(),
       clock_timestamp(), clock_timestamp() + interval '2 hours', 41000, 1, 118, 118, 119, 500, 500, 'read'
  FROM w;
UPDATE lease l SET fence = 1, run_id = r.run_id, expires_at = clock_timestamp() + interval '10 hours'
  FROM run r WHERE r.stream_id = l.stream_id AND r.status = 'running';
"""

# Every series that a stream can have: no real one has them all.
_COUNTERS = """
INSERT INTO accumulator (stream_id, metric, endpoint, detail, value)
SELECT stream_id, m, e, d, 1000 + stream_id + 0.123456 * length(m || d)
  FROM stream,
       (SELECT m, e, '' FROM unnest('{requests,latency_sum}'::text[]) m, unnest(%(endpoints)s::text[]) e
        UNION ALL SELECT 'request_errors', e, d FROM unnest(%(endpoints)s::text[]) e, unnest(%(reasons)s::text[]) d
        UNION ALL SELECT 'latency_bucket', e, d FROM unnest(%(endpoints)s::text[]) e, unnest(%(buckets)s::text[]) d
        UNION ALL SELECT 'records', '', d FROM unnest(%(results)s::text[]) d
        UNION ALL SELECT m, '', d FROM unnest('{stuck_syncs,recovered_syncs}'::text[]) m, unnest(%(causes)s::text[]) d
        UNION ALL SELECT m, '', '' FROM unnest('{offers_processed,budget_wait_seconds}'::text[]) m) AS k(m, e, d)
"""


def fill(conninfo: str, *, finished: int, streams: int, labels: dict[str, Sequence[str]]) -> None:
    """Into a ledger that has no stream yet. labels: endpoints, reasons, buckets, results, causes."""
    with psycopg.connect(
        conninfo, autocommit=True, options="-c search_path=sync -c maintenance_work_mem=1GB"
    ) as ledger:
        ledger.execute("SET session_replication_role = replica")  # foreign keys hold by construction
        ledger.execute(_STREAMS % {"streams": streams})  # type: ignore[arg-type]  # several statements
        made_again = [row[0] for row in ledger.execute(_INDICES).fetchall()]
        for (statement,) in ledger.execute(_DROP).fetchall():
            ledger.execute(statement)
        for start in range(0, finished, 1_000_000):
            part = {"from": start, "to": min(finished, start + 1_000_000) - 1, "finished": finished, "streams": streams}
            ledger.execute(_FINISHED, part)
        for statement in made_again:
            ledger.execute(statement)
        ledger.execute(_OPEN)
        ledger.execute(_COUNTERS, {name: list(values) for name, values in labels.items()})
        ledger.execute("VACUUM ANALYZE")
