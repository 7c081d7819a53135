"""Mutants of the daemon's slots, and of what is said about them."""

from __future__ import annotations

from tests.mutants.mutant import Mutant, Replacement

_WISHES = "tests/acceptance/test_daemon_wishes.py"
_OUTAGES = "tests/acceptance/test_daemon_outages.py"

SCHEDULE = (
    Mutant(
        "who schedules nothing erases the slot that another daemon has booked",
        (
            Replacement(
                "syncd/ledger/situation.py",
                "coalesce(clock_timestamp() + make_interval(secs => %(seconds)s), next_attempt_at)",
                "clock_timestamp() + make_interval(secs => %(seconds)s)",
            ),
        ),
        (f"{_WISHES}::test_where_nothing_begins_by_itself_no_next_run_is_promised",),
    ),
    Mutant(
        "a lost lease waits for the interval",
        (
            Replacement(
                "syncd/daemon/worker.py",
                "if outcome is None or outcome.cause is not Cause.LEASE_LOST:",
                "if True:",
            ),
        ),
        (f"{_OUTAGES}::test_a_lost_lease_is_taken_up_soon_also_where_its_end_could_be_stored",),
    ),
    Mutant(
        "a resume forgets the slot that the schedule has booked",
        (
            Replacement(
                "syncd/ledger/pauses.py", "CASE WHEN failures = 0 THEN next_attempt_at END", "NULL::timestamptz"
            ),
        ),
        ("tests/integration/test_pauses.py::test_a_resume_forgives_the_backoff_and_leaves_the_slot",),
    ),
    Mutant(
        "a reload before the daemon listens ends it",
        (Replacement("syncd/__main__.py", 'if "serve" in sys.argv[1:]:', "if False:"),),
        (f"{_WISHES}::test_a_reload_before_the_daemon_listens_to_it_does_no_harm",),
    ),
)
