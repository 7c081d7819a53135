"""What somebody asked for stays what it was: through kills of the daemon, reloads, and a login that changes."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import aiohttp
import pytest

from tests.acceptance.daemon import TOKEN, Daemon, pages_stored, runs_ended, serving, starting
from tests.acceptance.processes import RUNNING, hung_up_early, until
from tests.acceptance.scene import Start
from tests.acceptance.test_daemon_steering import NO_LOGIN, TICKS_SECONDS, accounts, command, reload, rewrite

BY_HAND = {"EMAG_SYNC_INTERVAL_SECONDS": "0"}


async def test_a_dry_run_whose_process_was_killed_is_not_followed_by_a_sync(start: Start) -> None:
    scene = await start(offers=1150, faults=["slow:page=2-99:seconds=2"])
    async with serving(scene, **BY_HAND) as daemon:
        status, _ = await daemon.call("POST", "/sync", {"dry_run": True})
        assert status == 202
        await until(lambda: scene.query(RUNNING), "the dry run has begun")
        await daemon.kill()
    async with serving(scene, **BY_HAND):
        ((_, status, cause),) = await runs_ended(scene, 1)
        assert (status, cause) == ("failed", "lease_lost")
        await asyncio.sleep(TICKS_SECONDS)
        assert scene.query("SELECT count(*) FROM run") == [(1,)]
    assert scene.live == {}


async def test_a_killed_run_goes_on_under_the_caps_that_were_asked_for(start: Start) -> None:
    scene = await start(offers=1150, faults=["slow:page=2-99:seconds=1"])
    async with serving(scene, **BY_HAND) as daemon:
        await daemon.call("POST", "/sync", {"max_pages": 2})
        await pages_stored(scene, 1)
        await daemon.kill()
    async with serving(scene, **BY_HAND):
        ended = await runs_ended(scene, 2)
    assert [(status, cause) for _, status, cause in ended] == [("failed", "lease_lost"), ("partial", "cap_pages")]
    assert scene.query("SELECT max_pages, initiated_by FROM run ORDER BY started_at DESC LIMIT 1") == [(2, "scheduler")]


async def test_a_cancelled_run_whose_process_dies_first_is_cancelled_all_the_same(start: Start) -> None:
    scene = await start(offers=1150, faults=["slow:page=2-99:seconds=1"])
    async with serving(scene, **BY_HAND) as daemon:
        await daemon.call("POST", "/sync", {})
        ((run_id,),) = await until(lambda: scene.query(RUNNING), "the run has begun")
        daemon.process.send_signal(signal.SIGSTOP)
        await command(scene, "cancel", str(run_id))
        await daemon.kill()
    async with serving(scene, **BY_HAND):
        ((_, status, cause),) = await runs_ended(scene, 1)
        assert (status, cause) == ("cancelled", "cancelled")
        await asyncio.sleep(TICKS_SECONDS)
        assert scene.query("SELECT count(*) FROM run") == [(1,)]


async def test_a_reload_with_another_login_serves_that_account_no_more_and_says_so(start: Start) -> None:
    scene = await start(offers=120)
    rewrite(scene, 'username = "sandbox"\n')
    settings = BY_HAND | {"EMAG_API_USERNAME": ""}
    async with serving(scene, **settings) as daemon:
        await daemon.call("POST", "/sync", {})
        await runs_ended(scene, 1)
        rewrite(scene, 'username = "somebody-else"\n')
        await reload(daemon)
        assert len(daemon.said("account.refused")) == 1
        scene.query("INSERT INTO run (stream_id, initiated_by) SELECT stream_id, 'test' FROM stream RETURNING 1")
        async with daemon.idling():
            await asyncio.sleep(2 * TICKS_SECONDS)
        rewrite(scene, 'username = "sandbox"\n')
        await reload(daemon)
        await runs_ended(scene, 2)
    assert scene.live == scene.served


async def test_a_reload_does_not_open_the_reads_of_a_port_that_is_bound_to_all_addresses(start: Start) -> None:
    scene = await start(offers=20)

    def listen_on(address: str) -> None:
        rewrite(scene, f'[sync]\ncontrol_address = "{address}"\nallowed_hosts = ["127.0.0.1"]\n')

    listen_on("0.0.0.0")  # noqa: S104  # as an operator might
    async with serving(scene, **BY_HAND) as daemon:
        assert await status_without_token(daemon) == 401
        listen_on("127.0.0.1")
        await reload(daemon)
        assert daemon.said("config.needs_restart")
        assert await status_without_token(daemon) == 401


async def status_without_token(daemon: Daemon) -> int:
    """Of a read."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{daemon.port}/syncs") as answer:
        return answer.status


