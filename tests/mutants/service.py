"""Mutants of the monitor as a service, and of its commands and functions."""

from __future__ import annotations

from tests.mutants.mutant import Mutant, Replacement

_SERVICE = "tests/acceptance/test_monitor_service.py"
_OUTAGES = "tests/acceptance/test_monitor_outages.py"
_COMMANDS = "tests/acceptance/test_monitor_commands.py"
_RELOAD = f"{_SERVICE}::test_a_reload_changes_patience_interval_successors_and_who_is_told"
_AWAY = f"{_OUTAGES}::test_a_database_that_is_away_is_told_and_what_got_stuck_meanwhile_is_recovered"

SERVICE = (
    Mutant(
        "an account's own patience is not heeded",
        (Replacement("monitor/config.py", "self.accounts.get((source, account), self.sync)", "self.sync"),),
        ("tests/unit/test_monitor_config.py::test_an_account_has_its_own_interval_and_patience",),
    ),
    Mutant(
        "a reload before the monitor listens ends it",
        (Replacement("monitor/__main__.py", 'if "serve" in sys.argv[1:]:', "if False:"),),
        (f"{_SERVICE}::test_a_reload_before_the_monitor_listens_to_it_does_no_harm",),
    ),
    Mutant(
        "the monitor is ready when its database is",
        (
            Replacement(
                "monitor/service.py",
                "                self._notifier.ready()\n                log",
                "                while view.summary() is None:\n                    await view.refresh()\n"
                "                self._notifier.ready()\n                log",
            ),
        ),
        (f"{_OUTAGES}::test_a_database_that_is_not_there_at_the_start_is_no_reason_not_to_be_ready",),
    ),
    Mutant(
        "the end of the monitor waits for a disk that hangs",
        (Replacement("monitor/service.py", "                    leave_soon()\n", ""),),
        (f"{_SERVICE}::test_a_configuration_that_cannot_be_read_now_stops_nothing",),
    ),
    Mutant(
        "a frozen server keeps the watch silent",
        (Replacement("monitor/rounds.py", "give_up_after(LONGEST_PROBE_SECONDS, self._probe())", "self._probe()"),),
        (f"{_AWAY}[frozen]",),
    ),
    Mutant(
        "a database that takes no writes counts as well",
        (Replacement("monitor/rounds.py", "import check_ledger", "import check_schema as check_ledger"),),
        (f"{_AWAY}[read-only]",),
    ),
    Mutant(
        "while its database is away the monitor looks no more often",
        (Replacement("monitor/rounds.py", "seconds = min(seconds, RETRY_SECONDS)", "seconds = 3600.0"),),
        (f"{_AWAY}[stopped]",),
    ),
    Mutant(
        "every look that fails is said",
        (
            Replacement(
                "syncd/runtime/outage.py",
                "if self._failed_at is None:\n            _say(",
                "if True:\n            _say(",
            ),
        ),
        (f"{_AWAY}[stopped]",),
    ),
    Mutant(
        "a schema of another release is a fault of ours",
        (Replacement("monitor/rounds.py", "except SyncError as error:", "except DatabaseAwayError as error:"),),
        (f"{_OUTAGES}::test_a_schema_of_another_release_is_said_once_and_waited_for",),
    ),
    Mutant(
        "a fault of ours ends the watch",
        (
            Replacement(
                "monitor/rounds.py",
                "except Exception as error:  # the supervisor",
                "except OSError as error:  # the supervisor",
            ),
        ),
        ("tests/integration/test_rounds.py",),
    ),
    Mutant(
        "a second signal is not heeded",
        (Replacement("syncd/runtime/service.py", "leave_at_once(128 + number)", "return"),),
        (f"{_SERVICE}::test_a_second_signal_ends_at_once",),
    ),
    Mutant(
        "a reload waits for the next look",
        (
            Replacement(
                "monitor/rounds.py",
                "self._rescuer.patience_with = settings.patience_with\n        self._woken.set()",
                "self._rescuer.patience_with = settings.patience_with",
            ),
        ),
        (_RELOAD,),
    ),
    Mutant(
        "a reload does not change the patience",
        (Replacement("monitor/rounds.py", "        self._rescuer.patience_with = settings.patience_with\n", ""),),
        (_RELOAD,),
    ),
    Mutant(
        "a reload does not change who is told",
        (
            Replacement(
                "monitor/rounds.py",
                "Announcer(postgres, sender, lambda: self._settings.sync)",
                "Announcer(postgres, sender, lambda: settings.sync)",
            ),
        ),
        (_RELOAD,),
    ),
    Mutant(
        "whether runs may be succeeded is read at the start only",
        (
            Replacement(
                "monitor/rounds.py",
                "lambda: not self._settings.disable_auto_sync",
                "lambda: not settings.disable_auto_sync",
            ),
        ),
        (_RELOAD,),
    ),
    Mutant(
        "what a reload cannot change is not said",
        (Replacement("monitor/service.py", 'fixed = ("metrics_address", "metrics_port")', "fixed = ()"),),
        (_RELOAD,),
    ),
    Mutant(
        "a configuration with problems replaces the old one",
        (Replacement("syncd/runtime/service.py", "except ConfigError as error:", "except OSError as error:"),),
        (f"{_SERVICE}::test_a_reload_with_problems_keeps_what_was",),
    ),
    Mutant(
        "the configuration is read in the event loop",
        (Replacement("syncd/runtime/service.py", "return await asyncio.to_thread(load)", "return load()"),),
        (f"{_SERVICE}::test_a_configuration_that_cannot_be_read_now_stops_nothing",),
    ),
    Mutant(
        "the journal does not say when a stuck run began",
        (Replacement("monitor/recovery.py", "started=run.started_at, ", ""),),
        (f"{_SERVICE}::test_the_journal_names_each_stuck_run_and_hides_every_secret",),
    ),
    Mutant(
        "recovered by hand a run is resumed",
        (Replacement("monitor/cli.py", "older_than_hours=older_than_hours, resume=resume", "resume=True"),),
        (f"{_COMMANDS}::test_runs_are_chosen_by_id_by_age_or_all",),
    ),
    Mutant(
        "an id that is empty ends the only run",
        (Replacement("monitor/work.py", "if not name or count != 1", "if count != 1"),),
        (f"{_COMMANDS}::test_an_empty_id_is_a_mistake_although_it_fits_the_only_run",),
    ),
    Mutant(
        "the beginning of an id that fits several runs ends them all",
        (
            Replacement(
                "monitor/work.py",
                "if not name or count != 1",
                "if not name or count < 1",
            ),
        ),
        (f"{_COMMANDS}::test_runs_are_chosen_by_id_by_age_or_all",),
    ),
    Mutant(
        "a command waits for a frozen server",
        (
            Replacement("monitor/work.py", "return await give_up_after(LEDGER_SECONDS, work)", "return await work"),
            Replacement("syncd/runtime/postgres.py", "CONNECT_TIMEOUT_SECONDS = 5", "CONNECT_TIMEOUT_SECONDS = 45"),
        ),
        (f"{_COMMANDS}::test_without_the_database_every_command_says_so_and_ends_with_1[frozen]",),
    ),
    Mutant(
        "the functions want an event loop of their own in the caller's thread",
        (Replacement("monitor/__init__.py", "thread.submit(asyncio.run, run()).result()", "asyncio.run(run())"),),
        (f"{_COMMANDS}::test_the_functions_work_inside_a_running_event_loop",),
    ),
)
