"""What the log says of a run as a whole: its start, with its caps; a cap that comes near; its end, with its counts.

Who writes any of a run's lines is inside `syncd.runtime.log.about`, which names the run, its stream and its account.
"""

from __future__ import annotations

import structlog

from syncd.contract.runs import Caps, Claim, Outcome, RunRow
from syncd.contract.words import Cause, Status, status_of

log = structlog.get_logger()

NEAR_SHARE = 0.8


def say_started(claim: Claim, caps: Caps, *, initiated_by: str, dry_run: bool) -> None:
    """A takeover is said before it: the run that it ended is another one."""
    if claim.closed_run is not None:
        log.warning("run.took_over", closed_run=str(claim.closed_run))
    limited = {} if caps.max_records is None else {"max_records": caps.max_records}
    log.notice(
        "run.started",
        by=initiated_by,
        max_pages=caps.max_pages,
        max_requests=caps.max_requests,
        max_seconds=round(caps.timeout_seconds),
        **limited,
        **({"dry_run": True} if dry_run else {}),
    )


def say_ended(outcome: Outcome, row: RunRow | None, *, seconds: float, next_run_seconds: float | None) -> None:
    """row None: the ledger is away, and with it the counts. A run that failed is a warning besides."""
    if outcome.cause is Cause.LEASE_LOST:
        log.warning("lease.lost", cause=outcome.cause, error=outcome.message)
    elif status_of(outcome.cause) is Status.FAILED:
        log.warning("run.failed", cause=outcome.cause, error=outcome.message)
    facts: dict[str, object] = {"cause": outcome.cause, "duration_ms": round(seconds * 1000)}
    if row is not None:
        facts |= {
            "pages": row.pages,
            "requests": f"{row.requests}/{row.max_requests}",
            "fetched": row.fetched,
            "inserted": row.inserted,
            "updated": row.updated,
            "unchanged": row.unchanged,
            "revived": row.revived,
            "tombstoned": row.tombstoned,
            "quarantined": row.quarantined,
            "failed_calls": row.errors,
        }
    if outcome.message is not None:
        facts["why"] = outcome.message
    if next_run_seconds is not None:
        facts["next_run_seconds"] = round(next_run_seconds)
    log.notice("run.ended", **facts)


class NearCaps:
    """Warns of each cap of a run once, when four fifths of it are used."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def note(self, cap: str, used: float, of: float | None) -> None:
        """So much of the cap is used now; `of` None: there is no such cap."""
        if of is not None and used >= NEAR_SHARE * of and cap not in self._said:
            self._said.add(cap)
            log.warning("cap.near", cap=cap, used=round(used), of=round(of))
