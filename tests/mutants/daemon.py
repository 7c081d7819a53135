"""Mutants of the daemon and its control API."""

from __future__ import annotations

from tests.mutants.mutant import Mutant, Replacement

LEASE = "tests/integration/test_lease.py"
CONTROL = "tests/integration/test_control"
STEERING = "tests/acceptance/test_daemon_steering.py"
JOURNAL = "tests/acceptance/test_daemon_journal.py"
LEDGER = "tests/acceptance/test_daemon_ledger.py"
LEAVING = "tests/acceptance/test_daemon_leaving.py::test_a_run_whose_account_was_taken_out"
WISHES = "tests/acceptance/test_daemon_wishes.py"

REQUIRED_OF_DAEMON = (
    Mutant(
        "half-open connections make no room for others",
        (Replacement("syncd/http/connections.py", "if not self._waiting:", "if self._waiting is not None:"),),
        (f"{CONTROL}_connections.py::test_peers_that_wait_make_room_for_those_that_ask",),
    ),
    Mutant(
        "the control port does not look at the host name",
        (Replacement("syncd/http/access.py", "_without_port(host) not in access.allowed_hosts", "not host"),),
        (f"{CONTROL}_errors.py::test_a_foreign_host_name_is_refused",),
    ),
    Mutant(
        "who joins a request for a run is told that it is theirs",
        (Replacement("syncd/control/requests.py", "isinstance(shared.answer, Queued) and not shared.own", "False"),),
        ("tests/unit/test_together.py::test_a_run_belongs_to_one_of_those_who_asked_together",),
    ),
    Mutant(
        "a question shares an answer that was begun before it",
        (
            Replacement(
                "syncd/control/together.py",
                "                del self._next[key]  # whoever",
                "                # whoever",
            ),
            Replacement(
                "syncd/control/together.py",
                "future.set_result(await work())",
                "future.set_result(await work())\n                del self._next[key]",
            ),
        ),
        ("tests/unit/test_together.py::test_nobody_gets_an_answer_that_was_begun_before_the_question",),
    ),
)

