"""Which way a command goes: through the daemon of this machine, or straight on the ledger.

    GET /readyz, without the token   is it a daemon of ours, on our ledger, ready?
    then the call, with the token    it acts at once
    else                             the same change straight on the ledger, where every daemon looks within seconds

The token goes only to a program that names our ledger: another daemon, or something else on that port, never sees
it, and a call never changes another database than the one that the settings name. Every wait has an end.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
import click
from pydantic import SecretStr

from syncd.cli.options import within_deadline
from syncd.config import Settings
from syncd.contract.errors import FatalError
from syncd.contract.text import escape
from syncd.control.call import INITIATOR_HEADER
from syncd.http.access import TOKEN_SETTING
from syncd.ledger.identity import load_ledger_id
from syncd.runtime.command import initiator
from syncd.runtime.postgres import Postgres
from syncd.runtime.settings.sync import SyncSettings

T = TypeVar("T")

PROBE_SECONDS = 3.0
CALL_SECONDS = 7.0
"""Longer than the daemon takes to give up on its ledger: its word is better than none."""
_MOST_BYTES = 1024 * 1024
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # where it listens everywhere, loopback reaches it


class NoAnswerError(Exception):
    """Why the daemon cannot be asked; silent: nothing answers there at all."""

    def __init__(self, why: str, *, silent: bool = False) -> None:
        super().__init__(why)
        self.silent = silent


@dataclass(frozen=True, slots=True)
class Told:
    """What the daemon answered: done (2xx), or 409 with its reason."""

    status: int
    document: dict[str, Any]

    @property
    def is_done(self) -> bool:
        """Whether it did as it was asked."""
        return self.status < 300


class Door:
    """The control port as the settings have it."""

    def __init__(self, client: aiohttp.ClientSession, sync: SyncSettings) -> None:
        self._client = client
        self._port = sync.control_port
        address = _ANY.get(sync.control_address, sync.control_address)
        self.place = f"[{address}]:{self._port}" if ":" in address else f"{address}:{self._port}"
        hosts = sync.allowed_hosts
        name = address if address in hosts or not hosts else hosts[0]
        self._host = f"[{name}]:{self._port}" if ":" in name else f"{name}:{self._port}"

    def elsewhere(self, sync: SyncSettings) -> Door:
        """Another control port of this machine."""
        return Door(self._client, sync)

    async def find_ledger(self) -> str:
        """The ledger of the daemon that listens there and is ready. Raises NoAnswerError."""
        if not self._port:
            raise NoAnswerError("the daemon's port is not known here (EMAG_SYNC_CONTROL_PORT is 0)")
        status, document = await self.ask("GET", "/readyz", seconds=PROBE_SECONDS)
        if status == 503:
            raise NoAnswerError(f"the daemon at {self.place} is starting up or draining")
        if status == 421:
            raise NoAnswerError(f"the daemon at {self.place} does not serve this host name (EMAG_SYNC_ALLOWED_HOSTS)")
        if status != 200 or document.get("status") != "ready" or "ledger" not in document:
            raise NoAnswerError(f"what answers at {self.place} is not a daemon of this release (HTTP {status})")
        return str(document["ledger"])

    async def ask(
        self, method: str, path: str, body: Any = None, *, token: SecretStr | None = None, seconds: float
    ) -> tuple[int, dict[str, Any]]:
        """Status and document, {} where it is none of JSON. Raises NoAnswerError."""
        headers = {"Host": self._host, INITIATOR_HEADER: initiator()}
        if token is not None:
            headers["Authorization"] = f"Bearer {token.get_secret_value()}"
        try:
            async with (
                asyncio.timeout(seconds),
                self._client.request(
                    method, f"http://{self.place}{path}", json=body, headers=headers, allow_redirects=False
                ) as answer,
            ):
                read = bytearray()
                async for chunk in answer.content.iter_any():
                    read += chunk
                    if len(read) > _MOST_BYTES:
                        raise NoAnswerError(f"what answers at {self.place} is not a daemon of ours")
                is_ours = answer.headers.get("Server") == "syncd"
        except TimeoutError:
            raise NoAnswerError(
                f"the daemon at {self.place} did not answer within {seconds:.0f} s", silent=True
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            why = "nothing listens" if isinstance(error, aiohttp.ClientConnectorError) else type(error).__name__
            raise NoAnswerError(f"no daemon answers at {self.place} ({why})", silent=True) from None
        if not is_ours:
            raise NoAnswerError(f"what answers at {self.place} is not a daemon of ours")
        try:
            document = json.loads(read)
        except ValueError:
            document = {}
        return answer.status, document if isinstance(document, dict) else {}


class Way:
    """One command's way. `why_not` is None while it may go through the daemon."""

    def __init__(self, door: Door, ledger_id: str, token: SecretStr | None) -> None:
        self._door = door
        self._ledger_id = ledger_id
        self._token = token
        self.why_not: str | None = None
        self.is_silent = False
        self._is_known = False

    @property
    def via(self) -> str:
        """`daemon` or `ledger`, for machines."""
        return "daemon" if self.why_not is None else "ledger"

    def __str__(self) -> str:
        if self.why_not is None:
            return f"through the daemon at {self._door.place}"
        return f"straight on the ledger, where every daemon looks within seconds: {self.why_not}"

    @property
    def place(self) -> str:
        """Address and port of the daemon that is asked."""
        return self._door.place

    @property
    def facts(self) -> dict[str, str]:
        """For `--json`."""
        return {"via": self.via, "way": str(self)}

    async def look(self) -> bool:
        """Whether the daemon of our ledger answers, ready. Asked once."""
        if not self._is_known:
            self._is_known = True
            try:
                if await self._door.find_ledger() != self._ledger_id:
                    raise NoAnswerError(f"the daemon at {self._door.place} works on another database")
            except NoAnswerError as error:
                self.go_straight(str(error), silent=error.silent)
        return self.why_not is None

    async def next_runs(self) -> dict[str, float | None] | None:
        """Seconds until the next run of each stream that the daemon serves, None where none begins by itself; None in
        all where it does not tell."""
        if not await self.look():
            return None
        try:
            status, document = await self._door.ask("GET", "/sync-status", token=self._token, seconds=PROBE_SECONDS)
        except NoAnswerError:
            return None
        scheduler = document.get("scheduler")
        found = scheduler.get("next_run_seconds") if status == 200 and isinstance(scheduler, dict) else None
        return found if isinstance(found, dict) else None

    def go_straight(self, why: str, *, silent: bool = False) -> None:
        """From now on straight on the ledger."""
        self.why_not, self.is_silent = why, silent

    async def post(self, path: str, body: Any = None) -> Told | None:
        """Ask the daemon; None where the same is to be done straight on the ledger, and `why_not` says why."""
        if not await self.look():
            return None
        if self._token is None:
            self.go_straight(f"no {TOKEN_SETTING} is set here, and the daemon wants it")
            return None
        try:
            status, document = await self._door.ask("POST", path, body or {}, token=self._token, seconds=CALL_SECONDS)
        except NoAnswerError as error:
            self.go_straight(str(error), silent=error.silent)
            return None
        if status < 300 or status == 409:
            return Told(status, document)
        refused = f"the daemon at {self._door.place} refused: {_refusal(status, document)}"
        if status == 422:  # the ledger would take what no daemon then serves
            raise FatalError(f"{refused} (does its configuration know this stream?)")
        self.go_straight(refused)
        return None


def _refusal(status: int, document: dict[str, Any]) -> str:
    if status == 401:
        return f"HTTP 401, it has another token ({TOKEN_SETTING}) than this command"
    if status == 403:
        return f"HTTP 403, it has no token set ({TOKEN_SETTING})"
    return f"HTTP {status}, {escape(str(document.get('detail', 'without a word')))[:200]}"


@asynccontextmanager
async def open_door(settings: Settings) -> AsyncIterator[Door]:
    """No proxy of the environment stands between us and our own machine: aiohttp asks none unless told to."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as client:
        yield Door(client, settings.sync)


def on_way(settings: Settings, work: Callable[[Postgres, Way], Awaitable[T]]) -> T:
    """Run `work` with the ledger open and the way to the daemon beside it."""

    async def both(postgres: Postgres) -> T:
        async with open_door(settings) as door:
            way = Way(door, await load_ledger_id(postgres), settings.sync.control_token)
            return await work(postgres, way)

    return asyncio.run(within_deadline(settings, both))


def say_way(way: Way) -> None:
    """On standard error, beside what was done."""
    click.echo(f"({way})", err=True)
