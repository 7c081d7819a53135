"""Mutants of the ledger, the warehouse and the sync itself."""

from __future__ import annotations

from tests.mutants.mutant import Mutant, Replacement

FENCE = "tests/integration/test_fence.py"
CLAIMS = "tests/integration/test_claims.py"
LEASE = "tests/integration/test_lease.py"
COUNT = "tests/acceptance/test_count.py"
CONTROL = "tests/integration/test_control"
LEDGER = "tests/acceptance/test_daemon_ledger.py"
PAUSES = "tests/integration/test_pauses.py"
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

REQUIRED_OF_LEDGER = (
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

LEDGER = (
    Mutant(
        "the end of a run does not wait for the books",
        (Replacement("syncd/ledger/accumulators.py", "        async with self._flushing:\n", "        if True:\n"),),
        ("tests/integration/test_books.py",),
    ),
    Mutant(
        "a page that cannot be believed costs those that came with it",
        (Replacement("syncd/engine/storing.py", "if len(pages) == 1:", "if pages:"),),
        ("tests/integration/test_storing_together.py",),
    ),
    Mutant(
        "a second pass keeps a record twice",
        (Replacement("syncd/warehouse/quarantine.py", "(q.page, q.ordinal) = (m.page, m.ordinal))", "false)"),),
        ("tests/integration/test_quarantine.py",),
    ),
    Mutant(
        "every sweep keeps a record that cannot be stored anew",
        (
            Replacement(
                "syncd/warehouse/quarantine.py",
                "(q.run_id <> %(run_id)s OR (q.page, q.ordinal) = (m.page, m.ordinal))",
                "false",
            ),
        ),
        ("tests/acceptance/test_poison.py::test_every_sweep_meets_it_and_it_is_kept_once",),
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
        "keys of repeated requests are kept for ever",
        (Replacement("syncd/ledger/queue.py", "LIMIT 1000 FOR", "LIMIT 1 FOR"),),
        (f"{CONTROL}.py::test_keys_that_are_over_are_thrown_away",),
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
)
