"""Notices of a real monitor: a frozen worker, a webhook that hangs, a restart; nobody waits, nothing is said twice."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.acceptance.monitoring import watching
from tests.acceptance.processes import running, until
from tests.acceptance.scene import Start, outcome
from tests.listener import listening_for_notices
from tests.postgres import state_of

LEASE = {"EMAG_SYNC_LEASE_SECONDS": "5"}
SECRET = "a-secret-in-the-url"


async def test_a_rescue_is_told_once_over_a_restart_and_a_webhook_that_hangs_keeps_nobody(
    start: Start, tmp_path: Path
) -> None:
    scene = await start(offers=1150, faults=["slow:page=all:seconds=0.15"])
    async with listening_for_notices() as listener:
        listener.hanging = "/hook"
        urls = {
            "EMAG_SYNC_WEBHOOK_URL": f"{listener.url}/hook?{SECRET}",
            "EMAG_SYNC_PING_URL": f"{listener.url}/ping/{SECRET}",
        }
        async with watching(scene, tmp_path, **LEASE, **urls) as watch:
            async with running(scene, **LEASE) as process:
                await until(lambda: scene.query("SELECT 1 FROM sweep_page WHERE page > 2"), "three pages are stored")
                process.send_signal(signal.SIGSTOP)
                await until(lambda: state_of(process.pid) == "T", "the process has stopped")
                await until(lambda: listener.heard, "the webhook has been called")
                await until(lambda: scene.query("SELECT 1 FROM run WHERE initiated_by = 'monitor'"), "it is succeeded")
                ((failed,), (successor,)) = scene.query("SELECT run_id::text FROM run ORDER BY queued_at")
                await until(lambda: f"/ping/{SECRET}/fail?rid={failed}" in listener.pings, "the failure is pinged")
            log = watch.log.read_text()
        scene.sandbox.faults.clear()
        assert outcome(await scene.sync()) == (0, "complete", "end_of_data")
        listener.heard.clear()
        listener.hanging = "never"
        listener.released.set()
        scene.query("UPDATE notice SET claimed_at = claimed_at - interval '6 minutes' RETURNING 1")
        async with watching(scene, tmp_path, **LEASE, **urls) as watch:
            await until(lambda: listener.bodies("recovered"), "that all is well is told")
            await until(lambda: not scene.query("SELECT 1 FROM notice WHERE sent_at IS NULL"), "all is told")
            log += watch.log.read_text()
        assert listener.bodies("trouble") == []  # it was ended at the very look that found it
        (ended,) = listener.bodies("ended")
        assert (ended["run_id"], ended["successor"], ended["kind"]) == (failed, successor, "lease_lost")
        (recovered,) = listener.bodies("recovered")
        assert (recovered["run_id"], recovered["subject"]) == (successor, "emag/main/offers")
        told = [f"/ping/{SECRET}/start?rid={successor}", f"/ping/{SECRET}?rid={successor}"]
        assert [ping for ping in listener.pings if successor in ping] == told
        assert SECRET not in log
