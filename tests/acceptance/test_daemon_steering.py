"""`syncd serve` is told: reload, pause, stop, trigger, no schedule; and a marketplace that refuses."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from uuid import UUID

from tests.acceptance.daemon import Daemon, pages_stored, runs_ended, serving
from tests.acceptance.processes import RUNNING, held_open, until, waiting
from tests.acceptance.scene import Scene, Start

SLOW = ["slow:page=all:seconds=0.2"]
IDLE = {"EMAG_SYNC_STARTUP_DELAY_SECONDS": "3600"}
DONE = "SELECT run_id FROM run WHERE status = 'complete'"
DISABLED = {"DISABLE_AUTO_SYNC": "true", "EMAG_SYNC_INTERVAL_SECONDS": "1"}
TICKS_SECONDS = 3
"""The scheduler has looked at least once more."""


async def command(scene: Scene, *arguments: str, code: int = 0, **settings: str) -> str:
    """What it printed."""
    config = ("--config", str(scene.program.config))
    done = await asyncio.to_thread(scene.program.call, *arguments, *config, **settings)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def rewrite(scene: Scene, sync: str, account: str = "main") -> None:
    path = scene.program.config
    assert path is not None
    section = f'[accounts.emag.{account}]\nbase_url = "{scene.sandbox.base_url}"\ncalls_per_second = 1000\n'
    path.write_text(section + sync)


async def reload(daemon: Daemon) -> None:
    times = daemon.heard.count("READY=1")
    daemon.process.send_signal(signal.SIGHUP)
    await daemon.ready(times + 1)
    texts = [text.partition("\n")[0] for text in daemon.heard]
    assert texts[::-1].index("READY=1") < texts[::-1].index("RELOADING=1")


async def test_a_reload_applies_from_the_next_run_on(start: Start) -> None:
    """Another interval and another cap, read from the file."""
    scene = await start(offers=450)
    rewrite(scene, "interval_seconds = 1\n")
    async with serving(scene, EMAG_SYNC_INTERVAL_SECONDS="", EMAG_SYNC_STARTUP_DELAY_SECONDS="0") as daemon:
        await runs_ended(scene, 2)
        rewrite(scene, "interval_seconds = 1\nmax_pages = 2\n")
        await reload(daemon)
        await until(lambda: scene.query("SELECT 1 FROM run WHERE cause = 'cap_pages'"), "a capped run")
        rewrite(scene, "interval_seconds = 0\n")
        await reload(daemon)
        await until(lambda: not scene.query(RUNNING), "nothing runs")
        count = scene.query("SELECT count(*) FROM run")
        await asyncio.sleep(TICKS_SECONDS)
        assert scene.query("SELECT count(*) FROM run") == count, "an interval of 0 is no schedule"


async def test_a_bad_file_keeps_the_old_settings_and_each_fault_is_said(start: Start) -> None:
    """Unknown key and wrong value; no TOML at all; not UTF-8; no file. It stays READY, and its token works."""
    scene = await start()
    rewrite(scene, "")
    path = scene.program.config
    assert isinstance(path, Path)
    good = path.read_bytes()
    bad = [good + b'max_pags = 3\nlease_seconds = "soon"\n', b"[accounts", b"\xff\xfe", None]
    async with serving(scene, **IDLE) as daemon:
        for times, content in enumerate(bad, 1):
            path.unlink() if content is None else path.write_bytes(content)
            await reload(daemon)
            assert len(daemon.said("config.kept")) == times
        refused = "\n".join(daemon.said("config.refused"))
        assert all(word in refused for word in ("max_pags", "max_pages", "lease_seconds"))
        path.write_bytes(good)
        await reload(daemon)
        assert len(daemon.said("config.kept")) == len(bad)
        assert "Traceback" not in daemon.log
        status, _ = await daemon.call("POST", "/sync", {})
        assert status == 202
        assert (await runs_ended(scene, 1))[0][1] == "complete"


async def test_an_account_that_is_taken_out_of_the_file_is_scheduled_no_more(start: Start) -> None:
    """And one that is put in is served."""
    scene = await start(settings={"EMAG_FBE_API_USERNAME": "", "EMAG_API_USERNAME": "", "EMAG_API_PASSWORD": ""})
    password = 'username = "sandbox"\ninterval_seconds = 1\n'
    environment = {"EMAG_SYNC_INTERVAL_SECONDS": "", "CREDENTIALS_DIRECTORY": str(scene.program.config.parent)}  # type: ignore[union-attr]
    for account in ("one", "two"):
        scene.program.config.with_name(f"emag-{account}-password").write_text("sandbox")  # type: ignore[union-attr]
    rewrite(scene, password, "one")
    newest = (
        "SELECT a.name FROM run r JOIN stream USING (stream_id) JOIN account a USING (account_id) ORDER BY queued_at"
    )
    async with serving(scene, **environment) as daemon:
        await runs_ended(scene, 1)
        rewrite(scene, password, "two")
        await reload(daemon)
        await until(lambda: ("two",) in scene.query(newest), "the new account runs")
        done = len([row for row in scene.query(newest) if row == ("one",)])
        await runs_ended(scene, done + 2)
        assert len([row for row in scene.query(newest) if row == ("one",)]) == done


async def test_disabled_it_serves_and_starts_nothing_by_itself(start: Start) -> None:
    """The line of the contract; a manual run works; a dead run is closed, not resumed."""
    scene = await start(offers=1150, faults=SLOW)
    async with serving(scene, **DISABLED) as daemon:
        assert "auto-sync disabled via DISABLE_AUTO_SYNC" in daemon.log
        await asyncio.sleep(TICKS_SECONDS)
        assert not scene.query("SELECT 1 FROM run")
        assert (await daemon.call("GET", "/sync-status"))[1]["scheduler"]["enabled"] is False
        status, answer = await daemon.call("POST", "/sync", {})
        assert status == 202, answer
        await pages_stored(scene, 2)
        status, refused = await daemon.call("POST", "/sync", {})
        assert (status, refused["run_id"]) == (409, answer["sync_id"])
        await daemon.kill()
    async with serving(scene, **DISABLED):
        assert [row[1:] for row in await runs_ended(scene, 1, 5)] == [("failed", "lease_lost")]
        await asyncio.sleep(TICKS_SECONDS)
        assert len(scene.query("SELECT 1 FROM run")) == 1


async def test_a_trigger_while_the_daemon_is_down_is_served_at_its_start(start: Start) -> None:
    """Even with the schedule disabled; with the caps that were asked for, under the asker's name."""
    scene = await start(offers=450)
    said = await command(scene, "trigger", "--max-pages", "2")
    assert "queued as run" in said
    assert "already being synced" in await command(scene, "trigger", code=75)
    async with serving(scene, **DISABLED):
        (run,) = await runs_ended(scene, 1)
    assert run[1:] == ("partial", "cap_pages")
    assert str(run[0]) in said
    (initiator,) = scene.query("SELECT initiated_by FROM run")[0]
    assert initiator.startswith("cli:")


