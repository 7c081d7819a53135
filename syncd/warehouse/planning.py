"""What a batch of pages would do to the records: read only, shared by the writer and by `syncd plan`."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from syncd.contract.records import Rejected
from syncd.contract.runs import BatchResult
from syncd.policy.acceptance import find_fault
from syncd.runtime.postgres import Connection
from syncd.warehouse.batch import Batch
from syncd.warehouse.changes import find_changes
from syncd.warehouse.fields import read_fields

SHOWN_REJECTIONS = 10
YIELD_EVERY = 50

LogRow = tuple[str, str, str | None, bytes | None, bytes | None]
"""(key, kind, field, old JSON text, new JSON text) of the change log."""

# LATERAL … OFFSET 0 looks every key up in the primary key. On a table without statistics `key = ANY(…)`
# reads the whole stream instead: 200 ms a page, and every new account starts without statistics.
_DIFFER = """
SELECT u.ord::int - 1, r.hash IS NULL, r.hash IS DISTINCT FROM u.hash, r.missing_since IS NOT NULL
  FROM unnest(%(keys)b::text[], %(hashes)b::bytea[]) WITH ORDINALITY AS u(key, hash, ord)
  LEFT JOIN LATERAL (SELECT hash, missing_since, absent_sweep FROM record
                      WHERE stream_id = %(stream_id)s AND key = u.key OFFSET 0) r ON true
 WHERE r.hash IS DISTINCT FROM u.hash OR r.missing_since IS NOT NULL OR r.absent_sweep IS NOT NULL
"""

_OLD_DOCUMENTS = """
SELECT u.key, r.document::text
  FROM unnest(%(keys)b::text[]) AS u(key)
  JOIN LATERAL (SELECT document FROM record WHERE stream_id = %(stream_id)s AND key = u.key OFFSET 0) r ON true
"""


@dataclass(slots=True)
class BatchPlan:
    """What one batch will do. new and changed have (key, hash, document, *columns) for each record.

    seen_again  unchanged records that were tombstoned, or that an earlier sweep did not show
    rejected    (page number, record)
    """

    new: list[tuple[Any, ...]] = field(default_factory=list)
    changed: list[tuple[Any, ...]] = field(default_factory=list)
    seen_again: list[str] = field(default_factory=list)
    log: list[LogRow] = field(default_factory=list)
    rejected: list[tuple[int, Rejected]] = field(default_factory=list)
    result: BatchResult = field(default_factory=BatchResult)

    @property
    def writes_records(self) -> bool:
        """Whether more than the books is written."""
        return bool(self.new or self.changed or self.seen_again or self.rejected)


async def plan_batch(connection: Connection, stream_id: int, batch: Batch, ignored: Collection[str]) -> BatchPlan:
    """Compare the batch with what is stored. FatalError where too much of a page cannot be stored."""
    plan = BatchPlan(rejected=list(batch.rejected))
    result = plan.result
    rows: list[tuple[int, bool, bool, bool]] = []
    if batch.keys:
        parameters = {"keys": batch.keys, "hashes": batch.hashes, "stream_id": stream_id}
        rows = await (await connection.execute(_DIFFER, parameters)).fetchall()
    changed: dict[str, tuple[Any, ...]] = {}
    for count, (index, is_new, differs, was_missing) in enumerate(rows):
        if count % YIELD_EVERY == YIELD_EVERY - 1:
            await asyncio.sleep(0)  # the batch before this one is on its way to the server: let it go on
        key = batch.keys[index]
        if differs:
            document = bytes(batch.documents[index])
            rejection = find_fault(document)
            if rejection is not None:
                plan.rejected.append(
                    (batch.page_of[index], Rejected(batch.ordinal_of[index], key, rejection, document))
                )
                continue
            values, faults = read_fields(document)
            result.field_faults += faults
            row = (key, batch.hashes[index], document, *values)
            if is_new:
                plan.new.append(row)
            else:
                changed[key] = row
        else:
            plan.seen_again.append(key)
        if was_missing:
            result.revived += 1
            plan.log.append((key, "revived", None, None, None))
    if changed:
        plan.changed = list(changed.values())
        plan.log += await _log_of(connection, stream_id, changed, ignored)
    batch.check_rejections(plan.rejected)
    result.fetched, result.duplicates = batch.received, batch.identical_duplicates
    result.inserted, result.updated = len(plan.new), len(plan.changed)
    result.quarantined = len(plan.rejected)
    result.rejections = [(number, item) for number, item in plan.rejected[:SHOWN_REJECTIONS]]
    result.unchanged = len(batch.keys) - len(rows) + len(plan.seen_again)
    return plan


async def _log_of(
    connection: Connection, stream_id: int, changed: dict[str, tuple[Any, ...]], ignored: Collection[str]
) -> list[LogRow]:
    log: list[LogRow] = []
    async for key, old in await connection.execute(_OLD_DOCUMENTS, {"keys": list(changed), "stream_id": stream_id}):
        changes = sorted(find_changes(old.encode(), changed[key][2], ignored))
        log += [(key, "updated", *change) for change in changes]
    return log