async def test_a_dry_run_takes_no_syncs_slot(start: Start) -> None:
    scene = await start(offers=120)
    async with serving(scene, EMAG_SYNC_STARTUP_DELAY_SECONDS="0") as daemon:
        await runs_ended(scene, 1)
        slot = "SELECT next_attempt_at, failures FROM stream WHERE next_attempt_at IS NOT NULL"
        booked = await until(lambda: scene.query(slot), "the next slot is booked")
        await daemon.call("POST", "/sync", {"dry_run": True})
        await runs_ended(scene, 2)
        _, status = await daemon.call("GET", "/sync-status")
        assert scene.query(slot) == booked
    assert status["current_sync"]["is_running"] is False


SLOT = "SELECT next_attempt_at FROM stream WHERE next_attempt_at IS NOT NULL"


@pytest.mark.parametrize("unscheduled", [{"DISABLE_AUTO_SYNC": "true"}, BY_HAND], ids=["disabled", "no interval"])
async def test_where_nothing_begins_by_itself_no_next_run_is_promised(
    start: Start, unscheduled: dict[str, str]
) -> None:
    """And the slot stays in the ledger: another daemon, which schedules, may have booked it."""
    scene = await start(offers=20)
    async with serving(scene) as daemon:
        booked = await until(lambda: scene.query(SLOT), "the first run has ended and booked the next")
        await daemon.kill()
    async with serving(scene, **unscheduled) as daemon:
        await daemon.call("POST", "/sync", {})
        await runs_ended(scene, 2)
        await until(lambda: daemon.said("run.ended"), "the end is said")
        assert "next_run_seconds" not in daemon.said("run.ended")[0]
        _, status = await daemon.call("GET", "/sync-status")
        assert list(status["scheduler"]["next_run_seconds"].values()) == [None]
        at_port = {"EMAG_SYNC_CONTROL_PORT": str(daemon.port)}
        assert "not by itself" in await command(scene, "status", **at_port)
        run_id = str(scene.query("SELECT run_id FROM run ORDER BY started_at DESC LIMIT 1")[0][0])
        assert "No next run begins by itself" in await command(scene, "explain", run_id, **at_port)
        assert scene.query(SLOT) == booked


async def test_a_first_slot_stands_in_the_ledger_before_it_has_come(start: Start) -> None:
    scene = await start(offers=20)
    async with serving(scene, EMAG_SYNC_STARTUP_DELAY_SECONDS="3000"):
        await until(lambda: scene.query(SLOT), "the slot is booked")
    assert scene.query("SELECT next_attempt_at > now() + interval '40 minutes' FROM stream") == [(True,)]


async def test_a_shorter_interval_brings_the_next_run_nearer(start: Start) -> None:
    scene = await start(offers=20)
    rewrite(scene, "[sync]\ninterval_seconds = 3600\n")
    async with serving(scene, EMAG_SYNC_INTERVAL_SECONDS="") as daemon:
        await runs_ended(scene, 1)
        await until(lambda: scene.query(SLOT), "the next slot is booked")
        rewrite(scene, "[sync]\ninterval_seconds = 1\n")
        await reload(daemon)
        await runs_ended(scene, 2)


async def test_where_every_account_is_refused_nothing_is_called_healthy(start: Start) -> None:
    scene = await start(offers=20)
    async with serving(scene, **BY_HAND) as daemon:
        await daemon.call("POST", "/sync", {})
        await runs_ended(scene, 1)
    async with serving(scene, **BY_HAND, EMAG_API_USERNAME="somebody-else") as daemon:
        status, health = await daemon.call("GET", "/health")
        assert (status, health["status"]) == (503, "unhealthy")
        assert "not served" in health["checks"][2]["detail"]
        status, problem = await daemon.call("POST", "/sync", {})
        assert status == 409
        assert "emag/main/offers: not served: " in problem["detail"]
        await until(lambda: any("no account is served" in said for said in daemon.heard), "STATUS says so")
        scene.query("INSERT INTO run (stream_id, initiated_by) SELECT stream_id, 'test' FROM stream RETURNING 1")
        run_id = str(scene.query("SELECT run_id FROM run WHERE status = 'queued'")[0][0])
        explained = await command(scene, "explain", run_id, EMAG_SYNC_CONTROL_PORT=str(daemon.port))
        assert "does not serve this stream" in explained


async def test_a_reload_before_the_daemon_listens_to_it_does_no_harm(start: Start) -> None:
    scene = await start(offers=20)
    async with starting(scene, **BY_HAND) as daemon:
        await hung_up_early(daemon.process)
        await daemon.ready()


