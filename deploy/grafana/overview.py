"""The overview: one look says whether everything is fresh."""

from __future__ import annotations

from panels import (
    ACCOUNT,
    BAD_FROM_ONE,
    GOOD_BAD,
    NAME,
    PLAIN,
    SERVICE,
    STATES,
    dashboard,
    instant,
    lines,
    panel,
    stat,
    states,
    target,
)

_YES_NO = [{"type": "value", "options": {"0": {"text": "no", "color": "red"}, "1": {"text": "yes", "color": "green"}}}]
_AGES = [
    {"color": "green", "value": None},
    {"color": "orange", "value": 1500},
    {"color": "red", "value": 4800},
]
_STATE = {str(number): {"text": text, "color": color, "index": number} for number, (text, color) in enumerate(STATES)}

FRESH = [
    stat(
        "Age of the data",
        "Since the last complete sync ended. Orange from 25 minutes, red from 80: right for an interval of 10 minutes.",
        f"time() - (emag_sync_last_success_timestamp_seconds{{{ACCOUNT}}} > 0)",
        unit="s", steps=_AGES, size=(8, 4),
    ),
    stat("Ledger", "Whether the monitor can read the database.", f"emag_sync_up{{{SERVICE}}}",
         legend="{{instance}}", steps=GOOD_BAD, mappings=_YES_NO),
    stat("Watch", "Whether the monitor's watch works: it looks at every run and can end the stuck ones.",
         f"emag_sync_monitor_status{{{SERVICE}}}", legend="{{instance}}", steps=GOOD_BAD, mappings=_YES_NO),
    stat("Services", "Which of the two services Prometheus reaches.", f"up{{{SERVICE}}}",
         legend="{{job}}", steps=GOOD_BAD, mappings=_YES_NO, size=(8, 4)),
    states(
        "Newest run of each account",
        "What the newest run is in, over time. A paused or queued one shows the run before.",
        [target(f"emag_sync_run_status{{{ACCOUNT}}}")], _STATE, size=(24, 6),
    ),
]  # fmt: skip

ATTENTION = [
    panel(
        "table", "Alerts",
        "Alerts of the sync that are firing or about to. The name leads to its page in the runbook.",
        [instant('max by (alertname, severity, alertstate, account_type) (ALERTS{alertname=~"EmagSync.*"})', "")
         | {"format": "table"}],
        unit="none", size=(12, 7),
        options={"showHeader": True, "cellHeight": "sm"},
        custom={"align": "auto", "inspect": False, "cellOptions": {"type": "auto"}},
        links=[{"title": "Runbook", "url": "${runbook}/${__data.fields.alertname}.md", "targetBlank": True}],
    ),
    stat("Stuck runs", "Runs that do not move and will be ended by the monitor.", f"emag_sync_stuck_runs{{{ACCOUNT}}}",
         steps=BAD_FROM_ONE),
    stat("Paused streams", "Held back by a person, or by the monitor after three rescues in vain.",
         f"emag_sync_paused{{{ACCOUNT}}}", steps=BAD_FROM_ONE),
    stat("Waiting for a person", "Streams whose newest run found so much missing that it asks: syncd approve.",
         f"emag_sync_awaiting_approval{{{ACCOUNT}}}", steps=BAD_FROM_ONE),
    stat("Offers", "Offers stored that are not marked as gone.", f'emag_sync_records{{{ACCOUNT},state="live"}}',
         unit="short", steps=PLAIN),
    stat("Gone", "Offers marked as gone from the marketplace. They are kept.",
         f'emag_sync_records{{{ACCOUNT},state="tombstoned"}}', unit="short", steps=PLAIN),
    stat("Quarantine", "Records that could not be stored, kept raw.", f"emag_sync_quarantined_records{{{ACCOUNT}}}",
         unit="short", steps=BAD_FROM_ONE),
]  # fmt: skip

TRAFFIC = [
    lines("Offers read", "Offers a second, unchanged ones included.",
          [target(f"rate(emag_sync_offers_processed_total{{{ACCOUNT}}}[$__rate_interval])")], unit="cps"),
    lines("What became of them", "Records a minute, by result.",
          [target(f"60 * sum by (result) (rate(emag_sync_records_total{{{ACCOUNT}}}[$__rate_interval]))",
                  "{{result}}")], unit="cpm", stacked=True),
    lines("Calls", "Calls of the marketplace a second. The limit is 3.",
          [target(f"sum by (source, account_type) (rate(emag_sync_requests_total{{{ACCOUNT}}}[$__rate_interval]))",
                  NAME)], unit="reqps"),
    lines("Failed calls", "Share of the calls that failed.",
          [target(f"sum by (source, account_type) (rate(emag_sync_request_errors_total{{{ACCOUNT}}}[$__rate_interval]))"
                  f" / sum by (source, account_type) (rate(emag_sync_requests_total{{{ACCOUNT}}}[$__rate_interval]))")],
          unit="percentunit"),
]  # fmt: skip

DASHBOARD = dashboard(
    "emag-sync-overview",
    "eMAG sync: overview",
    "Is everything fresh? One row a question: data, what wants attention, traffic.",
    [("Is everything fresh?", FRESH), ("What wants attention", ATTENTION), ("Traffic", TRAFFIC)],
    {"uid": "emag-sync-runs", "title": "eMAG sync: runs"},
)
