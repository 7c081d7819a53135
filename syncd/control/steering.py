"""Cancel, approve, pause, resume, stop: who asks is kept in the ledger with what was asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from aiohttp import web

from syncd.contract.runs import RunRow
from syncd.contract.words import Stream
from syncd.control.body import decode_object, read_fields, reason, stream_among
from syncd.control.call import Call, no_such_run
from syncd.control.progress import Progress
from syncd.http.problem import Problem, answer_json
from syncd.ledger import pauses
from syncd.ledger.runs import approve, load_run, request_cancel
from syncd.runtime.log import about

log = structlog.get_logger()

STOP_REASON = "emergency stop"
TO_COME = "streams that are registered later"


class Steering:
    """Answers the calls that change what runs."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    async def cancel(self, call: Call) -> web.StreamResponse:
        """202: a queued run has ended, a running one ends at its next page."""
        read_fields(decode_object(call.body), {})
        run = await _load(call)
        if not await request_cancel(call.service.postgres, run.run_id, call.initiator):
            run = await _load(call)
            raise Problem(409, f"the run has ended already: {run.status} ({run.cause})", run_id=run.run_id)
        call.service.cancelled(run.run_id)
        with about(run.stream, run.run_id):
            self._changed(call, "run.cancel_requested")
        return answer_json(
            {
                "success": True,
                "sync_id": run.run_id,
                "message": "the run was asked to end",
                "poll_url": f"/syncs/{run.run_id}",
            },
            status=202,
            headers={"Location": f"/syncs/{run.run_id}"},
        )

    async def approve(self, call: Call) -> web.StreamResponse:
        """Consent to what the run found missing."""
        read_fields(decode_object(call.body), {})
        run = await _load(call)
        keys = await approve(call.service.postgres, run.run_id, call.initiator)
        if keys is None:
            why = "a later sweep has settled it" if run.consent_keys is not None else "it asked for no consent"
            raise Problem(409, f"nothing to approve: {why}", run_id=run.run_id)
        with about(run.stream, run.run_id):
            self._changed(call, "run.approved", keys=keys)
        message = f"the next complete sweep may tombstone {keys} records, those of them that are still missing"
        return answer_json({"success": True, "sync_id": run.run_id, "approved_keys": keys, "message": message})

    async def pause(self, call: Call) -> web.StreamResponse:
        """Hold back one stream, or all."""
        readers = {"stream": stream_among(call.service.streams), "reason": reason}
        fields = read_fields(decode_object(call.body), readers, required="reason")
        stream: Stream | None = fields.get("stream")
        postgres = call.service.postgres
        held = await pauses.pause(postgres, stream, by=call.initiator, reason=fields["reason"])
        self._changed(call, "sync.paused", stream=str(stream or "all"), reason=fields["reason"])
        to_come = "" if stream else f", and {TO_COME}"
        everything = stream is None or await pauses.load_standing(postgres) is not None
        return answer_json(_facts(held, everything, f"{len(held)} paused{to_come}"))

    async def resume(self, call: Call) -> web.StreamResponse:
        """Let one stream, or all, go on."""
        fields = read_fields(decode_object(call.body), {"stream": stream_among(call.service.streams)})
        stream: Stream | None = fields.get("stream")
        postgres = call.service.postgres
        count = await pauses.resume(postgres, stream)
        self._changed(call, "sync.resumed", stream=str(stream or "all"))
        left, everything = await pauses.paused_streams(postgres), await pauses.load_standing(postgres) is not None
        to_come = f"; the others stay paused, and so do {TO_COME}" if everything else ""
        return answer_json({**_facts(left, everything, f"{count} resumed{to_come}"), "resumed": count})

    async def stop(self, call: Call) -> web.StreamResponse:
        """Emergency stop: pause everything first, so that nothing new begins, then end what runs."""
        fields = read_fields(decode_object(call.body), {"reason": reason})
        postgres, by = call.service.postgres, call.initiator
        held = await pauses.pause(postgres, None, by=by, reason=fields.get("reason", STOP_REASON))
        asked = await pauses.cancel_open(postgres, None, by=by)
        for run_id in asked:
            call.service.cancelled(run_id)
        self._changed(call, "sync.stopped", cancelled=len(asked))
        message = f"{len(held)} paused, and {TO_COME}; {len(asked)} runs asked to end; POST /resume lets them go on"
        return answer_json({**_facts(held, True, message), "cancelled": len(asked)}, status=202)

    def _changed(self, call: Call, event: str, **facts: object) -> None:
        log.notice(event, by=call.initiator, **facts)
        call.service.wake()
        self._progress.forget()


def _facts(held: Sequence[Stream], everything: bool, message: str) -> dict[str, Any]:
    """everything: streams that are registered later begin paused."""
    return {"success": True, "paused": [str(one) for one in held], "everything": everything, "message": message}


async def _load(call: Call) -> RunRow:
    run = await load_run(call.service.postgres, call.run_id)
    if run is None:
        raise no_such_run(call.run_id)
    return run
