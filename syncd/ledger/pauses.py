"""The kill switch: who holds a stream back, since when, and why. Kept in the ledger, so it survives restarts."""

from __future__ import annotations

from dataclasses import asdict

from psycopg.rows import class_row

from syncd.contract.words import Stream
from syncd.ledger.runs import CANCEL
from syncd.runtime.postgres import Postgres

_OF = (
    " stream_id IN (SELECT stream_id FROM stream JOIN account a USING (account_id)"
    " WHERE %(all)s OR (a.source = %(source)s AND a.name = %(account)s AND resource = %(resource)s))"
)


def _names(stream: Stream | None) -> dict[str, object]:
    if stream is None:
        return {"all": True, "source": "", "account": "", "resource": ""}
    return {"all": False, **asdict(stream)}


async def pause(postgres: Postgres, stream: Stream | None, *, by: str, reason: str) -> list[Stream]:
    """Hold one stream (None: every one) back; the streams that now are. The first reason stays."""
    async with postgres.connection("pause") as connection:
        await connection.execute(
            "UPDATE stream SET paused_at = clock_timestamp(), paused_by = %(by)s, pause_reason = %(reason)s"
            f" WHERE paused_at IS NULL AND {_OF}",
            {"by": by, "reason": reason[:500], **_names(stream)},
        )
    return await paused_streams(postgres, stream)


async def resume(postgres: Postgres, stream: Stream | None) -> int:
    """Let one stream (None: every one) go on; how many were held back. The backoff begins anew."""
    async with postgres.connection("resume") as connection:
        cursor = await connection.execute(
            "UPDATE stream SET paused_at = NULL, paused_by = NULL, pause_reason = NULL, failures = 0, rescues = 0,"
            f" next_attempt_at = NULL, resumed_at = clock_timestamp() WHERE paused_at IS NOT NULL AND {_OF}",
            _names(stream),
        )
        return cursor.rowcount


async def cancel_open(postgres: Postgres, stream: Stream | None, *, by: str) -> int:
    """Ask every open run to end, queued ones at once; how many."""
    async with postgres.connection("cancel what runs") as connection:
        cursor = await connection.execute(f"{CANCEL} AND {_OF}", {"by": by, **_names(stream)})
        return cursor.rowcount


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
