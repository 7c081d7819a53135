"""Answers that no HTTP library would send: cut, dripping, hanging, reset, swollen.

They are written to the connection by hand, which is closed afterwards.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import zlib
from collections.abc import Awaitable, Callable
from functools import lru_cache

from aiohttp import web

from syncd.sandbox.answers import JSON_TYPE, OPENING, reply
from syncd.sandbox.fault import Fault

_HEAD = f"HTTP/1.1 200 OK\r\nContent-Type: {JSON_TYPE}\r\nConnection: close\r\n".encode()
_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_GZIP = b"Content-Encoding: gzip\r\n"


async def stopped_within(seconds: float, stopping: asyncio.Event) -> bool:
    """Wait; True at once if the sandbox stops meanwhile."""
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        return False
    return True


def _send(request: web.Request, *parts: bytes) -> web.Response:
    """Write bytes and close. The response returned finds the connection closed and sends nothing."""
    if request.transport is not None:
        request.transport.write(b"".join(parts))
        request.transport.close()
    return web.Response()


def _length(size_bytes: int) -> bytes:
    return b"Content-Length: %d\r\n\r\n" % size_bytes


async def _truncated(request: web.Request, _: Fault, body: bytes, __: asyncio.Event) -> web.Response:
    return _send(request, _HEAD, _length(len(body)), body[: len(body) // 2])


async def _truncated_eof(request: web.Request, _: Fault, body: bytes, __: asyncio.Event) -> web.Response:
    return _send(request, _HEAD, b"\r\n", body[: len(body) // 2])


async def _truncated_chunked(request: web.Request, _: Fault, body: bytes, __: asyncio.Event) -> web.Response:
    half = body[: len(body) // 2]
    return _send(request, _HEAD, _CHUNKED, b"\r\n%x\r\n" % len(half), half, b"\r\n")


async def _truncated_gzip(request: web.Request, _: Fault, body: bytes, __: asyncio.Event) -> web.Response:
    packed = gzip.compress(body, compresslevel=1)
    return _send(request, _HEAD, _GZIP, b"\r\n", packed[: len(packed) // 2])


async def _too_large(_: web.Request, fault: Fault, body: bytes, __: asyncio.Event) -> web.Response:
    padding = b" " * (((fault.mib or 17) << 20) - len(body))
    return reply(OPENING + padding + body.removeprefix(OPENING))


async def _gzip_bomb(_: web.Request, fault: Fault, body: bytes, __: asyncio.Event) -> web.Response:
    answer = reply(bomb(fault.mib or 300))
    answer.headers["Content-Encoding"] = "gzip"
    return answer


@lru_cache(maxsize=2)
def bomb(mib: int) -> bytes:
    """A valid gzip stream of about 1 kB a MiB that unpacks to an empty page padded to `mib` MiB of blanks.

    The blanks are packed once: after a full flush deflate remembers nothing, so the block can be repeated.
    """
    blanks, tail = b" " * (1 << 20), b"[]}"
    checksum = zlib.crc32(OPENING)
    for _ in range(mib):
        checksum = zlib.crc32(blanks, checksum)
    checksum = zlib.crc32(tail, checksum)
    size = len(OPENING) + mib * len(blanks) + len(tail)
    packed = [_deflated(OPENING, zlib.Z_FULL_FLUSH), *[_deflated(blanks, zlib.Z_FULL_FLUSH)] * mib]
    packed.append(_deflated(tail, zlib.Z_FINISH))
    head = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"
    return head + b"".join(packed) + struct.pack("<II", checksum, size & 0xFFFFFFFF)


def _deflated(plain: bytes, mode: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(plain) + packer.flush(mode)


async def _drip(request: web.Request, fault: Fault, body: bytes, stopping: asyncio.Event) -> web.Response:
    transport, pause_seconds = request.transport, 0.5 if fault.seconds is None else fault.seconds
    if transport is not None:
        transport.write(_HEAD + _length(len(body)))
        for at in range(len(body)):
            transport.write(body[at : at + 1])
            if await stopped_within(pause_seconds, stopping) or transport.is_closing():
                break
        transport.close()
    return web.Response()


async def _hang(request: web.Request, _: Fault, __: bytes, stopping: asyncio.Event) -> web.Response:
    await stopping.wait()
    return _abort(request)


async def _reset(request: web.Request, _: Fault, __: bytes, ___: asyncio.Event) -> web.Response:
    connection = request.transport.get_extra_info("socket") if request.transport else None
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return _abort(request)


def _abort(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


_Sender = Callable[[web.Request, Fault, bytes, asyncio.Event], Awaitable[web.Response]]

SENDERS: dict[str, _Sender] = {
    "truncated": _truncated,
    "truncated_eof": _truncated_eof,
    "truncated_chunked": _truncated_chunked,
    "truncated_gzip": _truncated_gzip,
    "too_large": _too_large,
    "gzip_bomb": _gzip_bomb,
    "drip": _drip,
    "hang": _hang,
    "reset": _reset,
}
"""Fault kind → how to send the good body so that it arrives broken."""
