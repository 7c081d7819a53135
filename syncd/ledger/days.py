"""The last days, as counted when their runs ended: a handful of rows a stream, however long the history is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from psycopg.rows import tuple_row

from syncd.contract.words import Status, Stream
from syncd.runtime.postgres import Postgres

DAYS = 30

_DAYS = """
SELECT a.source, a.name, s.resource, d.day, d.status, d.runs
  FROM stream s JOIN account a USING (account_id) JOIN run_day d USING (stream_id)
 WHERE d.day > (clock_timestamp() AT TIME ZONE 'UTC')::date - %s
"""


@dataclass(frozen=True, slots=True)
class Day:
    """One day of one stream, in UTC. runs: how many ended in which status."""

    stream: Stream
    day: date
    runs: Mapping[Status, int]


async def load_days(postgres: Postgres) -> list[Day]:
    """The days on which anything ended, the oldest first."""
    async with postgres.connection("look at the last days") as connection:
        cursor = connection.cursor(row_factory=tuple_row)
        await cursor.execute(_DAYS, [DAYS])
        rows = await cursor.fetchall()
    days: defaultdict[tuple[date, Stream], dict[Status, int]] = defaultdict(dict)
    for source, account, resource, day, status, runs in rows:
        days[day, Stream(source, account, resource)][Status(status)] = runs
    return [Day(stream, day, runs) for (day, stream), runs in sorted(days.items())]
