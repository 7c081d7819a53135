"""The mutants, and the tests that must catch them."""

from __future__ import annotations

from tests.mutants.mutant import Mutant, Replacement

FENCE = "tests/integration/test_fence.py"
CLAIMS = "tests/integration/test_claims.py"
LEASE = "tests/integration/test_lease.py"
COUNT = "tests/acceptance/test_count.py"
CONTROL = "tests/integration/test_control"

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
        (Replacement("syncd/control/connections.py", "if not self._waiting:", "if self._waiting is not None:"),),
        (f"{CONTROL}_connections.py::test_peers_that_wait_make_room_for_those_that_ask",),
    ),
    Mutant(
        "the control port does not look at the host name",
        (Replacement("syncd/control/access.py", "_without_port(host) not in access.allowed_hosts", "not host"),),
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
        (Replacement("syncd/control/body.py", "        if request.transport is not None:\n", "        if True:\n"),),
        ("tests/acceptance/test_daemon_port.py::test_hostile_peers_of_every_kind_keep_nobody_waiting",),
    ),
    Mutant(
        "the event loop's lag is looked at now and then",
        (Replacement("syncd/control/metrics.py", "SAMPLE_SECONDS = 0.1", "SAMPLE_SECONDS = 1.0"),),
        (f"{CONTROL}.py::test_an_event_loop_that_stands_still_shows_in_the_metrics",),
    ),
    Mutant(
        "a peer that does not read keeps its connection",
        (Replacement("syncd/control/connections.py", "        transport.abort()\n", "        transport.close()\n"),),
        (
            f"{CONTROL}_connections.py::test_peers_that_do_not_read_are_ended_and_not_only_forgotten",
            f"{CONTROL}_feed.py::test_a_feed_whose_client_does_not_read_is_left",
        ),
    ),
    Mutant(
        "the host of a request's target is not looked at",
        (Replacement("syncd/control/access.py", "[*hosts, *_host_of_target(request.raw_path)]", "[*hosts]"),),
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
        (Replacement("syncd/app.py", "        proven_dead=proven_dead,", "        proven_dead=lambda owner: True,"),),
        ("tests/acceptance/test_kill.py::test_of_two_runs_at_once_one_works_and_the_other_names_it",),
    ),
    Mutant(
        "the fence does not grow",
        (Replacement("syncd/ledger/claims.py", 'row["fence"] + 1, lease_seconds', 'row["fence"] + 0, lease_seconds'),),
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
        "every process keeps its own API budget",
        (
            Replacement(
                "syncd/ledger/budget.py", "greatest(next_at, clock_timestamp()) + make", "clock_timestamp() + make"
            ),
        ),
        ("tests/acceptance/test_rate.py::test_two_accounts_of_one_login_share_its_budget",),
    ),
)
