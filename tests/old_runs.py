"""Runs of 40 days ago, with what belongs to them: something to prune."""

from __future__ import annotations

import psycopg

_INSERT = """
WITH n AS (SELECT n, clock_timestamp() - interval '40 days' + n * interval '1 second' AS at
             FROM generate_series(1, %(count)s) n),
r AS (INSERT INTO run (run_id, stream_id, status, cause, initiated_by, queued_at, started_at, completed_at,
                       quarantined)
      SELECT (lpad(to_hex(floor(extract(epoch FROM at) * 1000)::bigint), 12, '0')
              || right(replace(gen_random_uuid()::text, '-', ''), 20))::uuid,
             stream_id, 'partial', 'cap_pages', 'test', at, at, at, 0
        FROM n, (SELECT min(stream_id) AS stream_id FROM stream) s RETURNING run_id, stream_id),
q AS (INSERT INTO quarantine (stream_id, run_id, page, ordinal, reason, raw)
      SELECT stream_id, run_id, 1, 1, 'no_key', 'x' FROM r RETURNING stream_id),
c AS (INSERT INTO change (stream_id, key, run_id, kind)
      SELECT stream_id, k::text, run_id, 'revived' FROM r, generate_series(1, %(changes)s) k)
INSERT INTO accumulator AS a (stream_id, metric, detail, value)
SELECT stream_id, 'records', 'quarantined', count(*) FROM q GROUP BY 1
    ON CONFLICT (stream_id, metric, endpoint, detail) DO UPDATE SET value = a.value + excluded.value
"""


def insert_old_runs(conninfo: str, *, count: int, changes: int = 3) -> None:
    """So many, each with changes and a quarantined record, which is counted as the store counts it."""
    with psycopg.connect(conninfo, autocommit=True, options="-c search_path=sync") as ledger:
        ledger.execute(_INSERT, {"count": count, "changes": changes})
