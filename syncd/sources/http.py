"""One call of a remote API: one total deadline, one size cap, no redirects, one classified outcome.

The deadline spans connecting, head and body, so a server that drips bytes cannot hold us. The body is
unpacked here and not by the library, in small steps against the cap, so a bomb costs no more than the
cap. Redirects are refused: the library drops `Authorization` on another origin, but a moved API is for
a person to see. No cookies, no proxies of the environment.

    2xx                  Answer (its envelope is `sources.decode`'s to judge)
    401 403, refusal     auth, final           408, no time left   timeout, again
    429                  rate_limit, again     5xx                 http_5xx, again
    3xx                  bad_body, final       other 4xx           http_4xx, final (425 again)
    cut or odd encoding  bad_body, again       no connection       connection, again
    over the cap         too_large, final      bad certificate     connection, final

A known status outranks what happens to its body: a 403 whose body never ends is a 403.

No secret leaves: credentials are kept in the session's headers only, library errors (whose repr prints
request headers) are never chained, and remote text is scrubbed of credentials before it is quoted.
"""

from __future__ import annotations

import asyncio
import base64
import zlib
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

import aiohttp
import msgspec

from syncd import __version__
from syncd.contract.errors import CallError
from syncd.contract.words import Cause, Reason
from syncd.sources.decode import CUT, excerpt, is_refusal
from syncd.sources.retry_after import retry_after_seconds

if TYPE_CHECKING:
    from zlib import _Decompress as _Unpacker

MAX_BODY_BYTES = 16 * 1024 * 1024
LARGE_BODY_BYTES = 2 * 1024 * 1024
ERROR_BODY_BYTES = 64 * 1024
ERROR_BODY_SECONDS = 2.0
_UNPACK_STEP_BYTES = 256 * 1024
_GZIP = 31  # zlib's wbits for the gzip format
_SHORTEST_SECRET = 4  # scrubbing shorter ones would shred the message and hide nothing
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
    "Content-Type": "application/json",
    "User-Agent": f"syncd/{__version__}",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A 2xx answer, unpacked; elapsed_seconds from the start of the call to the last byte."""

    status: int
    body: bytes
    elapsed_seconds: float


class _TooLargeError(Exception): ...


class _EncodingError(Exception):
    """Why the body cannot be unpacked."""


class HttpClient:
    """Calls of one account. An asynchronous context manager: connections live as long as it is open."""

    def __init__(
        self,
        base_url: str,
        username: str,
        password: str,
        *,
        timeout_seconds: float,
        connections: int,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        if "@" in urlsplit(base_url).netloc:
            raise ValueError("the base URL must not carry a user name or password")
        token = base64.b64encode(f"{username}:{password}".encode()).decode("ascii")
        self._base_url = base_url.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._connections = connections
        self._max_body_bytes = max_body_bytes
        self._large_body = asyncio.Lock()
        self._headers = {**_HEADERS, "Authorization": f"Basic {token}"}
        quoted = msgspec.json.encode(password).decode()[1:-1]
        secrets = {token, password, quoted, username}
        self._secrets = sorted((text for text in secrets if len(text) >= _SHORTEST_SECRET), key=len, reverse=True)
        self._session: aiohttp.ClientSession  # while the client is open

    def __repr__(self) -> str:
        return f"HttpClient({urlsplit(self._base_url).hostname})"

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            connector=aiohttp.TCPConnector(limit=self._connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # ours spans the whole call
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    def scrub(self, text: str) -> str:
        """The text with this account's credentials blotted out, also one cut short by an excerpt's end."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
            for length in range(len(secret) - 1, _SHORTEST_SECRET - 1, -1):
                text = text.replace(secret[:length] + CUT, "***" + CUT)
        return text

    async def call(self, path: str, payload: Mapping[str, object]) -> Answer:
        """POST the payload as JSON; a 2xx answer in full, CallError for everything else."""
        outcome = await self._attempt(f"POST {path.lstrip('/')}", path, payload)
        if isinstance(outcome, Answer):
            return outcome
        raise outcome  # not inside a handler: the library's error must not become its context

    async def _attempt(self, what: str, path: str, payload: Mapping[str, object]) -> Answer | CallError:
        try:
            return await self._exchange(what, path, payload)
        except TimeoutError:
            return _outcome(Reason.TIMEOUT, f"{what}: no whole answer within {self._timeout_seconds:g} s")
        except _TooLargeError:
            return _outcome(Reason.TOO_LARGE, f"{what}: the body is over {self._max_body_bytes:,} bytes", False)
        except _EncodingError as error:
            return _outcome(Reason.BAD_BODY, f"{what}: {error}")
        except (aiohttp.ClientError, OSError) as error:
            return _of_library(what, error)

    async def _exchange(self, what: str, path: str, payload: Mapping[str, object]) -> Answer | CallError:
        loop = asyncio.get_running_loop()
        started = loop.time()
        url = f"{self._base_url}/{path.lstrip('/')}"
        async with asyncio.timeout(self._timeout_seconds):
            request = self._session.post(url, data=msgspec.json.encode(payload), allow_redirects=False)
            async with request as response:
                if 200 <= response.status < 300:
                    body = BytesIO()
                    if (response.content_length or 0) > self._max_body_bytes:
                        raise _TooLargeError
                    await _read_into(body, response, self._max_body_bytes, self._large_body)
                    return Answer(response.status, body.getvalue(), loop.time() - started)
                # Before the total deadline, which would make a timeout of it.
                deadline = min(loop.time() + ERROR_BODY_SECONDS, started + 0.9 * self._timeout_seconds)
                said = await _read_error_body(response, deadline)
                return self._of_status(what, response, said, loop.time() - started)

    def _of_status(self, what: str, response: aiohttp.ClientResponse, body: bytes, elapsed_seconds: float) -> CallError:
        """The outcome of an answer outside of 2xx."""
        status, headers = response.status, response.headers
        if 300 <= status < 400:
            message = f"{what}: HTTP {status}, a redirect to {_host_of(headers)}: redirects are refused"
        else:
            message = f"{what}: HTTP {status} after {elapsed_seconds:.1f} s: {excerpt(body)}"
        reason, cause, retryable = _classify(status, body)
        error = CallError(reason, self.scrub(message), cause=cause, status=status, retryable=retryable)
        error.retry_after_seconds = retry_after_seconds(headers) if retryable else None
        return error


