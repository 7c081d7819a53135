"""What a person wants to know first: is everything all right, and if not, what is wrong with which stream?

Pure: facts and verdicts in, a sentence and a row a stream out. The page, its text, `/status.json` and
`sync-monitor health` all show this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from monitor.forecast import Forecast, foretell
from monitor.sentence import good_sentence, held_notes, namer, unit_of
from monitor.trouble import State as State
from monitor.trouble import Surroundings, Trouble, find_troubles
from monitor.watch import Health, Verdict
from syncd.contract.observation import Observation
from syncd.contract.words import Status, Stream
from syncd.ledger.outlook import StreamOutlook
from syncd.ledger.scrape import StreamFacts

STALE_INTERVALS = 2
"""Data older than so many intervals, and the longest time that a run may take, is stale."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the settings promise. interval_seconds 0: no schedule, so nothing is ever stale. accounts: (source, name) →
    what they promise of this one."""

    interval_seconds: float
    timeout_seconds: float
    enabled: bool
    accounts: Mapping[tuple[str, str], Expectation] = field(default_factory=dict)

    def of(self, stream: Stream) -> Expectation:
        """Of this stream."""
        return self.accounts.get((stream.source, stream.account), self)

    @property
    def stale_after_seconds(self) -> float | None:
        """The greatest age of good data; None where nobody promised anything."""
        if not self.enabled or self.interval_seconds <= 0:
            return None
        return STALE_INTERVALS * self.interval_seconds + self.timeout_seconds


@dataclass(frozen=True, slots=True)
class StreamSummary:
    """One stream. age_seconds: since its last complete run ended; None where there has been none. outlook: None
    where it was not read; queued_seconds: how long its open run has waited for a worker."""

    stream: Stream
    facts: StreamFacts
    verdict: Verdict | None
    age_seconds: float | None
    is_stale: bool
    outlook: StreamOutlook | None = None
    queued_seconds: float = 0.0

    @property
    def is_moving(self) -> bool:
        """Whether a worker is at it."""
        return self.facts.open_run is not None and self.facts.open_run.status is Status.RUNNING and not self.is_stuck

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
    """state and sentence say it all; troubles and streams say why; notes: what holds back. is_held: nothing is wrong,
    and nothing begins by itself: paused, or disabled. name: what people call a stream; unit: of what it is full."""

    state: State
    sentence: str
    streams: tuple[StreamSummary, ...]
    troubles: tuple[Trouble, ...] = ()
    notes: tuple[str, ...] = ()
    is_held: bool = False
    name: Callable[[Stream], str] = field(default=str, repr=False, compare=False)
    unit: str = "records"

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
            "troubles": [_trouble(one) for one in self.troubles],
            "notes": list(self.notes),
            "stuck": sum(one.is_stuck for one in self.streams),
            "streams": {str(one.stream): _row(one) for one in self.streams},
        }


def summarise(
    facts: Sequence[StreamFacts],
    verdicts: Sequence[tuple[Observation, Verdict]],
    expectation: Expectation,
    now: float,
    around: Surroundings | None = None,
) -> Summary:
    """now: Unix time in seconds, by the clock that the facts' times are of."""
    around = around or Surroundings()
    seen = {run.stream: (run, verdict) for run, verdict in verdicts}
    streams = tuple(_summarise_stream(one, seen.get(one.stream), expectation, now, around) for one in facts)
    name, unit = namer([one.stream for one in streams]), unit_of([one.stream for one in streams])
    troubles = tuple(find_troubles(streams, around, expectation, name))
    notes = tuple(held_notes(streams, name, enabled=expectation.enabled))
    if troubles:
        more = f" (and {len(troubles) - 1} more)" if len(troubles) > 1 else ""
        return Summary(
            troubles[0].kind.state, troubles[0].sentence + more, streams, troubles, notes, name=name, unit=unit
        )
    held = bool(streams) and (not expectation.enabled or all(one.facts.paused for one in streams))
    sentence = good_sentence(streams, name, unit, enabled=expectation.enabled)
    return Summary(State.HEALTHY, sentence, streams, (), notes, held, name=name, unit=unit)


def _summarise_stream(
    facts: StreamFacts,
    seen: tuple[Observation, Verdict] | None,
    expectation: Expectation,
    now: float,
    around: Surroundings,
) -> StreamSummary:
    age = None if facts.succeeded_at is None else max(0.0, now - facts.succeeded_at)
    limit = expectation.of(facts.stream).stale_after_seconds
    is_stale = limit is not None and not facts.paused and facts.status is not None and (age is None or age > limit)
    if age is None and facts.open_run is not None:  # the first one is still on its way
        is_stale = False
    run, verdict = seen or (None, None)
    waited = run.queued_seconds if run is not None else 0.0
    return StreamSummary(facts.stream, facts, verdict, age, is_stale, around.outlook.get(facts.stream), waited)


def _trouble(one: Trouble) -> dict[str, Any]:
    stream = None if one.stream is None else str(one.stream)
    return {"kind": str(one.kind), "stream": stream, "text": one.text, "todo": one.todo}


def _row(one: StreamSummary) -> dict[str, Any]:
    facts, run = one.facts, one.facts.open_run
    paused = one.outlook.paused if one.outlook is not None else None
    return {
        "status": str(facts.status) if facts.status else None,
        "cause": str(facts.cause) if facts.cause else None,
        "age_seconds": one.age_seconds,
        "stale": one.is_stale,
        "paused": facts.paused,
        "next_in_seconds": one.outlook.next_in_seconds if one.outlook is not None else None,
        "paused_by": paused.by if paused is not None else None,
        "pause_reason": paused.reason if paused is not None else None,
        "records": facts.live,
        "watch": None if one.verdict is None else {"health": str(one.verdict.health), "why": one.verdict.why},
        "run": None
        if run is None
        else {
            "run_id": str(one.outlook.open_run_id) if one.outlook is not None and one.outlook.open_run_id else None,
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
