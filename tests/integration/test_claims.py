"""Who gets the stream: one at a time, and a successor only where the holder is gone or proven dead."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import replace

import psycopg
import pytest

from syncd.contract.errors import FatalError
from syncd.contract.runs import Busy, Claim, ClaimRequest, Outcome, Owner, Paused
from syncd.contract.words import Cause, Stream
from syncd.ledger import claims, pauses
from syncd.ledger.runs import load_run
from syncd.policy.explanation import explain
from syncd.runtime.process import current_owner, proven_dead
from tests.postgres import kill_and_wait, state_of
from tests.program import wait_until
from tests.streams import CAPS, Stand, execute, page_of, scalar, select

ELSEWHERE = Owner("elsewhere", "another boot, another namespace", 4711, "1")


def owner_of(process: subprocess.Popen[bytes]) -> Owner:
    """The owner that this child would name in its claim."""
    started = wait_until(lambda: _started(process.pid), what="the child has begun")
    return replace(current_owner(), pid=process.pid, started=started)


def _started(pid: int) -> str:
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        return stat.read().rpartition(")")[2].split()[19]


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])


async def test_a_claim_makes_a_run_and_raises_the_fence(stand: Stand) -> None:
    """The first claim of a stream: a running run, its caps and its deadline, fence 1."""
    claim = await stand.claim()
    run = stand.run(claim)
    assert (claim.fence, claim.closed_run) == (1, None)
    assert (run["status"], run["fence"], run["max_pages"], run["max_requests"]) == ("running", 1, 100, 500)
    assert (run["deadline_at"] - run["started_at"]).total_seconds() == pytest.approx(CAPS.timeout_seconds, abs=1)


async def test_a_claim_adopts_the_queued_run(stand: Stand) -> None:
    """What was queued is what runs: no second run beside it, and it keeps who asked for it."""
    stream_id = scalar(stand.conninfo, "SELECT stream_id FROM stream")
    queued = scalar(
        stand.conninfo, "INSERT INTO run (stream_id, initiated_by) VALUES (%s, 'api') RETURNING run_id", [stream_id]
    )
    claim = await stand.claim()
    assert claim.run_id == queued
    assert stand.run(claim)["initiated_by"] == "api"
    assert stand.count("run") == 1


async def test_a_lapsed_lease_is_taken_and_its_run_closed(stand: Stand) -> None:
    """By anyone, in the same transaction: the old run reads failed/lease_lost, and says why."""
    first = await stand.claim(owner=ELSEWHERE)
    second = await stand.take_over()
    old = stand.run(first)
    assert (old["status"], old["cause"]) == ("failed", "lease_lost")
    assert "4711 on elsewhere did not renew its lease" in old["error_message"]
    assert old["completed_at"] <= stand.run(second)["started_at"]
    assert (second.fence, second.closed_run) == (2, first.run_id)


async def test_a_living_lease_is_refused_and_its_run_named(stand: Stand) -> None:
    """Busy says which run works and where; nothing is written."""
    first = await stand.claim()
    refused = await stand.try_claim()
    assert refused == Busy(first.run_id, f"process {os.getpid()} on {current_owner().host}")
    assert stand.run(first)["status"] == "running"
    assert scalar(stand.conninfo, "SELECT fence FROM lease") == 1


async def test_a_dead_owner_on_this_host_is_proven_and_its_stream_taken_at_once(stand: Stand) -> None:
    """The lease would live for another minute; /proc shows that nobody can renew it."""
    with sleeper() as process:
        first = await stand.claim(owner=owner_of(process))
        assert isinstance(await stand.try_claim(), Busy)
        process.kill()
    second = await stand.claim()
    assert second.closed_run == first.run_id
    assert "died" in stand.run(first)["error_message"]


async def test_a_killed_process_that_nobody_has_waited_for_is_dead(stand: Stand) -> None:
    """A zombie keeps its pid; it will never write again."""
    with sleeper() as process:
        first = await stand.claim(owner=owner_of(process))
        kill_and_wait(process.pid)
        assert (await stand.claim()).closed_run == first.run_id


async def test_a_stopped_process_is_not_dead(stand: Stand) -> None:
    """SIGSTOP may be followed by SIGCONT: its lease is left to lapse."""
    with sleeper() as process:
        await stand.claim(owner=owner_of(process))
        process.send_signal(signal.SIGSTOP)
        assert isinstance(await stand.try_claim(), Busy)
        process.kill()


async def test_a_pid_that_was_given_away_again_proves_its_owner_dead(stand: Stand) -> None:
    """The same pid with another start time is another process."""
    first = await stand.claim(owner=replace(current_owner(), started="1"))
    assert (await stand.claim()).closed_run == first.run_id


@pytest.mark.parametrize(
    "owner",
    [
        pytest.param(replace(current_owner(), boot="another boot", pid=2**22 - 1), id="another boot"),
        pytest.param(replace(current_owner(), boot=current_owner().boot + "1", pid=2**22 - 1), id="another namespace"),
        pytest.param(replace(current_owner(), boot="", pid=2**22 - 1), id="unknown boot"),
        pytest.param(replace(current_owner(), started=""), id="unknown start"),
    ],
)
async def test_an_owner_of_which_nothing_is_known_is_not_proven_dead(stand: Stand, owner: Owner) -> None:
    """Another boot, another pid namespace, no start time: a pid that does not exist here proves nothing."""
    assert not proven_dead(owner)
    await stand.claim(owner=owner)
    assert isinstance(await stand.try_claim(), Busy)


async def test_of_twenty_racers_one_wins(stand: Stand) -> None:
    """And the other nineteen all name the winner's run."""
    results = await asyncio.gather(*(stand.try_claim() for _ in range(20)))
    (winner,) = [result for result in results if isinstance(result, Claim)]
    assert {result.run_id for result in results if isinstance(result, Busy)} == {winner.run_id}
    assert (stand.count("run"), winner.fence) == (1, 1)


