"""What changed most: the largest jumps of price and stock that some runs have logged.

A run may log millions of changes, and this only decorates a page: of each run the first MOST_CHANGES are looked
at, by the index on the run, and the answer of a run that has ended never changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from psycopg.rows import class_row

from syncd.runtime.postgres import Postgres

MOST_CHANGES = 5_000
SHOWN = 5
"""Of prices and of stock each."""
LONGEST_SECONDS = 2

# Remote JSON may be anything: only what looks like a number is cast, whether it is sent as one or as a text.
_NUMBER = """^"?-?[0-9]{1,15}([.][0-9]{1,15})?"?$"""


def _total(side: str) -> str:
    """Stock is a list with one entry a warehouse; their values are added up."""
    values = f"""regexp_matches({side}, '"value"\\s*:\\s*"?(-?[0-9]{{1,12}})', 'g') v"""
    return f"(SELECT coalesce(sum(v[1]::numeric), 0) FROM {values})"


_JUMPS = f"""
WITH logged AS MATERIALIZED (
     SELECT c.* FROM unnest(%(runs)s::uuid[]) r(id) CROSS JOIN LATERAL (
            SELECT stream_id, key, field, old::text AS old, new::text AS new, changed_at FROM change
             WHERE run_id = r.id LIMIT {MOST_CHANGES}) c),
prices AS MATERIALIZED (
     SELECT stream_id, key, field, trim('"' FROM old)::numeric AS old, trim('"' FROM new)::numeric AS new, changed_at
       FROM logged WHERE CASE WHEN field = 'sale_price' THEN old ~ '{_NUMBER}' AND new ~ '{_NUMBER}' ELSE false END),
stocks AS MATERIALIZED (
     SELECT stream_id, key, field, {_total("old")} AS old, {_total("new")} AS new, changed_at
       FROM logged WHERE field = 'stock' AND old IS NOT NULL AND new IS NOT NULL),
ranked AS (
     SELECT *, row_number() OVER (PARTITION BY field ORDER BY weight DESC, key) AS place FROM (
         SELECT *, CASE WHEN least(abs(old), abs(new)) = 0 THEN greatest(abs(old), abs(new)) + 1
                        ELSE greatest(abs(old), abs(new)) / least(abs(old), abs(new)) END AS weight
           FROM (SELECT * FROM prices UNION ALL SELECT * FROM stocks) both_kinds
          WHERE old <> new) weighed)
SELECT a.name AS account, j.key, j.field, j.old, j.new, j.changed_at, o.name
  FROM ranked j JOIN stream s USING (stream_id) JOIN account a USING (account_id)
  LEFT JOIN record o ON o.stream_id = j.stream_id AND o.key = j.key
 WHERE place <= {SHOWN}
 ORDER BY field, place
"""


@dataclass(frozen=True, slots=True)
class Jump:
    """One offer's price or stock, before and after. name: as the offer is called now, None where it is not known."""

    account: str
    key: str
    field: str
    old: Decimal
    new: Decimal
    changed_at: datetime
    name: str | None


async def load_jumps(postgres: Postgres, runs: Sequence[UUID]) -> list[Jump]:
    """The largest of these runs: prices first, each kind the largest ratio first."""
    async with postgres.connection("look for the largest jumps") as connection, connection.transaction():
        await connection.execute(f"SET LOCAL statement_timeout = '{LONGEST_SECONDS}s'")
        # any other plan reads all of a run's changes before the limit counts: 1.2 s where a run has a million
        await connection.execute("SET LOCAL enable_bitmapscan = off")
        await connection.execute("SET LOCAL enable_seqscan = off")
        cursor = connection.cursor(row_factory=class_row(Jump))
        await cursor.execute(_JUMPS, {"runs": list(runs)})
        return await cursor.fetchall()
