"""How often the marketplace is called, as it sees it: its own log judges, not what syncd believes."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.scene import Start, outcome
from tests.program import Program

TOLERANCE_SECONDS = 0.020
BUSY_SECONDS = 0.2
"""So much later than it was sent may a call arrive on a busy machine. Two budgets would let six through, not three."""


@dataclass
class Marketplace:
    """`syncd sandbox` as a process of its own, so that the test's work does not blur its clock."""

    base_url: str

    @property
    def calls_at(self) -> list[float]:
        """When each call arrived, in seconds of the marketplace's clock."""
        root = self.base_url.rpartition("/api-3")[0]
        with urllib.request.urlopen(f"{root}/_sandbox/log") as answer:  # noqa: S310  # loopback
            return sorted(call["at_seconds"] for call in json.load(answer)["calls"])


@contextmanager
def marketplace(*options: str) -> Iterator[Marketplace]:
    command = [sys.executable, "-m", "syncd", "sandbox", "--json", "--control", "--no-rate-limit", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Marketplace(json.loads(process.stdout.readline())["base_url"])
        finally:
            process.terminate()


def most_within(calls_at: list[float], seconds: float, tolerance_seconds: float = TOLERANCE_SECONDS) -> int:
    """The most calls in any window of this length, less the tolerance for the network's jitter."""
    most = first = 0
    for last, at in enumerate(calls_at):
        while at - calls_at[first] >= seconds - tolerance_seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def two_accounts(folder: Path, base_url: str) -> Path:
    """The settings of two accounts with one login."""
    config = folder / "two.toml"
    section = f'[accounts.emag.{{}}]\nbase_url = "{base_url}"\nusername = "sandbox"\n'
    config.write_text(section.format("main") + section.format("fbe"))
    return config


def assert_within_the_limits(calls_at: list[float], tolerance_seconds: float = TOLERANCE_SECONDS) -> None:
    closest = sorted(later - at for at, later in pairwise(calls_at))[:3]
    assert most_within(calls_at, 1.0, tolerance_seconds) <= 3, (
        f"more than 3 calls in a second; the closest pairs: {closest}"
    )
    assert most_within(calls_at, 60.0) <= 180


def test_two_accounts_of_one_login_share_its_budget(database: str, tmp_path: Path) -> None:
    """Two processes at once, then one after the other: never more than 3 calls in any second. That the budget is also
    used up is shown by the busy minute."""
    with marketplace("--offers", "1150") as market:
        config = two_accounts(tmp_path, market.base_url)
        program = Program(database, market.base_url, settings={"EMAG_FBE_API_PASSWORD": "sandbox"})
        program.settings |= {"EMAG_FBE_API_USERNAME": "sandbox"}
        arguments = ("run", "--json", "--config", str(config))
        with program.started(*arguments, "main") as one, program.started(*arguments, "fbe") as other:
            for process in (one, other):
                stdout, stderr = process.communicate(timeout=60)
                assert process.returncode == 0, stdout + stderr
        done = program.call(*arguments, "main")
        assert done.returncode == 0, done.stderr
        calls_at = market.calls_at
    assert len(calls_at) == 3 * (2 + 13)
    assert_within_the_limits(calls_at, BUSY_SECONDS)


def test_an_extra_pause_lies_between_calls_and_not_after_their_slots(database: str) -> None:
    """--request-delay: five workers that each slept by themselves would call together."""
    with marketplace("--offers", "700") as api:
        run = Program(database, api.base_url).sync("--request-delay", "0.3")
        assert outcome(run)[0] == 0
        assert min(later - earlier for earlier, later in pairwise(api.calls_at)) >= 0.5  # without it: 0.33


@pytest.mark.prove
def test_a_busy_minute_has_at_least_174_calls_and_never_more_than_180(database: str) -> None:
    """85 seconds of reading at the limit."""
    with marketplace("--offers", "25500") as market:
        program = Program(database, market.base_url, settings={"EMAG_SYNC_MAX_PAGES": "300"})
        assert program.sync(timeout=150)["exit_code"] == 0
        calls_at = market.calls_at
    assert_within_the_limits(calls_at)
    busiest = most_within(calls_at, 60.0)
    print(f"{busiest} calls in the busiest minute")
    assert busiest >= 174


def share_of_what_five_allow(database: str, latency_seconds: float, pages: int) -> float:
    """Pages a second from the moment on in which five calls are in flight, against five each latency."""
    with marketplace("--offers", str(pages * 100 - 50), "--latency", str(latency_seconds)) as market:
        program = Program(database, market.base_url, settings={"EMAG_SYNC_MAX_PAGES": str(pages + 10)})
        assert program.sync(timeout=120 + 2 * pages * latency_seconds / 5)["exit_code"] == 0
        calls_at = market.calls_at
    steady = calls_at[7:-2]  # count, the careful beginning; the empty page and the count at the end
    return (len(steady) - 1) / (steady[-1] - steady[0]) / (5 / latency_seconds)


@pytest.mark.prove
def test_a_slow_marketplace_is_read_with_five_calls_in_flight(database: str) -> None:
    """2 s a page: at least 90 % of what five calls in flight allow."""
    share = share_of_what_five_allow(database, 2.0, 40)
    print(f"{share:.1%} of five calls in flight")
    assert 0.9 <= share <= 1.3  # the last window of calls begins before its answers are counted


@pytest.mark.prove
def test_pages_of_eight_seconds_are_read_with_five_calls_in_flight(database: str) -> None:
    """The real case, 60 pages."""
    share = share_of_what_five_allow(database, 8.0, 60)
    print(f"{share:.1%} of five calls in flight")
    assert 0.9 <= share <= 1.3


async def test_ten_failures_in_a_row_open_the_breaker_and_a_new_process_finds_it_open(start: Start) -> None:
    """It stays shut without a call, lets one probe through, opens again where that fails, closes where it does not.

    Of all these processes one says that it opened, and one that it closed.
    """
    said = []

    async def sync() -> dict[str, Any]:
        facts = await scene.sync()
        said.extend(re.findall(r"event=(breaker\.\w+)", facts["stderr"]))
        return facts

    scene = await start(faults=["500:page=all:times=forever"])
    scene.program.settings |= {"EMAG_SYNC_MAX_ATTEMPTS": "2", "EMAG_SYNC_TIMEOUT_HOURS": "0.005"}
    for failures in (2, 4, 6, 8, 10):
        assert (await sync())["cause"] == "upstream"
        assert scene.query("SELECT breaker_failures FROM account") == [(failures,)]
        assert len(scene.sandbox.log) == failures
    refused = await sync()
    assert outcome(refused) == (1, "failed", "upstream")
    assert "circuit breaker is open" in refused["error_message"]
    assert len(scene.sandbox.log) == 10, "called although the breaker is open"
    cool_down = "UPDATE account SET breaker_open_until = clock_timestamp() RETURNING 1"
    scene.query(cool_down)
    assert outcome(await sync()) == (1, "failed", "upstream")
    assert len(scene.sandbox.log) == 11, "one probe"
    assert scene.query("SELECT breaker_open_until > clock_timestamp() FROM account") == [(True,)]
    scene.query(cool_down)
    scene.sandbox.faults.clear()
    assert outcome(await sync()) == (0, "complete", "end_of_data")
    assert scene.query("SELECT breaker_failures, breaker_open_until FROM account") == [(0, None)]
    assert said == ["breaker.opened", "breaker.closed"]


async def test_a_half_open_breaker_lets_one_of_many_callers_through(start: Start) -> None:
    """Two processes of one account ask at once, while the probe hangs: nobody else calls."""
    scene = await start(faults=["hang:page=all:times=forever"])
    scene.program.settings |= {"EMAG_SYNC_REQUEST_TIMEOUT_SECONDS": "4", "EMAG_SYNC_TIMEOUT_HOURS": "0.002"}
    config = ("--config", str(scene.program.config))
    await asyncio.to_thread(scene.program.call, "run", *config, EMAG_SYNC_MAX_ATTEMPTS="1")
    scene.query("UPDATE account SET breaker_failures = 10, breaker_open_until = clock_timestamp() RETURNING 1")
    before = len(scene.sandbox.log)
    await asyncio.gather(
        *(asyncio.to_thread(scene.program.call, command, *config) for command in ("run", "plan", "plan"))
    )
    assert len(scene.sandbox.log) == before + 1