async def test_of_twenty_racers_for_a_lapsed_lease_one_wins(stand: Stand) -> None:
    """The one that closes the dead run is the one that goes on."""
    first = await stand.claim(owner=ELSEWHERE)
    stand.lapse()
    results = await asyncio.gather(*(stand.try_claim() for _ in range(20)))
    (winner,) = [result for result in results if isinstance(result, Claim)]
    assert (winner.closed_run, winner.fence) == (first.run_id, 2)
    rows = select(stand.conninfo, "SELECT status FROM run ORDER BY fence")
    assert [row["status"] for row in rows] == ["failed", "running"]


async def test_the_fence_grows_with_every_claim_and_never_repeats(stand: Stand) -> None:
    """After a release, after a takeover, after a second takeover."""
    fences = []
    for _ in range(3):
        fences.append((await stand.claim()).fence)
        fences.append((claim := await stand.take_over()).fence)
        assert await claims.release(stand.postgres, claim, Outcome(Cause.END_OF_DATA))
    assert fences == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("status", ["complete", "partial", "failed", "cancelled"])
async def test_a_terminal_state_never_changes(stand: Stand, status: str) -> None:
    """Not by anyone: the database refuses it."""
    claim = await stand.claim()
    execute(
        stand.conninfo,
        "UPDATE run SET status = %s, cause = 'shutdown', completed_at = clock_timestamp() WHERE run_id = %s",
        [status, claim.run_id],
    )
    before = stand.run(claim)
    for change in ("status = 'running'", "cause = 'internal'", "completed_at = NULL", "status = 'complete'"):
        with pytest.raises(psycopg.errors.RestrictViolation, match="terminal states never change"):
            execute(stand.conninfo, f"UPDATE run SET {change}")
    assert stand.run(claim) == before


async def test_a_paused_stream_is_refused_unless_forced(stand: Stand) -> None:
    """The kill switch says who set it and why."""
    execute(stand.conninfo, "UPDATE stream SET paused_at = now(), paused_by = 'ana', pause_reason = 'stocktaking'")
    refused = await stand.try_claim()
    assert isinstance(refused, Paused)
    assert (refused.by, refused.reason) == ("ana", "stocktaking")
    assert isinstance(await stand.try_claim(force=True), Claim)


async def test_a_stream_that_nobody_registered_cannot_be_claimed(stand: Stand) -> None:
    """A fault of ours, named."""
    request = ClaimRequest(Stream("emag", "other", "offers"), current_owner(), CAPS, 60, "test")
    with pytest.raises(FatalError, match="emag/other/offers is not registered"):
        await claims.claim(stand.postgres, request, proven_dead=proven_dead)