async def test_a_stream_that_the_daemon_does_not_serve_is_not_queued_for_ever(start: Start, tmp_path: Path) -> None:
    scene = await start(offers=20)
    async with serving(scene, **BY_HAND) as daemon:
        rewrite(scene, "[accounts.emag.other]\nusername = 'sandbox'\n")
        (tmp_path / "emag-other-password").write_text("sandbox")
        settings = {
            "CREDENTIALS_DIRECTORY": str(tmp_path),
            "EMAG_SYNC_CONTROL_PORT": str(daemon.port),
            "EMAG_SYNC_CONTROL_TOKEN": TOKEN,
        }
        config = ("--config", str(scene.program.config))
        done = await asyncio.to_thread(scene.program.call, "trigger", "other", *config, **settings)
    assert done.returncode == 1, done.stdout
    assert "does its configuration know this stream?" in done.stderr
    assert scene.query("SELECT count(*) FROM run WHERE status = 'queued'") == [(0,)]


async def test_a_dry_run_keeps_to_the_caps_that_were_asked_for_and_is_booked(start: Start) -> None:
    """Pages, calls, records: what it read stands in its row, its calls in the counters, and the cap is said."""
    scene = await start(offers=1150)
    asked = (
        ({"max_pages": 2}, "cap_pages", 2),
        ({"max_requests": 4}, "cap_requests", 3),
        ({"limit": 250}, "cap_records", 3),
    )
    async with serving(scene, EMAG_SYNC_BATCH_SIZE="100", EMAG_SYNC_CONCURRENCY="1", **BY_HAND) as daemon:
        for number, (caps, cause, pages) in enumerate(asked, 1):
            calls = len(scene.sandbox.log)
            status, answer = await daemon.call("POST", "/sync", {"dry_run": True, **caps})
            assert status == 202
            await runs_ended(scene, number)
            _, run = await daemon.call("GET", f"/syncs/{answer['sync_id']}")
            assert (run["status"], run["cause"]) == ("partial", cause)
            assert "dry run: would insert" in run["error_message"]
            assert "on no page" not in run["error_message"], "it did not read to the end"
            used = len(scene.sandbox.log) - calls
            assert (run["pages"], run["requests"]) == (pages, used)
            assert used <= caps.get("max_requests", pages + 2)
    assert "would insert 250," in run["error_message"]
    assert run["fetched"] == 250
    counted = "SELECT sum(value) FROM accumulator WHERE metric = 'requests'"
    assert scene.query(counted) == [(len(scene.sandbox.log),)]
    assert scene.live == {}


async def test_a_dry_run_is_cancelled_within_a_page(start: Start) -> None:
    scene = await start(offers=2050, faults=["slow:page=all:seconds=0.4"])
    async with serving(scene, EMAG_SYNC_CONCURRENCY="1", **BY_HAND) as daemon:
        await daemon.call("POST", "/sync", {"dry_run": True})
        ((run_id,),) = await until(lambda: scene.query(f"{RUNNING} AND pages > 1"), "pages were compared")
        _, progress = await daemon.call("GET", "/sync/progress")
        assert (progress["in_progress"], progress["total"]) == (True, 2050)
        await daemon.call("POST", f"/syncs/{run_id}/cancel", {})
        assert (await runs_ended(scene, 1, 2))[0][1:] == ("cancelled", "cancelled")


async def test_after_stop_an_account_that_is_added_waits_for_resume_as_well(start: Start) -> None:
    """By SIGHUP or a restart; a run by hand and a trigger are refused, too. Resumed by name, a stream goes alone."""
    scene = await start(offers=120, settings=NO_LOGIN)
    accounts(scene, "one")
    assert scene.program.config is not None
    scene.program.settings |= {"CREDENTIALS_DIRECTORY": str(scene.program.config.parent)}
    often = {"EMAG_SYNC_INTERVAL_SECONDS": "1"}
    names = "SELECT DISTINCT a.name FROM run r JOIN stream USING (stream_id) JOIN account a USING (account_id)"
    async with serving(scene, **often) as daemon:
        await runs_ended(scene, 1)
        await command(scene, "stop")
        await until(lambda: not scene.query(RUNNING), "nothing runs")
        accounts(scene, "one", "two")
        await reload(daemon)
        await until(lambda: "STATUS=idle, 2 paused" in daemon.heard, "both are held back")
    accounts(scene, "one", "two", "three")
    assert "paused by" in await command(scene, "trigger", "three", code=1)
    async with serving(scene, **often) as daemon:
        await until(lambda: "STATUS=idle, 3 paused" in daemon.heard, "all are held back")
        assert scene.query(names) == [("one",)]
        assert "streams that are registered later begin paused" in await command(scene, "resume", "two")
        await until(lambda: len(scene.query(names)) == 2, "the second runs")
        status, resumed = await daemon.call("POST", "/resume", {})
        assert (status, resumed["resumed"], resumed["paused"], resumed["everything"]) == (200, 2, [], False)
        await until(lambda: len(scene.query(names)) == 3, "all run")
