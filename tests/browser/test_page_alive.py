"""What the page does while somebody looks: it stays fresh, keeps quiet when hidden, runs nothing that is not ours."""

from __future__ import annotations

from pathlib import Path

from playwright.async_api import Browser, Page, expect

from tests.acceptance.monitoring import watching
from tests.acceptance.scene import Scene, Start, outcome
from tests.browser.visitor import Visit, visiting

HOSTILE = "</bdi></h1><script>alert(1)</script><img src=//evil.example/x onerror=alert(2)>\u202egnp.exe\x1b[31m"
FAIL = """
INSERT INTO run (stream_id, initiated_by, status, cause, started_at, completed_at, error_message)
SELECT stream_id, %s, 'failed', 'upstream', clock_timestamp(), clock_timestamp(), %s FROM stream RETURNING run_id::text
"""
SELF_SERVED = "Object.defineProperty(document, 'hidden', {get: () => window.isAway === true})"


async def _pass_time(page: Page, seconds: int) -> None:
    """By the page's own clock; whatever it asked for meanwhile has been seen when this returns."""
    await page.clock.run_for(seconds * 1000)
    await page.evaluate("fetch('/livez').then(answer => answer.text())")


def _polls(visit: Visit) -> int:
    return len([url for url in visit.asked if url == f"{visit.url}/"])


async def _fill(scene: Scene) -> str:
    """Two syncs, the second with an offer whose name and price are made to hurt, and then a run that failed so."""
    assert outcome(await scene.sync())[0] == 0
    offer_id = next(iter(scene.sandbox.catalogue))
    document = scene.served[str(offer_id)].decode()
    price = document.split('"sale_price":', 1)[1].split(",", 1)[0]
    changed = document.replace(f'"sale_price":{price}', '"sale_price":987654.321', 1)
    name = changed.split('"name":"', 1)[1].split('"', 1)[0]
    shown = HOSTILE.replace("\x1b", "\\u001b")
    scene.sandbox.catalogue.put(offer_id, changed.replace(f'"name":"{name}"', f'"name":"{shown}"', 1).encode())
    assert outcome(await scene.sync())[0] == 0
    ((run_id,),) = scene.query(FAIL, HOSTILE, HOSTILE)
    return str(run_id)


async def test_hostile_text_runs_nothing_and_the_page_lives_by_keyboard_and_script(
    start: Start, chromium: Browser, tmp_path: Path
) -> None:
    scene = await start(offers=120)
    run_id = await _fill(scene)
    async with (
        watching(scene, tmp_path) as watch,
        visiting(chromium, watch.url, permissions=["clipboard-read", "clipboard-write"]) as visit,
    ):
        page = visit.page
        await page.add_init_script(SELF_SERVED)
        await page.clock.install()
        await visit.look()
        text = await page.inner_text("main")
        assert "<script>alert(1)</script>" in text
        assert "987,654.321" in text
        assert "\u202e" not in text
        assert await page.locator("main script, main img").count() == 0
        await visit.assert_accessible()
        await visit.assert_fits()

        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.id") == "pause"
        copy = page.locator(".copy button").first
        await copy.focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("#said")).to_have_text("Copied")
        copied = await page.evaluate("navigator.clipboard.readText()")
        assert copied == f"journalctl SYNC_RUN_ID={run_id}"

        scene.query(FAIL, "somebody", "auth refused")
        await _pass_time(page, 6)
        await expect(page.locator("h1")).to_contain_text("auth refused")
        assert await page.evaluate("document.activeElement.id") == "copy-0"

        asked = _polls(visit)
        await page.evaluate("window.isAway = true")
        await _pass_time(page, 60)
        assert _polls(visit) == asked
        await page.evaluate("window.isAway = false; document.dispatchEvent(new Event('visibilitychange'))")
        await _pass_time(page, 0)
        assert _polls(visit) == asked + 1

        await page.locator("#pause").focus()
        await page.keyboard.press("Space")
        assert await page.get_attribute("#pause", "aria-pressed") == "true"
        await _pass_time(page, 60)
        assert _polls(visit) == asked + 1
        visit.assert_clean()

        watch.process.kill()
        await page.keyboard.press("Space")
        await expect(page.locator("#age")).to_have_class("away")
