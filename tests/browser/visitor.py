"""Somebody who looks at the page, and at everything that the browser does meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page

MOST_BYTES = 60_000
WIDE = {"width": 1100, "height": 900}
NARROW = {"width": 400, "height": 800}


@dataclass
class Visit:
    """One tab. console: errors and warnings; asked: the URLs of all requests, data: ones aside."""

    page: Page
    url: str
    console: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    async def look(self) -> None:
        """Load the page anew, and judge what was sent."""
        answer = await self.page.goto(self.url, wait_until="load")
        assert answer is not None
        assert answer.status == 200
        assert len(await answer.body()) < MOST_BYTES

    async def sentence(self) -> str:
        return await self.page.inner_text("h1")

    def assert_clean(self) -> None:
        """Nothing complained, and nobody else was asked."""
        assert self.console == []
        host = urlsplit(self.url).netloc
        assert [url for url in self.asked if urlsplit(url).netloc != host] == []

    async def assert_accessible(self) -> None:
        """By axe-core's rules, all of them."""
        results = await Axe().run(self.page)
        assert results.violations_count == 0, results.generate_report()

    async def assert_fits(self) -> None:
        """Nothing makes the page itself scroll sideways."""
        over = await self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert over <= 0


@asynccontextmanager
async def visiting(browser: Browser, url: str, **options: Any) -> AsyncIterator[Visit]:
    """A tab of its own: `viewport`, `color_scheme`, `java_script_enabled`."""
    context = await browser.new_context(**{"viewport": WIDE, **options})
    page = await context.new_page()
    visit = Visit(page, url)
    page.on("console", lambda message: visit.console.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: visit.console.append(f"error: {error}"))
    page.on("dialog", lambda dialog: visit.console.append(f"dialog: {dialog.message}"))
    page.on("request", lambda request: visit.asked.append(request.url) if not request.url.startswith("data:") else None)
    try:
        yield visit
    finally:
        await context.close()