def _classify(status: int, body: bytes) -> tuple[Reason, Cause, bool]:
    if status in (401, 403) or is_refusal(body):
        return Reason.AUTH, Cause.AUTH, False
    if status < 400:
        return Reason.BAD_BODY, Cause.BAD_RESPONSE, False
    if status == 408:
        return Reason.TIMEOUT, Cause.UPSTREAM, True
    if status == 429:
        return Reason.RATE_LIMIT, Cause.RATE_LIMITED, True
    if status < 500:
        return Reason.HTTP_4XX, Cause.BAD_RESPONSE, status == 425
    return Reason.HTTP_5XX, Cause.UPSTREAM, True


def _of_library(what: str, error: aiohttp.ClientError | OSError) -> CallError:
    """The outcome where the library gave up; only facts without headers or URL are quoted."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            why = getattr(error.certificate_error, "verify_message", "") or "it is not trusted"
            return _outcome(Reason.CONNECTION, f"{what}: the server's certificate was refused: {why}", False)
        case aiohttp.ClientPayloadError():
            return _outcome(Reason.BAD_BODY, f"{what}: the body was cut off")
        case aiohttp.ClientResponseError():
            return _outcome(Reason.BAD_BODY, f"{what}: the answer is not HTTP")
        case aiohttp.ClientConnectorError(os_error=cause, host=host, port=port):
            why = getattr(cause, "reason", None) or cause.strerror or type(cause).__name__
            return _outcome(Reason.CONNECTION, f"{what}: cannot connect to {host}:{port}: {why}")
        case aiohttp.ServerDisconnectedError():
            return _outcome(Reason.CONNECTION, f"{what}: the server hung up")
    return _outcome(Reason.CONNECTION, f"{what}: the connection was lost: {type(error).__name__}")


def _outcome(reason: Reason, message: str, retryable: bool = True) -> CallError:
    upstream = reason in (Reason.TIMEOUT, Reason.CONNECTION)
    return CallError(reason, message, cause=Cause.UPSTREAM if upstream else Cause.BAD_RESPONSE, retryable=retryable)


async def _read_error_body(response: aiohttp.ClientResponse, deadline: float) -> bytes:
    """What can be had of an error's body before the deadline (loop time); the status is known anyway."""
    body = BytesIO()
    with suppress(TimeoutError, aiohttp.ClientError, OSError, _TooLargeError, _EncodingError):
        async with asyncio.timeout_at(deadline):
            await _read_into(body, response, ERROR_BODY_BYTES)
    return body.getvalue()


async def _read_into(
    body: BytesIO, response: aiohttp.ClientResponse, max_bytes: int, large_body: asyncio.Lock | None = None
) -> None:
    """Append the unpacked body. _TooLargeError past the cap, _EncodingError where it cannot be unpacked.

    large_body: bodies grow large one at a time, so that five calls in flight cost one cap of memory and not five.
    """
    encoding = ",".join(response.headers.getall("Content-Encoding", [])).strip().lower()
    if encoding not in ("", "identity", "gzip"):
        named = excerpt(encoding.encode("utf-8", "backslashreplace"))
        raise _EncodingError(f"the body is encoded as {named}, which was not asked for")
    unpacker = zlib.decompressobj(wbits=_GZIP) if encoding == "gzip" else None
    async with AsyncExitStack() as turn:
        async for chunk in response.content.iter_any():
            if unpacker is None:
                body.write(chunk)
            else:
                unpacker = _unpack(unpacker, chunk, body, max_bytes)
            if body.tell() > max_bytes:
                raise _TooLargeError
            if large_body is not None and body.tell() > LARGE_BODY_BYTES:
                await turn.enter_async_context(large_body)
                large_body = None
    if unpacker is not None and not unpacker.eof:
        raise _EncodingError("the gzip body was cut off")


def _unpack(unpacker: _Unpacker, chunk: bytes, body: BytesIO, max_bytes: int) -> _Unpacker:
    """Append what the chunk unpacks to, a step at a time; returns the unpacker of the member it ended in."""
    try:
        while True:
            if unpacker.eof:
                unpacker = zlib.decompressobj(wbits=_GZIP)
            body.write(unpacker.decompress(chunk, _UNPACK_STEP_BYTES))
            if body.tell() > max_bytes:
                raise _TooLargeError
            chunk = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
            if not chunk:
                return unpacker
    except zlib.error:
        raise _EncodingError("the gzip body is damaged") from None


def _host_of(headers: Mapping[str, str]) -> str:
    """The host that a redirect points to, safe to print, without user name and password."""
    try:
        host = urlsplit(headers.get("Location", "")).hostname
    except ValueError:
        return "an unreadable address"
    return excerpt(host.encode("utf-8", "backslashreplace")) if host else "another path of the same host"
