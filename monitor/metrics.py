"""The metrics of the ledger, in Prometheus's text format. Pure: facts in, text out, piece by piece.

Every label is from a closed set, and every counter is there at 0 before its first event.

Written here and not by prometheus_client, whose writer takes a tenth of a second for 200 accounts and does it in one
go. The pieces here are small, and whoever takes them may give way between any two; what never changes of them,
the names and labels, is made once for each account.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from monitor.forecast import MISSES
from monitor.series import NO_COUNTERS, OFFERS, STATES, Account, Shape
from syncd.contract.words import Cause, Reason
from syncd.ledger.accumulators import LATENCY_BUCKETS
from syncd.ledger.scrape import OpenRunFacts, StreamFacts, counter_key

RESULTS = ("inserted", "updated", "unchanged", "tombstoned", "revived", "quarantined")
STUCK_CAUSES = (Cause.LEASE_LOST, Cause.NO_PROGRESS, Cause.WAIT_OVERRUN, Cause.CAP_TIME, Cause.NOT_STARTED)
BUCKETS = (*map(str, LATENCY_BUCKETS), "+Inf")

_MOST_TEMPLATES = 20_000


@dataclass(frozen=True, eq=False)
class Family:
    """One metric: its name behind `emag_sync_`, what it is; its series of one account, and their values in order."""

    name: str
    kind: str
    text: str
    series: Callable[[Shape], list[str]]
    values: Callable[[Account], Sequence[float]]


def render(accounts: Sequence[Account]) -> Iterator[str]:
    """Everything that the ledger knows, family by family."""
    for family in FAMILIES:
        yield head_of(f"emag_sync_{family.name}", family.kind, family.text)
        for account in accounts:
            yield _template(family, account.shape) % tuple(family.values(account))


def head_of(name: str, kind: str, text: str) -> str:
    """The two lines above a family's samples."""
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


@lru_cache(_MOST_TEMPLATES)
def _template(family: Family, shape: Shape) -> str:
    """The family's samples of one account, with a place for each value."""
    return "".join([f"emag_sync_{family.name}{series} %r\n" for series in family.series(shape)])


def _one(shape: Shape) -> list[str]:
    return [shape.series()]


def _each_endpoint(shape: Shape) -> list[str]:
    return [shape.series(f'endpoint="{endpoint}"') for endpoint in shape.endpoints]


def _each_reason(shape: Shape) -> list[str]:
    return [shape.series(f'endpoint="{name}",reason="{reason}"') for name in shape.endpoints for reason in Reason]


def _each_bucket(shape: Shape) -> list[str]:
    found = []
    for endpoint in shape.endpoints:
        label = f'endpoint="{endpoint}"'
        found += ["_bucket" + shape.series(f'{label},le="{limit}"') for limit in BUCKETS]
        found += [f"_count{shape.series(label)}", f"_sum{shape.series(label)}"]
    return found


def _each_result(shape: Shape) -> list[str]:
    return [shape.series(f'resource="{name}",result="{result}"') for name in shape.resources for result in RESULTS]


def _each(label: str, words: Sequence[str], *, after: bool = False) -> Callable[[Shape], list[str]]:
    """A series a word."""
    pairs = [f'{label}="{word}"' for word in words]
    return lambda shape: [shape.series(after=pair) if after else shape.series(pair) for pair in pairs]


def _unless_sum(series: Callable[[Shape], list[str]]) -> Callable[[Shape], list[str]]:
    return lambda shape: [] if shape.is_sum else series(shape)


def _requests(account: Account) -> list[float]:
    return [account.count("requests", endpoint) for endpoint in account.shape.endpoints]


@lru_cache
def _keys(metric: str, endpoint: str, details: tuple[str, ...]) -> list[str]:
    return [counter_key(metric, endpoint, detail) for detail in details]


def _errors(account: Account) -> list[float]:
    get, reasons = account.counters.get, tuple(Reason)
    return [get(key, 0.0) for name in account.shape.endpoints for key in _keys("request_errors", name, reasons)]


def _latency(account: Account) -> list[float]:
    values: list[float] = []
    for endpoint in account.shape.endpoints:
        below = 0.0
        for key in _keys("latency_bucket", endpoint, BUCKETS):
            below += account.counters.get(key, 0.0)
            values.append(below)
        values += [below, account.count("latency_sum", endpoint)]
    return values


def _processed(account: Account) -> list[float]:
    return [account.by_resource.get(OFFERS, NO_COUNTERS).get(counter_key("offers_processed"), 0.0)]


def _records(account: Account) -> list[float]:
    keys = _keys("records", "", RESULTS)
    return [counters.get(key, 0.0) for counters in account.by_resource.values() for key in keys]


def _stored(account: Account) -> list[float]:
    streams = account.streams
    return [sum((one.live for one in streams), 0.0), sum((one.tombstoned for one in streams), 0.0)]


def _quarantined(account: Account) -> list[float]:
    return [account.count("records", "", "quarantined") - account.count("quarantine_pruned")]


def _status(account: Account) -> list[float]:
    return [] if account.is_sum else [float(STATES.index(account.state))]


def _state(account: Account) -> list[float]:
    return [] if account.is_sum else [float(state == account.state) for state in STATES]


def _oldest(time_of: Callable[[StreamFacts], float | None]) -> Callable[[Account], list[float]]:
    """Of several streams the one that is worst off; 0: one has none."""
    return lambda account: [min((time_of(one) or 0.0 for one in account.streams), default=0.0)]


def _newest(time_of: Callable[[StreamFacts], float | None]) -> Callable[[Account], list[float]]:
    return lambda account: [max((time_of(one) or 0.0 for one in account.streams), default=0.0)]