DAEMON = (
    Mutant(
        "a connection that we end ourselves is a fault of ours",
        (Replacement("syncd/http/body.py", "        if request.transport is not None:\n", "        if True:\n"),),
        (f"{CONTROL}_connections.py::test_a_body_that_is_read_after_we_have_ended_the_connection_is_no_fault_of_ours",),
    ),
    Mutant(
        "the event loop's lag is looked at now and then",
        (Replacement("syncd/control/metrics.py", "SAMPLE_SECONDS = 0.1", "SAMPLE_SECONDS = 1.0"),),
        (f"{CONTROL}.py::test_an_event_loop_that_stands_still_shows_in_the_metrics",),
    ),
    Mutant(
        "a peer that does not read keeps its connection",
        (Replacement("syncd/http/connections.py", "        transport.abort()\n", "        transport.close()\n"),),
        (
            f"{CONTROL}_connections.py::test_peers_that_do_not_read_are_ended_and_not_only_forgotten",
            f"{CONTROL}_feed.py::test_a_feed_whose_client_does_not_read_is_left",
        ),
    ),
    Mutant(
        "the host of a request's target is not looked at",
        (Replacement("syncd/http/access.py", "[*hosts, *_host_of_target(request.raw_path)]", "[*hosts]"),),
        (f"{CONTROL}_errors.py::test_a_foreign_host_name_in_the_target_is_refused",),
    ),
    Mutant(
        "a slot waits for the next look at all streams",
        (
            Replacement(
                "syncd/policy/schedule.py",
                "min([tick_seconds, *(seconds for seconds in slots if seconds > 0)])",
                "tick_seconds",
            ),
        ),
        ("tests/unit/test_schedule.py::test_the_next_look_waits_for_no_tick_where_a_slot_comes_before",),
    ),
    Mutant(
        "a ledger that is gone ends the daemon",
        (Replacement("syncd/daemon/scheduler.py", "except SyncError as error:", "except DatabaseAwayError as error:"),),
        (f"{LEDGER}::test_under_another_releases_schema_nothing_begins",),
    ),
    Mutant(
        "a drain waits as long as a lease is trusted",
        (Replacement("syncd/daemon/drain.py", "silent_seconds >= SILENCE_SECONDS", "False"),),
        ("tests/acceptance/test_daemon_outages.py::test_sigterm_while_the_database_is_away_is_not_waited_out",),
    ),
    Mutant(
        "the lines of a run do not name it",
        (Replacement("syncd/runtime/log.py", '{} if run_id is None else {"run": str(run_id)}', "{}"),),
        (f"{JOURNAL}::test_every_line_of_a_run_names_it_and_its_start_and_end_tell_the_story",),
    ),
    Mutant(
        "every slot that a living run takes up is a warning",
        (Replacement("syncd/daemon/worker.py", "log.debug if living == self._skipped_for else", ""),),
        (f"{JOURNAL}::test_a_slot_that_a_living_run_takes_up_is_said_once",),
    ),
    Mutant(
        "a secret of the new configuration is not hidden",
        (Replacement("syncd/runtime/service.py", ", secrets=secrets_of(settings))", ")"),),
        (f"{JOURNAL}::test_no_secret_is_in_the_journal_the_status_or_an_answer",),
    ),
    Mutant(
        "the header of HTTP Basic is not among the secrets",
        (Replacement("syncd/cli/options.py", "secrets += [password, basic]", "secrets += [password]"),),
        (f"{JOURNAL}::test_no_secret_is_in_the_journal_the_status_or_an_answer",),
    ),
    Mutant(
        "the level of the log is read at the start only",
        (
            Replacement(
                "syncd/runtime/service.py", "level=None if verbose else settings.sync.log_level, secrets", "secrets"
            ),
        ),
        (f"{JOURNAL}::test_the_level_notice_hides_what_is_below_and_a_reload_changes_it",),
    ),
    Mutant(
        "a reload begins while the daemon drains",
        (
            Replacement(
                "syncd/daemon/service.py", "                continue  # nothing begins", "                pass  # no"
            ),
        ),
        (f"{STEERING}::test_while_it_drains_requests_are_queued_for_the_next_process_and_a_reload_is_not_begun",),
    ),
    Mutant(
        "the run of an account that was taken out is not drained",
        (
            Replacement(
                "syncd/daemon/scheduler.py",
                "        workers = self.running\n",
                "        workers = [*self.workers.values()]\n",
            ),
        ),
        (f"{STEERING}::test_a_run_of_an_account_that_was_taken_out_ends_with_the_daemon",),
    ),
    Mutant(
        "resume leaves the backoff in the daemon's memory",
        (Replacement("syncd/daemon/scheduler.py", "        if forgiven:\n", "        if False:\n"),),
        (f"{STEERING}::test_resume_lets_go_of_a_backoff",),
    ),
    Mutant(
        "the keeper of a run fails and nobody hears of it",
        (Replacement("syncd/engine/supervision.py", "keeper.add_done_callback(partial(_end_with, stop))", "pass"),),
        (f"{LEASE}::test_a_run_whose_keeper_fails_ends_and_says_why",),
    ),
    Mutant(
        "a dry run forgets the caps that were asked for",
        (
            Replacement(
                "syncd/app.py",
                "_compare(postgres, account, claim, recorder, options,",
                "_compare(postgres, account, claim, recorder, replace(options, caps=_caps(account, RunRequest(''))),",
            ),
            Replacement("syncd/app.py", "import dataclass, field\n", "import dataclass, field, replace\n"),
        ),
        (f"{WISHES}::test_a_dry_run_keeps_to_the_caps_that_were_asked_for_and_is_booked",),
    ),
    Mutant(
        "the calls of a dry run are counted nowhere",
        (
            Replacement(
                "syncd/app.py",
                "_compare(postgres, account, claim, recorder, options,",
                "_compare(postgres, account, claim, Recorder(claim.stream_id), options,",
            ),
        ),
        (f"{WISHES}::test_a_dry_run_keeps_to_the_caps_that_were_asked_for_and_is_booked",),
    ),
    Mutant(
        "an account that is put back forgets its run of before",
        (
            Replacement(
                "syncd/daemon/scheduler.py", "if left.stream == worker.stream and left.is_running:", "if False:"
            ),
        ),
        (f"{LEAVING}_and_put_back_lives_once_and_is_known",),
    ),
    Mutant(
        "the run of an account that was taken out does not hear of stop",
        (
            Replacement("syncd/daemon/api.py", "self._scheduler.running:", "self._scheduler.workers.values():"),
            Replacement(
                "syncd/daemon/scheduler.py",
                "        for worker in self._leaving:\n",
                "        for worker in list[StreamWorker]():\n",
            ),
        ),
        (f"{LEAVING}_hears_of_a_cancel_and_of_stop",),
    ),
    Mutant(
        "a run goes on although its account has another login",
        (
            Replacement(
                "syncd/daemon/service.py",
                'worker.stop(Cause.SHUTDOWN, "the login',
                'log.debug("no.stop", why="the login',
            ),
        ),
        ("tests/acceptance/test_daemon_leaving.py::test_a_run_whose_account_gets_another_login_ends_at_its_next_page",),
    ),
)
