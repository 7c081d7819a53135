"""Stands between syncd and PostgreSQL, and cuts connections at chosen moments.

    async with FaultProxy(conninfo) as proxy:
        proxy.cut_after(b"COMMIT")      # the server does it, its answer never arrives
        proxy.cut_before(b"COMMIT")     # the server never sees it, and rolls back
        proxy.hold()                    # connections stay open, nothing passes; `proxy.pass_on()` ends it
        proxy.hold_after(b"COPY")       # the server sees it, and then nothing more

Texts are looked for in what a client sends; statements that are already prepared carry none.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from psycopg import conninfo


class FaultProxy:
    """A Unix socket that leads to the server of `conninfo`; `proxy.conninfo` leads through it."""

    def __init__(self, server: str) -> None:
        parameters = conninfo.conninfo_to_dict(server)
        self._folder = Path(tempfile.mkdtemp(prefix="proxy-", dir="/var/tmp"))
        self._name = f".s.PGSQL.{parameters['port']}"
        self._server_socket = f"{parameters['host']}/{self._name}"
        self.conninfo = conninfo.make_conninfo(server, host=str(self._folder))
        self.cuts = 0
        self._before: bytes | None = None
        self._after: bytes | None = None
        self._hold_after: bytes | None = None
        self._passing = asyncio.Event()
        self._passing.set()
        self._open: set[asyncio.StreamWriter] = set()
        self._listener: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_unix_server(self._serve, self._folder / self._name)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._listener is not None
        self._listener.close()
        self.pass_on()
        self.cut_all()
        await self._listener.wait_closed()
        shutil.rmtree(self._folder)

    def cut_before(self, text: bytes) -> None:
        """Once: cut the connection that sends this, before the server sees it."""
        self._before = text

    def cut_after(self, text: bytes) -> None:
        """Once: let this through, wait for the server's answer, and cut instead of passing it on."""
        self._after = text

    def cut_all(self) -> None:
        """Every connection ends now; new ones are welcome."""
        for writer in list(self._open):
            writer.transport.abort()

    def hold(self) -> None:
        """From now on nothing passes in either direction, and nothing is closed."""
        self._passing.clear()

    def hold_after(self, text: bytes) -> None:
        """Once: `hold` as soon as the server has got this."""
        self._hold_after = text

    @property
    def is_holding(self) -> bool:
        return not self._passing.is_set()

    def pass_on(self) -> None:
        """End of `hold`."""
        self._passing.set()

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(self._server_socket)
        self._open |= {to_client, to_server}
        answer_is_lost = asyncio.Event()
        directions = [
            asyncio.create_task(self._forward_requests(from_client, to_server, answer_is_lost)),
            asyncio.create_task(self._forward_answers(from_server, to_client, answer_is_lost)),
        ]
        with suppress(asyncio.CancelledError):
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        for direction in directions:
            direction.cancel()
        await asyncio.gather(*directions, return_exceptions=True)
        for writer in (to_client, to_server):
            writer.transport.abort()
            self._open.discard(writer)

    async def _forward_requests(
        self, client: asyncio.StreamReader, server: asyncio.StreamWriter, answer_is_lost: asyncio.Event
    ) -> None:
        while data := await client.read(1 << 16):
            await self._passing.wait()
            if self._before is not None and self._before in data:
                self._before = None
                self.cuts += 1
                return
            if self._after is not None and self._after in data:
                self._after = None
                answer_is_lost.set()
            server.write(data)
            await server.drain()
            if self._hold_after is not None and self._hold_after in data:
                self._hold_after = None
                self.hold()

    async def _forward_answers(
        self, server: asyncio.StreamReader, client: asyncio.StreamWriter, answer_is_lost: asyncio.Event
    ) -> None:
        while data := await server.read(1 << 16):
            await self._passing.wait()
            if answer_is_lost.is_set():
                self.cuts += 1
                return
            client.write(data)
            await client.drain()
