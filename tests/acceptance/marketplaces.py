"""Many simulated marketplaces in one process of their own, so that they share no event loop with the test.

Run as a program: `python -m tests.acceptance.marketplaces '{"count": 4, "offers": 500}'` prints the base URLs and
serves until its standard input ends. The user of marketplace n is `seller-n`: each login has a budget of its own.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syncd.sandbox import Sandbox
from tests.acceptance.scene import Scene

PASSWORD = "sandbox"
SECTION = '[accounts.emag.{name}]\nbase_url = "{url}"\nusername = "{username}"\n{keys}\n'


@dataclass
class Marketplaces:
    """The running ones, by their base URLs."""

    base_urls: list[str]

    def ask(self, number: int, path: str, document: Any = None, method: str | None = None) -> Any:
        """The control endpoint of one of them: see `syncd.sandbox.control`."""
        root = self.base_urls[number].rpartition("/api-3")[0]
        request = urllib.request.Request(  # noqa: S310  # loopback
            f"{root}/_sandbox/{path}",
            data=None if document is None else json.dumps(document).encode(),
            headers={"Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.load(answer)

    def calls(self, number: int) -> list[dict[str, Any]]:
        """What arrived there, in order."""
        calls: list[dict[str, Any]] = self.ask(number, "log")["calls"]
        return calls

    def forget(self, number: int) -> None:
        """Begin its log anew."""
        self.ask(number, "log", method="DELETE")

    def configure(self, scene: Scene, accounts: dict[str, int], **keys: str | dict[str, str]) -> None:
        """Write the scene's settings file anew: these accounts, each at its marketplace.

        Values are TOML, one for all accounts or one an account.
        """
        path = scene.program.config
        assert isinstance(path, Path)
        sections = []
        for name, number in accounts.items():
            own = {key: value if isinstance(value, str) else value[name] for key, value in keys.items()}
            lines = "\n".join(f"{key} = {value}" for key, value in own.items())
            url, username = self.base_urls[number], f"seller-{number}"
            sections.append(SECTION.format(name=name, url=url, username=username, keys=lines))
        path.write_text("\n".join(sections))
        for name in accounts:
            password = path.with_name(f"emag-{name}-password")
            password.touch(mode=0o600)
            password.write_text(PASSWORD)
        scene.program.settings |= {
            "EMAG_API_BASE_URL": "",
            "EMAG_API_USERNAME": "",
            "EMAG_API_PASSWORD": "",
            "CREDENTIALS_DIRECTORY": str(path.parent),
        }


@contextmanager
def marketplaces(count: int, **options: Any) -> Iterator[Marketplaces]:
    """So many, each with these options of `Sandbox`, until the end of the block."""
    command = [sys.executable, "-m", "tests.acceptance.marketplaces", json.dumps({"count": count, **options})]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Marketplaces(json.loads(process.stdout.readline()))
        finally:
            process.kill()


async def _serve(count: int, options: dict[str, Any]) -> None:
    async with AsyncExitStack() as stack:
        urls = []
        for number in range(count):
            sandbox = Sandbox(username=f"seller-{number}", password=PASSWORD, control=True, **options)
            urls.append((await stack.enter_async_context(sandbox)).base_url)
        print(json.dumps(urls), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    wanted = json.loads(sys.argv[1])
    asyncio.run(_serve(wanted.pop("count"), wanted))
