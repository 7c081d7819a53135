"""GET /health, /livez, /readyz and /sync-status: how the daemon is, in three depths.

/livez   the process answers; it asks nobody
/readyz  the daemon has started up and is not draining
/health  healthy, degraded (it works, somebody should look) or unhealthy (503: it cannot work)

/health is a report, not an error: its 503 is plain JSON, because the member `status` of a problem document
is a number and that of this report a word.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiohttp import web

from syncd.contract.words import Status
from syncd.control.call import Call
from syncd.control.picture import Ledger, Picture
from syncd.control.progress import is_running
from syncd.control.service import Service
from syncd.http.access import has_token
from syncd.http.problem import RETRY_SECONDS, answer_json, unavailable
from syncd.ledger.overview import load_breakers, load_pauses

HEALTHY, DEGRADED, UNHEALTHY = "healthy", "degraded", "unhealthy"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    status: str
    detail: str


class Health:
    """Answers the questions about the daemon itself."""

    def __init__(self, service: Service, ledger: Ledger) -> None:
        self._service = service
        self._ledger = ledger

    async def livez(self, _: Call) -> web.StreamResponse:
        """That this is answered is the answer."""
        return answer_json({"status": "alive"})

    async def readyz(self, _: Call) -> web.StreamResponse:
        """Whether requests are welcome, and which ledger they would change: our commands ask before they call."""
        if not self._service.ready():
            raise unavailable("starting up or draining")
        return answer_json({"status": "ready", "ledger": self._ledger.identity})

    async def health(self, call: Call) -> web.StreamResponse:
        """The word for everybody, the checks for who has the token."""
        picture = await self._ledger.look()
        checks = self._checks(picture)
        words = {check.status for check in checks}
        status = next((word for word in (UNHEALTHY, DEGRADED) if word in words), HEALTHY)
        schedule = self._service.schedule()
        document: dict[str, Any] = {
            "status": status,
            "auto_sync": {
                "enabled": schedule.enabled,
                "interval": schedule.interval_seconds,
                "is_syncing": self._is_syncing(picture),
                "last_sync_time": self._last_complete(picture),
            },
        }
        if has_token(call.request, call.access):
            document["checks"] = checks
        if status == UNHEALTHY:
            return answer_json(document, status=503, headers={"Retry-After": str(RETRY_SECONDS)})
        return answer_json(document)

    def _checks(self, picture: Picture) -> list[Check]:
        ready = self._service.ready()
        trouble = self._service.trouble() or ("" if picture.answered else "the ledger does not answer")
        checks = [
            Check("daemon", HEALTHY, "started up") if ready else Check("daemon", UNHEALTHY, "starting up or draining"),
            Check("database", UNHEALTHY if trouble else HEALTHY, trouble or "the ledger answers"),
        ]
        for stream, why in self._service.refused.items():
            checks.append(Check(str(stream), DEGRADED if self._service.streams else UNHEALTHY, f"not served: {why}"))
        for stream in self._service.streams:
            last = picture.of(stream).last
            if last is None:
                checks.append(Check(str(stream), HEALTHY, "no run has ended yet"))
            else:
                word = DEGRADED if last.status is Status.FAILED else HEALTHY
                checks.append(Check(str(stream), word, f"last run {last.run_id}: {last.status} ({last.cause})"))
        return checks

    async def sync_status(self, call: Call) -> web.StreamResponse:
        """Schedule, current work, and what protects against double and runaway work."""
        postgres, schedule = self._service.postgres, self._service.schedule()
        held = await load_pauses(postgres)
        breakers = await load_breakers(postgres)
        self._ledger.forget()  # it is asked anyway
        picture = await self._ledger.look()
        streams = self._service.streams
        scheduler = {
            "enabled": schedule.enabled,
            "interval_seconds": schedule.interval_seconds,
            "interval_minutes": round(schedule.interval_seconds / 60, 2),
            "paused": bool(streams) and all(stream in held for stream in streams),
            "paused_streams": [
                {"stream": str(stream), "by": pause.by, "reason": pause.reason, "since": pause.since}
                for stream, pause in held.items()
            ],
            "next_run_seconds": {str(stream): seconds for stream, seconds in schedule.next_run_seconds.items()},
        }
        protection = {
            "duplicate_prevention": True,
            "lock_based": True,
            "resource_management": True,
            "breaker": [
                {
                    "account": f"{one.source}/{one.account}",
                    "state": "open" if one.open_until else "closed",
                    "failures": one.failures,
                    "open_until": one.open_until,
                }
                for one in breakers
            ],
            "caps": {
                "max_pages": schedule.max_pages,
                "max_requests": schedule.max_requests,
                "timeout_hours": schedule.timeout_hours,
            },
        }
        current = {"is_running": self._is_syncing(picture), "last_completed": self._last_complete(picture)}
        return answer_json({"scheduler": scheduler, "current_sync": current, "protection": protection})

    def _is_syncing(self, picture: Picture) -> bool:
        return any(is_running(self._service.view(one), picture.of(one)) for one in self._service.streams)

    def _last_complete(self, picture: Picture) -> datetime | None:
        """When a stream was last synced completely."""
        complete = [picture.of(stream).complete for stream in self._service.streams]
        return max((run.completed_at for run in complete if run and run.completed_at), default=None)
