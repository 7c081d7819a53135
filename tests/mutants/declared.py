"""The mutants, and the tests that must catch them."""

from __future__ import annotations

from tests.mutants.commands import COMMANDS
from tests.mutants.exporter import EXPORTER
from tests.mutants.monitor import MONITOR
from tests.mutants.mutant import Mutant, Replacement
from tests.mutants.page import PAGE
from tests.mutants.rescue import RESCUE
from tests.mutants.schedule import SCHEDULE
from tests.mutants.service import SERVICE

FENCE = "tests/integration/test_fence.py"
CLAIMS = "tests/integration/test_claims.py"
LEASE = "tests/integration/test_lease.py"
COUNT = "tests/acceptance/test_count.py"
CONTROL = "tests/integration/test_control"
STEERING = "tests/acceptance/test_daemon_steering.py"
JOURNAL = "tests/acceptance/test_daemon_journal.py"
LEDGER = "tests/acceptance/test_daemon_ledger.py"
PAUSES = "tests/integration/test_pauses.py"
LEAVING = "tests/acceptance/test_daemon_leaving.py::test_a_run_whose_account_was_taken_out"
WISHES = "tests/acceptance/test_daemon_wishes.py"

_CHECK_INSIDE = """\
        async with connection.transaction():
            cursor = await connection.execute(
                LOCK, {"stream_id": claim.stream_id, "fence": claim.fence, "run_id": claim.run_id}
            )
            if await cursor.fetchone() is None:
                raise lost(claim, doing)
            yield
"""
_CHECK_BEFORE = """\
        cursor = await connection.execute(
            LOCK, {"stream_id": claim.stream_id, "fence": claim.fence, "run_id": claim.run_id}
        )
        if await cursor.fetchone() is None:
            raise lost(claim, doing)
        async with connection.transaction():
            yield
"""

REQUIRED = (
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
    Mutant(
        "the fence is checked in another transaction",
        (
            Replacement("syncd/ledger/fence.py", _CHECK_INSIDE, _CHECK_BEFORE),
            Replacement(
                "syncd/warehouse/pages.py",
                "WITH held AS MATERIALIZED ({fence.LOCK.strip()}),",
                "WITH held AS MATERIALIZED (SELECT 1),",
            ),
            Replacement(
                "syncd/warehouse/pages.py",
                "                return await self._book(await connection.execute(_BOOK, parameters), doing)\n",
                "                async with fence.fenced(connection, self._claim, doing):\n"
                "                    pass\n"
                "                return await self._book(await connection.execute(_BOOK, parameters), doing)\n",
            ),
        ),
        (f"{FENCE}::test_a_takeover_waits_for_a_page_that_is_being_written",),
    ),
    Mutant(
        "the fence is read without the row lock",
        (Replacement("syncd/ledger/fence.py", "clock_timestamp()\n   FOR KEY SHARE\n", "clock_timestamp()\n"),),
        (f"{FENCE}::test_a_takeover_waits_for_a_page_that_is_being_written",),
    ),
    Mutant(
        "a claim does not lock the lease",
        (Replacement("syncd/ledger/claims.py", "   FOR UPDATE OF l\n", ""),),
        (f"{FENCE}::test_a_takeover_waits_for_a_page_that_is_being_written",),
    ),
    Mutant(
        "complete without count",
        (Replacement("syncd/policy/completeness.py", "if found != count_at_end:", "if False:"),),
        (f"{COUNT}::test_a_count_that_the_pages_do_not_bear_out_is_never_complete",),
    ),
)

