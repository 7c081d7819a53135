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


def others(connection: psycopg.Connection[tuple[Any, ...]]) -> int:
    """Sessions in this database beside this one. A session that leaves hands in first what it has read."""
    query = """SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"""
    return int(connection.execute(query).fetchall()[0][0])


async def rows_read(conninfo: str) -> int:
    """Of the table `run`, by all sessions until now."""
    query = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'run'"
    with psycopg.connect(conninfo, autocommit=True) as connection:
        await eventually(lambda: others(connection) == 0)
        return int(connection.execute(query).fetchall()[0][0])


async def scrape(postgres: Postgres) -> None:
    assert len(await load_facts(postgres)) == STREAMS


async def watch(postgres: Postgres) -> None:
    rescuer = Rescuer(postgres, lambda _: Patience(3600, 30, 60), lambda: True)
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
        before = await rows_read(database)
        async with Postgres(database, "sync") as postgres:
            await do(postgres)
        assert 0 < await rows_read(database) - before < MOST_ROWS, do.__name__
