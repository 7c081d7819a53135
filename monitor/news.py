"""What is worth telling, from what the watch has seen. Pure: each piece of news has a key, and is told once.

    trouble    something is wrong: see monitor/trouble.py
    ended      the monitor has ended a stuck run, and what goes on from there
    recovered  whatever had trouble is well again: a stream when it is complete, the daemon when it is there
    ping       a run has begun or ended, for a service that notices when nothing comes any more

Slow runs are shown on the page and not told; a stuck one is told as such where the look that found it did not end it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from monitor.summary import Summary
from monitor.trouble import Kind, Trouble
from syncd.contract.runs import RunRow
from syncd.contract.text import escape
from syncd.contract.words import SWEEP_ENDED_BY, Cause, Status
from syncd.ledger.notices import TROUBLE, Notice
from syncd.ledger.outlook import LastRun
from syncd.ledger.rescue import Ended

ENDED, PING = "ended", "ping"
DAEMON, LEDGER = "daemon", "ledger"
_TOLD_AS_STUCK = frozenset({Cause.LEASE_LOST, Cause.NO_PROGRESS, Cause.WAIT_OVERRUN, Cause.NOT_STARTED})


def of_troubles(summary: Summary) -> list[Notice]:
    """What is wrong now."""
    return [
        Notice(
            trouble.key,
            subject_of(trouble),
            TROUBLE,
            {"kind": str(trouble.kind), "text": escape(trouble.sentence), "todo": trouble.todo},
        )
        for trouble in summary.troubles
        if trouble.kind is not Kind.SLOW and not _is_told_as_stuck(summary, trouble)
    ]


def _is_told_as_stuck(summary: Summary, trouble: Trouble) -> bool:
    """A run that the monitor has ended has failed by that: one event, one message."""
    if trouble.kind is not Kind.FAILED:
        return False
    return any(
        one.stream == trouble.stream and (last := _last_run(one)) is not None and last.cause in _TOLD_AS_STUCK
        for one in summary.streams
    )


def subject_of(trouble: Trouble) -> str:
    """The stream, or the daemon."""
    return DAEMON if trouble.stream is None else str(trouble.stream)


def well(summary: Summary) -> dict[str, Mapping[str, Any]]:
    """Subjects that are well now, and what to say where that is news."""
    troubled = {subject_of(trouble) for trouble in summary.troubles}
    found: dict[str, Mapping[str, Any]] = {}
    for one in summary.streams:
        last = _last_run(one)
        if str(one.stream) not in troubled and last is not None and last.status is Status.COMPLETE:
            text = f"Well again: {summary.name(one.stream)} is complete, {one.facts.live:,.0f} {summary.unit}"
            found[str(one.stream)] = {"kind": "complete", "text": text, "run_id": str(last.run_id)}
    if DAEMON not in troubled:
        found[DAEMON] = {"kind": "daemon", "text": "Well again: a daemon begins what is due"}
    return found


def _last_run(one: Any) -> LastRun | None:
    last: LastRun | None = one.outlook.last_run if one.outlook is not None else None
    return last


def of_ended(ended: Iterable[Ended]) -> list[Notice]:
    """Runs that this monitor has ended."""
    found = []
    for one in ended:
        then = one.held_back or f"run {one.successor} goes on from the checkpoint"
        text = f"Ended: run {str(one.run_id)[:13]} of {one.stream} {one.fault.why}; {then}"
        successor = None if one.successor is None else str(one.successor)
        body = {"kind": str(one.fault.cause), "text": escape(text), "run_id": str(one.run_id), "successor": successor}
        found.append(Notice(f"run/{one.run_id}/ended", str(one.stream), ENDED, body))
    return found


def pings(runs: Sequence[RunRow]) -> list[Notice]:
    """Their starts and ends, the oldest first; plans are no syncs."""
    found = []
    for run in sorted(runs, key=lambda run: run.queued_at):
        if run.dry_run or run.started_at is None:
            continue
        found.append(_ping(run, "start", run.started_at))
        if run.completed_at is not None and (how := _end_of(run)) is not None:
            found.append(_ping(run, how, run.completed_at))
    return found


def _end_of(run: RunRow) -> str | None:
    """success, fail, or nothing for a run that a cap or a shutdown ended: the next one goes on, and says how it was."""
    if run.status is Status.COMPLETE:
        return "success"
    return "fail" if run.status is Status.FAILED or run.cause in SWEEP_ENDED_BY else None


def _ping(run: RunRow, how: str, happened_at: Any) -> Notice:
    body = {"how": how, "run_id": str(run.run_id), "account": run.stream.account}
    return Notice(f"ping/{run.run_id}/{how}", str(run.stream), PING, body, happened_at)
