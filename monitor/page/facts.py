"""The same as data, for `/status.json`."""

from __future__ import annotations

from typing import Any

from monitor.page.picture import Picture, group_errors
from monitor.panorama import as_rows
from syncd.contract.runs import RunRow


def facts_of(picture: Picture) -> dict[str, Any]:
    """Everything that the page shows."""
    watch = {"watch": picture.watch_state, "seconds_since_look": picture.seconds_since_look}
    if picture.summary is None:
        return {"status": "unhealthy", "sentence": picture.sentence, **watch}
    return {
        **picture.summary.as_dict(),
        **watch,
        "runs": [_run(run) for run in picture.runs],
        "errors": [
            {
                "cause": str(group.cause),
                "message": group.message,
                "count": group.count,
                "first_at": group.first_at,
                "last_at": group.last_at,
                "journal": group.journal_command,
            }
            for group in group_errors(picture.runs)
        ],
        "days": [
            {"day": one.day.isoformat(), "stream": str(one.stream), "runs": {str(k): v for k, v in one.runs.items()}}
            for one in picture.days
        ],
        "jumps": as_rows(picture.jumps),
    }


def counts_of(picture: Picture) -> dict[str, Any]:
    """For those who may not see more: numbers that name nobody."""
    if picture.summary is None:
        return {"status": "unhealthy", "sentence": "The ledger cannot be read", "watch": picture.watch_state}
    return {
        "status": str(picture.summary.state),
        "counts": picture.summary.counts(),
        "watch": picture.watch_state,
    }


def _run(run: RunRow) -> dict[str, Any]:
    return {
        "run_id": str(run.run_id),
        "stream": str(run.stream),
        "status": str(run.status),
        "cause": None if run.cause is None else str(run.cause),
        "queued_at": run.queued_at,
        "started_at": run.started_at,
        "completed_at": run.completed_at,
        "duration_seconds": run.duration_seconds,
        "initiated_by": run.initiated_by,
        "pages": run.pages,
        "requests": run.requests,
        "fetched": run.fetched,
        "inserted": run.inserted,
        "updated": run.updated,
        "unchanged": run.unchanged,
        "tombstoned": run.tombstoned,
        "quarantined": run.quarantined,
        "error_message": run.error_message,
    }
