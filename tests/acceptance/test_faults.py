"""The fault table: what goes wrong at the marketplace, and how the run ends.

Of every fault: nothing is tombstoned, memory stays bounded, the message names place, cause and attempts, and
the next healthy run completes by itself.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field

import pytest

from tests.acceptance.scene import MOST_MIB, Scene, Start, outcome

COMPLETE = (0, "complete", "end_of_data")
INCOMPLETE = (3, "partial", "incomplete")
LOOP = (1, "failed", "loop")
UPSTREAM = (1, "failed", "upstream")
BAD_RESPONSE = (1, "failed", "bad_response")
AUTH = (1, "failed", "auth")
SHORT_TIMEOUT = {"EMAG_SYNC_REQUEST_TIMEOUT_SECONDS": "3"}  # a busy machine must not use it up


@dataclass(frozen=True)
class Case:
    """A fault and what must come of it: the outcome, what the message says, how many calls it may cost."""

    fault: str
    expected: tuple[int, str, str]
    says: str = ""
    most_calls: int | None = None
    settings: dict[str, str] = field(default_factory=dict)
    account: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.fault


async def check(scene: Scene, case: Case) -> None:
    """A loaded table meets the fault; then the marketplace is well again."""
    scene.configure(case.account)
    scene.sandbox.log.clear()
    scene.sandbox.faults.add(case.fault)
    facts = await scene.sync(**case.settings)
    assert outcome(facts) == case.expected, (case.fault, facts)
    assert facts["peak_mib"] < MOST_MIB, (case.fault, facts["peak_mib"])
    assert re.search(case.says, facts["error_message"] or "", re.DOTALL), (case.fault, facts["error_message"])
    if case.most_calls is not None:
        assert len(scene.sandbox.log) <= case.most_calls, (case.fault, scene.pages_read)
    scene.sandbox.faults.clear()
    facts = await scene.sync()
    assert outcome(facts) == COMPLETE, (case.fault, facts)
    assert scene.query("SELECT count(*) FROM change") == [(0,)], case.fault  # no tombstone either
    assert scene.live == scene.served, case.fault


async def check_all(start: Start, cases: list[Case], *, at_once: int = 4) -> None:
    """Side by side, for much of the time is spent in backoff. Each scene takes the next case."""
    waiting = iter(cases)

    async def work() -> None:
        scene = await start(offers=550)
        assert outcome(await scene.sync()) == COMPLETE
        for case in waiting:
            await check(scene, case)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(at_once, len(cases))):
            group.create_task(work())


PAGES = 6
COUNTS = 2  # one before, one after

SWEEP_FAULTS = [
    # A full sweep costs count, 6 pages, the empty one, count.
    Case("empty:page=3", COMPLETE, most_calls=PAGES + 1 + COUNTS + 1),
    Case("short:page=3", COMPLETE, most_calls=PAGES + 1 + COUNTS + 1),
    Case("empty:page=3:times=forever", INCOMPLETE, "count says 550, the pages showed 450"),
    Case("short:page=3:times=forever", INCOMPLETE, "count says 550, the pages showed 500"),
    Case("wrong_count:times=forever", INCOMPLETE, "count says 557, the pages showed 550"),
    Case("wrong_count:times=1", COMPLETE),
    Case("last_page_forever", LOOP, "page 7 .*same 50 keys as page 6", most_calls=1 + PAGES + 3),
    Case("ignore_paging", LOOP, "page 2 .*same 100 keys as page 1", most_calls=1 + 1 + 3),
    Case("ignore_paging", LOOP, "page 2", most_calls=1 + 3, account={"count": '"ignore"'}),
    Case("last_page_forever", LOOP, "page 7", most_calls=PAGES + 1 + 3, account={"count": '"ignore"'}),
]

ACCESS_FAULTS = [
    Case("401:page=all:times=forever", AUTH, "count: .*HTTP 401 .*after 1 attempt", most_calls=1),
    Case("403:page=all:times=forever", AUTH, "count: .*HTTP 403 .*after 1 attempt", most_calls=1),
    Case("blocked_ip:page=all:times=forever", AUTH, "Invalid vendor ip .*after 1 attempt", most_calls=1),
    Case("403:page=all:times=forever", AUTH, "page 1: ", most_calls=1, account={"count": '"ignore"'}),
    Case("403:page=4:times=forever", AUTH, "page 4: .*HTTP 403 .*after 1 attempt"),
    Case("missing_count:times=forever", BAD_RESPONSE, "count: .*HTTP 404"),
    Case("redirect:page=3", BAD_RESPONSE, "page 3: .*HTTP 302.*redirects are refused"),
]

SIZE_FAULTS = [
    Case("too_large:page=3:times=forever", BAD_RESPONSE, "page 3: .*over 16,777,216 bytes"),
    Case("gzip_bomb:page=3:times=forever", BAD_RESPONSE, "page 3: .*over 16,777,216 bytes"),
    Case("too_large:page=any:times=forever", BAD_RESPONSE, "page 1: .*over 16,777,216 bytes"),
    Case("gzip_bomb:page=2-6:times=forever", BAD_RESPONSE, "page 2: .*over 16,777,216 bytes"),
    Case("gzip_bomb:page=count:times=forever", BAD_RESPONSE, "count: .*over 16,777,216 bytes"),
]

CALL_FAULTS = {
    "500": (UPSTREAM, "HTTP 500"),
    "502": (UPSTREAM, "HTTP 502"),
    "503": (UPSTREAM, "HTTP 503"),
    "504": (UPSTREAM, "HTTP 504"),
    "reset": (UPSTREAM, "connection|hung up"),
    "hang": (UPSTREAM, "no whole answer|within|in time"),
    "drip:seconds=0.1": (UPSTREAM, "no whole answer|within|in time"),
    "truncated": (BAD_RESPONSE, "cut off"),
    "truncated_eof": (BAD_RESPONSE, "no whole JSON"),
    "truncated_chunked": (BAD_RESPONSE, "cut off"),
    "truncated_gzip": (BAD_RESPONSE, "cut off"),
    "html": (BAD_RESPONSE, "no whole JSON object"),
    "is_error": (BAD_RESPONSE, "isError is true"),
    "missing_is_error": (BAD_RESPONSE, "isError is missing"),
}


async def test_pages_that_come_short_or_round_again_end_as_the_table_says(start: Start) -> None:
    """Empty and short pages once and for ever, wrong counts, loops: none is taken for the truth."""
    await check_all(start, SWEEP_FAULTS)


async def test_a_refused_login_is_used_once(start: Start) -> None:
    """401, 403, a blocked address: one call, no retry; and what else is final is not repeated either."""
    await check_all(start, ACCESS_FAULTS)


async def test_oversized_bodies_and_bombs_leave_memory_unmoved(start: Start) -> None:
    """17 MiB of blanks, and 300 MiB out of 1 MiB of gzip, on one page and on all of them."""
    await check_all(start, SIZE_FAULTS)


async def test_a_call_that_fails_four_times_is_repeated_and_one_that_always_fails_ends_the_run(start: Start) -> None:
    """5xx, resets, hangs, drips, cut and wrong bodies on page 2; the page is never skipped."""
    cases = []
    for kind, (expected, says) in CALL_FAULTS.items():
        name, *more = kind.split(":")
        place = ":".join([name, "page=2", *more])
        message = f"^page 2: .*({says}).* after 5 attempts in [0-9.]+ s"
        settings = SHORT_TIMEOUT if name in ("hang", "drip") else {}
        cases += [
            Case(f"{place}:times=4", COMPLETE, settings=settings),
            Case(f"{place}:times=forever", expected, message, settings=settings),
        ]
    await check_all(start, cases, at_once=10)


@pytest.mark.prove
async def test_a_failing_count_is_repeated_like_a_page(start: Start) -> None:
    """Before the sweep and after it; the pages that were read are kept."""
    await check_all(
        start,
        [
            Case("500:page=count:times=2", COMPLETE),
            Case("500:page=count:times=forever", UPSTREAM, "^count: .*HTTP 500.*after 5 attempts"),
            Case("html:page=count:times=forever:after=1", BAD_RESPONSE, "^count: .*after 5 attempts"),
        ],
    )


async def test_an_api_that_stays_down_ends_the_run_after_a_few_probes(start: Start) -> None:
    """Ten failures open the breaker; each cooldown is cut short here, and after three probes the run is over."""
    scene = await start(offers=1200, account={"calls_per_second": "50"})
    scene.sandbox.faults.add("500:page=2-99:times=forever")
    sync = asyncio.create_task(scene.sync())
    cooldowns = 0
    while not sync.done():
        cooldowns += cut_cooldown(scene)
        await asyncio.wait({sync}, timeout=0.2)
    facts = await sync
    assert outcome(facts) == UPSTREAM
    assert re.search(
        "^page 2: .*HTTP 500.*; [3-9] probes of the circuit breaker have failed after", facts["error_message"]
    )
    assert cooldowns >= 3
    assert len(scene.sandbox.log) <= 2 + 10 + 4 + 5  # those in flight when it opened, and the probes
    scene.sandbox.faults.clear()
    cut_cooldown(scene)  # it outlives the process
    assert outcome(await scene.sync()) == COMPLETE
    assert scene.live == scene.served
    assert scene.query("SELECT breaker_failures, breaker_open_until FROM account") == [(0, None)]


def cut_cooldown(scene: Scene) -> int:
    """Let the open breaker's minute be over; how many were open."""
    query = "UPDATE account SET breaker_open_until = clock_timestamp() WHERE breaker_open_until > clock_timestamp()"
    return len(scene.query(query + " RETURNING account_id"))


