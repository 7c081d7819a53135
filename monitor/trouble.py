"""What is wrong, in plain words, with what to do about it. Pure.

Found for the page's first sentence and for notices alike: a trouble has a key that stays the same as long as it is
the same trouble, whoever finds it and however often, so that it is told once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from monitor.watch import Health, spoken
from syncd.contract.text import escape
from syncd.contract.words import Status, Stream
from syncd.ledger.outlook import StreamOutlook

if TYPE_CHECKING:
    from monitor.summary import Expectation, StreamSummary

OVERDUE_SECONDS = 90.0
"""A daemon looks every two seconds: a slot that is over for so long will not be taken by one that lives."""
START_DAEMON = "start it: `systemctl start syncd`, or `syncd serve`"
LONGEST_REASON = 160
BY_MONITOR = "monitor"


class State(StrEnum):
    """How all is, in the words of the daemon's /health."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


class Kind(StrEnum):
    """What is wrong, the worst first."""

    STUCK = "stuck"
    NO_DAEMON = "no_daemon"
    GIVEN_UP = "given_up"
    NEEDS_APPROVAL = "needs_approval"
    FAILED = "failed"
    SLOW = "slow"
    NOT_BEGUN = "not_begun"
    STALE = "stale"

    @property
    def state(self) -> State:
        """How bad it is."""
        return State.UNHEALTHY if self in (Kind.STUCK, Kind.NO_DAEMON) else State.DEGRADED

    @property
    def word(self) -> str:
        """How a sentence about it begins."""
        return {
            Kind.NO_DAEMON: "No daemon",
            Kind.GIVEN_UP: "Given up",
            Kind.NEEDS_APPROVAL: "Waiting for you",
            Kind.NOT_BEGUN: "Not begun",
        }.get(self, self.capitalize())


