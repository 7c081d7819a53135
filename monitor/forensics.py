"""What is written down about a stuck run before anything is done about it.

Read from the ledger and from PostgreSQL's own views; whatever cannot be read is left out and said, because a
rescue must not wait for its forensics.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any, LiteralString

from psycopg.rows import dict_row

from syncd.contract.errors import SyncError
from syncd.contract.observation import Observation
from syncd.runtime.postgres import Postgres

LONGEST_SECONDS = 5.0
MOST_ROWS = 20

_QUESTIONS: dict[str, LiteralString] = {
    "run": "SELECT * FROM run WHERE run_id = %(run_id)s",
    "lease": """
        SELECT l.*, l.expires_at - clock_timestamp() AS left FROM lease l JOIN run r USING (stream_id)
         WHERE r.run_id = %(run_id)s
    """,
    "pages": """
        SELECT page, received, committed_at FROM sweep_page WHERE run_id = %(run_id)s
         ORDER BY committed_at DESC LIMIT 5
    """,
    "breaker": """
        SELECT a.breaker_failures, a.breaker_open_until FROM account a JOIN stream USING (account_id)
          JOIN run r USING (stream_id) WHERE r.run_id = %(run_id)s
    """,
    "budgets": "SELECT left(login, 8) AS login, limit_class, next_at - clock_timestamp() AS free_in FROM api_budget",
    "sessions": """
        SELECT pid, application_name, client_addr::text, state, wait_event_type, wait_event,
               clock_timestamp() - state_change AS state_since, clock_timestamp() - xact_start AS transaction_since,
               pg_blocking_pids(pid) AS blocked_by, left(query, 200) AS query
          FROM pg_stat_activity
         WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
         ORDER BY xact_start NULLS LAST
    """,
    "locks": """
        SELECT l.pid, l.mode, l.granted, l.relation::regclass::text AS relation FROM pg_locks l
         WHERE l.relation IN ('lease'::regclass, 'run'::regclass, 'record'::regclass, 'sweep_page'::regclass)
           AND l.pid <> pg_backend_pid()
    """,
}


async def collect(postgres: Postgres, seen: Observation) -> dict[str, Any]:
    """Everything that can be learned within LONGEST_SECONDS, ready for JSON; `not_read` names what could not be."""
    found: dict[str, Any] = {"observation": {**asdict(seen), "stream": str(seen.stream)}}
    try:
        async with asyncio.timeout(LONGEST_SECONDS), postgres.connection("look at a stuck run") as connection:
            for name, query in _QUESTIONS.items():
                cursor = connection.cursor(row_factory=dict_row)
                await cursor.execute(
                    f"{query} LIMIT {MOST_ROWS}" if "LIMIT" not in query else query, {"run_id": seen.run_id}
                )
                found[name] = await cursor.fetchall()
    except (SyncError, TimeoutError) as error:
        found["not_read"] = str(error) or f"no answer within {LONGEST_SECONDS:.0f} s"
    return found
