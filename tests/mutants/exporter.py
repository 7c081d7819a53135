"""Mutants of the exporter, its counters, the forecast and the retention."""

from __future__ import annotations

from tests.mutants.mutant import Mutant, Replacement

_METRICS = "tests/unit/test_metrics.py"
_EXPORTER = "tests/integration/test_exporter.py"
_RETENTION = "tests/integration/test_retention.py"
_COUNTERS = "tests/acceptance/test_counters.py"
_FORECAST = "tests/unit/test_forecast.py"

EXPORTER = (
    Mutant(
        "a plan passes for a sync",
        (Replacement("syncd/ledger/scrape.py", "status <> 'queued' AND NOT dry_run", "status <> 'queued'"),),
        (f"{_EXPORTER}::test_a_queued_run_and_a_plan_show_the_run_before_them",),
    ),
    Mutant(
        "a run that ran out of its time shows as partial",
        (Replacement("monitor/series.py", "if facts.cause in _TIMEOUTS:", "if False:"),),
        (f"{_METRICS}::test_the_number_of_a_run_s_status_is_the_contract_s",),
    ),
    Mutant(
        "which accounts are `other` depends on their names",
        (Replacement("monitor/series.py", "key=lambda one: one.account_id", "key=lambda one: one.stream"),),
        (f"{_METRICS}::test_accounts_beyond_the_most_are_added_up_and_none_ever_loses_its_name",),
    ),
    Mutant(
        "an account that is called other appears twice",
        (
            Replacement(
                "monitor/series.py", "number < MOST_ACCOUNTS and account.name != OTHER", "number < MOST_ACCOUNTS"
            ),
        ),
        (f"{_METRICS}::test_accounts_beyond_the_most_are_added_up_and_none_ever_loses_its_name",),
    ),
    Mutant(
        "records of other resources count as offers",
        (
            Replacement(
                "monitor/metrics.py",
                'account.by_resource.get(OFFERS, NO_COUNTERS).get(counter_key("offers_processed"), 0.0)',
                'account.count("offers_processed")',
            ),
        ),
        (f"{_METRICS}::test_the_offers_state_is_the_account_s_and_only_offers_count_as_offers",),
    ),
    Mutant(
        "each scrape reads for itself",
        (Replacement("monitor/exporter.py", "if self._making is None or self._making.done():", "if True:"),),
        (f"{_EXPORTER}::test_however_many_ask_the_ledger_is_read_once",),
    ),
    Mutant(
        "the metrics are written in one go",
        (Replacement("monitor/exporter.py", "if now() - began > SLICE_SECONDS:", "if False:"),),
        (f"{_EXPORTER}::test_writing_hundreds_of_accounts_holds_nobody_up",),
    ),
    Mutant(
        "without the ledger its counters are 0",
        (
            Replacement(
                "monitor/exporter.py",
                "        if facts is not None:\n",
                "        facts = facts or []\n        if True:\n",
            ),
        ),
        (f"{_EXPORTER}::test_a_ledger_that_is_away_is_told_and_its_series_are_absent",),
    ),
    Mutant(
        "what the fence refuses is not counted",
        (
            Replacement(
                "syncd/engine/run.py",
                '        except LeaseLostError as error:\n            self._recorder.add("fence_rejections")\n',
                "        except LeaseLostError as error:\n",
            ),
        ),
        (f"{_COUNTERS}::test_a_write_that_the_fence_refuses_is_counted_by_the_run_that_lost",),
    ),
    Mutant(
        "calls that a stop abandons are not counted",
        (Replacement("syncd/engine/calls.py", "            self._recorder.call_abandoned(endpoint)\n", ""),),
        (f"{_COUNTERS}::test_calls_that_a_stop_abandons_are_counted",),
    ),
    Mutant(
        "the forecast forgets the empty page",
        (Replacement("monitor/forecast.py", "run.pages_expected - run.page) + 1", "run.pages_expected - run.page)"),),
        (_FORECAST,),
    ),
    Mutant(
        "a slot that has passed is taken for missed",
        (Replacement("monitor/forecast.py", "0 < facts.next_in_seconds < at_end", "facts.next_in_seconds < at_end"),),
        (_FORECAST,),
    ),
    Mutant(
        "pruning lowers what is kept of the quarantine without counting it",
        (Replacement("syncd/ledger/retention.py", 'if name == "quarantined":', "if False:"),),
        (f"{_RETENTION}::test_old_runs_go_with_all_that_belongs_to_them",),
    ),
    Mutant(
        "pruning takes a run whose sweep is open",
        (
            Replacement(
                "syncd/ledger/retention.py",
                "(SELECT ended_at FROM sweep WHERE sweep.sweep_id = r.sweep_id) IS NOT NULL",
                "true",
            ),
        ),
        (f"{_RETENTION}::test_an_open_run_and_an_open_sweep_stay_whatever_their_age",),
    ),
    Mutant(
        "pruning reads every run to find the old ones",
        (
            Replacement(
                "syncd/ledger/retention.py",
                "r.run_id < (lpad(to_hex(floor(extract(epoch FROM statement_timestamp()",
                "r.run_id < (lpad(to_hex(floor(extract(epoch FROM clock_timestamp()",
            ),
        ),
        ("tests/integration/test_long_history.py",),
    ),
    Mutant(
        "pruning takes the run that the metrics show",
        (Replacement("syncd/ledger/retention.py", "status <> 'queued' AND NOT dry_run", "false"),),
        (f"{_RETENTION}::test_the_run_that_the_metrics_show_stays",),
    ),
    Mutant(
        "pruning forgets a consent",
        (Replacement("syncd/ledger/retention.py", "UNION ALL SELECT run_id FROM consent WHERE used_at IS NULL\n", ""),),
        (f"{_RETENTION}::test_a_consent_that_is_not_used_yet_keeps_its_run",),
    ),
)
