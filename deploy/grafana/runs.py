"""Runs and what slows or breaks them: for the person who looks for a cause."""

from __future__ import annotations

from panels import ACCOUNT, SERVICE, dashboard, heatmap, lines, stat, states, target

_RATE = "[$__rate_interval]"
_LAG = f"rate(syncd_event_loop_lag_seconds_bucket{{{SERVICE}}}{_RATE})"
_WATCH = {"1": {"text": "", "color": "blue", "index": 0}, "0": {"text": " ", "color": "transparent", "index": 1}}

OPEN = [
    lines("Pages of the open run", "Up to which page its sweep is stored, and how many the count announced.",
          [target(f"emag_sync_run_pages{{{ACCOUNT}}}", "{{account_type}} stored"),
           target(f"emag_sync_run_pages_expected{{{ACCOUNT}}}", "{{account_type}} expected")],
          unit="short", size=(8, 7)),
    lines("Calls of the open run", "Calls made, and the most that it may make.",
          [target(f"emag_sync_run_requests{{{ACCOUNT}}}", "{{account_type}} made"),
           target(f"emag_sync_run_requests_cap{{{ACCOUNT}}}", "{{account_type}} cap")],
          unit="short", size=(8, 7)),
    lines("Time left", "Until the open run ends, at its pace so far; 0 where nothing runs.",
          [target(f"emag_sync_run_eta_seconds{{{ACCOUNT}}}")], unit="s", size=(8, 7)),
    lines("Alive and useful",
          "Since the last heartbeat (alive) and the last stored page (useful) of the newest run. Both grow while"
          " nothing runs; during a run a heartbeat without progress is a run that does not move.",
          [target(f"time() - (emag_sync_heartbeat_timestamp_seconds{{{ACCOUNT}}} > 0)", "{{account_type}} heartbeat"),
           target(f"time() - (emag_sync_progress_timestamp_seconds{{{ACCOUNT}}} > 0)", "{{account_type}} progress")],
          unit="s", size=(12, 7)),
    lines("Open runs", "Queued and running, and those of them that are stuck.",
          [target(f"emag_sync_open_runs{{{ACCOUNT}}}", "{{account_type}} open"),
           target(f"emag_sync_stuck_runs{{{ACCOUNT}}}", "{{account_type}} stuck")], unit="short", size=(6, 7)),
    lines("Will reach a cap", "1 where the open run will reach this limit before the end of its data.",
          [target(f"emag_sync_run_will_miss{{{ACCOUNT}}}", "{{account_type}} {{limit}}")], unit="short", size=(6, 7)),
]  # fmt: skip

API = [
    heatmap("Latency of calls", "How long calls took on the wire; waiting for the budget excluded.",
            f"sum by (le) (increase(emag_sync_request_latency_seconds_bucket{{{ACCOUNT}}}{_RATE}))", size=(12, 8)),
    lines("Latency by share", "The time within which half, 95% and 99% of the calls were answered.",
          [target(f"histogram_quantile({q}, sum by (le)"
                  f" (rate(emag_sync_request_latency_seconds_bucket{{{ACCOUNT}}}{_RATE})))", text)
           for q, text in ((0.5, "half"), (0.95, "95%"), (0.99, "99%"))], unit="s"),
    lines("Failed calls by reason", "Failed calls a minute.",
          [target(f"60 * sum by (reason) (rate(emag_sync_request_errors_total{{{ACCOUNT}}}{_RATE}))", "{{reason}}")],
          unit="cpm", stacked=True, size=(8, 8)),
    lines("Calls by endpoint", "Calls a second.",
          [target(f"sum by (endpoint) (rate(emag_sync_requests_total{{{ACCOUNT}}}{_RATE}))", "{{endpoint}}")],
          unit="reqps", size=(8, 8)),
    lines("Waiting for the budget", "Seconds a second that calls waited for the API's limit: above 1 several wait.",
          [target(f"rate(emag_sync_budget_wait_seconds_total{{{ACCOUNT}}}{_RATE})")], unit="none", size=(8, 8)),
]  # fmt: skip

