"""What the page says first, in plain words, for everything that can be wrong or held back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from monitor.summary import Expectation, State, Summary, summarise
from monitor.trouble import OVERDUE_SECONDS, Kind, Surroundings
from monitor.watch import judge
from syncd.contract.runs import Paused
from syncd.contract.words import Cause, Status, Stream
from syncd.ledger.outlook import LastRun, StreamOutlook
from syncd.ledger.scrape import counter_key
from tests.facts import open_run, stream_facts
from tests.unit.test_watch import PATIENCE, QUEUED, RUNNING

NOW = 1_700_000_000.0
MAIN, FBE = Stream("emag", "main", "offers"), Stream("emag", "fbe", "offers")
RUN = UUID("01a204c0-ea93-778d-b63f-e8625365e87c")
COMPLETE = LastRun(RUN, Status.COMPLETE, Cause.END_OF_DATA, None, None)
EXPECTATION = Expectation(600, 7200, enabled=True)
COUNTERS = {counter_key("records", "", "inserted"): 12402.0, counter_key("records", "", "tombstoned"): 2.0}
FACTS = stream_facts(
    status=Status.COMPLETE, cause=Cause.END_OF_DATA, succeeded_at=NOW - 240, heartbeat_at=NOW, progress_at=NOW,
    counters=COUNTERS,
)  # fmt: skip
OPEN = open_run(running_seconds=61.0, page=34, pages=34, pages_expected=124, requests=36)
OUTLOOK = StreamOutlook(MAIN, 0, None, 360.0, int(NOW) + 360, "here", None, True, COMPLETE, None, None, None, None)
BY_ANA = Paused("ana", "stock count", datetime(2026, 1, 1, tzinfo=UTC))


def say(facts=FACTS, outlook=OUTLOOK, seen=(), *, expectation=EXPECTATION, daemons=1, look=4.0) -> Summary:  # type: ignore[no-untyped-def]
    """Of one stream, or of as many as are given."""
    several = facts if isinstance(facts, list) else [facts]
    outlooks = outlook if isinstance(outlook, list) else [outlook]
    around = Surroundings({one.stream: one for one in outlooks}, "here", daemons, look)
    return summarise(several, [(run, judge(run, PATIENCE)) for run in seen], expectation, NOW, around)


def test_all_good_says_who_finished_when_with_how_many_and_what_is_next() -> None:
    summary = say()
    assert summary.sentence == "All good: main finished 4 min ago, 12,400 offers, next in 6 min"
    assert summary.state is State.HEALTHY


def test_of_two_accounts_both_are_named_and_of_many_the_newest() -> None:
    fbe = replace(FACTS, stream=FBE, succeeded_at=NOW - 600)
    assert say([FACTS, fbe]).sentence.startswith("All good: main finished 4 min ago, fbe 10 min ago, 24,800 offers")
    many = [replace(FACTS, stream=Stream("emag", f"a{n}", "offers")) for n in range(12)]
    assert say([FACTS, *many]).sentence.startswith("All good: main finished 4 min ago, 12 more are complete, 161,200")


def test_streams_of_one_account_are_called_by_their_whole_name() -> None:
    orders = replace(FACTS, stream=Stream("emag", "main", "orders"), succeeded_at=NOW - 600)
    assert say([FACTS, orders]).sentence.startswith(
        "All good: emag/main/offers finished 4 min ago, emag/main/orders 10 min ago, 24,800 records"
    )


def test_a_run_that_moves_says_how_far_it_is_and_one_that_waits_says_why() -> None:
    running, open_run = replace(FACTS, open_run=OPEN), replace(OUTLOOK, open_run_id=RUN)
    said = say(running, open_run, [RUNNING]).sentence
    assert said == "All good: main is at page 34 of 124, ready in 3 min, 12,400 offers"
    waits = replace(open_run, wait_seconds=2400.0, wait_reason="Retry-After")
    assert say(running, waits, [RUNNING]).sentence.startswith("All good: main waits for 40 min (Retry-After)")


def test_a_stuck_run_comes_first_and_a_slow_one_says_when_it_will_be_ended() -> None:
    running, open_run = replace(FACTS, open_run=OPEN), replace(OUTLOOK, open_run_id=RUN)
    stuck = say(running, open_run, [replace(RUNNING, unmoved_seconds=3660.0)])
    assert stuck.sentence == "Stuck: run 01a204c0-ea93 of main has not moved for 61 min; recovery in 4 s"
    assert stuck.state is State.UNHEALTHY
    slow = say(running, open_run, [replace(RUNNING, unmoved_seconds=2400.0)])
    assert slow.sentence == (
        "Slow: run 01a204c0-ea93 of main has not moved for 40 min; if nothing comes it is ended and resumed in 20 min"
    )
    nobody = say(running, open_run, [replace(RUNNING, unmoved_seconds=3660.0)], look=None)
    assert nobody.sentence.endswith("; nobody watches")


@pytest.mark.parametrize(
    ("outlook", "daemons", "said"),
    [
        (replace(OUTLOOK, next_in_seconds=-720.0), None, "No daemon: main was due 12 min ago, and nobody has begun it"),
        (replace(OUTLOOK, next_in_seconds=-720.0), 0, "No daemon: main was due 12 min ago, and nobody has begun it"),
        (OUTLOOK, 0, "No daemon: none runs on this machine, and main is due in 6 min"),
        (
            replace(OUTLOOK, next_in_seconds=None, next_at=None, has_run=False, last_run=None),
            0,
            "No daemon: none runs on this machine, and nothing has ever been synced",
        ),
    ],
)
def test_a_daemon_that_is_not_there_is_said_with_how_to_start_it(
    outlook: StreamOutlook, daemons: int | None, said: str
) -> None:
    summary = say(outlook=outlook, daemons=daemons)
    assert summary.sentence == f"{said}; start it: `systemctl start syncd`, or `syncd serve`"
    assert summary.state is State.UNHEALTHY


def test_a_run_that_nobody_takes_from_the_queue_means_that_there_is_no_daemon() -> None:
    queued = replace(FACTS, open_run=replace(OPEN, status=Status.QUEUED, running_seconds=None))
    waits = replace(OUTLOOK, open_run_id=RUN)
    late = replace(QUEUED, queued_seconds=OVERDUE_SECONDS + 1)
    assert say(queued, waits, [late], daemons=None).troubles[0].kind is Kind.NO_DAEMON
    assert say(queued, waits, [QUEUED], daemons=None).troubles == ()
    assert say(queued, waits, [late], daemons=1).troubles == ()


@pytest.mark.parametrize(
    "outlook",
    [
        replace(OUTLOOK, next_in_seconds=-OVERDUE_SECONDS + 1),
        replace(OUTLOOK, owner_host="another host"),
        replace(OUTLOOK, next_in_seconds=None, next_at=None),
        replace(OUTLOOK, next_in_seconds=-720.0, paused=BY_ANA),
    ],
)
def test_no_daemon_is_never_said_on_a_guess(outlook: StreamOutlook) -> None:
    """A slot just over, a daemon of another host, syncs by hand only, a pause."""
    daemons = None if outlook.next_in_seconds is not None and outlook.next_in_seconds < 0 else 0
    assert say(outlook=outlook, daemons=daemons).troubles == ()


def test_where_a_daemon_lives_a_slot_that_it_does_not_take_is_told_of_the_stream() -> None:
    summary = say(outlook=replace(OUTLOOK, next_in_seconds=-720.0), daemons=1)
    assert summary.sentence.startswith("Not begun: main was due 12 min ago, and no daemon begins it; is its account")
    assert summary.state is State.DEGRADED


def test_pauses_say_who_and_why_and_what_lets_it_go_on() -> None:
    paused, outlook = replace(FACTS, paused=True), replace(OUTLOOK, paused=BY_ANA)
    said = "main is paused by ana (stock count): `syncd resume emag/main/offers` lets it go on"
    summary = say(paused, outlook)
    assert (summary.sentence, summary.state, summary.is_held) == (f"Paused: {said}", State.HEALTHY, True)
    both = say([paused, replace(FACTS, stream=FBE)], [outlook, replace(OUTLOOK, stream=FBE)])
    assert both.sentence.startswith("All good: main finished")
    assert both.sentence.endswith(f"; {said}")


def test_a_stream_that_the_monitor_has_paused_is_trouble() -> None:
    given_up = replace(OUTLOOK, paused=replace(BY_ANA, by="monitor", reason="3 runs in a row got stuck"))
    summary = say(replace(FACTS, paused=True), given_up)
    assert summary.sentence == (
        "Given up: main is paused by the monitor: 3 runs in a row got stuck; then `syncd resume emag/main/offers`"
    )


def test_disabled_says_so_and_what_begins_a_run() -> None:
    summary = say(expectation=replace(EXPECTATION, enabled=False), daemons=0)
    assert summary.sentence == (
        "Disabled: main finished 4 min ago, 12,400 offers; auto-sync is disabled (DISABLE_AUTO_SYNC), nothing starts by"
        " itself: `syncd trigger` begins a run"
    )
    assert summary.is_held


def test_what_waits_for_consent_names_the_command() -> None:
    asked = replace(OUTLOOK, last_run=LastRun(RUN, Status.PARTIAL, Cause.BLAST_RADIUS, "…", 1234))
    assert say(outlook=asked).sentence == (
        "Waiting for you: 1,234 of main would vanish, and nothing does without your consent; look at the marketplace,"
        f" then `syncd approve {RUN}`"
    )


def test_a_failure_says_why_and_when_it_is_tried_again() -> None:
    failed = replace(OUTLOOK, last_run=LastRun(RUN, Status.FAILED, Cause.UPSTREAM, "page 3: HTTP 502", None))
    assert say(outlook=failed).sentence == (
        "Failed: the last run of main (upstream): page 3: HTTP 502; tried again in 6 min;"
        " more: `syncd explain 01a204c0-ea93`"
    )
    again = say(replace(FACTS, open_run=OPEN), replace(failed, open_run_id=RUN), [RUNNING])
    assert "; a new one is running; more: " in again.sentence


def test_the_worst_is_said_first_and_the_others_are_counted() -> None:
    failed = replace(OUTLOOK, last_run=LastRun(RUN, Status.FAILED, Cause.UPSTREAM, None, None))
    overdue = replace(OUTLOOK, stream=FBE, next_in_seconds=-720.0)
    summary = say([FACTS, replace(FACTS, stream=FBE)], [failed, overdue], daemons=None)
    assert summary.sentence.startswith("No daemon: ")
    assert summary.sentence.endswith(" (and 1 more)")
    assert [one.kind for one in summary.troubles] == [Kind.NO_DAEMON, Kind.FAILED]


def test_old_data_is_told() -> None:
    summary = say(replace(FACTS, succeeded_at=NOW - 36_000))
    assert summary.sentence == "Stale: main was last complete 10.0 h ago; look: `syncd runs emag/main/offers`"


def test_an_empty_ledger_says_what_to_do() -> None:
    assert say([], []).sentence.startswith("Nothing is configured yet: the ledger knows no stream; add an account")
