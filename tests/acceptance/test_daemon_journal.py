"""What the journal holds of a daemon at work, as a journald of our own receives it."""

from __future__ import annotations

import asyncio
import base64
import http.client
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from syncd.runtime.journal import FIELD_OF
from tests.acceptance.daemon import Daemon, runs_ended, serving, starting
from tests.acceptance.processes import RUNNING, until
from tests.acceptance.scene import Start
from tests.journald import Journald

OF_A_RUN = [FIELD_OF[name] for name in ("run", "stream", "account")]
STEADY = {"EMAG_SYNC_CONCURRENCY": "1", "EMAG_SYNC_LOG_LEVEL": "debug"}
NOTICE, WARNING, DEBUG = "5", "4", "7"
USER, PASSWORD, OLD_TOKEN, NEW_TOKEN = "canary-user", "canary-Pa55/w", "canary-token-before", "canary-token-after"
DATABASE_PASSWORD = "canary-db-Zy9"


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    receiver = Journald(tmp_path / "journal")
    receiver.listen()
    yield receiver
    receiver.close()


async def test_every_line_of_a_run_names_it_and_its_start_and_end_tell_the_story(
    start: Start, journald: Journald
) -> None:
    """Run, stream and account in each; caps at the start; duration, counts, calls and the next run at the end."""
    scene = await start(offers=250, faults=["slow:page=all:seconds=0.1", "500:page=2", "no_id:page=1"])
    async with serving(scene, journal=journald.path, **STEADY):
        ((run_id, *_),) = await runs_ended(scene, 1)
        await until(lambda: journald.said("run.ended"), "the end is in the journal")
    (started,), (ended,) = journald.said("run.started"), journald.said("run.ended")
    assert (started["PRIORITY"], ended["PRIORITY"]) == (NOTICE, NOTICE)
    assert all(cap in started["MESSAGE"] for cap in ("max_pages=100", "max_requests=500", "max_seconds=7200"))
    for fact in ("pages=4", "requests=7/500", "inserted=249", "quarantined=1", "next_run_seconds=3"):
        assert fact in ended["MESSAGE"], ended
    assert ended["SYNC_CAUSE"] == "end_of_data"
    assert int(ended["DURATION_MS"]) >= 500
    of_the_run = [entry for entry in journald.heard if "SYNC_RUN_ID" in entry]
    for entry in of_the_run:
        assert [entry.get(name) for name in OF_A_RUN] == [str(run_id), "emag/main/offers", "main"], entry
    between = journald.heard[journald.heard.index(started) : journald.heard.index(ended)]
    outside = [entry["MESSAGE"] for entry in between if entry not in of_the_run]
    assert all(message.startswith(("tick.done", "control.")) for message in outside), outside
    assert all("MESSAGE_ID" in entry for entry in journald.heard)
    pages = journald.said("page.stored")
    assert [(entry["SYNC_PAGE"], entry["PRIORITY"]) for entry in pages] == [(str(n), DEBUG) for n in (1, 2, 3, 4)]
    assert [entry["HTTP_STATUS"] for entry in journald.said("call.failed")] == ["500"]
    assert all(int(entry["DURATION_MS"]) >= 90 for entry in journald.said("call.answered"))
    assert [entry["PRIORITY"] for entry in journald.said("record.quarantined")] == [WARNING]
    assert not journald.said("cap.near")
    assert {entry["PRIORITY"] for entry in journald.said("tick.done")} == {DEBUG}
    assert journald.said("daemon.ready")


async def test_each_cap_that_comes_near_is_warned_of_once(start: Start, journald: Journald) -> None:
    """At four fifths of pages, calls and time."""
    scene = await start(offers=1250, faults=["hang:page=5:times=forever"])
    caps = {"EMAG_SYNC_MAX_PAGES": "5", "EMAG_SYNC_MAX_REQUESTS": "7", "EMAG_SYNC_TIMEOUT_HOURS": "0.0015"}
    async with serving(scene, journal=journald.path, **caps, EMAG_SYNC_CONCURRENCY="1"):
        await until(lambda: journald.said("run.ended"), "the end is in the journal")
    near = journald.said("cap.near")
    said = sorted(entry["MESSAGE"].partition(" account=main ")[2] for entry in near)
    assert said == ["cap=pages used=4 of=5", "cap=requests used=6 of=7", "cap=seconds used=4 of=5"]
    assert {entry["PRIORITY"] for entry in near} == {WARNING}
    assert [entry["SYNC_CAUSE"] for entry in journald.said("run.ended")] == ["cap_time"]


