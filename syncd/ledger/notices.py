"""What was told to the outside: a row a notice, so that nothing is told twice, whoever found it.

    claim      the key is new: whoever inserted the row tells it
    recovered  what was told last of a subject was its trouble, or a run that the monitor ended, and all is well: told
               once, its key is that notice's with /over
    overdue    claimed RETRY_SECONDS ago and not sent: the process that had claimed it died, or gave up; again, until
               GIVE_UP_SECONDS after it was made

Arrival is noted last: a notice may come twice, with the same key, and is lost only after an hour of trying.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import tuple_row

from syncd.runtime.postgres import Postgres

TROUBLE, RECOVERED = "trouble", "recovered"
RETRY_SECONDS = 300
GIVE_UP_SECONDS = 3600
NEWS_SECONDS = 600
"""What happened longer ago is history: after its first start a monitor does not tell of old runs."""
KEPT_DAYS = 30

_CLAIM = """
INSERT INTO notice (key, subject, event, body)
SELECT key, subject, event, body::json
  FROM unnest(%(keys)s::text[], %(subjects)s::text[], %(events)s::text[], %(bodies)s::text[], %(times)s::timestamptz[])
       n(key, subject, event, body, happened_at)
 WHERE happened_at IS NULL OR happened_at > clock_timestamp() - make_interval(secs => %(news)s)
    ON CONFLICT (key) DO NOTHING RETURNING key
"""

_RECOVER = """
INSERT INTO notice (key, subject, event, body)
SELECT n.key || '/over', w.subject, 'recovered', w.body::json
  FROM unnest(%(subjects)s::text[], %(bodies)s::text[]) w(subject, body) CROSS JOIN LATERAL (
       SELECT key, event FROM notice WHERE subject = w.subject AND event IN ('trouble', 'ended', 'recovered')
        ORDER BY made_at DESC LIMIT 1) n
 WHERE n.event <> 'recovered'
    ON CONFLICT (key) DO NOTHING RETURNING key, subject, event, body::text
"""

_OVERDUE = """
UPDATE notice SET claimed_at = clock_timestamp()
 WHERE sent_at IS NULL AND claimed_at < clock_timestamp() - make_interval(secs => %(retry)s)
   AND made_at > clock_timestamp() - make_interval(secs => %(give_up)s)
RETURNING key, subject, event, body::text
"""


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell. subject: what it is about, so that its recovery is found; body: what is sent.

    happened_at: by the database's clock; None for what is so now.
    """

    key: str
    subject: str
    event: str
    body: Mapping[str, Any]
    happened_at: datetime | None = None


async def claim(postgres: Postgres, notices: Sequence[Notice]) -> list[Notice]:
    """Those of them that nobody has claimed before."""
    async with postgres.connection("note what is told") as connection:
        parameters = {
            "keys": [one.key for one in notices],
            "subjects": [one.subject for one in notices],
            "events": [one.event for one in notices],
            "bodies": [json.dumps(dict(one.body)) for one in notices],
            "times": [one.happened_at for one in notices],
            "news": NEWS_SECONDS,
        }
        cursor = await connection.execute(_CLAIM, parameters)
        new = {key for (key,) in await cursor.fetchall()}
    return [one for one in notices if one.key in new]


async def recover(postgres: Postgres, well: Mapping[str, Mapping[str, Any]]) -> list[Notice]:
    """For subjects that are well now, with what to say: those whose trouble was told, and not its end."""
    bodies = [json.dumps(dict(body)) for body in well.values()]
    return await _returned(postgres, _RECOVER, {"subjects": list(well), "bodies": bodies})


async def overdue(postgres: Postgres) -> list[Notice]:
    """Those that were claimed and never sent, claimed anew. Forgets what is old."""
    async with postgres.connection("forget old notices") as connection:
        await connection.execute(
            "DELETE FROM notice WHERE made_at < clock_timestamp() - make_interval(days => %s)", [KEPT_DAYS]
        )
    return await _returned(postgres, _OVERDUE, {"retry": RETRY_SECONDS, "give_up": GIVE_UP_SECONDS})


async def mark_sent(postgres: Postgres, key: str) -> None:
    """It has arrived."""
    async with postgres.connection("note what was told") as connection:
        await connection.execute("UPDATE notice SET sent_at = clock_timestamp() WHERE key = %s", [key])


async def _returned(postgres: Postgres, statement: str, parameters: Mapping[str, Any]) -> list[Notice]:
    async with postgres.connection("look for notices") as connection:
        cursor = connection.cursor(row_factory=tuple_row)
        await cursor.execute(statement.encode(), parameters)
        rows = await cursor.fetchall()
    return [Notice(key, subject, event, json.loads(body)) for key, subject, event, body in rows]
