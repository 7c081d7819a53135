"""Records that cannot be stored: each is kept once, however many sweeps meet it.

A row goes with the newest run that met the record, so that the retention keeps what is still there; `caught_at` says
when the first one did.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import AsyncCursor

from syncd.contract.records import Rejected
from syncd.contract.runs import Claim
from syncd.ledger import accumulators

_STILL_THERE = """
UPDATE record SET absent_sweep = NULL
 WHERE stream_id = %(stream_id)s AND key = ANY(%(keys)s) AND absent_sweep IS NOT NULL
"""

# The DELETE sees what was there before, never the rows of this statement. Of this run's it takes what a second pass
# meets in the same place: the same bytes in two places are two records.
_KEEP = """
WITH met AS (
    INSERT INTO quarantine (stream_id, run_id, page, ordinal, key, reason, raw, caught_at)
    SELECT %(stream_id)s, %(run_id)s, n.page, n.ordinal, n.key, n.reason, n.raw,
           coalesce((SELECT min(q.caught_at) FROM quarantine q
                      WHERE q.stream_id = %(stream_id)s AND sha256(q.raw) = sha256(n.raw)), clock_timestamp())
      FROM unnest(%(pages)s::int[], %(ordinals)s::int[], %(keys)s::text[], %(reasons)s::text[], %(raws)b::bytea[])
           AS n(page, ordinal, key, reason, raw)
    RETURNING sha256(raw) AS digest, page, ordinal)
DELETE FROM quarantine q USING met m
 WHERE q.stream_id = %(stream_id)s AND sha256(q.raw) = m.digest
   AND (q.run_id <> %(run_id)s OR (q.page, q.ordinal) = (m.page, m.ordinal))
"""


async def keep_rejected(cursor: AsyncCursor[Any], claim: Claim, rejected: Sequence[tuple[int, Rejected]]) -> None:
    """(page, record) each, inside the caller's fenced transaction.

    Such a record is there all the same: no later sweep may take it for absent twice.
    """
    keys = [item.key for _, item in rejected]
    of_run = {"stream_id": claim.stream_id, "run_id": claim.run_id}
    await cursor.execute(_STILL_THERE, of_run | {"keys": [key for key in keys if key is not None]})
    columns = {
        "pages": [page for page, _ in rejected],
        "ordinals": [item.ordinal for _, item in rejected],
        "keys": keys,
        "reasons": [item.rejection for _, item in rejected],
        "raws": [item.raw for _, item in rejected],
    }
    await cursor.execute(_KEEP, of_run | columns)
    if cursor.rowcount:
        await accumulators.count_out_of_quarantine(cursor, claim.stream_id, cursor.rowcount)
