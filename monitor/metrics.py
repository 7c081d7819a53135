"""The metrics of the ledger, as families that Prometheus reads. Pure: facts in, families out.

Every label is from a closed set, and every series is there at 0 before its first event. Accounts beyond
MOST_ACCOUNTS are added up as `other`; a state cannot be added up, so they have none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from syncd.contract.words import Cause, Reason
from syncd.ledger.accumulators import LATENCY_BUCKETS, Delta
from syncd.ledger.scrape import StreamFacts

MOST_ACCOUNTS = 200
OTHER = "other"
ENDPOINTS = ("product_offer/count", "product_offer/read")
RESULTS = ("inserted", "updated", "unchanged", "tombstoned", "revived", "quarantined")
STUCK_CAUSES = (Cause.LEASE_LOST, Cause.NO_PROGRESS, Cause.WAIT_OVERRUN, Cause.CAP_TIME, Cause.NOT_STARTED)
STATES = ("none", "running", "complete", "failed", "timeout", "partial", "cancelled")
"""Of a run, in the order of their numbers in `emag_sync_run_status`."""

_TIMEOUTS = frozenset({Cause.CAP_TIME, Cause.NO_PROGRESS, Cause.WAIT_OVERRUN})
_LABELS = ("source", "account_type")
Labels = tuple[str, str]


@dataclass(slots=True)
class Account:
    """All streams of one account, added up."""

    labels: Labels
    streams: list[StreamFacts] = field(default_factory=list)

    def sum(self, metric: str, endpoint: str = "", detail: str = "") -> float:
        """A counter over all its streams."""
        key: Delta = (metric, endpoint, detail)
        return sum(facts.counters.get(key, 0.0) for facts in self.streams)


def state_of(facts: StreamFacts) -> str:
    """One of STATES: that of the newest run that has begun."""
    if facts.status is None:
        return "none"
    if facts.cause in _TIMEOUTS:
        return "timeout"
    return str(facts.status)


def accounts_of(facts: Sequence[StreamFacts]) -> list[Account]:
    """By name; an empty ledger shows the account that everybody has."""
    found = [
        Account(labels, list(streams))
        for labels, streams in groupby(facts, lambda one: (one.stream.source, one.stream.account))
    ]
    if len(found) > MOST_ACCOUNTS:
        rest = [facts for account in found[MOST_ACCOUNTS:] for facts in account.streams]
        found = [*found[:MOST_ACCOUNTS], Account((rest[0].stream.source, OTHER), rest)]
    return found or [Account(("emag", "main"))]


def families(facts: Sequence[StreamFacts]) -> Iterator[Metric]:
    """Everything that the ledger knows."""
    accounts = accounts_of(facts)
    yield from _calls(accounts)
    yield from _records(accounts)
    yield from _newest_runs(accounts)
    yield from _open_runs(accounts)
    yield from _rescues(accounts)


def _counter(name: str, text: str, labels: Sequence[str] = ()) -> CounterMetricFamily:
    return CounterMetricFamily(f"emag_sync_{name}", text, labels=[*_LABELS, *labels])


def _gauge(name: str, text: str, labels: Sequence[str] = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"emag_sync_{name}", text, labels=[*_LABELS, *labels])


def _calls(accounts: list[Account]) -> Iterator[Metric]:
    requests = _counter("requests_total", "Calls of the marketplace that have ended.", ["endpoint"])
    errors = _counter("request_errors_total", "Of these, the ones that failed.", ["endpoint", "reason"])
    latency = HistogramMetricFamily(
        "emag_sync_request_latency_seconds", "Time on the wire; waiting for the budget excluded.",
        labels=[*_LABELS, "endpoint"],
    )  # fmt: skip
    waits = _counter("budget_wait_seconds_total", "Seconds that calls waited for the API budget.")
    for account in accounts:
        waits.add_metric(account.labels, account.sum("budget_wait_seconds"))
        for endpoint in ENDPOINTS:
            labels = (*account.labels, endpoint)
            requests.add_metric(labels, account.sum("requests", endpoint))
            for reason in Reason:
                errors.add_metric((*labels, reason), account.sum("request_errors", endpoint, reason))
            buckets, below = [], 0.0
            for limit in (*map(str, LATENCY_BUCKETS), "+Inf"):
                below += account.sum("latency_bucket", endpoint, limit)
                buckets.append((limit, below))
            latency.add_metric(labels, buckets, account.sum("latency_sum", endpoint))
    yield from (requests, errors, latency, waits)


def _records(accounts: list[Account]) -> Iterator[Metric]:
    processed = _counter("offers_processed_total", "Offers read, unchanged ones included.")
    results = _counter("records_total", "What became of the records read.", ["resource", "result"])
    stored = _gauge("records", "Records stored: live, and marked as gone from the source.", ["state"])
    quarantined = _gauge("quarantined_records", "Records that could not be stored, kept raw.")
    refused = _counter("fence_rejections_total", "Writes that the fence refused: a run that had lost its lease.")
    for account in accounts:
        processed.add_metric(account.labels, account.sum("offers_processed"))
        stored.add_metric((*account.labels, "live"), sum(facts.live for facts in account.streams))
        stored.add_metric((*account.labels, "tombstoned"), sum(facts.tombstoned for facts in account.streams))
        kept = account.sum("records", "", "quarantined") - account.sum("quarantine_pruned")
        quarantined.add_metric(account.labels, kept)
        refused.add_metric(account.labels, account.sum("fence_rejections"))
        for resource in sorted({facts.stream.resource for facts in account.streams}) or ["offers"]:
            of_it = [facts for facts in account.streams if facts.stream.resource == resource]
            for result in RESULTS:
                value = sum(facts.counter("records", result) for facts in of_it)
                results.add_metric((*account.labels, resource, result), value)
    yield from (processed, results, stored, quarantined, refused)


def _newest_runs(accounts: list[Account]) -> Iterator[Metric]:
    status = _gauge("run_status", "Newest run: " + ", ".join(f"{n} {state}" for n, state in enumerate(STATES)) + ".")
    states = _gauge("run_state", "Newest run, a series a state: 1 for the one it is in.", ["state"])
    for account in accounts:
        if account.labels[1] == OTHER and len(account.streams) > 1:
            continue
        state = state_of(account.streams[0]) if account.streams else "none"
        status.add_metric(account.labels, STATES.index(state))
        for one in STATES:
            states.add_metric((*account.labels, one), one == state)
    yield from (status, states)
    times: list[tuple[str, str, Callable[[StreamFacts], float | None]]] = [
        ("last_success_timestamp_seconds", "When the last complete run ended.", lambda facts: facts.succeeded_at),
        ("heartbeat_timestamp_seconds", "Last heartbeat of the newest run.", lambda facts: facts.heartbeat_at),
        ("progress_timestamp_seconds", "When the newest run last stored a page.", lambda facts: facts.progress_at),
    ]
    for name, text, time_of in times:
        family = _gauge(name, text)
        for account in accounts:
            known = [time for facts in account.streams if (time := time_of(facts)) is not None]
            family.add_metric(account.labels, min(known, default=0.0))
        yield family


def _open_runs(accounts: list[Account]) -> Iterator[Metric]:
    gauges: list[tuple[str, str, Callable[[StreamFacts], float]]] = [
        ("open_runs", "Runs that are queued or running.", lambda facts: facts.open_run is not None),
        ("paused", "Streams that are paused.", lambda facts: facts.paused),
        ("awaiting_approval", "Streams whose newest run waits for `syncd approve`.", _awaits_approval),
        ("run_pages", "Page up to which the open run's sweep is stored.", _of_run(lambda run: run.page)),
        ("run_pages_expected", "Pages that the count announced.", _of_run(lambda run: run.pages_expected)),
        ("run_requests", "Calls that the open run has made.", _of_run(lambda run: run.requests)),
        ("run_requests_cap", "The most that it may make.", _of_run(lambda run: run.max_requests)),
        ("run_eta_seconds", "Until its last page, at the pace so far.", _of_run(lambda run: run.eta_seconds)),
    ]
    for name, text, value_of in gauges:
        family = _gauge(name, text)
        for account in accounts:
            family.add_metric(account.labels, sum(map(value_of, account.streams)))
        yield family


def _awaits_approval(facts: StreamFacts) -> bool:
    return facts.cause is Cause.BLAST_RADIUS


def _of_run(value_of: Callable[..., float | None]) -> Callable[[StreamFacts], float]:
    return lambda facts: 0.0 if facts.open_run is None else value_of(facts.open_run) or 0.0


def _rescues(accounts: list[Account]) -> Iterable[Metric]:
    for metric, text in (("stuck_syncs", "Runs that were found stuck"), ("recovered_syncs", "Stuck runs ended")):
        total = _counter(f"{metric}_total", f"{text}.")
        by_cause = _counter(f"{metric}_by_cause_total", f"{text}, by cause.", ["cause"])
        for account in accounts:
            counts = {cause: account.sum(metric, "", cause) for cause in STUCK_CAUSES}
            total.add_metric(account.labels, sum(counts.values()))
            for cause, value in counts.items():
                by_cause.add_metric((*account.labels, cause), value)
        yield from (total, by_cause)
