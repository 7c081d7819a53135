"""A second, independent eMAG product-offer API: a misreading that client and sandbox share shows here.

Source of every fact: the vendor's document v4.4.9 (2025-09-19) and what integrations in production rely on
(compiled 2026-11). Standard library only. A call passes these gates, outermost first:

    route (404, Kong) -> rate (429, Kong) -> fault script -> Authorization (401; 403 envelope) -> answer

Invariants:
    1. `documents` is the catalogue, and its order the API's. Tests may change it between calls. An offer is
       served as exactly those bytes; only under an `id` filter its boolean companies become lists.
    2. Refused calls (404, 429) have number 0; all others count from 1: the numbers of the fault script.
    3. In any second at most 3 and in any minute at most 180 calls of one user are admitted (sliding windows).

Guessed, as no source says it: the bodies of 401 and 5xx; GET on `read` = 404; broken JSON = defaults; a
filter value out of range = isError; calls refused with 429 do not use up the budget.
"""

import argparse
import base64
import random
import signal
import socket
import socketserver
import sys
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from tests.second_marketplace import ENVELOPES, PAGINGS, Call, decode_wanted, make_documents, select, wrap

ROUTES = {("POST", "read"), ("POST", "count"), ("GET", "count")}
WINDOWS = ((3, 1.0), (180, 60.0))  # calls, seconds
FRAMINGS = ("length", "chunked", "eof")
CHUNK_BYTES = 4093  # odd, so that a chunk now and then ends within an escape
STATUS_BEHAVIOURS = {"500": "Internal Server Error", "502": "Bad Gateway", "504": "Gateway Time-out"}
BEHAVIOURS = {*STATUS_BEHAVIOURS, "cut", "html", "is_error", "blocked_ip", "slow"}
HTML = "<html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>\r\n"


@dataclass
class Answer:
    status: int
    body: bytes
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = 64
    marketplace: "SecondMarketplace"

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.marketplace.connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self.marketplace.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client may leave at any time
            super().handle_error(request, client_address)


