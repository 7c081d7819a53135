"""Mutants of the watch and of its ladder."""

from __future__ import annotations

from tests.mutants.mutant import Mutant, Replacement

_WATCH = "tests/unit/test_watch.py"
_RESCUE = "tests/integration/test_rescue.py"
_RECOVERY = "tests/integration/test_recovery.py"
_HELD = "tests/integration/test_held_rows.py"
_MATRIX = "tests/acceptance/test_monitor_matrix.py"


def _mutant(name: str, path: str, old: str, new: str, test: str) -> Mutant:
    return Mutant(name, (Replacement(path, old, new),), (test,))


RESCUE = (
    _mutant(
        "a run whose heart beats is never stuck",
        "monitor/watch.py",
        "if _idle_seconds(run) > patience.threshold_seconds:",
        "if False:",
        f"{_WATCH}::test_the_verdict_at_each_bound",
    ),
    _mutant(
        "a declared wait is no excuse",
        "monitor/watch.py",
        "return unmoved if run.wait_seconds_left is None else min(unmoved, max(0.0, -run.wait_seconds_left))",
        "return unmoved",
        f"{_WATCH}::test_the_verdict_at_each_bound",
    ),
    _mutant(
        "an account's own call deadline is not known to the watch",
        "monitor/watch.py",
        "max(patience.call_seconds, run.call_seconds or 0.0)",
        "patience.call_seconds",
        f"{_WATCH}::test_a_run_with_longer_calls_may_take_longer_after_its_wait",
    ),
    _mutant(
        "the time on a paused stream counts as waiting for a worker",
        "syncd/ledger/observation.py",
        "greatest(r.queued_at, s.resumed_at)",
        "r.queued_at",
        f"{_RESCUE}::test_a_successor_on_a_paused_stream_waits_and_its_time_begins_with_the_resume",
    ),
    _mutant(
        "a rescue does not lock the lease",
        "syncd/ledger/rescue.py",
        "WHERE r.run_id = %s FOR UPDATE OF l\n",
        "WHERE r.run_id = %s\n",
        f"{_RESCUE}::test_a_page_that_is_being_written_is_waited_for",
    ),
    _mutant(
        "a rescue does not look again under the lock",
        "syncd/ledger/rescue.py",
        "fault = judge(seen) if seen is not None else None",
        'fault = (judge(seen) or Fault(Cause.NO_PROGRESS, "")) if seen is not None else None',
        f"{_RESCUE}::test_a_run_that_moved_meanwhile_is_left_alone",
    ),
    _mutant(
        "a rescue leaves the fence where it is",
        "syncd/ledger/rescue.py",
        "UPDATE lease SET fence = fence + 1, run_id = NULL, expires_at = clock_timestamp()\n",
        "UPDATE lease SET fence = fence\n",
        f"{_RESCUE}::test_the_old_worker_writes_nothing_afterwards",
    ),
    Mutant(
        "runs that are held are waited for before the others are seen to",
        (
            Replacement(
                "monitor/recovery.py", "[one for one in look.stuck if one[0].run_id in is_free], seconds", "[], seconds"
            ),
            Replacement("monitor/recovery.py", "if one[0].run_id not in is_free]", "]"),
        ),
        (f"{_RECOVERY}::test_a_thousand_runs_that_cannot_be_recovered_keep_no_other_waiting",),
    ),
    _mutant(
        "one run that cannot be written down stops the look",
        "monitor/recovery.py",
        "everybody's\n                self._say_failed(look, run, str(error))\n",
        "everybody's\n                self._say_failed(look, run, str(error))\n                break\n",
        f"{_RECOVERY}::test_what_a_look_cannot_write_down_does_not_stop_it",
    ),
    _mutant(
        "a run whose row is held is waited for before it is asked to end",
        "monitor/recovery.py",
        "MONITOR, lock_seconds=lock_seconds)",
        "MONITOR)",
        f"{_HELD}::test_a_run_whose_row_is_held_is_asked_later",
    ),
    _mutant(
        "a client that fell silent inside COPY keeps the lease row",
        "monitor/recovery.py",
        "await evict_silent_writers(self._postgres)",
        "pass",
        f"{_MATRIX}::test_frozen_inside_a_copy",
    ),
    _mutant(
        "a run that does not obey is asked for ever",
        "monitor/recovery.py",
        "return now - self._asked_at[run.run_id] < min(ASK_SECONDS, self.patience_with(run.stream).lease_seconds)",
        "return True",
        f"{_RECOVERY}::test_a_run_whose_heart_beats_is_asked_first_and_ended_when_it_does_not_answer",
    ),
    _mutant(
        "a stuck run that obeys the monitor counts as cancelled",
        "syncd/ledger/rescue.py",
        "    if outcome.cause is not Cause.CANCELLED:\n",
        "    if True:\n",
        f"{_RESCUE}::test_a_stuck_run_that_obeys_the_monitor_has_failed_and_one_that_obeys_a_person_is_cancelled",
    ),
    _mutant(
        "poison is resumed for ever",
        "syncd/ledger/succession.py",
        "if rescues >= MOST_RESCUES:",
        "if False:",
        f"{_RESCUE}::test_three_rescues_without_a_page_pause_the_stream",
    ),
    _mutant(
        "three rescues in a year pause the stream",
        "syncd/ledger/succession.py",
        "THEN 1 ELSE rescues + 1 END",
        "THEN rescues + 1 ELSE rescues + 1 END",
        f"{_RESCUE}::test_a_good_run_between_two_rescues_begins_their_count_anew",
    ),
    _mutant(
        "the shorter lease of one account is looked at too seldom",
        "monitor/view.py",
        "for sync in (settings.sync, *settings.accounts.values())",
        "for sync in (settings.sync,)",
        "tests/unit/test_monitor_config.py::test_the_watch_looks_often_enough_for_the_shortest_lease",
    ),
    _mutant(
        "a run that looks up missing records seems to stand still",
        "syncd/engine/verify.py",
        "                await self._say_at_work()\n",
        "",
        "tests/acceptance/test_monitor_look_ups.py::test_many_look_ups_are_no_standstill",
    ),
    _mutant(
        "what was pruned makes good runs forgotten",
        "syncd/ledger/succession.py",
        "SELECT coalesce(max(found_at), '-infinity') FROM rescue",
        "SELECT max(found_at) FROM rescue",
        f"{_RESCUE}::test_a_good_run_counts_although_the_rescue_before_it_was_pruned",
    ),
    _mutant(
        "forensics keep the statements of other programs",
        "monitor/forensics.py",
        "CASE WHEN application_name ~ '^(syncd|sync-monitor) ' THEN left(query, 200) END",
        "left(query, 200)",
        f"{_RECOVERY}::test_no_statement_of_another_program_stands_in_the_forensics",
    ),
    _mutant(
        "a run that nobody took is followed by another one",
        "syncd/ledger/succession.py",
        "    if fault.cause is Cause.NOT_STARTED and not by_hand:\n",
        "    if False:\n",
        f"{_RECOVERY}::test_a_queued_run_that_nobody_takes_fails_once_and_pauses_nothing",
    ),
    _mutant(
        "what a person has cancelled begins again",
        "syncd/ledger/succession.py",
        "    if before.is_cancelled:\n",
        "    if False:\n",
        f"{_RESCUE}::test_no_successor_where_nobody_wants_one",
    ),
    _mutant(
        "a run that came to its own end is followed by another one",
        "syncd/ledger/succession.py",
        "before.ended_by not in (None, fault.cause, Cause.CANCELLED, Cause.LEASE_LOST)",
        "False",
        f"{_RESCUE}::test_a_run_that_ended_by_itself_is_followed_only_where_it_did_so_because_it_was_stuck",
    ),
    _mutant(
        "a successor begins although nothing may begin by itself",
        "syncd/policy/schedule.py",
        "if now.successor and not now.enabled and not now.paused:",
        "if False:",
        "tests/unit/test_schedule.py::test_a_successor_of_the_monitor_does_not_begin_where_nothing_begins_by_itself",
    ),
    _mutant(
        "who has lost the stream notes what it does all the same",
        "syncd/ledger/activity.py",
        "WHERE stream_id = %(stream_id)s AND run_id = %(run_id)s AND fence = %(fence)s",
        "WHERE stream_id = %(stream_id)s AND %(run_id)s = %(run_id)s AND %(fence)s = %(fence)s",
        "tests/integration/test_activity.py::test_who_has_lost_the_stream_notes_nothing",
    ),
    _mutant(
        "a worker that is asked to end does not tell where it stands",
        "syncd/engine/supervision.py",
        "if cause is Cause.CANCELLED:\n            recorder",
        "if False:\n            recorder",
        f"{_MATRIX}::test_wedged_on_a_socket_while_its_heart_beats",
    ),
)
