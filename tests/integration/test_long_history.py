"""Nothing that the monitor does often reads the whole history: it stays as quick after millions of runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import psycopg

from monitor.metrics import BUCKETS, RESULTS, STUCK_CAUSES
from monitor.recovery import Rescuer
from monitor.series import ENDPOINTS
from monitor.watch import Patience
from syncd.contract.words import Reason
from syncd.ledger.retention import prune
from syncd.ledger.runs import load_runs
from syncd.ledger.scrape import load_facts
from syncd.runtime.postgres import Postgres
from tests.big_ledger import fill
from tests.control import eventually

FINISHED = 60_000
STREAMS = 20
MOST_ROWS = 3_000
LABELS: dict[str, Any] = {
    "endpoints": ENDPOINTS,
    "reasons": list(Reason),
    "buckets": BUCKETS,
    "results": RESULTS,
    "causes": STUCK_CAUSES,
}


def rows_read(conninfo: str) -> int:
    """Of the table `run`, by sessions that have ended."""
    query = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'run'"
    with psycopg.connect(conninfo, autocommit=True) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


async def scrape(postgres: Postgres) -> None:
    assert len(await load_facts(postgres)) == STREAMS


async def watch(postgres: Postgres) -> None:
    rescuer = Rescuer(postgres, Patience(3600, 30, 60), lambda: True)
    look = await rescuer.look()
    assert (len(look.verdicts), look.stuck) == (STREAMS, [])


async def show_runs(postgres: Postgres) -> None:
    assert len(await load_runs(postgres, limit=50)) == 50


async def prune_some(postgres: Postgres) -> None:
    """The oldest of them began FINISHED * 1.2 s ago: none is a day old."""
    assert (await prune(postgres, older_than_days=1)).runs == 0


async def test_what_is_done_often_reads_few_runs(database: str) -> None:
    fill(database, finished=FINISHED, streams=STREAMS, labels=LABELS)
    work: list[Callable[[Postgres], Awaitable[None]]] = [scrape, watch, show_runs, prune_some]
    for do in work:
        before = rows_read(database)
        async with Postgres(database, "sync") as postgres:
            await do(postgres)
        await eventually(lambda before=before: rows_read(database) > before)  # type: ignore[misc]
        assert rows_read(database) - before < MOST_ROWS, do.__name__
