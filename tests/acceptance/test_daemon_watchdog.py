"""`syncd serve` whose event loop hangs: the watchdog hears nothing more, and what follows is as after kill -9."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.acceptance.daemon import Daemon, pages_stored, run_began, runs_ended, serving
from tests.acceptance.processes import assert_each_page_took_effect_once, until
from tests.acceptance.scene import Start

WATCHDOG_SECONDS = 2.0
BLOCKED_SECONDS = 60
BLOCKS = f"import signal, time\nsignal.signal(signal.SIGUSR1, lambda *_: time.sleep({BLOCKED_SECONDS}))\n"
"""Python imports a `sitecustomize` from its path at its start: the daemon's own code stays as it is."""


async def starve(daemon: Daemon) -> None:
    """As systemd waits: until WATCHDOG=1 has not come for the watchdog's time."""
    loop = asyncio.get_running_loop()
    fed, fed_at = daemon.heard.count("WATCHDOG=1"), loop.time()

    def is_starved() -> bool:
        nonlocal fed, fed_at
        if (count := daemon.heard.count("WATCHDOG=1")) > fed:
            fed, fed_at = count, loop.time()
        return loop.time() - fed_at > WATCHDOG_SECONDS

    await until(is_starved, "the watchdog hears nothing", 10)


@pytest.mark.parametrize("how", ["blocked", pytest.param("stopped", marks=pytest.mark.prove)])
async def test_a_daemon_whose_loop_hangs_is_not_heard_of_and_killed_it_is_as_after_kill_9(
    start: Start, tmp_path: Path, how: str
) -> None:
    """Blocked in Python, or stopped as a whole. systemd's SIGABRT, then SIGKILL; the next start resumes the run."""
    (tmp_path / "sitecustomize.py").write_text(BLOCKS)
    scene = await start(offers=850, faults=["slow:page=all:seconds=0.3"])
    settings = {
        "EMAG_SYNC_CONCURRENCY": "1",
        "WATCHDOG_USEC": str(int(WATCHDOG_SECONDS * 1e6)),
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    async with serving(scene, **settings) as daemon:
        await pages_stored(scene, 3)
        assert daemon.heard.count("WATCHDOG=1") > 1
        daemon.process.send_signal(signal.SIGUSR1 if how == "blocked" else signal.SIGSTOP)
        await starve(daemon)
        assert daemon.process.poll() is None
        daemon.process.send_signal(signal.SIGABRT)
        if how == "blocked":
            assert await daemon.ended(5) == -signal.SIGABRT
        await daemon.kill()
    async with serving(scene, **settings, EMAG_SYNC_STARTUP_DELAY_SECONDS="3600"):
        await run_began(scene, 2)
        rows = await runs_ended(scene, 2)
    assert [row[1:] for row in rows] == [("failed", "lease_lost"), ("complete", "end_of_data")]
    assert_each_page_took_effect_once(scene)
