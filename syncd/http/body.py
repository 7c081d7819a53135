"""A request's body, read within a deadline and a size."""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.http import HttpVersion11

from syncd.http.problem import Problem

MOST_BODY_BYTES = 64 * 1024


async def read_body(request: web.BaseRequest, *, deadline_seconds: float) -> bytes:
    """The body's bytes, b'' where there is none. Raises 400, 408, 413 or 415; the connection then ends."""
    if (request.content_length or 0) > MOST_BODY_BYTES:
        raise _too_large()
    if not request.can_read_body:
        return b""
    if any(coding.lower() != "chunked" for coding in request.headers.getall("Transfer-Encoding", [])):
        raise Problem(400, "of transfer codings only chunked is read here", close=True)
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Problem(415, "a body with a Content-Encoding is not read here", close=True)
    if request.content_type != "application/json":
        raise Problem(415, "a body must be application/json", headers={"Accept": "application/json"}, close=True)
    chunks = bytearray()
    try:
        async with asyncio.timeout(deadline_seconds):
            await _invite(request)
            async for chunk in request.content.iter_any():
                chunks += chunk
                if len(chunks) > MOST_BODY_BYTES:
                    raise _too_large()
    except TimeoutError:
        detail = f"the body did not arrive within {deadline_seconds:g} s"
        raise Problem(408, detail, headers={"Connection": "close"}, close=True) from None
    except RuntimeError as error:
        if request.transport is not None:
            raise
        # so aiohttp says that we have ended the connection ourselves, to make room for another one
        raise ConnectionResetError("ended while its body was waited for") from error
    return bytes(chunks)


async def _invite(request: web.BaseRequest) -> None:
    """A client that sent `Expect: 100-continue` waits for our word before it sends its body."""
    if request.version >= HttpVersion11 and request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun


def _too_large() -> Problem:
    return Problem(413, f"a body may have {MOST_BODY_BYTES} bytes at most", close=True)
