"""Ends the sessions that hold a lease row and that no timeout of the server reaches.

A session that waits for its client inside COPY heeds none (tried on PostgreSQL 15: a writer frozen there kept the
lease row for as long as it was frozen). A statement of a writer ends within 5 s; one that is older, holds the lease
table and waits for its client, has a client that fell silent.
"""

from __future__ import annotations

from syncd.runtime.postgres import Postgres

_EVICT = """
SELECT count(pg_terminate_backend(a.pid)) FROM pg_stat_activity a
 WHERE a.datname = current_database() AND a.usename = current_user AND a.pid <> pg_backend_pid()
   AND a.state = 'active' AND a.wait_event = 'ClientRead'
   AND a.query_start < clock_timestamp() - interval '5 seconds'
   AND EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.relation = 'lease'::regclass AND l.granted)
"""


async def evict_silent_writers(postgres: Postgres) -> bool:
    """Whether there were any."""
    async with postgres.connection("end silent sessions") as connection:
        row = await (await connection.execute(_EVICT)).fetchone()
    return row is not None and row[0] > 0