async def test_a_released_stream_is_free_at_once(stand: Stand) -> None:
    """Its run has ended as it said, and the next claim closes nobody."""
    first = await stand.claim()
    async with stand.writer(first) as writer:
        await writer.store(page_of(1, range(3)))
    assert await claims.release(stand.postgres, first, Outcome(Cause.CAP_PAGES, "reached the cap", 12.0))
    run = stand.run(first)
    assert (run["status"], run["cause"], run["error_message"]) == ("partial", "cap_pages", "reached the cap")
    assert (run["next_attempt_at"] - run["completed_at"]).total_seconds() == pytest.approx(12, abs=1)
    assert (await stand.claim()).closed_run is None


async def test_a_sweep_stays_open_after_the_causes_that_leave_it_unfinished(stand: Stand) -> None:
    """After the others the next run starts a new one."""
    claim = await stand.claim()
    sweep = await stand.open_sweep(claim)
    for cause in Cause:
        assert await claims.release(stand.postgres, claim, Outcome(cause))
        claim = await stand.claim()
        before, sweep = sweep, await stand.open_sweep(claim)
        ends = cause in {Cause.END_OF_DATA, Cause.LOOP, Cause.INCOMPLETE, Cause.BLAST_RADIUS}
        assert (sweep.sweep_id != before.sweep_id) is ends, cause


# Claims, and freezes with the lease row locked: `proven_dead` is asked inside the transaction.
FROZEN_CLAIM = """
import asyncio, os, signal, sys
from syncd.contract.runs import Caps, ClaimRequest
from syncd.contract.words import Stream
from syncd.ledger import claims, pauses
from syncd.ledger.runs import load_run
from syncd.policy.explanation import explain
from syncd.runtime.postgres import Postgres
from syncd.runtime.process import current_owner

async def main():
    async with Postgres(sys.argv[1], "sync") as postgres:
        request = ClaimRequest(Stream("emag", "main", "offers"), current_owner(), Caps(1, 4, 60), 60, "frozen")
        await claims.claim(postgres, request, proven_dead=lambda owner: os.kill(os.getpid(), signal.SIGSTOP))
asyncio.run(main())
"""


async def test_a_claimer_that_freezes_inside_its_claim_does_not_hold_the_stream_for_ever(stand: Stand) -> None:
    """The server ends a session that has locked the lease and says nothing more; the next claim goes on."""
    first = await stand.claim()
    with subprocess.Popen([sys.executable, "-c", FROZEN_CLAIM, stand.conninfo]) as frozen:
        try:
            wait_until(lambda: state_of(frozen.pid) == "T", what="the claimer has frozen inside its claim")
            refused = await asyncio.wait_for(stand.try_claim(), 12)
            assert isinstance(refused, Busy)
            assert refused.run_id == first.run_id
        finally:
            frozen.kill()


async def test_of_a_dead_run_nothing_is_told_that_has_not_happened(stand: Stand) -> None:
    """Closed while paused, it promises no successor; taken over and completed by one, it says so."""
    claim = await stand.claim(owner=ELSEWHERE)
    async with stand.writer(claim) as writer:
        await writer.store(page_of(1, [1]))
    stand.lapse()
    await pauses.pause(stand.postgres, claim.stream, by="cli:anna@host", reason="inventory")
    assert await claims.close_dead(stand.postgres, claim.stream, proven_dead=proven_dead) == claim.run_id

    async def explained() -> tuple[str | None, list[str]]:
        row = await load_run(stand.postgres, claim.run_id)
        assert row is not None
        return row.error_message, explain(row)[2:]

    assert await explained() == (
        "process 4711 on elsewhere did not renew its lease",
        [
            "The sweep stays open: the next run goes on at page 1.",
            "The stream is paused by cli:anna@host (inventory): nothing begins until `syncd resume`.",
        ],
    )
    await pauses.resume(stand.postgres, claim.stream)
    heir = await stand.claim()
    await stand.open_sweep(heir)
    await claims.release(stand.postgres, heir, Outcome(Cause.END_OF_DATA))
    assert (await explained())[1] == ["Its sweep was ended later (end_of_data)."]
