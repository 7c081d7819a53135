"""The status page in a real browser, over a real sandbox, daemon and monitor.

With SYNCD_SCREENSHOTS set to a folder every look is kept there; SYNCD_SCREENSHOT is the file of the README's picture
(`make screenshot`).
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from pathlib import Path

import psycopg
from playwright.async_api import Browser

from tests.acceptance.daemon import Daemon, runs_ended
from tests.acceptance.daemon import serving as daemon_serving
from tests.acceptance.monitoring import Watch, watching
from tests.acceptance.processes import RUNNING, until
from tests.acceptance.scene import Scene, Start
from tests.browser.visitor import NARROW, WIDE, visiting
from tests.postgres import state_of

LEASE = {"EMAG_SYNC_LEASE_SECONDS": "5"}
FBE = {"EMAG_FBE_API_USERNAME": "sandbox", "EMAG_FBE_API_PASSWORD": "sandbox"}
OFFERS = 1250
LONGEST_RUNS_SECONDS = 60.0
SHOWN = {"width": 1040, "height": 660}
ALL_LOOKS = list(itertools.product((True, False), ("light", "dark"), (WIDE, NARROW)))
SOME_LOOKS = [(True, "light", WIDE), (True, "dark", NARROW), (False, "dark", WIDE)]
PAST = """
INSERT INTO run_day (stream_id, day, status, runs)
SELECT stream_id, (clock_timestamp() AT TIME ZONE 'UTC')::date - d, status, n FROM stream, generate_series(1, 29) d,
       LATERAL (VALUES ('complete', 143 - mod(d, 3) * stream_id), ('failed', mod(d, 9) / 7 * stream_id),
                       ('partial', mod(d, 11) / 10)) v(status, n)
 WHERE n > 0 AND (stream_id = 1 OR d < 12) RETURNING 1
"""
"""A month before the test, of which the strips tell."""


async def _looks_right(browser: Browser, watch: Watch, name: str, begins: str) -> None:
    """Wide and narrow, light and dark, with and without JavaScript: it says so, and nothing is wrong with it."""
    looks = ALL_LOOKS if (folder := os.environ.get("SYNCD_SCREENSHOTS")) else SOME_LOOKS
    for script, colours, size in looks:
        options = {"java_script_enabled": script, "color_scheme": colours, "viewport": size}
        async with visiting(browser, watch.url, **options) as visit:
            await visit.look()
            sentence = await visit.sentence()
            assert sentence.startswith(begins), sentence
            if script:
                await visit.assert_fits()
                await visit.assert_accessible()
            visit.assert_clean()
            if folder:
                look = f"{name}-{colours}-{size['width']}{'' if script else '-no-script'}"
                await visit.page.screenshot(path=Path(folder, f"page-{look}.png"), full_page=True)


async def _keep(browser: Browser, watch: Watch, file: Path) -> None:
    """The picture of the README."""
    async with visiting(browser, watch.url, viewport=SHOWN) as visit:
        await visit.look()
        await visit.page.screenshot(path=file)


async def _second_round(scene: Scene, daemon: Daemon) -> None:
    """Prices and stock change, an offer vanishes, and a page fails until the run gives up."""
    await runs_ended(scene, 2, LONGEST_RUNS_SECONDS)
    scene.sandbox.catalogue.change(40, fields=("price", "stock"))
    scene.sandbox.faults.add("500:page=3:times=forever")
    assert (await daemon.call("POST", "/sync", {"account": "fbe"}))[0] == 202
    await runs_ended(scene, 3, LONGEST_RUNS_SECONDS)
    scene.sandbox.faults.clear()
    assert (await daemon.call("POST", "/sync", {}))[0] == 202
    await runs_ended(scene, 5, LONGEST_RUNS_SECONDS)


async def test_the_page_in_its_three_states(start: Start, chromium: Browser, tmp_path: Path) -> None:
    pace = 3 if os.environ.get("SYNCD_SCREENSHOT") else 1000  # calls a second: for the picture, as on the real API
    settings = FBE | LEASE | {"EMAG_SYNC_MAX_ATTEMPTS": "2"}
    scene = await start(offers=OFFERS, settings=settings, account={"calls_per_second": str(pace)})
    assert scene.program.config is not None
    fbe = f'\n[accounts.emag.fbe]\nbase_url = "{scene.program.base_url}"\ncalls_per_second = {pace}\n'
    scene.program.config.write_text(scene.program.config.read_text() + fbe)
    async with daemon_serving(scene) as daemon, watching(scene, tmp_path, **LEASE) as watch:
        await _second_round(scene, daemon)
        scene.query(PAST)
        await _looks_right(chromium, watch, "good", "All good: ")
        scene.sandbox.faults.add("slow:page=8-99:seconds=60:times=forever")
        assert (await daemon.call("POST", "/sync", {"account": "main"}))[0] == 202
        await until(lambda: scene.query(f"{RUNNING} AND pages >= 7"), "seven pages of the new run are stored")
        await _says(watch, "All good: main is at page ")
        if file := os.environ.get("SYNCD_SCREENSHOT"):
            await _keep(chromium, watch, Path(file))
        await _looks_right(chromium, watch, "running", "All good: main is at page ")
        with psycopg.connect(scene.program.database, options="-c search_path=sync") as holder:
            holder.execute("SELECT FROM lease FOR UPDATE")  # nobody can end the run before we let go
            daemon.process.send_signal(signal.SIGSTOP)
            await until(lambda: state_of(daemon.process.pid) == "T", "the daemon has stopped")
            await _says(watch, "Stuck: run ")
            await _looks_right(chromium, watch, "stuck", "Stuck: run ")
        await until(lambda: scene.query("SELECT 1 FROM rescue WHERE ended_at IS NOT NULL"), "it is recovered")


async def _says(watch: Watch, begins: str, seconds: float = 30.0) -> None:
    text = ""
    async with asyncio.timeout(seconds):
        while not text.startswith(begins):
            _, text = await watch.get("/", Accept="text/plain")
