"""Stuck or slow, as real processes: found, ended within a stated bound, silent afterwards, resumed; or left alone."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from monitor.watch import Health
from tests.acceptance.daemon import runs_ended, serving
from tests.acceptance.matrix import (
    INTERVAL_SECONDS,
    LEASE,
    LEASE_SECONDS,
    SERVER_SECONDS,
    Story,
    Watched,
    assert_forensics,
    assert_silent,
    assert_within,
    faketime,
    goes_on,
    rescued,
    watched,
    wedged,
)
from tests.acceptance.processes import ended, held_open, running, until, waiting
from tests.acceptance.scene import Scene, Start, outcome
from tests.fault_proxy import FaultProxy
from tests.postgres import state_of

CANARY = "canary-of-the-matrix"
LONG, SHORT = 60.0, 4.0
"""Thresholds in seconds: where the lease is at stake, and where progress is."""
LAPSED = {"detection": 2 * LEASE_SECONDS, "recovery": 2 * LEASE_SECONDS + INTERVAL_SECONDS}
IDLE_SECONDS = SHORT + INTERVAL_SECONDS
OBEYED = {"detection": IDLE_SECONDS, "recovery": IDLE_SECONDS + LEASE_SECONDS + INTERVAL_SECONDS}
ENDED_FOR_IT = {"detection": IDLE_SECONDS, "recovery": IDLE_SECONDS + LEASE_SECONDS + 2 * INTERVAL_SECONDS}


async def place(start: Start, **options: object) -> Scene:
    scene = await start(offers=750, password=CANARY, **options)
    scene.program.password = CANARY
    return scene


async def wakes_and_writes_nothing(seen: Watched, process: object, story: Story, fence: int) -> None:
    """The successor finishes first; then the old one wakes, finds itself too late, and leaves."""
    await goes_on(seen, story)
    process.send_signal(signal.SIGCONT)  # type: ignore[attr-defined]
    assert (await ended(process))[0] == 70  # type: ignore[arg-type]
    assert_silent(seen.scene, story, fence)


async def test_frozen_between_statements(start: Start, tmp_path: Path) -> None:
    scene = await place(start, faults=["slow:page=all:seconds=0.3"])
    async with watched(scene, tmp_path, LONG) as seen, running(scene, EMAG_SYNC_CONCURRENCY="1", **LEASE) as process:
        run_id, fence = await seen.stored(3)
        process.send_signal(signal.SIGSTOP)
        story = await rescued(seen, run_id, seen.now)
        assert state_of(process.pid) == "T"
        assert_within(story, "lease_lost", **LAPSED)
        assert_forensics(scene, story)
        await wakes_and_writes_nothing(seen, process, story, fence)


@pytest.mark.prove
async def test_frozen_inside_a_statement(start: Start, tmp_path: Path) -> None:
    """The statement ends in the server, its transaction stays open until the server ends the session."""
    scene = await place(start, faults=["slow:page=all:seconds=0.3"])
    async with watched(scene, tmp_path, LONG) as seen, running(scene, EMAG_SYNC_CONCURRENCY="1", **LEASE) as process:
        run_id, fence = await seen.stored(3)
        async with held_open(scene, "record", "INSERT"):
            await until(lambda: waiting(scene), "a page is held open in the server")
            process.send_signal(signal.SIGSTOP)
            began = seen.now
        await is_freed_and_resumed(seen, process, await rescued(seen, run_id, began), fence)


async def test_frozen_inside_a_copy(start: Start, tmp_path: Path) -> None:
    """Its session waits for its client, holds the lease row and heeds no timeout of the server: the monitor ends it."""
    scene = await place(start, faults=["slow:page=all:seconds=0.3"])
    async with watched(scene, tmp_path, LONG) as seen, FaultProxy(scene.program.database) as proxy:
        settings = LEASE | {"DATABASE_URL": proxy.conninfo, "EMAG_SYNC_CONCURRENCY": "1"}
        async with running(scene, **settings) as process:
            run_id, fence = await seen.stored(2)
            proxy.hold_after(b"COPY record")
            await until(lambda: proxy.is_holding, "the server waits for the rows of a COPY")
            process.send_signal(signal.SIGSTOP)
            story = await rescued(seen, run_id, seen.now)
            proxy.pass_on()
            await is_freed_and_resumed(seen, process, story, fence)


async def is_freed_and_resumed(seen: Watched, process: object, story: Story, fence: int) -> None:
    recovery = LAPSED["recovery"] + SERVER_SECONDS
    assert_within(story, "lease_lost", detection=LAPSED["detection"] + SERVER_SECONDS, recovery=recovery)
    assert_forensics(seen.scene, story)
    assert any(session["of_worker"] for session in story.forensics["sessions"])
    await wakes_and_writes_nothing(seen, process, story, fence)


# In the next two the monitor goes before the successor comes: with such a threshold, nobody may wait long in a queue.


async def test_wedged_on_a_socket_while_its_heart_beats(start: Start, tmp_path: Path) -> None:
    """The peer took the call and never answers, and the worker would wait ten minutes: it is asked, and obeys."""
    scene = await place(start, faults=["hang:page=4-99:times=forever"])
    async with running(scene, EMAG_SYNC_REQUEST_TIMEOUT_SECONDS="600", **LEASE) as process:
        async with watched(scene, tmp_path, SHORT) as seen:
            run_id, fence = await seen.stored(3)
            story = await rescued(seen, run_id, seen.now)
        assert (await ended(process))[0] == 1
    assert_within(story, "no_progress", **OBEYED)
    assert_forensics(scene, story, calling="page 4", stacks="PageReader._wait_for")
    assert_silent(scene, story, fence)
    said = scene.program.call("explain", str(run_id)).stdout
    assert "Monitor found it stuck" in said
    assert "It was on a call then: page 4" in said
    assert f"run {story.successor} goes on from the checkpoint" in said
    await goes_on(seen, story)


async def test_live_locked_and_deaf_while_its_heart_beats(start: Start, tmp_path: Path) -> None:
    """It renews its lease for ever, stores nothing and heeds nobody: the fence ends it."""
    scene = await place(start)
    async with wedged(scene, "deaf", **LEASE) as process:
        async with watched(scene, tmp_path, SHORT) as seen:
            run_id, fence = await seen.stored(3)
            story = await rescued(seen, run_id, seen.now)
        assert_within(story, "no_progress", **ENDED_FOR_IT)
        assert_forensics(scene, story, stacks="_go_round")
        assert await asyncio.to_thread(process.wait, 20) == 70
    assert_silent(scene, story, fence)
    await goes_on(seen, story)


async def test_killed(start: Start, tmp_path: Path) -> None:
    scene = await place(start, faults=["slow:page=all:seconds=0.3"])
    async with watched(scene, tmp_path, LONG) as seen:
        async with running(scene, EMAG_SYNC_CONCURRENCY="1", **LEASE) as process:
            run_id, fence = await seen.stored(3)
            process.kill()
            story = await rescued(seen, run_id, seen.now)
        assert_within(story, "lease_lost", **LAPSED)
        assert_forensics(scene, story)
        assert_silent(scene, story, fence)
        await goes_on(seen, story)


@pytest.mark.prove
async def test_cut_off_from_the_database(start: Start, tmp_path: Path) -> None:
    """Nothing passes between worker and server any more; both think that the other may come back."""
    scene = await place(start, faults=["slow:page=all:seconds=0.3"])
    async with watched(scene, tmp_path, LONG) as seen, FaultProxy(scene.program.database) as proxy:
        settings = LEASE | {"DATABASE_URL": proxy.conninfo, "EMAG_SYNC_CONCURRENCY": "1"}
        async with running(scene, **settings) as process:
            run_id, fence = await seen.stored(3)
            proxy.hold()
            story = await rescued(seen, run_id, seen.now)
            proxy.pass_on()
            assert (await ended(process))[0] == 70
        assert_within(story, "lease_lost", detection=LAPSED["detection"], recovery=LAPSED["recovery"] + SERVER_SECONDS)
        assert_forensics(scene, story)
        assert_silent(scene, story, fence)
        await goes_on(seen, story)


@pytest.mark.prove
async def test_asleep_past_its_declared_wait(start: Start, tmp_path: Path) -> None:
    scene = await place(start, faults=["429:page=4:retry_after=6"])
    async with watched(scene, tmp_path, LONG) as seen, wedged(scene, "asleep", **LEASE) as process:
        run_id, fence = await seen.stored(3)
        await until(lambda: scene.query("SELECT 1 FROM run WHERE wait_until IS NOT NULL"), "it sleeps")
        story = await rescued(seen, run_id, seen.now, 90)
        grace = 6 + 30 + LEASE_SECONDS
        recovery = grace + LEASE_SECONDS + 2 * INTERVAL_SECONDS
        assert_within(story, "wait_overrun", detection=grace + INTERVAL_SECONDS, recovery=recovery)
        assert await asyncio.to_thread(process.wait, 20) == 1, "it sleeps, but its heart hears that it is to end"
        assert_silent(scene, story, fence)
        await goes_on(seen, story)


async def left_alone(seen: Watched, exit_code: int, facts: dict[str, object]) -> None:
    """Complete, and nobody ever thought otherwise."""
    assert (exit_code, facts["status"]) == (0, "complete"), facts
    assert Health.STUCK not in seen.verdicts
    assert seen.scene.query("SELECT count(*) FROM rescue") == [(0,)]
    assert seen.scene.query("SELECT count(*) FROM run") == [(1,)]
    assert seen.scene.live == seen.scene.served


async def test_its_sessions_are_cut_and_it_goes_on(start: Start, tmp_path: Path) -> None:
    scene = await place(start, faults=["slow:page=all:seconds=0.3"])
    async with watched(scene, tmp_path, SHORT) as seen, running(scene, EMAG_SYNC_CONCURRENCY="1", **LEASE) as process:
        for page in (2, 4, 6):
            await seen.stored(page)
            scene.query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name LIKE 'syncd %%' AND %s > 0", page
            )  # fmt: skip
        await left_alone(seen, *await ended(process))


@pytest.mark.parametrize("offset", ["+1h", pytest.param("-1h", marks=pytest.mark.prove)])
async def test_the_clock_of_its_host_is_wrong(start: Start, tmp_path: Path, offset: str) -> None:
    """By an hour, and in the middle of the run by an hour the other way."""
    clock = tmp_path / "clock"
    clock.write_text(offset)
    fake = {
        "LD_PRELOAD": faketime(), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip
    scene = await place(start, faults=["slow:page=all:seconds=0.5"])
    async with watched(scene, tmp_path, SHORT) as seen:
        async with running(scene, "-v", EMAG_SYNC_CONCURRENCY="1", **LEASE, **fake) as process:
            await seen.stored(4)
            clock.write_text("-1h" if offset == "+1h" else "+1h")
            exit_code, facts = await ended(process)
        await left_alone(seen, exit_code, facts)


async def test_slow_but_moving(start: Start, tmp_path: Path) -> None:
    """Its run takes far longer than the threshold, each page less."""
    scene = await place(start, faults=["slow:page=all:seconds=1"])
    async with watched(scene, tmp_path, SHORT) as seen, running(scene, EMAG_SYNC_CONCURRENCY="1", **LEASE) as process:
        await left_alone(seen, *await ended(process))


async def test_in_a_declared_wait(start: Start, tmp_path: Path) -> None:
    """Retry-After asks for more than twice the threshold."""
    scene = await place(start, faults=["429:page=4:retry_after=9"])
    async with watched(scene, tmp_path, SHORT) as seen, running(scene, **LEASE) as process:
        await left_alone(seen, *await ended(process))
        assert Health.WAITING in seen.verdicts


@pytest.mark.prove
async def test_after_its_wait_it_tries_again_and_again(start: Start, tmp_path: Path) -> None:
    """No page comes for longer than a call and a lease after the end of the wait, and it has not overslept."""
    scene = await place(start, faults=["429:page=4:retry_after=6", "hang:page=4:times=3"])
    brief = {"EMAG_SYNC_REQUEST_TIMEOUT_SECONDS": "1", **LEASE}
    async with watched(scene, tmp_path, LONG, **brief) as seen, running(scene, **brief) as process:
        exit_code, facts = await ended(process, 60)
        assert [call.fault for call in scene.list_calls if call.page == 4][:4] == ["429", "hang", "hang", "hang"]
        await left_alone(seen, exit_code, facts)


async def test_draining(start: Start, tmp_path: Path) -> None:
    """SIGTERM while a page is being stored, which takes its time: it ends by itself, and nobody ends it."""
    scene = await place(start)
    async with watched(scene, tmp_path, SHORT) as seen, serving(scene, **LEASE) as daemon:
        async with held_open(scene, "sweep_page", "INSERT"):
            await until(lambda: waiting(scene), "a page is held open in the server")
            daemon.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(3)  # the page's slowness itself
        assert await daemon.ended() == 0
        ((_, status, cause),) = await runs_ended(scene, 1)
        assert (status, cause) == ("partial", "shutdown")
        assert Health.STUCK not in seen.verdicts
        assert scene.query("SELECT count(*) FROM rescue") == [(0,)]
        assert outcome(await scene.sync())[0] == 0