FURTHER = (
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
        (Replacement("syncd/daemon/scheduler.py", "min([tick_seconds, *slots])", "tick_seconds"),),
        ("tests/acceptance/test_daemon_day.py::test_every_interval_is_kept_and_nothing_piles_up",),
    ),
    Mutant(
        "a call that began late brings the next ones closer",
        (Replacement("syncd/engine/calls.py", "if len(self._begun) == WINDOW_CALLS:", "if False:"),),
        ("tests/integration/test_distance.py::test_a_late_event_loop_brings_no_calls_together",),
    ),
    Mutant(
        "the checkpoint is written outside the page's transaction",
        (
            Replacement(
                "syncd/warehouse/pages.py",
                "        async with fence.fenced(connection, self._claim, doing):\n",
                "        with translated(doing):\n"
                "            moved = 'UPDATE sweep SET checkpoint_page = %(last_page)s WHERE sweep_id = %(sweep_id)s'\n"
                "            await connection.execute(moved, parameters)\n"
                "        async with fence.fenced(connection, self._claim, doing):\n",
            ),
        ),
        (f"{FENCE}::test_a_page_whose_commit_never_arrived_is_applied_at_the_second_try",),
    ),
    Mutant(
        "a page that is in the manifest is applied again",
        (
            Replacement(
                "syncd/warehouse/pages.py",
                "AND ((SELECT count(*) FROM manifest) > 0 OR %(unlisted)s) AS fresh",
                "AND (true OR (SELECT count(*) FROM manifest) > 0 OR %(unlisted)s) AS fresh",
            ),
        ),
        (f"{FENCE}::test_a_page_whose_commit_was_not_heard_of_is_applied_once",),
    ),
    Mutant(
        "a release does not name its fence",
        (
            Replacement(
                "syncd/ledger/claims.py",
                '"SELECT 1 FROM lease WHERE stream_id = %s AND fence = %s AND run_id = %s FOR UPDATE",\n'
                "            [claim.stream_id, claim.fence, claim.run_id],",
                '"SELECT 1 FROM lease WHERE stream_id = %s FOR UPDATE",\n            [claim.stream_id],',
            ),
        ),
        (f"{FENCE}::test_a_stale_fence_releases_nothing",),
    ),
    Mutant(
        "a lapsed lease is renewed",
        (
            Replacement(
                "syncd/ledger/claims.py",
                "\n                       AND expires_at > clock_timestamp()\n                    RETURNING run_id),",
                "\n                    RETURNING run_id),",
            ),
        ),
        (f"{LEASE}::test_a_lapsed_lease_is_not_renewed",),
    ),
    Mutant(
        "a lapsed lease still writes",
        (
            Replacement(
                "syncd/ledger/fence.py",
                " AND expires_at > clock_timestamp()\n   FOR KEY SHARE",
                "\n   FOR KEY SHARE",
            ),
        ),
        (f"{FENCE}::test_a_lapsed_lease_stores_no_page_though_nobody_has_taken_it",),
    ),
    Mutant(
        "everybody is dead",
        (Replacement("syncd/app.py", "proven_dead=proven_dead)", "proven_dead=lambda owner: True)"),),
        ("tests/acceptance/test_kill.py::test_of_two_runs_at_once_one_works_and_the_other_names_it",),
    ),
    Mutant(
        "the fence does not grow",
        (Replacement("syncd/ledger/claims.py", 'fence=row["fence"] + 1', 'fence=row["fence"] + 0'),),
        (f"{CLAIMS}::test_the_fence_grows_with_every_claim_and_never_repeats",),
    ),
    Mutant(
        "a lapsed lease is not taken",
        (
            Replacement(
                "syncd/ledger/claims.py",
                'if row["alive"] and not proven_dead(holder):',
                "if not proven_dead(holder):",
            ),
        ),
        (f"{CLAIMS}::test_a_lapsed_lease_is_taken_and_its_run_closed",),
    ),
    Mutant(
        "a tombstone without a look-up",
        (
            Replacement(
                "syncd/engine/verify.py",
                "gone = [candidate.key for candidate in candidates if candidate.proven] + looked.gone",
                "gone = [candidate.key for candidate in candidates]",
            ),
        ),
        ("tests/acceptance/test_faults.py::test_ignored_filters_prove_nothing_about_a_missing_record",),
    ),
    Mutant(
        "runs begin on a read-only database",
        (
            Replacement(
                "syncd/ledger/schema.py",
                "if row is not None and row[0]:",
                "if False:",
            ),
        ),
        (f"{LEDGER}::test_a_database_that_stays_read_only_costs_the_run_and_no_more",),
    ),
    Mutant(
        "a session that was read-only is kept",
        (Replacement("syncd/runtime/postgres.py", "    connection.pgconn.finish()\n", "    pass\n"),),
        (f"{LEDGER}::test_a_database_that_is_read_only_for_a_moment_is_waited_for",),
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
        "a living run of another host is closed",
        (
            Replacement(
                "syncd/runtime/process.py",
                "if not owner.boot or not owner.started or owner.boot != _boot():\n        return False",
                "if owner.boot != _boot():\n        return True",
            ),
        ),
        ("tests/acceptance/test_daemons.py::test_two_daemons_hold_different_streams_and_one_inherits_the_others",),
    ),
    Mutant(
        "a failed probe does not open the breaker again",
        (
            Replacement(
                "syncd/ledger/budget.py",
                "_PROBE, [COOLDOWN_SECONDS, self._account_id]",
                "_PROBE, [0, self._account_id]",
            ),
            Replacement(
                "syncd/ledger/budget.py",
                '{"limit": FAILURES_TO_OPEN, "cooldown": COOLDOWN_SECONDS,',
                '{"limit": FAILURES_TO_OPEN, "cooldown": 0,',
            ),
        ),
        ("tests/acceptance/test_marketplace_away.py::test_a_marketplace_that_is_down_is_probed_once_a_minute",),
    ),
    Mutant(
        "every process keeps its own API budget",
        (
            Replacement(
                "syncd/ledger/budget.py", "greatest(next_at, clock_timestamp()) + make", "clock_timestamp() + make"
            ),
        ),
        ("tests/acceptance/test_rate.py::test_two_accounts_of_one_login_share_its_budget",),
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
        "keys of repeated requests are kept for ever",
        (Replacement("syncd/ledger/queue.py", "LIMIT 1000 FOR", "LIMIT 1 FOR"),),
        (f"{CONTROL}.py::test_keys_that_are_over_are_thrown_away",),
    ),
    Mutant(
        "the keeper of a run fails and nobody hears of it",
        (Replacement("syncd/engine/supervision.py", "keeper.add_done_callback(partial(_end_with, stop))", "pass"),),
        (f"{LEASE}::test_a_run_whose_keeper_fails_ends_and_says_why",),
    ),
    Mutant(
        "a dead run's end tells of a successor",
        (
            Replacement(
                "syncd/ledger/claims.py",
                '{owner.pid} on {owner.host} {why}"',
                '{owner.pid} on {owner.host} {why}; the next run went on"',
            ),
        ),
        (f"{CLAIMS}::test_of_a_dead_run_nothing_is_told_that_has_not_happened",),
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
        "a stream that is registered while everything is paused goes on its own",
        (
            Replacement(
                "syncd/ledger/accounts.py",
                "paused_at, paused_by, pause_reason FROM a LEFT JOIN standing ON true",
                "NULL::timestamptz, NULL, NULL FROM a",
            ),
        ),
        (f"{PAUSES}::test_a_stream_that_is_registered_while_everything_is_paused_begins_paused",),
    ),
    Mutant(
        "a registration does not hold off a pause of everything",
        (Replacement("syncd/ledger/pauses.py", "FROM standing_pause FOR SHARE", "FROM standing_pause"),),
        (f"{PAUSES}::test_a_stream_that_is_being_registered_does_not_slip_through_a_pause",),
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
    *COMMANDS,
    *MONITOR,
    *SCHEDULE,
    *PAGE,
    *SERVICE,
    *RESCUE,
    *EXPORTER,
)
