"""GET /syncs, /syncs/active and /syncs/{id}: what the ledger knows of runs."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from uuid import UUID

from aiohttp import web

from syncd.contract.runs import RunRow
from syncd.contract.words import Status, Stream
from syncd.control.body import read_query, whole_text
from syncd.control.call import Call, no_such_run
from syncd.http.problem import answer_json
from syncd.ledger.runs import load_history, load_open_runs, load_run
from syncd.policy.facts import run_facts

DEFAULT_LIMIT = 20
MOST_LIMIT = 200


async def one(call: Call) -> web.StreamResponse:
    """One run."""
    run = await load_run(call.service.postgres, call.run_id)
    if run is None:
        raise no_such_run(call.run_id)
    return answer_json(run_facts(run))


async def several(call: Call) -> web.StreamResponse:
    """The newest first; `next_cursor` leads on, null at the end."""
    asked = read_query(
        call.request,
        {"limit": whole_text(1, MOST_LIMIT), "cursor": _read_cursor, "stream": _read_stream, "status": _read_status},
    )
    limit = asked.get("limit", DEFAULT_LIMIT)
    runs = await load_history(
        call.service.postgres,
        before=asked.get("cursor"),
        limit=limit + 1,
        stream=asked.get("stream"),
        status=asked.get("status"),
    )
    more = len(runs) > limit
    shown = runs[:limit]
    return answer_json(
        {"syncs": [run_facts(run) for run in shown], "next_cursor": _cursor_of(shown[-1]) if more else None}
    )


async def active(call: Call) -> web.StreamResponse:
    """The queued and running ones."""
    runs = await load_open_runs(call.service.postgres)
    return answer_json({"count": len(runs), "syncs": [run_facts(run) for run in runs]})


def _cursor_of(run: RunRow) -> str:
    return base64.urlsafe_b64encode(f"{run.queued_at.isoformat()} {run.run_id}".encode()).decode().rstrip("=")


def _read_cursor(text: str) -> tuple[datetime, UUID]:
    """Where to go on; ValueError where it was not ours."""
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        at, run_id = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii").split(" ")
        queued_at = datetime.fromisoformat(at)
        if queued_at.tzinfo is None:
            raise ValueError
        return queued_at, UUID(run_id)
    except (ValueError, binascii.Error) as error:
        raise ValueError("expected the next_cursor of an earlier answer") from error


def _read_stream(text: str) -> Stream:
    return Stream.parse(text)


def _read_status(text: str) -> Status:
    try:
        return Status(text)
    except ValueError:
        raise ValueError(f"expected one of {', '.join(Status)}") from None