@dataclass(frozen=True, slots=True)
class Trouble:
    """text goes on after the kind's word. key: which trouble this is; todo: what a person should do, None for
    nothing; stream None: it concerns all."""

    kind: Kind
    key: str
    stream: Stream | None
    text: str
    todo: str | None = None

    @property
    def sentence(self) -> str:
        """All of it."""
        return f"{self.kind.word}: {self.text}" + (f"; {self.todo}" if self.todo else "")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What stands around the streams. host: this machine's name; daemons: how many live on it, None where that
    cannot be known; look_seconds: how soon the watch acts on a stuck run, None where nobody watches."""

    outlook: Mapping[Stream, StreamOutlook] = field(default_factory=dict)
    host: str = ""
    daemons: int | None = None
    look_seconds: float | None = None


def find_troubles(
    streams: Sequence[StreamSummary], around: Surroundings, expectation: Expectation, name: Callable[[Stream], str]
) -> list[Trouble]:
    """The worst first. name: what people call a stream."""
    found = [trouble for one in streams for trouble in _of_stream(one, around, name)]
    found += _of_slots(streams, around, expectation, name)
    return sorted(found, key=lambda trouble: list(Kind).index(trouble.kind))


def _of_stream(one: StreamSummary, around: Surroundings, name: Callable[[Stream], str]) -> list[Trouble]:
    found, called, outlook = [], name(one.stream), around.outlook.get(one.stream)
    run_id = outlook.open_run_id if outlook is not None else None
    run = f"run {str(run_id)[:13]}" if run_id is not None else "the run"
    if one.verdict is not None and one.is_stuck:
        then = "nobody watches" if around.look_seconds is None else f"recovery in {spoken(around.look_seconds)}"
        found.append(
            Trouble(Kind.STUCK, f"run/{run_id}/stuck", one.stream, f"{run} of {called} {one.verdict.why}; {then}")
        )
    elif one.verdict is not None and one.verdict.health is Health.LATE:
        left = one.verdict.stuck_in_seconds or 0.0
        text = f"{run} of {called} {one.verdict.why}; if nothing comes it is ended and resumed in {spoken(left)}"
        found.append(Trouble(Kind.SLOW, f"run/{run_id}/slow", one.stream, text))
    if outlook is not None:
        found += _of_outlook(one, outlook, called)
    elif one.facts.status is Status.FAILED and one.facts.open_run is None:
        text = f"the last run of {called} failed ({one.facts.cause})"
        found.append(Trouble(Kind.FAILED, f"stream/{one.stream}/failed", one.stream, text))
    if one.is_stale and not (found and one.age_seconds is None):  # never complete: the other trouble says why
        since = f"was last complete {spoken(one.age_seconds)} ago" if one.age_seconds else "has never been complete"
        key = f"stream/{one.stream}/stale/{int(one.facts.succeeded_at or 0)}"
        found.append(Trouble(Kind.STALE, key, one.stream, f"{called} {since}", f"look: `syncd runs {one.stream}`"))
    return found


def _of_outlook(one: StreamSummary, outlook: StreamOutlook, called: str) -> list[Trouble]:
    found, paused, last = [], outlook.paused, outlook.last_run
    if paused is not None and paused.by == BY_MONITOR:
        key = f"stream/{one.stream}/given_up/{int(paused.since.timestamp())}"
        text = f"{called} is paused by the monitor: {paused.reason}"
        found.append(Trouble(Kind.GIVEN_UP, key, one.stream, text, f"then `syncd resume {one.stream}`"))
    if last is not None and last.missing_keys is not None:
        text = f"{last.missing_keys:,} of {called} would vanish, and nothing does without your consent"
        todo = f"look at the marketplace, then `syncd approve {last.run_id}`"
        found.append(Trouble(Kind.NEEDS_APPROVAL, f"run/{last.run_id}/approval", one.stream, text, todo))
    elif last is not None and last.status is Status.FAILED:
        text = f"the last run of {called} ({last.cause})"
        text += f": {remote(last.error_message)}" if last.error_message else ""
        text += _goes_on(one, outlook)
        todo = f"more: `syncd explain {str(last.run_id)[:13]}`"
        found.append(Trouble(Kind.FAILED, f"run/{last.run_id}/failed", one.stream, text, todo))
    return found


def _goes_on(one: StreamSummary, outlook: StreamOutlook) -> str:
    if one.facts.open_run is not None:
        return f"; a new one is {one.facts.open_run.status}"
    if outlook.paused is None and outlook.next_in_seconds is not None and outlook.next_in_seconds > 0:
        return f"; tried again in {spoken(outlook.next_in_seconds)}"
    return ""


def _of_slots(
    streams: Sequence[StreamSummary], around: Surroundings, expectation: Expectation, name: Callable[[Stream], str]
) -> list[Trouble]:
    """Whether anybody is there to begin what should begin."""
    free = [(one, outlook) for one in streams if (outlook := _waiting(one, around)) is not None]
    queued = [(one, outlook) for one, outlook in free if _waits_in_queue(one)]
    late = [(one, outlook) for one, outlook in free if (outlook.next_in_seconds or 0.0) < -OVERDUE_SECONDS]
    late = late if expectation.enabled else []
    works = bool(around.daemons) or any(one.is_moving for one in streams)
    if works:
        todo = "is its account still configured? `syncd check`, and the daemon's log"
        return [
            Trouble(
                Kind.NOT_BEGUN,
                _slot_key(around, one),
                one.stream,
                f"{name(one.stream)} was due {_since(outlook)} ago, and no daemon begins it",
                todo,
            )
            for one, outlook in late
        ]
    if queued:
        one, outlook = queued[0]
        text = f"a run of {name(one.stream)} waits in the queue and nobody takes it"
        return [Trouble(Kind.NO_DAEMON, f"run/{outlook.open_run_id}/no_daemon", None, text, START_DAEMON)]
    if late:
        one, outlook = min(late, key=lambda pair: pair[1].next_at or 0)
        text = f"{name(one.stream)} was due {_since(outlook)} ago, and nobody has begun it"
        return [Trouble(Kind.NO_DAEMON, _slot_key(around, one), None, text, START_DAEMON)]
    return _gone_or_never_there(free, around, expectation, name)


def _gone_or_never_there(
    free: Sequence[tuple[StreamSummary, StreamOutlook]],
    around: Surroundings,
    expectation: Expectation,
    name: Callable[[Stream], str],
) -> list[Trouble]:
    """Nothing is late yet, but nobody is there: seen on this machine only, of streams that ran on this machine."""
    if around.daemons != 0 or not expectation.enabled:
        return []
    booked = [pair for pair in free if pair[1].next_at is not None and pair[1].owner_host == around.host]
    if booked:
        one, outlook = min(booked, key=lambda pair: pair[1].next_at or 0)
        due = outlook.next_in_seconds or 0.0
        text = f"none runs on this machine, and {name(one.stream)} is due {_due(due)}"
        return [Trouble(Kind.NO_DAEMON, _slot_key(around, one), None, text, START_DAEMON)]
    is_promised = any(expectation.of(one.stream).interval_seconds > 0 for one, _ in free)
    if is_promised and not any(outlook.has_run for _, outlook in free):
        text = "none runs on this machine, and nothing has ever been synced"
        return [Trouble(Kind.NO_DAEMON, "daemon/never", None, text, START_DAEMON)]
    return []


def _due(seconds: float) -> str:
    return f"in {spoken(seconds)}" if seconds > 0 else "now"


def _waiting(one: StreamSummary, around: Surroundings) -> StreamOutlook | None:
    """Its outlook, where a daemon should see to it: nothing runs, and nobody holds it back."""
    outlook = around.outlook.get(one.stream)
    return outlook if outlook is not None and outlook.paused is None and not one.is_moving else None


def _waits_in_queue(one: StreamSummary) -> bool:
    run = one.facts.open_run
    return run is not None and run.status is Status.QUEUED and one.queued_seconds > OVERDUE_SECONDS


def _since(outlook: StreamOutlook) -> str:
    return spoken(-(outlook.next_in_seconds or 0.0))


def _slot_key(around: Surroundings, one: StreamSummary) -> str:
    return f"stream/{one.stream}/slot/{around.outlook[one.stream].next_at}"


def remote(text: str) -> str:
    """Within a sentence of ours: short as it is shown, or the sentence would lose its end, which says what to do; and
    without backquotes, which would make it look like something to type."""
    plain = escape(text[: 2 * LONGEST_REASON].replace("`", "'"))
    return plain if len(plain) <= LONGEST_REASON else f"{plain[:LONGEST_REASON]}…"