async def test_stop_ends_what_runs_within_a_page_and_stays_stopped_until_resume(start: Start) -> None:
    """Across a restart; trigger is not served while paused; after resume all goes on at the checkpoint."""
    scene = await start(offers=2050, faults=["slow:page=all:seconds=0.8"])
    settings = {"EMAG_SYNC_CONCURRENCY": "1", "EMAG_SYNC_INTERVAL_SECONDS": "1"}
    async with serving(scene, **settings) as daemon:
        await pages_stored(scene, 1)
        said = await command(scene, "stop")
        assert "paused" in said
        stopped = len(scene.list_calls)
        rows = await runs_ended(scene, 1, 5)
        assert rows[0][1:] == ("cancelled", "cancelled")
        assert len(scene.list_calls) - stopped <= 4, "calls in the 2.5 s in which every daemon looks"
        status, refused = await daemon.call("POST", "/sync", {})
        assert status == 409
        assert "emergency stop" in refused["detail"]
    scene.sandbox.faults.clear()
    async with serving(scene, **settings) as daemon:
        await asyncio.sleep(TICKS_SECONDS)
        assert len(scene.query("SELECT 1 FROM run")) == 1
        await until(lambda: "STATUS=idle, 1 paused" in daemon.heard, "the pause in the status line")
        await command(scene, "resume")
        rows = await runs_ended(scene, 2)
    assert rows[1][1:] == ("complete", "end_of_data")
    assert scene.live == scene.served


async def test_the_port_stops_at_once(start: Start) -> None:
    """POST /stop to the daemon that runs it: within a page. A pause alone lets the run go on."""
    scene = await start(offers=2050, faults=["slow:page=all:seconds=0.5"])
    async with serving(scene, EMAG_SYNC_CONCURRENCY="1") as daemon:
        await pages_stored(scene, 1)
        assert (await daemon.call("POST", "/pause", {"reason": "inventory"}))[0] == 200
        await pages_stored(scene, 3)
        assert (await daemon.call("POST", "/stop", {}))[0] == 202
        stopped = len(scene.list_calls)
        assert (await runs_ended(scene, 1, 3))[0][1:] == ("cancelled", "cancelled")
        assert len(scene.list_calls) - stopped <= 1