async def test_a_page_that_fails_resumes_where_it_stood(start: Start) -> None:
    """Pages before it are stored and read once; the next run begins one page before it."""
    scene = await start(offers=1200, settings={"EMAG_SYNC_MAX_ATTEMPTS": "2"})
    scene.sandbox.faults.add("500:page=8:times=forever")
    assert outcome(await scene.sync()) == UPSTREAM
    assert len(scene.live) == 700
    assert sorted(scene.pages_read)[:7] == [1, 2, 3, 4, 5, 6, 7]
    scene.sandbox.faults.clear()
    scene.sandbox.log.clear()
    assert outcome(await scene.sync()) == COMPLETE
    assert sorted(scene.pages_read) == [7, 8, 9, 10, 11, 12, 13]
    assert scene.live == scene.served


async def test_a_look_up_that_fails_tombstones_nothing(start: Start) -> None:
    """Half-known is unknown: the run ends, the sweep stays open, the next run asks again."""
    scene = await start(offers=550, settings={"EMAG_SYNC_MAX_ATTEMPTS": "2"})
    await scene.sync()
    gone = {str(key) for key in scene.sandbox.catalogue.vanish(4)}
    scene.sandbox.faults.add("500:page=lookup:times=forever")
    facts = await scene.sync()
    assert outcome(facts) == UPSTREAM
    assert re.search(r"^look-up of \d+: .*HTTP 500.* after 2 attempts", facts["error_message"])
    assert scene.tombstoned == set()
    scene.sandbox.faults.clear()
    assert outcome(await scene.sync()) == COMPLETE
    assert scene.tombstoned == gone


async def test_ignored_filters_prove_nothing_about_a_missing_record(start: Start) -> None:
    """A look-up that shows somebody else's records is no answer: a second complete sweep decides."""
    scene = await start()
    await scene.sync()
    gone = {str(key) for key in scene.sandbox.catalogue.vanish(3)}
    scene.sandbox.faults.add("ignore_filters:page=lookup")
    assert outcome(await scene.sync()) == COMPLETE
    assert scene.tombstoned == set()
    assert outcome(await scene.sync()) == COMPLETE
    assert scene.tombstoned == gone