def _open_runs(value_of: Callable[[OpenRunFacts], float | None]) -> Callable[[Account], list[float]]:
    """Added up over the account's open runs; 0 where it has none, or nobody knows."""
    return lambda account: [float(sum(value_of(one.open_run) or 0 for one in account.streams if one.open_run))]


def _eta(account: Account) -> list[float]:
    return [max((one.ends_in_seconds or 0.0 for one in account.forecasts), default=0.0)]


def _misses(account: Account) -> list[float]:
    return [float(sum(one.will_miss == miss for one in account.forecasts)) for miss in MISSES]


def _paused(account: Account) -> list[float]:
    return [float(sum(one.paused for one in account.streams))]


def _awaiting(account: Account) -> list[float]:
    return [float(sum(one.cause is Cause.BLAST_RADIUS for one in account.streams))]


def _interval(account: Account) -> list[float]:
    return [] if account.is_sum else [float(account.interval_seconds)]


def _stuck(account: Account) -> list[float]:
    return [float(account.stuck)]


def _counted(metric: str) -> Callable[[Account], list[float]]:
    return lambda account: [account.count(metric)]


def _rescues(metric: str) -> Callable[[Account], list[float]]:
    return lambda account: [sum((account.counters.get(key, 0.0) for key in _keys(metric, "", tuple(Cause))), 0.0)]


def _rescues_by_cause(metric: str) -> Callable[[Account], list[float]]:
    return lambda account: [account.counters.get(key, 0.0) for key in _keys(metric, "", STUCK_CAUSES)]


COUNTER, GAUGE = "counter", "gauge"
_NEWEST_RUN = "Newest run of the account's offers"
_EACH_CAUSE, _EACH_LIMIT = _each("cause", STUCK_CAUSES), _each("limit", MISSES)
_EACH_STATE, _EACH_KIND = _each("state", STATES, after=True), _each("state", ("live", "tombstoned"), after=True)

FAMILIES = (
    Family("requests_total", COUNTER, "Calls of the marketplace that have ended.", _each_endpoint, _requests),
    Family("request_errors_total", COUNTER, "Of these, the ones that failed.", _each_reason, _errors),
    Family("request_latency_seconds", "histogram", "Time on the wire; waiting for the budget excluded.",
           _each_bucket, _latency),
    Family("budget_wait_seconds_total", COUNTER, "Waiting for the API budget.", _one, _counted("budget_wait_seconds")),
    Family("offers_processed_total", COUNTER, "Offers read, unchanged ones included.", _one, _processed),
    Family("records_total", COUNTER, "What became of the records read.", _each_result, _records),
    Family("records", GAUGE, "Records stored: live, and marked as gone from the source.", _EACH_KIND, _stored),
    Family("quarantined_records", GAUGE, "Records that could not be stored, kept raw.", _one, _quarantined),
    Family("fence_rejections_total", COUNTER, "Writes that the fence refused: the run had lost its lease.", _one,
           _counted("fence_rejections")),
    Family("run_status", GAUGE, f"{_NEWEST_RUN}: {', '.join(f'{n} {s}' for n, s in enumerate(STATES))}.",
           _unless_sum(_one), _status),
    Family("run_state", GAUGE, f"{_NEWEST_RUN}: 1 for the state it is in.", _unless_sum(_EACH_STATE), _state),
    Family("last_success_timestamp_seconds", GAUGE, "End of the last complete run; 0: none yet.", _one,
           _oldest(lambda one: one.succeeded_at)),
    Family("heartbeat_timestamp_seconds", GAUGE, "Last heartbeat of the newest run.", _one,
           _newest(lambda one: one.heartbeat_at)),
    Family("progress_timestamp_seconds", GAUGE, "When the newest run began or last stored a page.", _one,
           _newest(lambda one: one.progress_at)),
    Family("open_runs", GAUGE, "Runs that are queued or running.", _one, _open_runs(lambda _: 1)),
    Family("stuck_runs", GAUGE, "Runs that are stuck now.", _one, _stuck),
    Family("interval_seconds", GAUGE, "From a run's end to the next one, as set; 0: nothing starts by itself.",
           _unless_sum(_one), _interval),
    Family("paused", GAUGE, "Streams that are paused.", _one, _paused),
    Family("awaiting_approval", GAUGE, "Streams whose newest run waits for a person's consent.", _one, _awaiting),
    Family("run_pages", GAUGE, "Page up to which the open run's sweep is stored.", _one,
           _open_runs(lambda run: run.page)),
    Family("run_pages_expected", GAUGE, "Pages that the count announced.", _one,
           _open_runs(lambda run: run.pages_expected)),
    Family("run_requests", GAUGE, "Calls that the open run has made.", _one, _open_runs(lambda run: run.requests)),
    Family("run_requests_cap", GAUGE, "The most that it may make.", _one, _open_runs(lambda run: run.max_requests)),
    Family("run_eta_seconds", GAUGE, "Until the open run ends, at the pace so far.", _one, _eta),
    Family("run_will_miss", GAUGE, "Open runs that will reach this limit before the end of their data.", _EACH_LIMIT,
           _misses),
    Family("stuck_syncs_total", COUNTER, "Runs that were found stuck.", _one, _rescues("stuck_syncs")),
    Family("stuck_syncs_by_cause_total", COUNTER, "The same, by cause.", _EACH_CAUSE, _rescues_by_cause("stuck_syncs")),
    Family("recovered_syncs_total", COUNTER, "Stuck runs that were ended.", _one, _rescues("recovered_syncs")),
    Family("recovered_syncs_by_cause_total", COUNTER, "The same, by cause.", _EACH_CAUSE,
           _rescues_by_cause("recovered_syncs")),
)  # fmt: skip
