"""Pages against the records as they are: what would change, without writing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from heapq import nlargest

from syncd.contract.records import Page
from syncd.contract.runs import BatchResult
from syncd.runtime.postgres import Postgres
from syncd.warehouse.batch import Batch
from syncd.warehouse.fields import COLUMN_NAMES
from syncd.warehouse.planning import plan_batch

_JUMPING = ("sale_price", "stock")
_KEPT_JUMPS = 100


@dataclass(frozen=True, slots=True)
class Jump:
    """A price or stock that would change. weight orders them: the larger side over the smaller."""

    key: str
    field: str
    old: Decimal
    new: Decimal

    @property
    def weight(self) -> Decimal:
        """How many times as much; at least 1."""
        low, high = sorted((abs(self.old), abs(self.new)))
        return high / low if low else high + 1


class Comparison:
    """Compares pages with one stream's records. Remembers every key that it saw."""

    def __init__(self, postgres: Postgres, stream_id: int, ignored: Collection[str]) -> None:
        self._postgres = postgres
        self._stream_id = stream_id
        self._ignored = frozenset(ignored)
        self._seen: set[str] = set()
        self._jumps: list[Jump] = []
        self.counts: Counter[str] = Counter()

    async def compare(self, pages: Sequence[Page]) -> BatchResult:
        """Compare some pages. May be repeated: only what comes back is counted."""
        batch = Batch(pages)
        async with self._postgres.connection("compare pages") as connection:
            plan = await plan_batch(connection, self._stream_id, batch, self._ignored)
            columns = ", ".join(f"{name}::numeric" for name in _JUMPING)
            cursor = await connection.execute(
                f"SELECT key, {columns} FROM record WHERE stream_id = %s AND key = ANY(%s)",
                [self._stream_id, [row[0] for row in plan.changed]],
            )
            before = {row[0]: row[1:] for row in await cursor.fetchall()}
        for page in pages:
            self._seen.update(page.seen_keys)
        for key, _, _, *columns_after in plan.changed:
            after = dict(zip(COLUMN_NAMES, columns_after, strict=True))
            for name, old in zip(_JUMPING, before.get(key, ()), strict=False):
                new = after[name]
                if old is not None and isinstance(new, int | Decimal) and new != old:
                    self._jumps.append(Jump(key, name, old, Decimal(new)))
        self._jumps = self.largest_jumps(_KEPT_JUMPS)
        result = plan.result
        self.counts.update(
            fetched=result.fetched,
            inserted=result.inserted,
            updated=result.updated,
            unchanged=result.unchanged,
            revived=result.revived,
            quarantined=result.quarantined,
        )
        return result

    def largest_jumps(self, count: int) -> list[Jump]:
        """The changes of price and stock with the largest ratio."""
        return nlargest(count, self._jumps, key=lambda jump: jump.weight)

    async def count_live(self) -> int:
        """Live records of the stream."""
        async with self._postgres.connection("count the live records") as connection:
            cursor = await connection.execute(
                "SELECT count(*) FROM record WHERE stream_id = %s AND missing_since IS NULL", [self._stream_id]
            )
            row = await cursor.fetchone()
        return row[0] if row else 0

    async def count_vanished(self) -> int:
        """Live records that no page showed."""
        async with self._postgres.connection("look for missing records") as connection:
            cursor = await connection.execute(
                "SELECT count(*) FROM (SELECT key FROM record WHERE stream_id = %s AND missing_since IS NULL"
                " EXCEPT SELECT unnest(%s::text[])) AS missing",
                [self._stream_id, list(self._seen)],
            )
            row = await cursor.fetchone()
        return row[0] if row else 0
