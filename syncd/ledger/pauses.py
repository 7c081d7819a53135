"""The kill switch: who holds a stream back, since when, and why. Kept in the ledger, so it survives restarts.

    pause STREAM      its row says so
    pause everything  every stream's row, and the standing pause, which streams registered later begin with
    resume STREAM     that stream goes on; the standing pause and the other streams stay as they are
    resume            every stream, and the standing pause

A registration shares a lock on the standing pause's row and a pause of everything changes that row first, so
neither can miss the other: no stream slips in between.
"""

from __future__ import annotations

from dataclasses import asdict
from uuid import UUID

from psycopg.rows import class_row

from syncd.contract.runs import Paused
from syncd.contract.words import Stream
from syncd.ledger.runs import CANCEL
from syncd.runtime.postgres import Postgres

STANDING = "SELECT paused_at, paused_by, pause_reason FROM standing_pause FOR SHARE"
"""What a new stream begins with. No condition: a row that is filtered out is not locked."""

_OF = (
    " stream_id IN (SELECT stream_id FROM stream JOIN account a USING (account_id)"
    " WHERE %(all)s OR (a.source = %(source)s AND a.name = %(account)s AND resource = %(resource)s))"
)

# now(): one time for all that are paused together
_SET = "SET paused_at = now(), paused_by = %(by)s, pause_reason = %(reason)s WHERE paused_at IS NULL"
_CLEAR = "SET paused_at = NULL, paused_by = NULL, pause_reason = NULL"


def _names(stream: Stream | None) -> dict[str, object]:
    if stream is None:
        return {"all": True, "source": "", "account": "", "resource": ""}
    return {"all": False, **asdict(stream)}


async def pause(postgres: Postgres, stream: Stream | None, *, by: str, reason: str) -> list[Stream]:
    """Hold one stream (None: every one, those to come as well) back; the streams that now are. The first reason
    stays."""
    parameters = {"by": by, "reason": reason[:500], **_names(stream)}
    async with postgres.connection("pause") as connection, connection.transaction():
        if stream is None:
            await connection.execute("INSERT INTO standing_pause DEFAULT VALUES ON CONFLICT DO NOTHING")
            await connection.execute(f"UPDATE standing_pause {_SET}", parameters)
        await connection.execute(f"UPDATE stream {_SET} AND {_OF}", parameters)
    return await paused_streams(postgres, stream)


async def resume(postgres: Postgres, stream: Stream | None) -> int:
    """Let one stream (None: every one, those to come as well) go on; how many were held back. The backoff begins
    anew."""
    async with postgres.connection("resume") as connection, connection.transaction():
        if stream is None:
            await connection.execute(f"UPDATE standing_pause {_CLEAR} WHERE paused_at IS NOT NULL")
        cursor = await connection.execute(
            f"UPDATE stream {_CLEAR}, failures = 0, rescues = 0, resumed_at = clock_timestamp(),"
            " next_attempt_at = CASE WHEN failures = 0 THEN next_attempt_at END"
            f" WHERE paused_at IS NOT NULL AND {_OF}",
            _names(stream),
        )
        return cursor.rowcount


async def load_standing(postgres: Postgres) -> Paused | None:
    """Who paused everything, so that streams registered later begin paused, too; None where nobody did."""
    async with postgres.connection("look whether everything is paused") as connection:
        cursor = await connection.execute(
            "SELECT paused_by, pause_reason, paused_at FROM standing_pause WHERE paused_at IS NOT NULL"
        )
        row = await cursor.fetchone()
    return Paused(*row) if row is not None else None


async def cancel_open(postgres: Postgres, stream: Stream | None, *, by: str) -> list[UUID]:
    """Ask every open run to end, queued ones at once; which."""
    async with postgres.connection("cancel what runs") as connection:
        cursor = await connection.execute(f"{CANCEL} AND {_OF} RETURNING run_id", {"by": by, **_names(stream)})
        return [run_id for (run_id,) in await cursor.fetchall()]


async def paused_streams(postgres: Postgres, stream: Stream | None = None) -> list[Stream]:
    """The streams that are held back."""
    async with postgres.connection("list what is paused") as connection:
        cursor = connection.cursor(row_factory=class_row(Stream))
        await cursor.execute(
            "SELECT a.source, a.name AS account, s.resource FROM stream s JOIN account a USING (account_id)"
            f" WHERE s.paused_at IS NOT NULL AND s.{_OF.strip()} ORDER BY 1, 2, 3",
            _names(stream),
        )
        return await cursor.fetchall()
