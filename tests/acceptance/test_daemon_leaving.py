"""An account is taken out of the configuration, put back, or given another login while a run of it lives."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.acceptance.daemon import Daemon, overlaps, pages_stored, runs_ended, serving
from tests.acceptance.processes import RUNNING, until
from tests.acceptance.scene import Scene, Start
from tests.acceptance.test_daemon_steering import NO_LOGIN, accounts, reload

SLOW = ["slow:page=all:seconds=0.3"]
ONE = "emag/one/offers"
RUNS_OF_ONE = """
SELECT r.status, r.cause FROM run r JOIN stream USING (stream_id) JOIN account a USING (account_id)
 WHERE a.name = 'one' ORDER BY r.queued_at
"""


@asynccontextmanager
async def running_one(scene: Scene, **settings: str) -> AsyncIterator[tuple[Daemon, str]]:
    """A daemon with two accounts, and the id of the first one's run, which has stored a page."""
    accounts(scene, "one", "two")
    assert scene.program.config is not None
    credentials = str(scene.program.config.parent)
    once = {"EMAG_SYNC_STARTUP_DELAY_SECONDS": "3600", "EMAG_SYNC_CONCURRENCY": "1"}
    async with serving(scene, CREDENTIALS_DIRECTORY=credentials, **(once | settings)) as daemon:
        status, answer = await daemon.call("POST", "/sync", {"account": "one"})
        assert status == 202
        await pages_stored(scene, 1)
        yield daemon, answer["sync_id"]


async def test_a_run_whose_account_is_taken_out_goes_on_to_its_end_and_no_other_follows(start: Start) -> None:
    """The log says so, the line of status shows it, and its last line names no next run."""
    scene = await start(offers=850, faults=SLOW, settings=NO_LOGIN)
    async with running_one(scene, EMAG_SYNC_INTERVAL_SECONDS="1") as (daemon, run_id):
        accounts(scene, "two")
        await reload(daemon)
        (removed,) = daemon.said("account.removed")
        assert f"run={run_id}" in removed
        assert ONE in removed
        assert "its run goes on to its end" in removed
        after = len(daemon.heard)
        await until(lambda: any(f"STATUS={ONE} page" in text for text in daemon.heard[after:]), "its line of status")
        assert (await runs_ended(scene, 1))[0][1:] == ("complete", "end_of_data")
        ended = await until(lambda: daemon.said("run.ended"), "its last line")
        assert "next_run_seconds" not in ended[0]
        await daemon.call("POST", "/sync", {"account": "two"})
        await runs_ended(scene, 2)
    assert scene.query(RUNS_OF_ONE) == [("complete", "end_of_data")]


async def test_a_run_whose_account_was_taken_out_hears_of_a_cancel_and_of_stop(start: Start) -> None:
    scene = await start(offers=2050, faults=SLOW, settings=NO_LOGIN)
    async with running_one(scene) as (daemon, run_id):
        accounts(scene, "two")
        await reload(daemon)
        assert (await daemon.call("POST", f"/syncs/{run_id}/cancel", {}))[0] == 202
        assert (await runs_ended(scene, 1, 1.5))[0][1:] == ("cancelled", "cancelled")
        accounts(scene, "one", "two")
        await reload(daemon)
        assert not daemon.said("account.returned"), "no run of it lives any more"
        assert (await daemon.call("POST", "/sync", {"account": "one"}))[0] == 202
        await until(lambda: scene.query(f"{RUNNING} AND pages > 0"), "it runs again")
        accounts(scene, "two")
        await reload(daemon)
        assert (await daemon.call("POST", "/stop", {}))[0] == 202
        assert (await runs_ended(scene, 2, 1.5))[1][1:] == ("cancelled", "cancelled")


async def test_a_run_whose_account_was_taken_out_and_put_back_lives_once_and_is_known(start: Start) -> None:
    """Taken out and put back twice; the next run begins only after it."""
    scene = await start(offers=1150, faults=SLOW, settings=NO_LOGIN)
    async with running_one(scene) as (daemon, run_id):
        for times in (1, 2):
            accounts(scene, "two")
            await reload(daemon)
            accounts(scene, "one", "two")
            await reload(daemon)
            assert len(daemon.said("account.returned")) == times
        assert f"run={run_id}" in daemon.said("account.returned")[0]
        _, progress = await daemon.call("GET", "/sync/progress")
        assert progress["streams"][ONE]["sync_id"] == run_id
        assert progress["streams"][ONE]["in_progress"]
        assert progress["streams"][ONE]["total"] == 1150
        status, refused = await daemon.call("POST", "/sync", {"account": "one"})
        assert (status, refused["run_id"]) == (409, run_id)
        scene.sandbox.faults.clear()
        assert (await runs_ended(scene, 1))[0][1:] == ("complete", "end_of_data")
        assert (await daemon.call("POST", "/sync", {"account": "one"}))[0] == 202, "it is served again"
        await runs_ended(scene, 2)
    assert overlaps(scene) == 0
    assert scene.query(RUNS_OF_ONE) == [("complete", "end_of_data")] * 2


async def test_a_run_whose_account_gets_another_login_ends_at_its_next_page(start: Start) -> None:
    """What the old login reads might be stored as the new one's."""
    scene = await start(offers=2050, faults=SLOW, settings=NO_LOGIN)
    async with running_one(scene) as (daemon, run_id):
        assert scene.program.config is not None
        text = scene.program.config.read_text()
        scene.program.config.write_text(text.replace('"sandbox"', '"somebody-else"', 1))
        await reload(daemon)
        assert (await runs_ended(scene, 1, 2))[0][1:] == ("partial", "shutdown")
        assert len(daemon.said("account.refused")) == 1
        (removed,) = daemon.said("account.login_changed")
        assert f"run={run_id}" in removed
