"""Processes that are killed, stopped by a signal, or not alone."""

from __future__ import annotations

import asyncio
import random
import signal

import pytest

from tests.acceptance.processes import (
    RUNNING,
    assert_each_page_took_effect_once,
    ended,
    held_open,
    running,
    until,
    waiting,
)
from tests.acceptance.scene import Start, outcome


async def kill_and_resume(start: Start, kills: int) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    scene = await start(offers=1150, seed=seed, faults=["slow:page=all:seconds=0.1"])
    scene.program.settings["EMAG_SYNC_CONCURRENCY"] = "2"
    interrupted = 0
    for _ in range(kills):
        calls = len(scene.sandbox.log)
        async with running(scene) as process:
            await until(lambda calls=calls: len(scene.sandbox.log) > calls, "the run has begun to call")
            await asyncio.sleep(moments.uniform(0, 0.6))  # the moment itself, not a wait for something
            process.kill()
            await asyncio.to_thread(process.wait)
        interrupted += len(scene.query(RUNNING))
        scene.sandbox.catalogue.change(0.2)
    unfinished = scene.query(RUNNING)
    loop = asyncio.get_running_loop()
    began = loop.time()
    facts = await scene.sync()
    assert outcome(facts) == (0, "complete", "end_of_data"), facts
    assert loop.time() - began < 30, "the killed run's lease of 60 s was waited for"
    for (run_id,) in unfinished:
        assert scene.query("SELECT status, cause FROM run WHERE run_id = %s", run_id) == [("failed", "lease_lost")]
    scene.sandbox.faults.clear()
    assert outcome(await scene.sync())[0] == 0  # pages before the checkpoint may have changed since
    killed = scene.query("SELECT status, cause FROM run WHERE cause = 'lease_lost'")
    assert killed == [("failed", "lease_lost")] * interrupted
    assert interrupted >= kills * 0.6, "too few kills hit a run at work"
    assert_each_page_took_effect_once(scene)


async def test_a_run_killed_at_random_moments_is_taken_over_at_once_and_loses_nothing(start: Start) -> None:
    """kill -9 in the middle of whatever it does, five times in a row; then to the end."""
    await kill_and_resume(start, 5)


@pytest.mark.prove
@pytest.mark.timeout(900)
async def test_fifty_kills_lose_and_double_nothing(start: Start) -> None:
    """The same, fifty times."""
    await kill_and_resume(start, 50)


async def test_a_process_killed_inside_a_page_statement_leaves_all_of_it_or_nothing(start: Start) -> None:
    """The server may still finish the statement of a dead client, or roll it back; the next run fits either."""
    scene = await start(offers=450)
    async with running(scene) as process:
        async with held_open(scene, "record", "INSERT"):
            await until(lambda: waiting(scene), "a page is held open in the server")
            process.kill()
            await asyncio.to_thread(process.wait)
        facts = await scene.sync()
    assert outcome(facts)[0] == 0
    assert scene.query("SELECT cause FROM run ORDER BY started_at") == [("lease_lost",), ("end_of_data",)]
    assert_each_page_took_effect_once(scene)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 3), (signal.SIGINT, 130)])
async def test_a_signal_commits_the_pages_received_and_abandons_the_calls_in_flight(
    start: Start, number: signal.Signals, code: int
) -> None:
    """Pages wait for the database, others for the marketplace: the first are kept, the others left."""
    scene = await start(offers=850, faults=["hang:page=4-9:times=forever"])
    async with running(scene, EMAG_SYNC_BATCH_SIZE="100") as process:
        async with held_open(scene, "record", "INSERT"):
            await until(lambda: waiting(scene), "page 1 is held open in the server")
            answered = {2, 3}
            await until(
                lambda: answered <= {call.page for call in scene.list_calls if call.status == 200}, "2 more pages"
            )
            await until(lambda: 4 in scene.pages_read, "page 4 is asked for")
            process.send_signal(number)
        exit_code, facts = await ended(process)
    assert (exit_code, facts["status"], facts["cause"]) == (code, "partial", "shutdown")
    assert [page for (page,) in scene.query("SELECT page FROM sweep_page ORDER BY page")] == [1, 2, 3]
    assert facts["pages"] == 3
    scene.sandbox.faults.clear()
    following = await scene.sync()
    assert outcome(following)[0] == 0
    assert following["start_page"] == 4
    assert_each_page_took_effect_once(scene)


@pytest.mark.parametrize("place", ["count", "3"])
async def test_a_signal_does_not_wait_for_a_call_that_hangs(start: Start, place: str) -> None:
    """The call would have 30 s; the process is gone long before."""
    scene = await start(offers=850, faults=[f"hang:page={place}:times=forever"])
    async with running(scene) as process:
        await until(lambda: any(call.fault == "hang" for call in scene.sandbox.log), "a call hangs")
        process.send_signal(signal.SIGTERM)
        exit_code, facts = await ended(process, 10)
    assert (exit_code, facts["cause"]) == (3, "shutdown")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_a_second_signal_ends_the_process_at_once(start: Start, number: signal.Signals, code: int) -> None:
    """Although a page is still being written; the next run closes what it left."""
    scene = await start(offers=450)
    async with running(scene) as process, held_open(scene, "record", "INSERT"):
        await until(lambda: waiting(scene), "a page is held open in the server")
        process.send_signal(number)
        pending = 1 << (number - 1)
        await until(lambda: not _pending(process.pid) & pending, "the first signal was taken")
        await asyncio.sleep(0.1)  # two signals of one kind at once are one
        process.send_signal(number)
        exit_code, _ = await ended(process, 3)
    assert exit_code == code
    assert outcome(await scene.sync())[0] == 0
    assert_each_page_took_effect_once(scene)


def _pending(pid: int) -> int:
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        lines = dict(line.split(":", 1) for line in status)
    return int(lines["ShdPnd"], 16)


async def test_of_two_runs_at_once_one_works_and_the_other_names_it(start: Start) -> None:
    """Exit 75 with the id of the living run, in both forms of output; the first is not disturbed."""
    scene = await start(offers=450, faults=["slow:page=1:seconds=3"])
    async with running(scene) as process:
        ((run_id,),) = await until(lambda: scene.query(RUNNING), "the first run has claimed")
        process.send_signal(signal.SIGSTOP)  # it works for as long as the others take to ask
        refused = await scene.sync()
        assert (refused["exit_code"], refused["status"]) == (75, "busy")
        assert refused["sync_id"] == str(run_id)
        said = await asyncio.to_thread(scene.program.call, "run", "--config", str(scene.program.config))
        assert said.returncode == 75
        assert str(run_id) in said.stdout + said.stderr
        process.send_signal(signal.SIGCONT)
        exit_code, facts = await ended(process)
    assert (exit_code, facts["sync_id"]) == (0, str(run_id))
    assert_each_page_took_effect_once(scene)
