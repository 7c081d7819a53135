"""The open runs as they are at one moment: one query, by the database's clock alone."""

from __future__ import annotations

from uuid import UUID

from psycopg.rows import dict_row

from syncd.contract.observation import Observation
from syncd.contract.runs import Owner
from syncd.contract.words import Status, Stream
from syncd.runtime.postgres import Connection, Postgres

# LATERAL … OFFSET 0: row by row. Left to itself the planner takes the open runs among millions for a single one,
# and compares each of 500 with each stream.
_OBSERVE = """
SELECT r.run_id, a.source, a.name AS account, s.resource, r.status, r.fence, r.pages, r.last_page,
       r.cancel_requested_by, s.paused_at IS NOT NULL AS paused, r.wait_reason, r.started_at,
       l.owner_host, l.owner_boot, l.owner_pid, l.owner_started,
       extract(epoch FROM n.at - greatest(r.queued_at, s.resumed_at))::float8 AS queued_seconds,
       extract(epoch FROM n.at - r.started_at)::float8 AS started_seconds,
       extract(epoch FROM n.at - r.progress_at)::float8 AS unmoved_seconds,
       extract(epoch FROM r.wait_until - n.at)::float8 AS wait_seconds_left,
       r.wait_until IS NOT NULL AND r.progress_at > r.wait_until AS moved_since_wait,
       extract(epoch FROM r.deadline_at - n.at)::float8 AS deadline_seconds_left,
       CASE WHEN l.run_id = r.run_id AND l.fence = r.fence
            THEN extract(epoch FROM l.expires_at - n.at)::float8 END AS lease_seconds_left,
       EXISTS (SELECT FROM rescue c WHERE c.run_id = r.run_id) AS is_found, r.call_seconds
  FROM (SELECT clock_timestamp() AS at) n CROSS JOIN run r
  JOIN LATERAL (SELECT * FROM stream WHERE stream_id = r.stream_id OFFSET 0) s ON true
  JOIN LATERAL (SELECT * FROM account WHERE account_id = s.account_id OFFSET 0) a ON true
  JOIN lease l ON l.stream_id = r.stream_id
 WHERE r.status IN ('queued', 'running')
"""


async def observe(postgres: Postgres) -> list[Observation]:
    """Every open run."""
    async with postgres.connection("look at the open runs") as connection:
        return await _load(connection, " ORDER BY r.queued_at", [])


async def observe_one(connection: Connection, run_id: UUID) -> Observation | None:
    """This run as it is now, on a connection that may hold its lease; None where it is not open any more."""
    found = await _load(connection, " AND r.run_id = %s", [run_id])
    return found[0] if found else None


async def _load(connection: Connection, condition: str, parameters: list[object]) -> list[Observation]:
    cursor = connection.cursor(row_factory=dict_row)
    await cursor.execute(_OBSERVE + condition, parameters)
    found = []
    for row in await cursor.fetchall():
        stream = Stream(row.pop("source"), row.pop("account"), row.pop("resource"))
        host, boot, pid, started = (row.pop(f"owner_{name}") for name in ("host", "boot", "pid", "started"))
        owner = Owner(host or "", boot or "", pid or 0, started or "")
        found.append(Observation(stream=stream, owner=owner, status=Status(row.pop("status")), **row))
    return found
