"""Whose series there are: the accounts of the ledger, bounded, each with its streams added up. Pure.

The first MOST_ACCOUNTS accounts, in the order of their registration, have series of their own for ever; later ones
are added up as `other` of their source. A state cannot be added up, so `other` has none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from monitor.forecast import Forecast, foretell
from syncd.contract.words import Cause, Stream
from syncd.ledger.scrape import StreamFacts, counter_key

MOST_ACCOUNTS = 200
OTHER = "other"
OFFERS = "offers"
ENDPOINTS = ("product_offer/count", "product_offer/read")
STATES = ("none", "running", "complete", "failed", "timeout", "partial", "cancelled")
"""Of a run, in the order of their numbers in `emag_sync_run_status`."""
NO_COUNTERS: Mapping[str, float] = {}

_TIMEOUTS = frozenset({Cause.CAP_TIME, Cause.NO_PROGRESS, Cause.WAIT_OVERRUN})


@dataclass(frozen=True, slots=True)
class Shape:
    """What the names of an account's series depend on. is_sum: several accounts, of which no state can be told."""

    source: str
    name: str
    is_sum: bool
    endpoints: tuple[str, ...]
    resources: tuple[str, ...]

    def series(self, before: str = "", after: str = "") -> str:
        """The labels. before and after: others, where their names belong by the alphabet: `state="x"`."""
        before, after = before and f"{before},", after and f",{after}"
        return f'{{account_type="{self.name}",{before}source="{self.source}"{after}}}'


@dataclass
class Account:
    """The streams behind one pair of labels. interval_seconds: from a run's end to the next one; 0: no schedule."""

    source: str
    name: str
    is_sum: bool = False
    streams: list[StreamFacts] = field(default_factory=list)
    stuck: int = 0
    interval_seconds: float = 0.0

    @cached_property
    def counters(self) -> Mapping[str, float]:
        """Of all its streams."""
        return _added([facts.counters for facts in self.streams])

    @cached_property
    def by_resource(self) -> dict[str, Mapping[str, float]]:
        """The counters of its streams of each resource."""
        names = sorted({facts.stream.resource for facts in self.streams}) or [OFFERS]
        if len(names) == 1:
            return {names[0]: self.counters}
        return {
            name: _added([facts.counters for facts in self.streams if facts.stream.resource == name]) for name in names
        }

    @cached_property
    def forecasts(self) -> list[Forecast]:
        """Of its open runs."""
        return [foretell(facts) for facts in self.streams if facts.open_run is not None]

    @cached_property
    def shape(self) -> Shape:
        """Its endpoints are those of the marketplace, and what else its source is known to have been asked."""
        endpoints = {key.split("\t")[1] for key in self.counters if key.startswith("requests\t")}
        endpoints |= set(ENDPOINTS) if self.source == "emag" else set()
        return Shape(self.source, self.name, self.is_sum, tuple(sorted(endpoints)), tuple(self.by_resource))

    @property
    def state(self) -> str:
        """One of STATES: of the newest run of its offers, or of what it has instead."""
        offers = [facts for facts in self.streams if facts.stream.resource == OFFERS] or self.streams
        return state_of(offers[0]) if offers else "none"

    def count(self, metric: str, endpoint: str = "", detail: str = "") -> float:
        """A counter over all its streams."""
        return self.counters.get(counter_key(metric, endpoint, detail), 0.0)


def state_of(facts: StreamFacts) -> str:
    """One of STATES: that of the newest run that has begun."""
    if facts.status is None:
        return "none"
    if facts.cause in _TIMEOUTS:
        return "timeout"
    return str(facts.status)


def accounts_of(
    facts: Sequence[StreamFacts], stuck: Collection[Stream], interval_of: Callable[[str, str], float]
) -> list[Account]:
    """In the order of their registration; an empty ledger shows the account that everybody has.

    interval_of: of a source's account, in seconds.
    """
    found: dict[int, Account] = {}
    for one in sorted(facts, key=lambda one: one.account_id):
        account = found.setdefault(one.account_id, Account(one.stream.source, one.stream.account))
        account.streams.append(one)
        account.stuck += one.stream in stuck
    accounts = _bounded(list(found.values())) or [Account("emag", "main")]
    for account in accounts:
        account.interval_seconds = 0.0 if account.is_sum else interval_of(account.source, account.name)
    return accounts


def _bounded(accounts: list[Account]) -> list[Account]:
    if len(accounts) <= MOST_ACCOUNTS:
        return accounts
    own: list[Account] = []
    others: dict[str, Account] = {}
    for number, account in enumerate(accounts):
        if number < MOST_ACCOUNTS and account.name != OTHER:  # an account that is called so would appear twice
            own.append(account)
        else:
            rest = others.setdefault(account.source, Account(account.source, OTHER, is_sum=True))
            rest.streams += account.streams
            rest.stuck += account.stuck
    return [*own, *others.values()]


def _added(counters: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    if len(counters) <= 1:
        return counters[0] if counters else NO_COUNTERS
    total: defaultdict[str, float] = defaultdict(float)
    for one in counters:
        for key, value in one.items():
            total[key] += value
    return total
