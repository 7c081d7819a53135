"""A running sandbox: catalogue, faults, log and the server, on a loopback port of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType

from aiohttp import web

from syncd.sandbox.calls import new_log
from syncd.sandbox.catalogue import Catalogue
from syncd.sandbox.control import add_control
from syncd.sandbox.drift import AfterPage, Drift, mutate_every
from syncd.sandbox.fault import Fault, Faults
from syncd.sandbox.gate import RateLimit, Window
from syncd.sandbox.marketplace import BASE_PATH, CountMode, Marketplace, Over100, Rules
from syncd.sandbox.parameters import Wrap

HOST = "127.0.0.1"
_SEND_BUFFER_BYTES = 1 << 20


class Sandbox:
    """`async with Sandbox(offers=500, seed=7) as sandbox:` and call `sandbox.base_url`.

    offers, seed, big_description: the catalogue at the start. port: 0 = any free one. wrap, over_100, count:
    see `Wrap`, `Over100`, `CountMode`. per_second, per_minute: the rate limit, None = no such window.
    retry_after: the header on a real 429, None = none. faults: `Fault` or its grammar. drift: see `AfterPage`.
    mutate_every: seconds between unasked changes. control: serve /_sandbox/. cache_mib: finished pages kept.

    catalogue, faults, drift and log may be looked at and changed at any time, also while it serves.
    ValueError for an option that makes no sense; OSError at start if the port is taken.
    """

    def __init__(
        self, *, offers: int = 2350, seed: int = 1, big_description: bool = False, port: int = 0,
        username: str = "sandbox", password: str = "sandbox",  # noqa: S107 - a toy's, printed on its start
        wrap: Wrap | str = Wrap.BOTH, over_100: Over100 | str = Over100.CLAMP,
        count: CountMode | str = CountMode.OK, per_second: int | None = 3, per_minute: int | None = 180,
        retry_after: str | None = None, faults: Iterable[Fault | str] = (), drift: Iterable[AfterPage] = (),
        mutate_every: float | None = None, control: bool = False, cache_mib: int = 256,
    ) -> None:  # fmt: skip
        self.username, self.password, self.port = username, password, port
        self.catalogue = Catalogue(offers, seed, big_description=big_description)
        self.faults = Faults(faults)
        self.drift = Drift(drift, self.catalogue)
        self.log = new_log()
        self._rules = Rules(username, password, Wrap(wrap), Over100(over_100), CountMode(count), retry_after)
        windows = ((per_second, 1.0), (per_minute, 60.0))
        self._limit = RateLimit(tuple(Window(calls, seconds) for calls, seconds in windows if calls is not None))
        self._mutate_every, self._control, self._cache_bytes = mutate_every, control, cache_mib << 20
        self._stopping = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._mutating: asyncio.Task[None] | None = None

    @property
    def base_url(self) -> str:
        """Where the API begins, without a slash at the end; known once started."""
        return f"http://{HOST}:{self.port}{BASE_PATH}"

    @property
    def control_url(self) -> str:
        """Where the control endpoint begins, if there is one."""
        return f"http://{HOST}:{self.port}/_sandbox"

    async def start(self) -> None:
        """Listen; from here on `port` is the real one, kept by a later start after a stop."""
        self._stopping.clear()
        marketplace = Marketplace(
            self._rules, self.catalogue, self.faults, self.drift, self._limit, self.log,
            self._cache_bytes, self._stopping,
        )  # fmt: skip
        app = web.Application(client_max_size=8 << 20)
        if self._control:
            add_control(app, self.catalogue, self.faults, self.log)
        app.router.add_route("*", "/{path:.*}", marketplace.answer)
        # a handler that hangs ends when its client gives up; nothing is worth waiting for at the end
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        self._runner = runner
        await web.SockSite(runner, self._listening_socket(), backlog=1024).start()
        if self._mutate_every is not None:
            self._mutating = asyncio.create_task(mutate_every(self._mutate_every, self.catalogue, self._stopping))

    def _listening_socket(self) -> socket.socket:
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # inherited by each connection: a whole page leaves in one system call
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
            listening.bind((HOST, self.port))
        except OSError:
            listening.close()
            raise
        self.port = listening.getsockname()[1]
        return listening

    async def stop(self) -> None:
        """Stop at once: what hangs, drips or sleeps is cut off. Harmless when it does not run."""
        self._stopping.set()
        if self._mutating is not None:
            with suppress(asyncio.CancelledError):
                await self._mutating
            self._mutating = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Sandbox:
        try:
            await self.start()
        except OSError:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
