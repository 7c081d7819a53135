"""Scenes for acceptance tests: a sandbox over HTTP, a database, and `syncd` as a real process between them.

The sandbox lives in the test's event loop; `syncd` runs in a thread that waits for its process. So a test can
change the catalogue, add faults and read the sandbox's log at any time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from syncd.ledger.schema import migrate
from syncd.runtime.embedded import EmbeddedPostgres
from syncd.sandbox import Sandbox
from tests.acceptance.scene import Scene, SceneWithServer, Start
from tests.postgres import temporary_database
from tests.program import Program

SLOW = ["slow:page=all:seconds=0.3"]


@pytest.fixture
async def start(cluster: EmbeddedPostgres, migrated_template: str, tmp_path: Path) -> AsyncIterator[Start]:
    """Start a scene: `account` are keys of its TOML section, `settings` environment; the rest is the sandbox's.

    Without a rate limit on either side, so that only the tests that ask for waits wait. Scenes of one test may
    sync side by side: each has a database of its own.
    """
    async with AsyncExitStack() as stack:
        executor = stack.enter_context(ThreadPoolExecutor(16))  # each waits for a process
        asyncio.get_running_loop().set_default_executor(executor)

        async def started(
            *, account: dict[str, str] | None = None, settings: dict[str, str] | None = None, **options: Any
        ) -> Scene:
            sandbox = await stack.enter_async_context(
                Sandbox(**{"offers": 250, "seed": 1, "per_second": None, "per_minute": None, **options})
            )
            database = stack.enter_context(temporary_database(cluster, migrated_template))
            config = tmp_path / f"{sandbox.port}.toml"
            scene = Scene(sandbox, Program(database, sandbox.base_url, settings=settings or {}, config=config))
            scene.configure(account or {})
            return scene

        yield started


@pytest.fixture
async def scene(own_postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[SceneWithServer]:
    """A server of its own, and a sandbox with 12 pages that takes 0.3 s over each."""
    migrate(own_postgres.conninfo())
    async with Sandbox(offers=1150, per_second=None, per_minute=None, faults=SLOW) as sandbox:
        program = Program(own_postgres.conninfo(), sandbox.base_url, config=tmp_path / "syncd.toml")
        scene = SceneWithServer(sandbox, program, own_postgres)
        scene.configure({})
        yield scene