async def test_a_slot_that_a_living_run_takes_up_is_said_once(start: Start, journald: Journald) -> None:
    """With the run's id: of one that `syncd run` holds, and of one that somebody asked this daemon for."""
    scene = await start(offers=450, faults=["hang:page=3:times=forever"])
    settings = {"EMAG_SYNC_INTERVAL_SECONDS": "1", "EMAG_SYNC_STARTUP_DELAY_SECONDS": "2", **STEADY}

    def skipped(priority: str) -> list[str]:
        return [entry["SYNC_RUN_ID"] for entry in journald.said("slot.skipped") if entry["PRIORITY"] == priority]

    async with serving(scene, journal=journald.path, **settings) as daemon:
        _, answer = await daemon.call("POST", "/sync", {})
        await until(lambda: skipped(DEBUG), "two slots have passed")
        assert skipped(WARNING) == [answer["sync_id"]]
        await daemon.call("POST", "/stop", {})
        await runs_ended(scene, 1)
        with scene.program.started("run", "--force", "--config", str(scene.program.config)):
            ((elsewhere,),) = await until(lambda: scene.query(RUNNING), "`syncd run` has the stream")
            await daemon.call("POST", "/resume", {})
            await until(lambda: str(elsewhere) in skipped(DEBUG), "a second slot of the other run has passed")
    assert skipped(WARNING) == [answer["sync_id"], str(elsewhere)]


def everything_of(daemon: Daemon, journald: Journald) -> str:
    """What anybody on the machine can read of it."""
    listed = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    return "\n".join([str(journald.heard), str(daemon.heard), daemon.log, listed])


async def test_no_secret_is_in_the_journal_the_status_or_an_answer(start: Start, journald: Journald) -> None:
    """Password, database password, both tokens, HTTP Basic's header: before and after SIGHUP changed a token."""
    scene = await start(offers=250, username=USER, password=PASSWORD, faults=["401:page=2", "reset:page=3"])
    database = make_conninfo(**{**conninfo_to_dict(scene.program.database), "password": DATABASE_PASSWORD})
    scene.program = replace(scene.program, username=USER, password=PASSWORD, database=database)
    folder = journald.path.parent / "credentials"
    folder.mkdir()
    (folder / "control-token").write_text(OLD_TOKEN)
    basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    environment = {"EMAG_SYNC_CONTROL_TOKEN": "", "CREDENTIALS_DIRECTORY": str(folder), **STEADY}
    async with serving(scene, journal=journald.path, **environment) as daemon:
        answers = [await ask(daemon, secret) for secret in (OLD_TOKEN, PASSWORD, basic, DATABASE_PASSWORD)]
        (folder / "control-token").write_text(NEW_TOKEN)
        (folder / "control-token-previous").write_text(OLD_TOKEN)
        daemon.process.send_signal(signal.SIGHUP)
        await daemon.ready(2)
        answers += [await ask(daemon, secret) for secret in (OLD_TOKEN, NEW_TOKEN)]
        await runs_ended(scene, 1)
        await until(lambda: journald.said("run.ended"), "the end is in the journal")
        said = everything_of(daemon, journald) + "\n".join(answers)
    assert "run.failed" in said
    for secret in (OLD_TOKEN, NEW_TOKEN, PASSWORD, basic, DATABASE_PASSWORD):
        assert secret not in said, secret


async def ask(daemon: Daemon, secret: str) -> str:
    """What the port answers to who sends it a secret where none belongs, and to who asks for its metrics."""
    return await asyncio.to_thread(_ask, daemon.port, secret)


def _ask(port: int, secret: str) -> str:
    said = []
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    for method, path, body in (
        ("GET", f"/syncs/{secret}", None), ("POST", f"/{secret}", "{}"), ("POST", "/sync", f'{{"{secret}": 1}}'),
        ("POST", "/sync", f'{{"stream": "{secret}"}}'), ("GET", f"/syncs?{secret}={secret}", None),
        ("GET", "/metrics", None), ("GET", "/health", None), ("GET", "/sync-status", None),
    ):  # fmt: skip
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        said += [str(answer.getheaders()), answer.read().decode()]
        connection.close()
    return "\n".join(said)


async def test_the_level_notice_hides_what_is_below_and_a_reload_changes_it(start: Start, journald: Journald) -> None:
    """EMAG_SYNC_LOG_LEVEL, from the file that SIGHUP reads."""
    scene = await start()
    config = scene.program.config
    assert config is not None
    account = config.read_text()
    config.write_text(f'[sync]\nlog_level = "notice"\n{account}')
    async with serving(scene, journal=journald.path) as daemon:
        await until(lambda: journald.said("run.ended"), "the end is in the journal")
        assert all(entry["PRIORITY"] <= NOTICE for entry in journald.heard)
        config.write_text(f'[sync]\nlog_level = "debug"\n{account}')
        daemon.process.send_signal(signal.SIGHUP)
        await until(lambda: journald.said("tick.done"), "quiet ticks are said at DEBUG")
        daemon.process.terminate()
        assert await daemon.ended() == 0
        await until(lambda: journald.said("daemon.stopping"), "the drain is said")


async def test_a_daemon_that_cannot_start_is_critical_in_the_journal(start: Start, journald: Journald) -> None:
    """Each problem of the configuration, with the mark that journald reads from a line of standard error."""
    scene = await start()
    wrong = {"EMAG_SYNC_MAX_PAGES": "many", "EMAG_SYNC_LEASE_SECONDS": "soon"}
    async with starting(scene, journal=journald.path, **wrong) as daemon:
        assert await daemon.ended() == 78
        lines = daemon.log.splitlines()
    assert lines[0] == "<2>syncd: 2 problems in the configuration:"
    assert [line[:6] for line in lines[1:]] == ["<2>  -"] * 2
