"""What the counters count: every call that the marketplace saw, every write that the fence refused."""

from __future__ import annotations

import asyncio
import signal

from tests.acceptance.processes import ended, running, until
from tests.acceptance.scene import Scene, Start


def counted(scene: Scene, metric: str) -> float:
    ((value,),) = scene.query("SELECT coalesce(sum(value), 0) FROM accumulator WHERE metric = %s", metric)
    return float(value)


async def test_a_write_that_the_fence_refuses_is_counted_by_the_run_that_lost(start: Start) -> None:
    scene = await start(offers=1150, faults=["slow:page=all:seconds=0.3"])
    async with running(scene) as process:
        await until(lambda: scene.query("SELECT 1 FROM sweep_page WHERE page > 2"), "three pages are stored")
        assert counted(scene, "fence_rejections") == 0
        done = await asyncio.to_thread(scene.program.monitor, "recover", "--older-than-hours", "0")
        assert done.stdout == "Recovered 1 stuck syncs\n"
        pages = scene.query("SELECT count(*) FROM sweep_page")
        assert (await ended(process))[0] == 70
    assert counted(scene, "fence_rejections") == 1
    assert scene.query("SELECT count(*) FROM sweep_page") == pages


async def test_calls_that_a_stop_abandons_are_counted(start: Start) -> None:
    scene = await start(offers=1150, faults=["slow:page=3-99:seconds=20"])
    async with running(scene) as process:
        await until(lambda: max([call.page for call in scene.sandbox.log], default=0) > 4, "calls are under way")
        process.send_signal(signal.SIGTERM)
        assert (await ended(process))[0] == 3
    assert counted(scene, "requests") == len(scene.sandbox.log)
    assert scene.query("SELECT requests FROM run") == [(len(scene.sandbox.log),)]
