"""The metrics of the contract: names, types, labels and values, as Prometheus's own parser reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitor.exporter import Exporter
from monitor.forecast import MISSES
from monitor.metrics import render
from monitor.series import MOST_ACCOUNTS, STATES, accounts_of
from syncd.contract.words import Cause, Reason, Status, Stream, status_of
from syncd.ledger.scrape import StreamFacts, counter_key
from tests.facts import open_run, stream_facts

DOCUMENT = Path(__file__).parents[2] / "docs/metrics.md"
ENDPOINTS = {"product_offer/read", "product_offer/count"}
MAIN = {"source": "emag", "account_type": "main"}
INTERVALS = {"main": 600.0, "slow": 86_400.0}
OF_CONTRACT = {
    "requests_total": ("counter", {"endpoint"}),
    "request_errors_total": ("counter", {"endpoint", "reason"}),
    "request_latency_seconds": ("histogram", {"endpoint"}),
    "offers_processed_total": ("counter", set()),
    "records_total": ("counter", {"resource", "result"}),
    "run_status": ("gauge", set()),
    "run_state": ("gauge", {"state"}),
    "stuck_syncs_total": ("counter", set()),
    "recovered_syncs_total": ("counter", set()),
    "stuck_syncs_by_cause_total": ("counter", {"cause"}),
    "recovered_syncs_by_cause_total": ("counter", {"cause"}),
    "last_success_timestamp_seconds": ("gauge", set()),
    "heartbeat_timestamp_seconds": ("gauge", set()),
    "progress_timestamp_seconds": ("gauge", set()),
    "run_pages": ("gauge", set()),
    "run_pages_expected": ("gauge", set()),
    "run_requests": ("gauge", set()),
    "run_requests_cap": ("gauge", set()),
    "run_eta_seconds": ("gauge", set()),
    "open_runs": ("gauge", set()),
    "stuck_runs": ("gauge", set()),
    "fence_rejections_total": ("counter", set()),
    "budget_wait_seconds_total": ("counter", set()),
    "records": ("gauge", {"state"}),
    "quarantined_records": ("gauge", set()),
    "paused": ("gauge", set()),
}


@dataclass
class Watched:
    """A watch that is well."""

    watch_state: str = "ok"
    stuck_streams: set[Stream] = field(default_factory=set)

    def interval_of(self, source: str, account: str) -> float:
        return 600.0


class Shown:
    """What one scrape shows: (name behind `emag_sync_`, labels) → value."""

    def __init__(self, facts: Sequence[StreamFacts], stuck: Iterable[Stream] = ()) -> None:
        self.text = "".join(render(accounts_of(facts, set(stuck), lambda source, account: INTERVALS.get(account, 0.0))))
        self.types: dict[str, str] = {}
        self.samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for family in text_string_to_metric_families(self.text):
            # the parser strips a counter's `_total`
            name = f"{family.name}_total" if family.type == "counter" else family.name
            assert name not in self.types, name
            self.types[name.removeprefix("emag_sync_")] = family.type
            for sample in family.samples:
                key = sample.name.removeprefix("emag_sync_"), frozenset(sample.labels.items())
                assert key not in self.samples, key
                self.samples[key] = sample.value

    def value(self, name: str, **labels: str) -> float:
        return self.samples[name, frozenset((MAIN | labels).items())]

    def labels(self, name: str, label: str) -> set[str]:
        return {dict(labels)[label] for series, labels in self.samples if series == name}


def test_an_empty_ledger_shows_every_metric_of_the_contract_at_0() -> None:
    shown = Shown([])
    for name, (kind, more) in OF_CONTRACT.items():
        assert shown.types[name] == kind, name
        sample = f"{name}_count" if kind == "histogram" else name
        labels = [dict(labels) for series, labels in shown.samples if series == sample]
        assert labels, name
        assert all(one.items() >= MAIN.items() and set(one) == set(MAIN) | more for one in labels), name
    events = {key: value for key, value in shown.samples.items() if key[0] != "interval_seconds"}
    assert {value for (_, labels), value in events.items() if ("state", "none") not in labels} == {0.0}
    assert shown.value("run_state", state="none") == 1
    assert shown.labels("requests_total", "endpoint") == ENDPOINTS
    assert shown.labels("request_errors_total", "reason") == set(Reason)
    assert shown.labels("run_state", "state") == set(STATES)
    limits = {"0.1", "0.25", "0.5", "1.0", "2.0", "5.0", "10.0", "30.0", "+Inf"}
    assert shown.labels("request_latency_seconds_bucket", "le") == limits
    assert "_created" not in shown.text


def test_each_account_shows_the_interval_that_holds_for_it() -> None:
    shown = Shown([stream_facts(), stream_facts(account_id=2, stream=Stream("emag", "slow", "offers"))])
    assert shown.value("interval_seconds") == 600
    assert shown.value("interval_seconds", account_type="slow") == 86_400


def test_the_counters_of_the_ledger_are_shown_as_they_are() -> None:
    read = "product_offer/read"
    counters = {
        counter_key("requests", read): 7.0,
        counter_key("request_errors", read, "timeout"): 2.0,
        counter_key("latency_bucket", read, "0.25"): 4.0,
        counter_key("latency_bucket", read, "+Inf"): 1.0,
        counter_key("latency_sum", read): 33.5,
        counter_key("offers_processed"): 500.0,
        counter_key("records", "", "inserted"): 90.0,
        counter_key("records", "", "tombstoned"): 5.0,
        counter_key("records", "", "revived"): 2.0,
        counter_key("records", "", "quarantined"): 9.0,
        counter_key("quarantine_pruned"): 4.0,
        counter_key("stuck_syncs", "", "lease_lost"): 3.0,
        counter_key("fence_rejections"): 1.0,
    }
    shown = Shown([stream_facts(counters=counters)])
    assert shown.value("requests_total", endpoint=read) == 7
    assert shown.value("request_errors_total", endpoint=read, reason="timeout") == 2
    assert shown.value("request_latency_seconds_bucket", endpoint=read, le="0.1") == 0
    assert shown.value("request_latency_seconds_bucket", endpoint=read, le="30.0") == 4
    assert shown.value("request_latency_seconds_bucket", endpoint=read, le="+Inf") == 5
    assert shown.value("request_latency_seconds_count", endpoint=read) == 5
    assert shown.value("request_latency_seconds_sum", endpoint=read) == 33.5
    assert shown.value("offers_processed_total") == 500
    assert shown.value("records_total", resource="offers", result="inserted") == 90
    assert shown.value("records", state="live") == 87
    assert shown.value("records", state="tombstoned") == 3
    assert shown.value("quarantined_records") == 5
    assert shown.value("stuck_syncs_total") == 3
    assert shown.value("stuck_syncs_by_cause_total", cause="lease_lost") == 3
    assert shown.value("fence_rejections_total") == 1


@pytest.mark.parametrize("cause", Cause)
def test_the_number_of_a_run_s_status_is_the_contract_s(cause: Cause) -> None:
    numbers = {"complete": 2, "failed": 3, "partial": 5, "cancelled": 6}
    timed_out = cause in {Cause.CAP_TIME, Cause.NO_PROGRESS, Cause.WAIT_OVERRUN}
    shown = Shown([stream_facts(status=status_of(cause), cause=cause)])
    assert shown.value("run_status") == (4 if timed_out else numbers[status_of(cause)])
    shown = Shown([stream_facts(status=Status.RUNNING, open_run=open_run())])
    assert (shown.value("run_status"), shown.value("run_state", state="running")) == (1, 1)


def test_the_offers_state_is_the_account_s_and_only_offers_count_as_offers() -> None:
    processed = {counter_key("offers_processed"): 10.0, counter_key("records", "", "inserted"): 10.0}
    orders = stream_facts(resource="a-orders", counters=processed, status=Status.FAILED, cause=Cause.AUTH)
    shown = Shown([orders, stream_facts(counters=processed, status=Status.COMPLETE, cause=Cause.END_OF_DATA)])
    assert shown.value("run_status") == 2
    assert shown.value("offers_processed_total") == 10
    assert shown.value("records_total", resource="a-orders", result="inserted") == 10
    assert shown.value("records", state="live") == 20


def test_the_open_run_and_its_forecast_are_shown() -> None:
    run = open_run(max_pages=20)
    shown = Shown([stream_facts(open_run=run, paused=True)], stuck=[Stream("emag", "main", "offers")])
    names = ("run_pages", "run_pages_expected", "run_requests", "run_requests_cap", "run_eta_seconds")
    assert [shown.value(name) for name in names] == [10, 41, 11, 500, 10]
    assert [shown.value(name) for name in ("open_runs", "stuck_runs", "paused")] == [1, 1, 1]
    assert shown.value("run_will_miss", limit="cap_pages") == 1
    assert shown.value("run_will_miss", limit="cap_time") == 0


def test_accounts_beyond_the_most_are_added_up_and_none_ever_loses_its_name() -> None:
    counters = {counter_key("offers_processed"): 1.0}
    names = ["other", *(f"shop-{n:03}" for n in range(MOST_ACCOUNTS, 0, -1))]
    facts = [stream_facts(name, account_id=n, counters=counters) for n, name in enumerate(names)]
    few = Shown(facts[:MOST_ACCOUNTS])
    many = Shown(sorted([*facts, *facts[-1:]], key=lambda one: one.stream))
    assert few.value("offers_processed_total", account_type="other") == 1
    assert few.labels("run_status", "account_type") == set(names[:MOST_ACCOUNTS])
    assert many.labels("offers_processed_total", "account_type") == set(names[:MOST_ACCOUNTS])
    assert many.labels("run_status", "account_type") == set(names[1:MOST_ACCOUNTS])
    assert many.value("offers_processed_total", account_type="other") == 3
    assert many.value("last_success_timestamp_seconds", account_type="shop-200") == 0


def test_the_document_names_every_metric_with_its_type_and_labels() -> None:
    rows = [line.split("|")[1:5] for line in DOCUMENT.read_text("utf-8").splitlines() if line.startswith("| `emag_")]
    named = {name.strip(" `"): (kind.strip(), set(re.findall(r"`(\w+)`", labels))) for name, kind, labels, _ in rows}
    shown: dict[str, tuple[str, set[str]]] = {}
    text = "".join(Exporter(None, Watched()).text([], 0.0))  # type: ignore[arg-type]  # it reads nothing
    for family in text_string_to_metric_families(text):
        if family.name.startswith("emag_sync_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = {label for sample in family.samples for label in sample.labels}
            shown[name] = (family.type, labels - {"source", "account_type", "le"})
    assert named == shown


def test_the_document_names_every_limit() -> None:
    (row,) = [line for line in DOCUMENT.read_text("utf-8").splitlines() if "`emag_sync_run_will_miss`" in line]
    assert set(re.findall(r"`(\w+)`", row)) == {"emag_sync_run_will_miss", "limit", *MISSES}
