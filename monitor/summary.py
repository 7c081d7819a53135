"""What a person wants to know first: is everything all right, and if not, what is wrong with which stream?

Pure: facts and verdicts in, a sentence and a row a stream out. The page, its text, `/status.json` and
`sync-monitor health` all show this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from monitor.forecast import Forecast, foretell
from monitor.watch import Health, Verdict, spoken
from syncd.contract.observation import Observation
from syncd.contract.words import Status, Stream
from syncd.ledger.scrape import StreamFacts

STALE_INTERVALS = 2
"""Data older than so many intervals, and the longest time that a run may take, is stale."""


class State(StrEnum):
    """How all is, in the words of the daemon's /health."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the settings promise. interval_seconds 0: no schedule, so nothing is ever stale."""

    interval_seconds: float
    timeout_seconds: float
    enabled: bool

    @property
    def stale_after_seconds(self) -> float | None:
        """The greatest age of good data; None where nobody promised anything."""
        if not self.enabled or self.interval_seconds <= 0:
            return None
        return STALE_INTERVALS * self.interval_seconds + self.timeout_seconds


@dataclass(frozen=True, slots=True)
class StreamSummary:
    """One stream. age_seconds: since its last complete run ended; None where there has been none."""

    stream: Stream
    facts: StreamFacts
    verdict: Verdict | None
    age_seconds: float | None
    is_stale: bool

    @property
    def is_stuck(self) -> bool:
        """Whether its open run will be ended."""
        return self.verdict is not None and self.verdict.health is Health.STUCK

    @property
    def forecast(self) -> Forecast:
        """When its open run ends, and what it will miss by then."""
        return foretell(self.facts)


@dataclass(frozen=True, slots=True)
class Summary:
    """state and sentence say it all; streams say why."""

    state: State
    sentence: str
    streams: tuple[StreamSummary, ...]

    def counts(self) -> dict[str, int]:
        """What may be shown to everybody: numbers that name nobody."""
        return {
            "streams": len(self.streams),
            "open runs": sum(one.facts.open_run is not None for one in self.streams),
            "stuck": sum(one.is_stuck for one in self.streams),
            "stale": sum(one.is_stale for one in self.streams),
            "paused": sum(one.facts.paused for one in self.streams),
            "records": int(sum(one.facts.live for one in self.streams)),
        }

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "status": str(self.state),
            "sentence": self.sentence,
            "stuck": sum(one.is_stuck for one in self.streams),
            "streams": {str(one.stream): _row(one) for one in self.streams},
        }


def summarise(
    facts: Sequence[StreamFacts],
    verdicts: Sequence[tuple[Observation, Verdict]],
    expectation: Expectation,
    now: float,
) -> Summary:
    """now: Unix time in seconds, by the clock that the facts' times are of."""
    by_stream = {run.stream: verdict for run, verdict in verdicts}
    streams = tuple(_summarise_stream(one, by_stream.get(one.stream), expectation, now) for one in facts)
    stuck = [one for one in streams if one.is_stuck]
    trouble = [one for one in streams if one.is_stale or _has_failed(one)]
    if stuck:
        return Summary(State.UNHEALTHY, _stuck_sentence(stuck), streams)
    if trouble:
        return Summary(State.DEGRADED, _trouble_sentence(trouble), streams)
    return Summary(State.HEALTHY, _good_sentence(streams, expectation), streams)


def _summarise_stream(
    facts: StreamFacts, verdict: Verdict | None, expectation: Expectation, now: float
) -> StreamSummary:
    age = None if facts.succeeded_at is None else max(0.0, now - facts.succeeded_at)
    limit = expectation.stale_after_seconds
    is_stale = limit is not None and not facts.paused and facts.status is not None and (age is None or age > limit)
    if age is None and facts.open_run is not None:  # the first one is still on its way
        is_stale = False
    return StreamSummary(facts.stream, facts, verdict, age, is_stale)


def _has_failed(one: StreamSummary) -> bool:
    return one.facts.status is Status.FAILED and one.facts.open_run is None


def _stuck_sentence(stuck: Sequence[StreamSummary]) -> str:
    first = stuck[0]
    assert first.verdict is not None  # noqa: S101  # a stuck one has a verdict
    more = f"; {len(stuck) - 1} more" if len(stuck) > 1 else ""
    return f"Stuck: the run of {first.stream} {first.verdict.why}{more}"


def _trouble_sentence(trouble: Sequence[StreamSummary]) -> str:
    parts = []
    for one in trouble[:3]:
        if _has_failed(one):
            parts.append(f"the last run of {one.stream} failed ({one.facts.cause})")
        elif one.age_seconds is None:
            parts.append(f"{one.stream} has never been complete")
        else:
            parts.append(f"{one.stream} was last complete {spoken(one.age_seconds)} ago")
    more = f", and {len(trouble) - 3} more" if len(trouble) > 3 else ""
    return f"Not well: {'; '.join(parts)}{more}"


def _good_sentence(streams: Sequence[StreamSummary], expectation: Expectation) -> str:
    if not streams:
        return "Nothing is configured yet: the ledger knows no stream"
    held = "" if expectation.enabled else "; auto-sync is disabled"
    paused = [str(one.stream) for one in streams if one.facts.paused]
    held += f"; paused: {', '.join(paused[:3])}{'…' if len(paused) > 3 else ''}" if paused else ""
    done = [one for one in streams if one.age_seconds is not None]
    if not done:
        running = any(one.facts.open_run for one in streams)
        return f"All good: {'the first sync is running' if running else 'no sync has run yet'}{held}"
    newest = min(done, key=lambda one: one.age_seconds or 0.0)
    live = sum(one.facts.live for one in streams)
    return f"All good: {newest.stream} finished {spoken(newest.age_seconds or 0.0)} ago, {live:,.0f} records{held}"


def _row(one: StreamSummary) -> dict[str, Any]:
    facts, run = one.facts, one.facts.open_run
    return {
        "status": str(facts.status) if facts.status else None,
        "cause": str(facts.cause) if facts.cause else None,
        "age_seconds": one.age_seconds,
        "stale": one.is_stale,
        "paused": facts.paused,
        "records": facts.live,
        "watch": None if one.verdict is None else {"health": str(one.verdict.health), "why": one.verdict.why},
        "run": None
        if run is None
        else {
            "status": str(run.status),
            "page": run.page,
            "pages_expected": run.pages_expected,
            "requests": run.requests,
            "max_requests": run.max_requests,
            "eta_seconds": run.eta_seconds,
            "ends_in_seconds": one.forecast.ends_in_seconds,
            "will_miss": one.forecast.will_miss,
            "why": one.forecast.why,
        },
    }
