"""What is written down about stuck runs before anything is done about them.

Read from the ledger and from PostgreSQL's own views, for all of them at once; whatever cannot be read is left out
and said, because a rescue must not wait for its forensics. No documents, no parameters of queries, no credentials:
none of these stands in what is read here. The statements of other programs are left out: nobody knows what stands in
them.

    observation  the run as the watch saw it, with its owner
    run, lease   their rows; the waits that it declared are in the run
    activity     what its worker last said of itself: recent calls, present ones and for how long, its tasks' stacks
    pages        the last that it stored
    breaker      the circuit breaker of its account; `budgets`: when each login may call again
    sessions     of this database, its worker's first (of_worker), with what they wait for
    locks        on the tables that a run writes
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, LiteralString
from uuid import UUID

from psycopg.rows import dict_row

from syncd.contract.errors import SyncError
from syncd.contract.observation import Observation
from syncd.runtime.postgres import Postgres

LONGEST_SECONDS = 5.0
MOST_SESSIONS = 20

_OF_RUNS: dict[str, LiteralString] = {
    "run": "SELECT * FROM run WHERE run_id = ANY(%s)",
    "lease": """
        SELECT r.run_id, l.fence, l.run_id AS held_by, l.expires_at, l.expires_at - clock_timestamp() AS left,
               l.owner_host, l.owner_pid, l.owner_started
          FROM lease l JOIN run r USING (stream_id) WHERE r.run_id = ANY(%s)
    """,
    "activity": """
        SELECT run_id, doing, noted_at, clock_timestamp() - noted_at AS noted_ago FROM activity WHERE run_id = ANY(%s)
    """,
    "pages": """
        SELECT r.run_id, p.* FROM unnest(%s::uuid[]) AS r(run_id) CROSS JOIN LATERAL (
            SELECT page, received, committed_at FROM sweep_page WHERE run_id = r.run_id
             ORDER BY committed_at DESC LIMIT 5) p
    """,
    "breaker": """
        SELECT r.run_id, a.breaker_failures, a.breaker_open_until
          FROM account a JOIN stream USING (account_id) JOIN run r USING (stream_id) WHERE r.run_id = ANY(%s)
    """,
}

_OF_ALL: dict[str, LiteralString] = {
    "budgets": """
        SELECT left(login, 8) AS login, limit_class, next_at - clock_timestamp() AS free_in FROM api_budget LIMIT 20
    """,
    "sessions": """
        SELECT pid, application_name, client_addr::text, state, wait_event_type, wait_event,
               clock_timestamp() - state_change AS state_since, clock_timestamp() - xact_start AS transaction_since,
               pg_blocking_pids(pid) AS blocked_by,
               CASE WHEN application_name ~ '^(syncd|sync-monitor) ' THEN left(query, 200) END AS query
          FROM pg_stat_activity
         WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
         ORDER BY xact_start NULLS LAST LIMIT 200
    """,
    "locks": """
        SELECT l.pid, l.mode, l.granted, l.relation::regclass::text AS relation FROM pg_locks l
         WHERE l.relation IN ('lease'::regclass, 'run'::regclass, 'record'::regclass, 'sweep_page'::regclass)
           AND l.pid <> pg_backend_pid() LIMIT 200
    """,
}


async def collect(postgres: Postgres, seen: Sequence[Observation]) -> dict[UUID, dict[str, Any]]:
    """Of each of these runs everything that can be learned within LONGEST_SECONDS, ready for JSON; `not_read` names
    what could not be."""
    found: dict[UUID, dict[str, Any]] = {run.run_id: {"observation": _plain(run)} for run in seen}
    if not found:
        return found
    shared: dict[str, list[dict[str, Any]]] = {}
    trouble: str | None = None
    try:
        async with asyncio.timeout(LONGEST_SECONDS), postgres.connection("look at stuck runs") as connection:
            cursor = connection.cursor(row_factory=dict_row)
            for name, query in _OF_RUNS.items():
                await cursor.execute(query, [list(found)])
                for row in await cursor.fetchall():
                    found[row["run_id"]].setdefault(name, []).append(row)
            for name, query in _OF_ALL.items():
                shared[name] = await (await cursor.execute(query)).fetchall()
    except (SyncError, TimeoutError) as error:
        trouble = str(error) or f"no answer within {LONGEST_SECONDS:.0f} s"
    for run in seen:
        found[run.run_id] |= _of_worker(run, shared) | ({} if trouble is None else {"not_read": trouble})
    return found


def _plain(run: Observation) -> dict[str, Any]:
    return {**asdict(run), "stream": str(run.stream)}


def _of_worker(run: Observation, shared: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """What is read once for all runs, as it concerns this one: its worker's sessions first."""
    name = f"syncd {run.owner.pid}@{run.owner.host}"[:63]
    sessions = [{**one, "of_worker": one["application_name"] == name} for one in shared.get("sessions", [])]
    pids = {one["pid"] for one in sessions if one["of_worker"]}
    sessions.sort(key=lambda one: not one["of_worker"])
    locks = sorted(shared.get("locks", []), key=lambda lock: lock["pid"] not in pids)
    return {**shared, "sessions": sessions[:MOST_SESSIONS], "locks": locks[:MOST_SESSIONS]}
