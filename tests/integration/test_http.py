"""One call against real servers that misbehave on the wire: what comes out, how soon, and what it gives away."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import shlex
import socket
import ssl
import subprocess
import time
import traceback
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from syncd.contract.errors import CallError
from syncd.contract.words import Cause, Reason
from syncd.sources.http import Answer, HttpClient

USER, PASSWORD = "canary-user-Ș", "canary-password-7f3a"
TOKEN = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
OK = b'{"isError":false,"results":[]}'
Script = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """A raw TCP server: reads one request, then does what its script says."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.requests: list[bytes] = []
        self.connections: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split()[0])
                request = head + await reader.readexactly(length)
                self.requests.append(request)
                await self._script(request, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def close(self) -> None:
        for connection in self.connections:
            connection.cancel()
        await asyncio.gather(*self.connections, return_exceptions=True)


@contextlib.asynccontextmanager
async def serving(script: Script) -> AsyncIterator[tuple[Server, str]]:
    server = Server(script)
    listener = await asyncio.start_server(server.accept, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    try:
        yield server, f"http://127.0.0.1:{port}/api-3"
    finally:
        listener.close()
        await server.close()


def answer(status: int, body: bytes = b"", *headers: str, cut: int = 0) -> Script:
    """A whole answer, or one whose last `cut` bytes are missing."""

    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body[: len(body) - cut])
        await writer.drain()
        if cut:
            writer.close()

    return script


def raw(data: bytes, *, close: bool = True) -> Script:
    async def script(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        if close:
            writer.close()

    return script


async def call(url: str, *, timeout_seconds: float = 5.0, **settings: int) -> Answer:
    async with HttpClient(url, USER, PASSWORD, timeout_seconds=timeout_seconds, connections=2, **settings) as client:
        return await client.call("product_offer/read", {"currentPage": 1})


async def failure_of(script: Script, *, timeout_seconds: float = 5.0, **settings: int) -> CallError:
    """The error of one call, after looking for the canaries in all that could be printed of it."""
    async with serving(script) as (_, url):
        with pytest.raises(CallError) as caught:
            await call(url, timeout_seconds=timeout_seconds, **settings)
    printed = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    for secret in (USER, PASSWORD, TOKEN, "Basic ", "Authorization"):
        assert secret not in printed
    assert caught.value.__context__ is None
    return caught.value


async def test_a_good_answer_comes_back_whole_and_the_request_is_as_documented() -> None:
    async with serving(answer(200, OK)) as (server, url):
        result = await call(url)
    assert (result.status, result.body) == (200, OK)
    assert 0 < result.elapsed_seconds < 5
    head, body = server.requests[0].split(b"\r\n\r\n", 1)
    assert body == b'{"currentPage":1}'
    assert head.startswith(b"POST /api-3/product_offer/read HTTP/1.1\r\n")
    lowered = head.lower()
    assert b"accept-encoding: gzip\r\n" in lowered
    assert b"accept: application/json\r\n" in lowered
    assert b"user-agent: syncd/" in lowered
    assert b"Authorization: Basic " + TOKEN.encode() + b"\r\n" in head + b"\r\n"


async def test_cookies_are_neither_kept_nor_sent() -> None:
    async with (
        serving(answer(200, OK, "Set-Cookie: a=b")) as (server, url),
        # by name: no jar at all keeps cookies of a bare address
        HttpClient(url.replace("127.0.0.1", "localhost"), USER, PASSWORD, timeout_seconds=5, connections=1) as client,
    ):
        await client.call("x", {})
        await client.call("x", {})
    assert len(server.requests) == 2
    assert not any(b"cookie" in request.lower() for request in server.requests)


async def test_a_gzip_body_is_unpacked_also_in_several_members() -> None:
    packed = gzip.compress(OK[:10]) + gzip.compress(OK[10:])
    async with serving(answer(200, packed, "Content-Encoding: gzip")) as (_, url):
        assert (await call(url)).body == OK


async def test_a_large_gzip_body_is_unpacked_to_the_last_byte() -> None:
    body = b'{"x":"' + b"ab" * 1_048_573 + b'"}'
    async with serving(answer(200, gzip.compress(body), "Content-Encoding: gzip")) as (_, url):
        assert (await call(url)).body == body


async def test_a_server_that_never_answers_is_given_up_at_the_deadline() -> None:
    async def hang(_: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    started = time.monotonic()
    error = await failure_of(hang, timeout_seconds=0.3)
    assert time.monotonic() - started < 2
    assert (error.reason, error.cause, error.retryable) == (Reason.TIMEOUT, Cause.UPSTREAM, True)
    assert "0.3 s" in str(error)


async def test_a_dripping_body_does_not_outlive_the_total_deadline() -> None:
    async def drip(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _byte in range(1000):
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.05)

    started = time.monotonic()
    error = await failure_of(drip, timeout_seconds=0.4)
    assert time.monotonic() - started < 2
    assert error.reason is Reason.TIMEOUT


async def test_a_reset_is_a_lost_connection_and_worth_another_try() -> None:
    async def reset(_: bytes, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        writer.transport.abort()

    error = await failure_of(reset)
    assert (error.reason, error.cause, error.retryable) == (Reason.CONNECTION, Cause.UPSTREAM, True)


async def test_nobody_listening_is_a_connection_error_naming_host_and_port() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(CallError, match=f"cannot connect to 127.0.0.1:{port}") as caught:
            await call(f"http://127.0.0.1:{port}")
    assert (caught.value.reason, caught.value.retryable) == (Reason.CONNECTION, True)


async def test_an_unknown_host_is_a_connection_error() -> None:
    with pytest.raises(CallError) as caught:
        await call("http://no-such-host.invalid")
    assert (caught.value.reason, caught.value.retryable) == (Reason.CONNECTION, True)


async def test_tls_against_a_plain_server_is_a_connection_error() -> None:
    async with serving(raw(b"plain\r\n")) as (_, url):
        with pytest.raises(CallError) as caught:
            await call(url.replace("http:", "https:"), timeout_seconds=1)
    assert caught.value.reason in (Reason.CONNECTION, Reason.TIMEOUT)
    assert caught.value.retryable


@pytest.mark.parametrize(
    "script",
    [
        answer(200, OK, cut=5),
        raw(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"isE'),
        answer(200, gzip.compress(OK)[:-12], "Content-Encoding: gzip"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(OK)[:-3]),
        answer(200, b"no gzip at all", "Content-Encoding: gzip"),
        answer(200, gzip.compress(OK), "Content-Encoding: gzip, gzip"),
        answer(200, OK, "Content-Encoding: br"),
        raw(b"SSH-2.0-OpenSSH_9.2\r\n"),
    ],
    ids=["short length", "open chunks", "cut gzip", "cut gzip to the end", "no gzip", "nested", "br", "no HTTP"],
)
async def test_a_body_that_is_not_whole_is_a_bad_body_and_worth_another_try(script: Script) -> None:
    error = await failure_of(script)
    assert (error.reason, error.cause, error.retryable) == (Reason.BAD_BODY, Cause.BAD_RESPONSE, True)


async def test_a_body_over_the_cap_is_refused_at_once_and_for_good() -> None:
    error = await failure_of(answer(200, b" " * 5000), max_body_bytes=4096)
    assert (error.reason, error.cause, error.retryable) == (Reason.TOO_LARGE, Cause.BAD_RESPONSE, False)


# The buffer and what is on the way to it; without a cap it would be 286 MiB.
@pytest.mark.parametrize(("cap_mib", "allowed_mib"), [(16, 20), (1, 3)])
async def test_a_gzip_bomb_costs_little_more_memory_than_the_cap(cap_mib: int, allowed_mib: int) -> None:
    packer = zlib.compressobj(9, wbits=31)
    block = b" " * 1024 * 1024
    bomb = b"".join(packer.compress(block) for _ in range(286)) + packer.flush()
    assert len(bomb) < 300_000
    del block
    tracemalloc.start()
    try:
        error = await failure_of(answer(200, bomb, "Content-Encoding: gzip"), max_body_bytes=cap_mib * 1024 * 1024)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert error.reason is Reason.TOO_LARGE
    assert peak_bytes < allowed_mib * 1024 * 1024


@pytest.mark.parametrize(
    ("status", "reason", "cause", "retryable"),
    [
        (300, Reason.BAD_BODY, Cause.BAD_RESPONSE, False),
        (400, Reason.HTTP_4XX, Cause.BAD_RESPONSE, False),
        (401, Reason.AUTH, Cause.AUTH, False),
        (403, Reason.AUTH, Cause.AUTH, False),
        (404, Reason.HTTP_4XX, Cause.BAD_RESPONSE, False),
        (408, Reason.TIMEOUT, Cause.UPSTREAM, True),
        (425, Reason.HTTP_4XX, Cause.BAD_RESPONSE, True),
        (429, Reason.RATE_LIMIT, Cause.RATE_LIMITED, True),
        (500, Reason.HTTP_5XX, Cause.UPSTREAM, True),
        (504, Reason.HTTP_5XX, Cause.UPSTREAM, True),
    ],
)
async def test_a_status_outside_of_2xx_is_classified_and_named(
    status: int, reason: Reason, cause: Cause, retryable: bool
) -> None:
    error = await failure_of(answer(status, b"sorry"))
    assert (error.reason, error.cause, error.retryable, error.status) == (reason, cause, retryable, status)
    assert f"POST product_offer/read: HTTP {status}" in str(error)


@pytest.mark.parametrize("status", [200, 204])
async def test_any_2xx_is_an_answer_for_the_decoder_to_judge(status: int) -> None:
    async with serving(answer(status)) as (_, url):
        assert await call(url) == Answer(status, b"", pytest.approx(0, abs=5))


@pytest.mark.parametrize("status", [400, 404, 429, 500])
async def test_a_blocked_address_is_auth_under_any_status(status: int) -> None:
    body = b'{"isError":true,"messages":["ERROR: Invalid Vendor IP [1.2.3.4]"]}'
    error = await failure_of(answer(status, body))
    assert (error.reason, error.cause, error.retryable) == (Reason.AUTH, Cause.AUTH, False)
    assert "[1.2.3.4]" in str(error)


async def test_a_403_whose_body_never_ends_is_still_a_403() -> None:
    head = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 1000\r\n\r\n{"
    error = await failure_of(raw(head, close=False), timeout_seconds=0.3)
    assert (error.reason, error.retryable) == (Reason.AUTH, False)


async def test_an_error_page_that_is_cut_off_keeps_its_status() -> None:
    error = await failure_of(answer(502, b"<html>" * 100, cut=5))
    assert (error.reason, error.status) == (Reason.HTTP_5XX, 502)


async def test_a_redirect_to_another_origin_is_refused_and_takes_no_credentials_along() -> None:
    async with serving(answer(200, OK)) as (other, other_url):
        where = other_url.replace("http://", "http://user:hunter2@")
        error = await failure_of(answer(302, b"", f"Location: {where}?token=x"))
    assert other.requests == []
    assert (error.reason, error.cause, error.retryable) == (Reason.BAD_BODY, Cause.BAD_RESPONSE, False)
    assert "redirect to 127.0.0.1: redirects are refused" in str(error)
    assert "hunter2" not in str(error)
    assert "token" not in str(error)


@pytest.mark.parametrize("location", ["/login", "http://[bad", "", "http://a\x1b[31m.test/"])
async def test_an_odd_redirect_is_refused_in_printable_words(location: str) -> None:
    error = await failure_of(answer(307, b"", f"Location: {location}"))
    assert error.reason is Reason.BAD_BODY
    assert str(error).isprintable()


def in_seconds(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (["Retry-After: 7"], 7),
        (["Retry-After: 0"], 0),
        (["Retry-After: 2.5"], 2.5),
        (["Retry-After: 99999999"], 86_400),  # nobody means years
        (["Retry-After: -5"], None),
        (["Retry-After: soon"], None),
        (["Retry-After: nan"], None),
        (["Retry-After: inf"], None),
        (["Retry-After: 1e9"], None),
        (["Retry-After: Wed, 99 Xyz 2026 99:99:99 GMT"], None),
        ([f"Retry-After: {in_seconds(-60)}"], None),
        (["Date: Thu, 05 Nov 2026 10:00:00 GMT", "Retry-After: Thu, 05 Nov 2026 10:01:30 GMT"], 90),
        (["RateLimit-Reset: 12"], 12),
        (["X-RateLimit-Reset: 13"], 13),
        (["Retry-After: 3", "RateLimit-Reset: 12"], 3),
        (["Retry-After: soon", "RateLimit-Reset: 12"], 12),
        (["RateLimit-Reset: 99999999"], None),
        ([], None),
    ],
)
async def test_a_429_says_how_long_to_wait(headers: list[str], expected: float | None) -> None:
    error = await failure_of(answer(429, b'{"message":"API rate limit exceeded"}', *headers))
    assert error.retry_after_seconds == expected


async def test_a_date_in_retry_after_counts_from_now() -> None:
    error = await failure_of(answer(503, b"", f"Retry-After: {in_seconds(120)}"))
    assert error.retry_after_seconds == pytest.approx(120, abs=5)


async def test_a_reset_given_as_an_epoch_counts_from_now() -> None:
    error = await failure_of(answer(429, b"", f"X-RateLimit-Reset: {int(time.time()) + 60}"))
    assert error.retry_after_seconds == pytest.approx(60, abs=5)


async def test_hostile_text_is_escaped_and_cut_short() -> None:
    error = await failure_of(answer(500, "\x1b[31mred\x07\u202e\r\n<b>".encode() + b"\xff" * 1000))
    assert str(error).isprintable()
    assert r"\x1b[31mred\x07\u202e\r\n<b>" in str(error)
    assert len(str(error)) < 300


@pytest.mark.parametrize("padding", [0, 195, 205 - len(PASSWORD)])
@pytest.mark.parametrize("secret", [USER, PASSWORD, TOKEN])
async def test_credentials_that_the_server_echoes_are_blotted_out(secret: str, padding: int) -> None:
    error = await failure_of(answer(500, b"x" * padding + secret.encode()))
    assert secret[:5] not in str(error)


async def test_a_certificate_that_nobody_vouches_for_is_refused_for_good(tmp_path: Path) -> None:
    subprocess.run(
        shlex.split(
            "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
            "-addext subjectAltName=DNS:localhost -keyout key.pem -out certificate.pem"
        ),
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")
    server = Server(answer(200, OK))
    listener = await asyncio.start_server(server.accept, "localhost", 0, ssl=context)
    port = listener.sockets[0].getsockname()[1]
    with pytest.raises(CallError, match="certificate was refused") as caught:
        await call(f"https://localhost:{port}")
    listener.close()
    await server.close()
    assert (caught.value.reason, caught.value.retryable) == (Reason.CONNECTION, False)
    assert server.requests == []


async def test_a_cancelled_call_is_cancelled_and_no_error_of_ours() -> None:
    arrived = asyncio.Event()

    async def hang(_: bytes, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await asyncio.Event().wait()

    async with serving(hang) as (_, url):
        calling = asyncio.create_task(call(url))
        await asyncio.wait_for(arrived.wait(), 5)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling


def test_a_client_shows_its_host_and_no_credentials() -> None:
    client = HttpClient("https://api.test/api-3", USER, PASSWORD, timeout_seconds=1, connections=1)
    assert repr(client) == "HttpClient(api.test)"


def test_a_base_url_with_credentials_in_it_is_refused_without_repeating_them() -> None:
    with pytest.raises(ValueError, match="must not carry") as caught:
        HttpClient("https://user:hunter2@api.test", USER, PASSWORD, timeout_seconds=1, connections=1)
    assert "hunter2" not in str(caught.value)
