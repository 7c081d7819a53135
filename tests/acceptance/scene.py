"""One sandbox, one database, and `syncd` between them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import psycopg

from syncd.runtime.embedded import EmbeddedPostgres
from syncd.sandbox import Sandbox
from syncd.sandbox.calls import Call
from tests.program import Program

MOST_MIB = 90
"""What `syncd run` may use at its peak."""


@dataclass
class Scene:
    """What a test looks at: the served side, the program, the stored side."""

    sandbox: Sandbox
    program: Program

    async def sync(self, *arguments: str, **settings: Any) -> dict[str, Any]:
        """`syncd run` to its end; the facts of its run."""
        return await asyncio.to_thread(self.program.sync, *arguments, **settings)

    def configure(self, account: dict[str, str]) -> None:
        """Write the settings file: the account's own keys, as TOML. Loopback may have more than 3 calls a second."""
        assert self.program.config is not None
        lines = {"calls_per_second": "1000", **account}
        text = "".join(f"{key} = {value}\n" for key, value in lines.items())
        self.program.config.write_text("[accounts.emag.main]\n" + text)

    def query(self, text: str, *parameters: object) -> list[tuple[Any, ...]]:
        """All rows of one statement."""
        with psycopg.connect(self.program.database, options="-c search_path=sync", autocommit=True) as connection:
            return connection.execute(text, parameters).fetchall()

    @property
    def live(self) -> dict[str, bytes]:
        """The records that are not tombstoned: key → exact document."""
        rows = self.query("SELECT key, document::text FROM record WHERE missing_since IS NULL")
        return {key: document.encode() for key, document in rows}

    @property
    def served(self) -> dict[str, bytes]:
        """What the marketplace serves at this moment: key → exact document."""
        return {str(offer_id): document for offer_id, document in self.sandbox.catalogue.items()}

    @property
    def tombstoned(self) -> set[str]:
        """The keys that are marked as gone."""
        return {row[0] for row in self.query("SELECT key FROM record WHERE missing_since IS NOT NULL")}

    @property
    def pages_read(self) -> list[int]:
        """The pages of list calls, as asked for, in the order of their arrival."""
        return [call.page for call in self.list_calls]

    @property
    def list_calls(self) -> list[Call]:
        """The calls for pages: no counts, no look-ups."""
        return [call for call in self.sandbox.log if call.page and "id" not in call.parameters]


@dataclass
class SceneWithServer(Scene):
    """A scene whose PostgreSQL the test may stop, freeze and crash."""

    server: EmbeddedPostgres


def outcome(facts: dict[str, Any]) -> tuple[int, str | None, str | None]:
    """(exit code, status, cause): what the fault tables speak of."""
    return facts["exit_code"], facts.get("status"), facts.get("cause")


Start = Callable[..., Awaitable[Scene]]
"""The fixture `start`: see conftest.py."""
