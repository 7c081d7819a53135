"""Several `syncd serve` on one database."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from tests.acceptance.daemon import Daemon, overlaps, runs_ended, serving
from tests.acceptance.processes import RUNNING, assert_each_page_took_effect_once, until
from tests.acceptance.scene import Scene, Start

LEASE_SECONDS = 8
BOTH = {
    "EMAG_FBE_API_USERNAME": "sandbox",
    "EMAG_FBE_API_PASSWORD": "sandbox",
    "EMAG_SYNC_LEASE_SECONDS": str(LEASE_SECONDS),
    "EMAG_SYNC_INTERVAL_SECONDS": "",
    "EMAG_SYNC_CONCURRENCY": "1",
}
SLOW = ["slow:page=all:seconds=0.4"]
LEASES = """
SELECT a.name, l.owner_pid, l.expires_at FROM lease l JOIN stream s USING (stream_id) JOIN account a USING (account_id)
 WHERE l.run_id IS NOT NULL
"""
FROM_ELSEWHERE = """
UPDATE lease SET owner_host = 'elsewhere', owner_boot = 'another boot' WHERE owner_pid = %s AND run_id IS NOT NULL
RETURNING run_id
"""


def schedule_only(scene: Scene, scheduled: str) -> None:
    """Settings in which both accounts are served and this one alone has a schedule."""
    assert scene.program.config is not None
    sections = [
        f'[accounts.emag.{name}]\nbase_url = "{scene.sandbox.base_url}"\ncalls_per_second = 1000\n'
        f"interval_seconds = {3600 if name == scheduled else 0}\n"
        for name in ("main", "fbe")
    ]
    scene.program.config.write_text("".join(sections))


def holders(scene: Scene) -> dict[str, int]:
    """Account → process that holds its stream."""
    return {name: pid for name, pid, _ in scene.query(LEASES)}


async def is_taken_over(scene: Scene, heir: Daemon, killed_at: datetime) -> datetime:
    """When the heir's new run of the stream fbe began; not later than the lease and 10 s allow."""
    await until(lambda: heir.said("run.took_over"), "taken over", LEASE_SECONDS + 20)
    ((began_at,),) = scene.query("SELECT max(started_at) FROM run")
    assert began_at - killed_at <= timedelta(seconds=LEASE_SECONDS + 10)
    return began_at  # type: ignore[no-any-return]


async def test_two_daemons_hold_different_streams_and_one_inherits_the_others(start: Start) -> None:
    """The dead one was on another host, where nobody can prove it dead: not a moment before its lease is over."""
    scene = await start(offers=2450, faults=SLOW)
    schedule_only(scene, "fbe")
    async with serving(scene, **BOTH) as remote:
        await until(lambda: "fbe" in holders(scene), "fbe is being synced")
        schedule_only(scene, "main")
        async with serving(scene, **BOTH) as heir:
            expected = {"fbe": remote.process.pid, "main": heir.process.pid}
            await until(lambda: holders(scene) == expected, "each holds one stream")
            ((run_id,),) = scene.query(FROM_ELSEWHERE, remote.process.pid)
            await asyncio.sleep(5)  # the heir looks twice, the lease is renewed once
            assert holders(scene) == expected, "a living run of another host was touched"
            await remote.kill()
            ((killed_at,),) = scene.query("SELECT clock_timestamp()")
            ((expires_at,),) = [row[2:] for row in scene.query(LEASES) if row[0] == "fbe"]
            assert await is_taken_over(scene, heir, killed_at) >= expires_at
            rows = await runs_ended(scene, 3, 40)
            await until(lambda: not scene.query(RUNNING), "nothing runs any more")
    assert {row[0]: row[2] for row in rows}.pop(run_id) == "lease_lost"
    assert sorted(row[2] for row in rows) == ["end_of_data", "end_of_data", "lease_lost"]
    assert overlaps(scene) == 0
    assert_each_page_took_effect_once(scene)