async def test_a_marketplace_that_refuses_is_left_in_peace_across_restarts(start: Start) -> None:
    """403 for ever, an interval of a second: 30 s after the first failure, 60 s after the next, kept in the ledger."""
    scene = await start(faults=["403:page=all:times=forever"])
    settings = {"EMAG_SYNC_INTERVAL_SECONDS": "1"}
    async with serving(scene, **settings):
        assert (await runs_ended(scene, 1))[0][1:] == ("failed", "auth")
        await until(lambda: scene.query("SELECT 1 FROM stream WHERE failures = 1"), "the failure is kept")
    calls = len(scene.sandbox.log)
    assert calls <= 3
    for _ in range(2):
        async with serving(scene, **settings):
            await asyncio.sleep(TICKS_SECONDS)
    assert len(scene.sandbox.log) == calls
    left = scene.query("SELECT extract(epoch FROM next_attempt_at - clock_timestamp()) FROM stream")[0][0]
    assert 10 < left <= 100
    async with serving(scene, **settings):
        assert "queued" in await command(scene, "trigger")  # somebody wants to know
        await runs_ended(scene, 2)
        await until(lambda: scene.query("SELECT 1 FROM stream WHERE failures = 2"), "the second failure is kept")


def accounts(scene: Scene, *names: str) -> None:
    """These accounts, and no others, each with the sandbox's login."""
    assert scene.program.config is not None
    section = f'base_url = "{scene.sandbox.base_url}"\nusername = "sandbox"\ncalls_per_second = 1000\n'
    scene.program.config.write_text("".join(f"[accounts.emag.{name}]\n{section}" for name in names))
    for name in names:
        scene.program.config.with_name(f"emag-{name}-password").write_text("sandbox")


NO_LOGIN = {"EMAG_API_USERNAME": "", "EMAG_API_PASSWORD": ""}


async def test_while_it_drains_requests_are_queued_for_the_next_process_and_a_reload_is_not_begun(start: Start) -> None:
    """202 `queued`, never lost; readyz and health say that it goes; systemd hears no READY after STOPPING."""
    scene = await start(offers=450, settings=NO_LOGIN)
    accounts(scene, "one", "two")
    assert scene.program.config is not None
    environment = {"CREDENTIALS_DIRECTORY": str(scene.program.config.parent), **IDLE}
    async with serving(scene, **environment) as daemon, held_open(scene, "record", "INSERT"):
        assert (await daemon.call("POST", "/sync", {"account": "one"}))[0] == 202
        await until(lambda: waiting(scene), "a page is held open in the server")
        daemon.process.terminate()
        await until(lambda: "STOPPING=1" in daemon.heard, "it drains")
        daemon.process.send_signal(signal.SIGHUP)
        status, answer = await daemon.call("POST", "/sync", {"account": "two"})
        assert (status, answer["status"]) == (202, "queued"), answer
        assert (await daemon.call("GET", "/readyz"))[0] == 503
        assert [text for text in daemon.heard if text.startswith(("READY", "RELOADING"))] == ["READY=1"]
    async with serving(scene, **environment) as daemon:
        await until(lambda: len(scene.query(DONE)) == 2, "both streams are complete", 30)
    assert (UUID(answer["sync_id"]),) in scene.query(DONE)


async def test_a_run_of_an_account_that_was_taken_out_ends_with_the_daemon(start: Start) -> None:
    """It goes on at a reload, and is drained and released like the others."""
    scene = await start(offers=1150, faults=["hang:page=4:times=forever"], settings=NO_LOGIN)
    accounts(scene, "one", "two")
    assert scene.program.config is not None
    async with serving(scene, CREDENTIALS_DIRECTORY=str(scene.program.config.parent), **IDLE) as daemon:
        assert (await daemon.call("POST", "/sync", {"account": "one"}))[0] == 202
        await pages_stored(scene, 3)
        accounts(scene, "two")
        await reload(daemon)
        assert scene.query(RUNNING)
        daemon.process.terminate()
        assert await daemon.ended() == 0
    assert scene.query("SELECT status, cause, pages FROM run") == [("partial", "shutdown", 3)]


async def test_resume_lets_go_of_a_backoff(start: Start) -> None:
    """The next run comes by the interval, not after the pause that failures had earned."""
    scene = await start(faults=["403:page=all:times=forever"])
    async with serving(scene, EMAG_SYNC_INTERVAL_SECONDS="2") as daemon:
        await until(lambda: scene.query("SELECT 1 FROM stream WHERE failures = 1"), "the failure is kept")
        assert (await daemon.call("POST", "/pause", {"reason": "a new password"}))[0] == 200
        scene.sandbox.faults.clear()
        assert (await daemon.call("POST", "/resume", {}))[0] == 200
        assert (await runs_ended(scene, 2, 15))[1][1:] == ("complete", "end_of_data")
