"""GET /sync/progress: how far each stream is, and all of them together.

A run of this process is shown from memory, one of another daemon from the ledger, and so are queued runs and
last results. A queued run counts as in progress: whoever asked for it waits for its end.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from aiohttp import web

from syncd.contract.runs import RunRow, percent_of
from syncd.contract.words import Phase, Status, Stream
from syncd.control.call import Call
from syncd.control.picture import Current, Ledger, Picture
from syncd.control.service import RunView, Service
from syncd.http.problem import answer_json
from syncd.policy.explanation import explain


class Progress:
    """The snapshot that the poll answers and the feed repeats."""

    def __init__(self, service: Service, ledger: Ledger) -> None:
        self._service = service
        self._ledger = ledger

    def forget(self) -> None:
        """The ledger was just changed."""
        self._ledger.forget()

    async def snapshot(self) -> dict[str, Any]:
        """As the contract words it."""
        picture = await self._ledger.look()
        views = {stream: self._service.view(stream) for stream in self._service.streams}
        if picture.answered and any(_is_outdated(view, picture.of(stream)) for stream, view in views.items()):
            self._ledger.forget()
            picture = await self._ledger.look()
        streams = {
            stream: _of_stream(self._service.view(stream), picture.of(stream)) for stream in self._service.streams
        }
        return {
            **_overall(streams, picture),
            "streams": {str(stream): facts for stream, facts in streams.items()},
        }

    async def poll(self, _: Call) -> web.StreamResponse:
        """One snapshot."""
        return answer_json(await self.snapshot())


def is_running(view: RunView, current: Current) -> bool:
    """Whether the stream has an open run, here or elsewhere. What this process knows to have ended has ended."""
    return view.in_progress or (current.open is not None and current.open.run_id != view.run_id)


def _is_outdated(view: RunView, current: Current) -> bool:
    """A run of this process has ended since the picture was taken."""
    return not view.in_progress and current.open is not None and current.open.run_id == view.run_id


def _of_stream(view: RunView, current: Current) -> dict[str, Any]:
    last = last_result(current.last)
    if view.in_progress:
        return {**_from_memory(view), "last_result": last}
    if current.open is not None and is_running(view, current):
        return {**_from_row(current.open), "in_progress": True, "last_result": last}
    if current.last is not None:
        return {**_from_row(current.last), "in_progress": False, "last_result": last}
    return {**_from_memory(RunView()), "last_result": None}


def _from_memory(view: RunView) -> dict[str, Any]:
    return {
        "in_progress": view.in_progress,
        "sync_id": view.run_id,
        "status": Status.RUNNING if view.in_progress else None,
        "phase": view.phase,
        "progress": view.progress,
        "total": view.total,
        "percent": percent_of(view.progress, view.total),
        "eta_seconds": view.eta_seconds,
        "last_checkpoint": view.last_checkpoint_at,
        "checkpoint_page": view.page,
        "requests": view.requests,
        "max_requests": view.max_requests,
        "started_at": view.started_at,
    }


def _from_row(run: RunRow) -> dict[str, Any]:
    stored = (run.checkpoint_page or 0) * (run.page_size or 0)
    progress = stored if run.expected is None else min(stored, run.expected)
    if run.status is Status.COMPLETE:
        progress = run.expected if run.expected is not None else progress
    return {
        "sync_id": run.run_id,
        "status": run.status,
        "phase": Phase(run.phase) if run.status is Status.RUNNING else Phase.IDLE,
        "progress": progress,
        "total": run.expected,
        "percent": run.progress_percent,
        "eta_seconds": None,
        "last_checkpoint": run.checkpoint_at,
        "checkpoint_page": run.checkpoint_page or 0,
        "requests": run.requests,
        "max_requests": run.max_requests,
        "started_at": run.started_at,
    }


def last_result(run: RunRow | None) -> dict[str, Any] | None:
    """How a run ended, for people; None where none has."""
    if run is None:
        return None
    return {
        "success": run.status is Status.COMPLETE,
        "message": explain(run)[0],
        "sync_id": run.run_id,
        "stream": str(run.stream),
        "status": run.status,
        "cause": run.cause,
        "completed_at": run.completed_at,
        "error_message": run.error_message,
    }


def _overall(streams: Mapping[Stream, dict[str, Any]], picture: Picture) -> dict[str, Any]:
    """All streams as one; while some are in progress, only those."""
    working = [facts for facts in streams.values() if facts["in_progress"]]
    shown = working or list(streams.values())
    totals = [facts["total"] for facts in shown]
    total = sum(totals) if shown and all(one is not None for one in totals) else None
    progress = sum(facts["progress"] for facts in shown)
    phases = [facts["phase"] for facts in working if facts["phase"] != Phase.IDLE]
    newest = max(shown, key=_checkpoint_order, default=None)
    ended = [current.last for stream in streams if (current := picture.of(stream)).last is not None]
    return {
        "in_progress": bool(working),
        "phase": phases[0] if phases else Phase.IDLE,
        "progress": progress,
        "total": total,
        "percent": percent_of(progress, total) if working else _percent_at_rest(shown),
        "eta_seconds": max(
            (facts["eta_seconds"] for facts in working if facts["eta_seconds"] is not None), default=None
        ),
        "last_checkpoint": newest["last_checkpoint"] if newest else None,
        "checkpoint_page": newest["checkpoint_page"] if newest else 0,
        "last_result": last_result(max((run for run in ended if run), key=_end_order, default=None)),
        "from_ledger": picture.answered,
    }


def _percent_at_rest(shown: Collection[Mapping[str, Any]]) -> int:
    """100 where every stream's last run was complete, else how far the least of them came."""
    return min((int(facts["percent"]) for facts in shown), default=0)


def _checkpoint_order(facts: Mapping[str, Any]) -> float:
    at: datetime | None = facts["last_checkpoint"]
    return at.timestamp() if at is not None else float("-inf")


def _end_order(run: RunRow) -> float:
    return run.completed_at.timestamp() if run.completed_at is not None else float("-inf")
