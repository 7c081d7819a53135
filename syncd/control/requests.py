"""POST /sync: queue a run of one stream, one account, or of everything that is idle.

Many may ask at the same moment: the ledger is asked once for all of them (see `together`); the first may get the
run, the others learn its id.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import structlog
from aiohttp import web

from syncd.contract.errors import DatabaseAwayError
from syncd.contract.runs import Paused
from syncd.contract.words import Status, Stream
from syncd.control.body import INT32, account_among, decode_object, flag, read_fields, stream_among, whole
from syncd.control.call import Call
from syncd.control.idempotency import Idempotency
from syncd.control.progress import Progress
from syncd.control.service import Service
from syncd.control.together import Shared, Together
from syncd.http.problem import RETRY_SECONDS, Problem, answer_bytes, invalid
from syncd.ledger.overview import load_duration_seconds
from syncd.ledger.queue import Living, Queued, Wanted, enqueue, find_obstacle
from syncd.runtime.log import about
from syncd.runtime.postgres import Postgres

log = structlog.get_logger()

LEAST_REQUESTS = 4
"""A run needs a count, a page, the empty page and a look-up (EMAG_SYNC_MAX_REQUESTS has the same bound)."""

Tried = Queued | Living | Paused


@dataclass(frozen=True, slots=True)
class Asked:
    """What a body asks for."""

    streams: tuple[Stream, ...]
    wanted: Wanted


def read_asked(service: Service, body: dict[str, Any], initiator: str) -> Asked:
    """Raises 422 with every fault of the body."""
    streams = service.streams
    fields = read_fields(
        body,
        {
            "stream": stream_among(streams),
            "account": account_among(streams),
            "dry_run": flag,
            "max_pages": whole(1),
            "max_requests": whole(LEAST_REQUESTS),
            "limit": whole(1, INT32),
        },
    )
    chosen = tuple(
        stream
        for stream in streams
        if fields.get("stream", stream) == stream and fields.get("account", stream.account) == stream.account
    )
    if "stream" in fields and not chosen:
        raise invalid([{"pointer": "#/account", "detail": f"is not that of stream {fields['stream']}"}])
    return Asked(
        chosen,
        Wanted(
            initiator,
            fields.get("dry_run", False),
            fields.get("max_pages"),
            fields.get("max_requests"),
            fields.get("limit"),
        ),
    )


async def _try(postgres: Postgres, stream: Stream, wanted: Wanted) -> Tried:
    obstacle = await find_obstacle(postgres, stream)  # nearly all of many at once end here, after one statement
    if obstacle is not None:
        return obstacle
    tried = await enqueue(postgres, stream, wanted)
    if tried == Living(None):  # it ended between two looks
        tried = await enqueue(postgres, stream, wanted)
    return tried


class Requests:
    """Answers POST /sync."""

    def __init__(self, progress: Progress) -> None:
        self._looks: Together[Tried] = Together()
        self._idempotency = Idempotency()
        self._progress = progress

    async def sync(self, call: Call) -> web.StreamResponse:
        """202 with the new runs, or the 409 of those that live."""
        body = decode_object(call.body)
        asked = read_asked(call.service, body, call.initiator)

        async def start() -> bytes:
            return await self._start(call.service, asked)

        kept = await self._idempotency.once(call.request, call.service.postgres, body, start)
        headers = {"Location": kept.location, "Retry-After": str(RETRY_SECONDS)}
        return answer_bytes(kept.body, status=202, headers=headers)

    async def _start(self, service: Service, asked: Asked) -> bytes:
        tried = await asyncio.gather(*(self._ask(service.postgres, stream, asked.wanted) for stream in asked.streams))
        by_stream = dict(zip(asked.streams, tried, strict=True))
        queued = {stream: one.run_id for stream, one in by_stream.items() if isinstance(one, Queued)}
        if not queued:
            raise _none_could_start(by_stream, service)
        service.wake()
        self._progress.forget()
        for stream, run_id in queued.items():
            with about(stream, run_id):
                log.notice("sync.requested", by=asked.wanted.initiated_by)
        try:
            estimate = await load_duration_seconds(service.postgres, queued)
        except DatabaseAwayError:  # they are queued: that is what the caller must hear
            estimate = None
        return msgspec.json.encode(_started(service, asked, by_stream, queued, estimate))

    async def _ask(self, postgres: Postgres, stream: Stream, wanted: Wanted) -> Tried:
        """Queued for one caller; Living or Paused for all who asked together with it."""
        return seen_by_one(await self._looks.ask(stream, lambda: _try(postgres, stream, wanted)))


def seen_by_one(shared: Shared[Tried]) -> Tried:
    """A run that was queued belongs to one of those who asked together; to the others it lives already."""
    if isinstance(shared.answer, Queued) and not shared.own:
        return Living(shared.answer.run_id)
    return shared.answer


def _started(
    service: Service, asked: Asked, by_stream: dict[Stream, Tried], queued: dict[Stream, UUID], estimate: float | None
) -> dict[str, Any]:
    first = next(iter(queued.values()))
    left_out = [f"{stream}: {_why_not(one)}" for stream, one in by_stream.items() if not isinstance(one, Queued)]
    message = f"{len(queued)} {'run' if len(queued) == 1 else 'runs'} queued"
    return {
        "success": True,
        "status": "started" if service.ready() else "queued",
        "message": "; ".join([message, *left_out]),
        "sync_id": first,
        "syncs": [
            {"sync_id": run_id, "stream": str(stream), "status": Status.QUEUED} for stream, run_id in queued.items()
        ],
        "dry_run": asked.wanted.dry_run,
        "triggered_by": asked.wanted.initiated_by,
        "triggered_at": time_of(first),
        "estimated_duration_seconds": estimate,
        "check_progress": "/sync/progress",
        "poll_url": f"/syncs/{first}",
    }


def time_of(run_id: UUID) -> datetime:
    """When a run was queued, by the database's clock: its id is a UUID v7, which begins with that."""
    return datetime.fromtimestamp((run_id.int >> 80) / 1000, UTC)


def _why_not(tried: Tried) -> str:
    if isinstance(tried, Paused):
        return f"paused by {tried.by} since {tried.since:%Y-%m-%d %H:%M:%S %Z}: {tried.reason}"
    return f"run {tried.run_id} lives" if tried.run_id is not None else "not registered, or its run just ended"


def _none_could_start(by_stream: dict[Stream, Tried], service: Service) -> Problem:
    living = {
        stream: one.run_id for stream, one in by_stream.items() if isinstance(one, Living) and one.run_id is not None
    }
    reasons = {stream: f"not served: {why}" for stream, why in service.refused.items()}
    reasons |= {stream: _why_not(one) for stream, one in by_stream.items()}
    why = "; ".join(f"{stream}: {reason}" for stream, reason in reasons.items())
    first = next(iter(living.values()), None)
    members: dict[str, Any] = {"run_id": first} if first else {}
    return Problem(
        409,
        f"nothing was started: {why or 'no stream is configured'}",
        headers={"Location": f"/syncs/{first}"} if first else None,
        syncs=[{"sync_id": run_id, "stream": str(stream)} for stream, run_id in living.items()],
        paused=[str(stream) for stream, one in by_stream.items() if isinstance(one, Paused)],
        **members,
    )
