"""What `status` tells: each stream as the ledger has it, and its words for people and for machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from syncd.cli.way import Way
from syncd.contract.runs import Paused, RunRow
from syncd.contract.text import escape
from syncd.contract.words import Status, Stream
from syncd.ledger.overview import load_pauses
from syncd.ledger.runs import load_current_runs
from syncd.ledger.situation import load_states
from syncd.policy.facts import run_facts
from syncd.runtime.postgres import Postgres
from syncd.runtime.process import proven_dead

HEADLINES = ("STREAM", "STATE", "PAGE", "%", "REQ/S", "ETA", "LAST COMPLETE", "NEXT RUN", "PAUSED")


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """One stream. run: the open one, else the last that ended. is_dead: its process on this machine is gone.

    next_in_seconds: as the daemon here says, else as the ledger has it booked; None where nothing begins by itself.
    """

    stream: Stream
    run: RunRow | None
    last_complete_at: datetime | None
    next_in_seconds: float | None
    failures: int
    pause: Paused | None
    is_dead: bool = False

    @property
    def page(self) -> tuple[int, int | None]:
        """(stored, expected); the empty page after the last is none to a person."""
        if self.run is None:
            return 0, None
        done = self.run.checkpoint_page or 0
        if not self.run.expected or not self.run.page_size:
            return done, None
        pages = -(-self.run.expected // self.run.page_size)
        return min(done, pages), pages

    @property
    def requests_per_second(self) -> float | None:
        """Since the run began; None where none runs."""
        if self.run is None or self.run.status is not Status.RUNNING or not self.run.duration_seconds:
            return None
        return self.run.requests / self.run.duration_seconds

    @property
    def eta_seconds(self) -> float | None:
        """Until the last page, at the run's pace so far; None where that cannot be told."""
        (done, pages), run = self.page, self.run
        if run is None or run.status is not Status.RUNNING or pages is None or not run.pages:
            return None
        return (pages - done) * (run.duration_seconds or 0.0) / run.pages


@dataclass(slots=True)
class View:
    """What is shown: the streams as the ledger last said, and since when it has not answered."""

    streams: list[StreamStatus] = field(default_factory=list)
    daemon: str = ""
    looked_at: datetime | None = None
    away: str | None = None


async def look(postgres: Postgres, way: Way) -> View:
    states, held = await load_states(postgres), await load_pauses(postgres)
    newest: dict[Stream, RunRow] = {}
    complete: dict[Stream, datetime | None] = {}
    for row in await load_current_runs(postgres):  # the oldest first, the open one is the newest
        newest[row.stream] = row
        if row.status is Status.COMPLETE:
            complete[row.stream] = row.completed_at
    planned = await way.next_runs() or {}
    streams = [
        StreamStatus(
            stream,
            newest.get(stream),
            complete.get(stream),
            planned.get(str(stream), state.next_in_seconds),
            state.failures,
            held.get(stream),
            state.open_run is not None and proven_dead(state.open_run.owner),
        )
        for stream, state in sorted(states.items(), key=lambda item: str(item[0]))
    ]
    daemon = f"the daemon at {way.place} is ready" if await way.look() else str(way.why_not)
    return View(streams, daemon, datetime.now(UTC))


def stream_facts(one: StreamStatus, view: View) -> dict[str, Any]:
    done, pages = one.page
    return {
        "stream": str(one.stream),
        "state": _state(one),
        "page": done,
        "pages": pages,
        "percent": one.run.progress_percent if one.run else 0,
        "requests_per_second": one.requests_per_second,
        "eta_seconds": one.eta_seconds,
        "last_complete_at": one.last_complete_at,
        "next_run_seconds": None if one.pause else one.next_in_seconds,
        "failures_in_a_row": one.failures,
        "paused": {"by": one.pause.by, "since": one.pause.since, "reason": one.pause.reason} if one.pause else None,
        "run": run_facts(one.run) if one.run else None,
        "via": "ledger",
        "daemon": view.daemon,
    }


def _state(one: StreamStatus) -> str:
    run = one.run
    if run is None:
        return "paused" if one.pause else "never synced"
    if run.status is Status.RUNNING:
        if one.is_dead:
            return "dead: its process is gone"
        silent = run.lease_seconds_left is not None and run.lease_seconds_left < 0
        return "silent: its lease has run out" if silent else f"running: {run.phase}"
    if run.status is Status.QUEUED:
        return "queued"
    return str(run.status) if run.status is Status.COMPLETE else f"{run.status} ({run.cause})"


def cells(one: StreamStatus) -> tuple[str, ...]:
    """One row below the headlines."""
    done, pages = one.page
    runs = one.run is not None and one.run.status is Status.RUNNING
    rate, eta = one.requests_per_second, one.eta_seconds
    age = (datetime.now(UTC) - one.last_complete_at).total_seconds() if one.last_complete_at else None
    return (
        str(one.stream),
        _state(one),
        f"{done}/{pages}" if pages is not None else str(done) if one.run else "-",
        str(one.run.progress_percent) if one.run else "-",
        f"{rate:.1f}" if rate is not None else "-",
        (short(eta) if eta is not None else "?") if runs else "-",
        f"{short(max(0.0, age))} ago" if age is not None else "never",
        _next(one),
        _held(one.pause) if one.pause else "-",
    )


def _next(one: StreamStatus) -> str:
    if one.pause is not None or (one.run is not None and one.run.completed_at is None):
        return "-"
    if one.next_in_seconds is None:
        return "not by itself"
    when = f"in {short(one.next_in_seconds)}" if one.next_in_seconds > 0 else "due"
    return f"{when} ({one.failures} failed in a row)" if one.failures else when


def _held(pause: Paused) -> str:
    return f"{escape(pause.by)}, {pause.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC: {escape(pause.reason)}"


def short(seconds: float) -> str:
    """`45s`, `6m`, `2.5h`, `3d`."""
    if seconds < 60:
        return f"{seconds:.0f}s"
    if seconds < 3600:
        return f"{seconds / 60:.0f}m"
    return f"{seconds / 3600:.1f}h" if seconds < 2 * 86_400 else f"{seconds / 86_400:.0f}d"


def foot(view: View) -> str:
    """Which way it was learned, and whether a daemon is there."""
    if not view.streams and view.looked_at is not None:
        return "no stream is registered yet: `syncd migrate` registers the configured ones"
    if view.away is not None:
        known = f"this is how it was at {view.looked_at:%H:%M:%S} UTC" if view.looked_at else "nothing is known yet"
        return f"the ledger does not answer ({view.away}); {known}"
    return f"straight from the ledger; {view.daemon}"


def lines(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
