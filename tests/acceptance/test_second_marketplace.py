"""The same program against a marketplace that was written by somebody who had not seen the first one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.acceptance.scene import MOST_MIB, outcome
from tests.program import Program
from tests.second_marketplace.server import SecondMarketplace

COMPLETE = (0, "complete", "end_of_data")
Open = Callable[..., tuple[SecondMarketplace, Program]]


@pytest.fixture
def start_second(database: str, tmp_path: Path) -> Iterator[Open]:
    """A started second marketplace without a rate limit, and the program that reads it."""
    with ExitStack() as stack:

        def started(
            *, account: str = "", calls_per_second: int = 1000, **options: Any
        ) -> tuple[SecondMarketplace, Program]:
            api = stack.enter_context(SecondMarketplace(**{"offers": 450, "rate_limit": False, **options}))
            config = tmp_path / "syncd.toml"
            config.write_text(f"[accounts.emag.main]\ncalls_per_second = {calls_per_second}\n{account}\n")
            return api, Program(database, api.base_url, api.username, api.password, config=config)

        yield started


def live(program: Program) -> dict[str, bytes]:
    """Key → exact document of every record that is not tombstoned."""
    with psycopg.connect(program.database) as connection:
        rows = connection.execute("SELECT key, document::text FROM sync.record WHERE missing_since IS NULL")
        return {key: document.encode() for key, document in rows}


@pytest.mark.parametrize("paging", ["top", "data", "both"])
@pytest.mark.parametrize("gzip", [False, True])
async def test_a_sync_stores_what_it_serves(start_second: Open, paging: str, gzip: bool) -> None:
    """In every envelope and framing met, plain and packed, wherever paging is wanted."""
    account = 'paging = "data"' if paging == "data" else ""
    api, program = start_second(paging=paging, gzip=gzip, account=account)
    facts = await asyncio.to_thread(program.sync)
    assert outcome(facts) == COMPLETE, facts
    assert live(program) == api.documents
    again = await asyncio.to_thread(program.sync)
    assert (outcome(again), again["skipped"], again["inserted"]) == (COMPLETE, 450, 0)


@pytest.mark.parametrize(("paging", "setting"), [("top", "data"), ("data", "top")])
def test_paging_in_the_wrong_place_is_found_out_at_once(start_second: Open, paging: str, setting: str) -> None:
    """Every page is page 1: the run ends as a loop and says which setting to look at."""
    api, program = start_second(paging=paging, account=f'paging = "{setting}"')
    facts = program.sync()
    assert outcome(facts) == (1, "failed", "loop")
    assert "`paging`" in facts["error_message"]
    assert len([call for call in api.calls if call.path.endswith("read")]) <= 4


def test_a_script_of_faults_is_survived(start_second: Open) -> None:
    """500, 502, 504, a cut body, HTML, isError: each once, all in one sweep."""
    script = {2: "500", 4: "cut", 5: "html", 7: "is_error", 9: "502", 10: "504", 12: "cut"}
    api, program = start_second(faults=script)
    facts = program.sync()
    assert outcome(facts) == COMPLETE, facts
    assert live(program) == api.documents
    assert facts["errors"] == len(script)
    assert facts["requests"] == len(api.calls)
    assert facts["peak_mib"] < MOST_MIB


def test_a_blocked_address_stops_the_run_with_one_call(start_second: Open) -> None:
    """Under HTTP 200, as seen in production."""
    api, program = start_second(faults=lambda call: "blocked_ip")
    facts = program.sync()
    assert outcome(facts) == (1, "failed", "auth")
    assert len(api.calls) == 1


def test_a_wrong_password_stops_the_run_with_one_call(start_second: Open) -> None:
    """403 in the vendor's envelope; the next run, with the right one, completes."""
    api, program = start_second()
    program.password = "another"
    facts = program.sync()
    assert outcome(facts) == (1, "failed", "auth")
    assert len(api.calls) == 1
    program.password = api.password
    assert outcome(program.sync()) == COMPLETE
    assert live(program) == api.documents


def test_what_vanishes_there_is_looked_up_there_and_tombstoned(start_second: Open) -> None:
    """Its id filter is its own reading of the document, too."""
    api, program = start_second()
    program.sync()
    gone = [api.documents.popitem()[0] for _ in range(9)]
    facts = program.sync()
    assert (outcome(facts), facts["tombstoned"]) == (COMPLETE, len(gone))
    assert live(program) == api.documents
    looked_up = {str(call.wanted["id"]) for call in api.calls if "id" in call.wanted}
    assert looked_up == set(gone)


def test_another_order_on_every_call_is_never_called_complete_with_a_hole(start_second: Open) -> None:
    """The API promises no order; a shuffled read shows some twice and misses others."""
    api, program = start_second(shuffle=True)
    facts = program.sync()
    assert outcome(facts) in {(3, "partial", "incomplete"), (1, "failed", "loop")}
    assert facts["tombstoned"] == 0
    api.shuffle = False
    assert outcome(program.sync()) == COMPLETE
    assert live(program) == api.documents


@pytest.mark.prove
def test_its_rate_limit_is_kept(start_second: Open) -> None:
    """Three calls in any second, judged by its clock; nothing is refused."""
    api, program = start_second(offers=900, rate_limit=True, calls_per_second=3)
    assert outcome(program.sync()) == COMPLETE
    assert {call.status for call in api.calls} == {200}
    assert api.most_calls_within(0.98) <= 3
    assert live(program) == api.documents