RESCUE = [
    states("State of the newest run", "One row a state: blue while the newest run is in it.",
           [target(f"emag_sync_run_state{{{ACCOUNT}}}", "{{account_type}} {{state}}")], _WATCH, size=(12, 8)),
    lines("Stuck and ended, by cause", "Within the last hour: runs found stuck, and those of them that were ended.",
          [target(f"increase(emag_sync_stuck_syncs_by_cause_total{{{ACCOUNT}}}[1h])", "stuck {{cause}}"),
           target(f"increase(emag_sync_recovered_syncs_by_cause_total{{{ACCOUNT}}}[1h])", "ended {{cause}}")],
          unit="short"),
    stat("Found stuck", "Runs found stuck within the last day.",
         f"increase(emag_sync_stuck_syncs_total{{{ACCOUNT}}}[1d])", unit="short"),
    stat("Ended", "Stuck runs that were ended within the last day.",
         f"increase(emag_sync_recovered_syncs_total{{{ACCOUNT}}}[1d])", unit="short"),
    stat("Stale writes refused", "Runs that had lost their lease, wrote all the same and were refused.",
         f"increase(emag_sync_fence_rejections_total{{{ACCOUNT}}}[1d])", unit="short"),
    stat("Release", "The release that the monitor runs.", f"emag_sync_build_info{{{SERVICE}}}", legend="{{version}}",
         size=(6, 4)) | {"options": {"textMode": "name", "colorMode": "none", "graphMode": "none",
                                     "justifyMode": "auto", "orientation": "auto",
                                     "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}},
    states("Watch", "The monitor's own state: ok, degraded (a run could not be ended), failing (it cannot look).",
           [target(f"emag_sync_monitor_state{{{SERVICE}}}", "{{state}}")], _WATCH, size=(6, 4)),
]  # fmt: skip

PROCESSES = [
    lines("Event loop of the daemon", "How late it wakes up, half and 99% of the time. Over 0.1 s something blocks it.",
          [target(f"histogram_quantile({q}, sum by (le) ({_LAG}))",
                  text) for q, text in ((0.5, "half"), (0.99, "99%"))], unit="s", size=(8, 7)),
    lines("Connections of the daemon", "Open, idle, and statements that wait for one.",
          [target(f"syncd_pool_connections{{{SERVICE}}}", "open"),
           target(f"syncd_pool_connections_idle{{{SERVICE}}}", "idle"),
           target(f"syncd_pool_requests_waiting{{{SERVICE}}}", "waiting")], unit="short", size=(8, 7)),
    lines("Memory", "Resident memory of the daemon.",
          [target(f"process_resident_memory_bytes{{{SERVICE}}}", "{{job}}")], unit="bytes", size=(8, 7)),
    lines("Processor", "Share of one processor that the daemon uses.",
          [target(f"rate(process_cpu_seconds_total{{{SERVICE}}}{_RATE})", "{{job}}")], unit="percentunit", size=(8, 7)),
    lines("Reading the ledger", "How long the monitor took to read it for a scrape.",
          [target(f"emag_sync_collector_duration_seconds{{{SERVICE}}}", "{{instance}}")], unit="s", size=(8, 7)),
    lines("Time since start", "Of each service: it falls to 0 at a restart.",
          [target(f"time() - process_start_time_seconds{{{SERVICE}}}", "{{job}}")], unit="s", size=(8, 7)),
]  # fmt: skip

DASHBOARD = dashboard(
    "emag-sync-runs",
    "eMAG sync: runs",
    "Why is a run slow, stuck or failing? The open run, the marketplace's API, rescues, the processes.",
    [("The open run", OPEN), ("The marketplace's API", API), ("Rescues", RESCUE), ("Processes", PROCESSES)],
    {"uid": "emag-sync-overview", "title": "eMAG sync: overview"},
)