@dataclass
class SecondMarketplace:
    """The API on 127.0.0.1 for the length of a `with` block. For tests: `base_url`, `calls`, `documents`.

    offers: how many to invent, or the documents themselves (keys only name them; bytes may be poison).
    paging: where paging and filters count, one of PAGINGS; elsewhere they are ignored without a word.
    framing, envelope: one of FRAMINGS, ENVELOPES, or "mixed": another one each call.
    faults: {call number: behaviour}, or a function from a `Call` to a behaviour or None.
    """

    offers: int | Mapping[str, bytes] = 250
    username: str = "seller"
    password: str = "secret"
    paging: str = "top"
    framing: str = "mixed"
    envelope: str = "mixed"
    faults: Mapping[int, str | int] | Callable[[Call], str | int | None] = field(default_factory=dict)
    rate_limit: bool = True
    tolerance_seconds: float = 0.02
    retry_after: str | None = None  # Kong's sample answer has none
    gzip: bool = False
    shuffle: bool = False  # another order on every call
    slow_seconds: float = 8.0
    seed: int = 0
    port: int = 0
    clock: Callable[[], float] = time.monotonic
    calls: list[Call] = field(init=False, default_factory=list)
    connections: set[socket.socket] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        invented = isinstance(self.offers, int)
        self.documents = make_documents(self.offers, self.seed) if invented else dict(self.offers)
        choices = [
            (self.paging, PAGINGS),
            (self.framing, (*FRAMINGS, "mixed")),
            (self.envelope, (*ENVELOPES, "mixed")),
        ]
        choices += [] if callable(self.faults) else [(str(each), BEHAVIOURS) for each in self.faults.values()]
        for value, known in choices:
            if value not in known:
                raise ValueError(f"{value!r} is none of {', '.join(sorted(known))}")
        self._lock, self._closing = threading.Lock(), threading.Event()
        self._numbered, self._admitted = 0, {}

    def __enter__(self) -> "SecondMarketplace":
        self._server = _Server(("127.0.0.1", self.port), _Exchange)
        self._server.marketplace = self
        self.base_url = f"http://127.0.0.1:{self._server.server_address[1]}/api-3"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()  # wakes slow answers
        self._server.shutdown()
        self._thread.join()
        for connection in list(self.connections):  # wakes the threads that read an idle connection
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()  # joins them

    def most_calls_within(self, seconds: float) -> int:
        """The busiest stretch of that length, refused calls included."""
        times = [call.at_seconds for call in self.calls]
        return max((sum(0 <= at - start < seconds for at in times) for start in times), default=0)

    def answer(self, call: Call, authorization: str) -> Answer:
        """Everything but the bytes on the wire; logs the call."""
        kong, name, user = "application/json; charset=utf-8", call.path.rpartition("/")[2], ""
        routed = call.path == f"/api-3/product_offer/{name}" and (call.method, name) in ROUTES
        with suppress(ValueError):
            scheme, _, secret = authorization.partition(" ")
            user = base64.b64decode(secret, validate=True).decode() if scheme.lower() == "basic" else ""
        limits = self._admit(call, user.partition(":")[0], routed)
        if not routed:
            return Answer(404, b'{"message":"no Route matched with those values"}', kong)
        if not call.number:
            limits |= {"Retry-After": self.retry_after} if self.retry_after is not None else {}
            return Answer(429, b'{"message":"API rate limit exceeded"}', kong, limits)
        planned = self.faults(call) if callable(self.faults) else self.faults.get(call.number)
        call.behaviour = str(planned or "")
        if call.behaviour in STATUS_BEHAVIOURS:
            title = STATUS_BEHAVIOURS[call.behaviour]
            return Answer(int(call.behaviour), HTML.format(title).encode(), "text/html")
        if call.behaviour == "html":
            return Answer(200, HTML.format("Mentenanță").encode(), "text/html; charset=utf-8", limits)
        if call.behaviour == "slow":
            self._closing.wait(self.slow_seconds)
        if not authorization:
            limits |= {"WWW-Authenticate": 'Basic realm="API"'}
            return Answer(401, b'{"message":"Unauthorized"}', kong, limits)
        style = ENVELOPES[call.number % len(ENVELOPES)] if self.envelope == "mixed" else self.envelope
        if user != f"{self.username}:{self.password}":
            return Answer(403, wrap(style, b"[]", "You are not allowed to use this API."), headers=limits)
        return Answer(200, self._content(call, style, name), headers=limits)

    def _admit(self, call: Call, user: str, routed: bool) -> dict[str, str]:
        """Log the call, number it if it is within the limits, and tell the limit's headers."""
        calls, seconds = WINDOWS[0]
        with self._lock:
            call.at_seconds = now = self.clock()
            self.calls.append(call)
            times = self._admitted.setdefault(user, deque(maxlen=WINDOWS[-1][0]))
            spans = [(n, span - self.tolerance_seconds) for n, span in WINDOWS]
            full = any(len(times) >= n and now - times[-n] < span for n, span in spans)
            if routed and not (self.rate_limit and full):
                times.append(now)
                self._numbered += 1
                call.number = self._numbered
            left = max(0, calls - sum(now - at < seconds for at in times))
        names = ("X-RateLimit-Limit-3second", "X-RateLimit-Remaining-3second")
        return dict(zip(names, (str(calls), str(left)), strict=True)) if self.rate_limit else {}

    def _content(self, call: Call, style: str, name: str) -> bytes:
        if call.behaviour == "is_error":
            return wrap(style, b"[]", "Unexpected error, try again later")
        if call.behaviour == "blocked_ip":
            return wrap(style, b"[]", "ERROR: Invalid vendor ip [1.2.3.4]")
        documents = list(self.documents.values())
        if self.shuffle:
            random.Random(f"{self.seed}/{call.number}").shuffle(documents)
        try:
            documents = select(documents, call.wanted)
        except ValueError as error:
            return wrap(style, b"[]", str(error))
        if name == "count":
            numbers = (len(documents), -(-len(documents) // call.page_size), call.page_size)
            return wrap(style, b'{"noOfItems":"%d","noOfPages":"%d","itemsPerPage":"%d"}' % numbers)
        start = (call.page_number - 1) * call.page_size
        return wrap(style, b"[" + b",".join(documents[start : start + call.page_size]) + b"]")


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        api, url = self.server.marketplace, urlsplit(self.path)
        if "Transfer-Encoding" in self.headers:
            self.send_error(411)
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind, text = self.headers.get("Content-Type", ""), body.decode("utf-8", "replace")
        if self.command == "GET":
            kind, text = "query", url.query
        call = Call(self.command, url.path, body, decode_wanted(api.paging, kind, text))
        answer = api.answer(call, self.headers.get("Authorization", ""))
        call.status = answer.status
        if api.gzip and "gzip" in self.headers.get("Accept-Encoding", ""):
            answer.body = zlib.compress(answer.body, wbits=31)
            answer.headers["Content-Encoding"] = "gzip"
        framing = FRAMINGS[call.number % len(FRAMINGS)] if api.framing == "mixed" else api.framing
        self._send(answer, framing, cut=call.behaviour == "cut")

    do_GET = do_PUT = do_PATCH = do_DELETE = do_POST

    def _send(self, answer: Answer, framing: str, cut: bool) -> None:
        chunked = framing == "chunked" and self.request_version == "HTTP/1.1"
        self.send_response(answer.status)
        for name, value in ({"Content-Type": answer.content_type} | answer.headers).items():
            self.send_header(name, value)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif framing == "length":
            self.send_header("Content-Length", str(len(answer.body)))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        body = answer.body[: len(answer.body) // 2] if cut else answer.body
        if chunked:
            pieces = [body[at : at + CHUNK_BYTES] for at in range(0, len(body), CHUNK_BYTES)]
            pieces += [] if cut else [b""]  # the empty chunk ends the answer
            body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
        self.close_connection |= cut
        self.wfile.write(body)

    def version_string(self) -> str:
        return "nginx"

    def log_message(self, *_: object) -> None:
        """Silent: `calls` is the log."""


def main() -> None:
    parser = argparse.ArgumentParser(description="A second simulated marketplace; prints its URL first.")
    texts = ("username", "password", "paging", "framing", "envelope")
    for name in ("offers", "port", "seed", "slow_seconds", *texts):
        default = getattr(SecondMarketplace, name)
        parser.add_argument("--" + name.replace("_", "-"), type=type(default), default=default)
    for name in ("gzip", "shuffle"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--retry-after")
    parser.add_argument("--no-rate-limit", dest="rate_limit", action="store_false")
    parser.add_argument("--fault", action="append", default=[], metavar="CALL=BEHAVIOUR")
    options = vars(parser.parse_args())
    faults = dict(text.split("=", 1) for text in options.pop("fault"))
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with SecondMarketplace(faults={int(call): faults[call] for call in faults}, **options) as api:
        print(api.base_url, flush=True)
        stopped.wait()


if __name__ == "__main__":
    main()
