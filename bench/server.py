"""The API that every side reads: pages rendered before the first call, no rate limit, next to no cost.

It shares the machine with what is measured, so an answer is one `sendall` of bytes that lie ready, from a
thread of the connection's own. What the real API does and this one has: POST, Basic auth, `currentPage` and
`itemsPerPage` at the top of a JSON body, clamped to 100, counts as strings, the `id` filter, an empty list
past the end.

    POST /api-3/product_offer/{read,count}      the API
    POST /bench/serve/{0,1}                     serve the offers before or after the change; forget the calls
    GET  /bench/facts                           first call (monotonic seconds), calls, count and digest served
"""

from __future__ import annotations

import argparse
import base64
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator

from bench.offers import PAGE_SIZE, catalogues, contents_of, line_of
from syncd.sandbox.catalogue import Catalogue

USERNAME, PASSWORD = "bench", "bench-password"
AUTHORIZATION = b"Basic " + base64.b64encode(f"{USERNAME}:{PASSWORD}".encode())
_OPENING = b'{"isError":false,"messages":[],"errors":[],"results":'
_SEND_BUFFER_BYTES = 4 * 1024 * 1024


def answer(body: bytes, status: str = "200 OK") -> bytes:
    """A whole HTTP answer."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


EMPTY = answer(_OPENING + b"[]}")
REFUSED = answer(b'{"isError":true,"messages":["You are not allowed to use this API."],"results":[]}', "403 Forbidden")
NOT_FOUND = answer(b'{"message":"no Route matched with those values"}', "404 Not Found")


class Served:
    """One state of the catalogue: its pages as whole answers."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        lines: list[str] = []
        self.pages: list[bytes] = []
        ids = list(catalogue)
        self.size_bytes = 0
        for start in range(0, len(ids), PAGE_SIZE):
            documents = [catalogue.document(offer_id) for offer_id in ids[start : start + PAGE_SIZE]]
            lines += map(line_of, documents)
            self.size_bytes += sum(map(len, documents))
            self.pages.append(answer(_OPENING + b"[" + b",".join(documents) + b"]}"))
        self.contents = contents_of(lines)

    def read(self, asked: dict[str, object]) -> bytes:
        """The answer of the list call."""
        number, size = max(1, _int(asked, "currentPage", 1)), min(PAGE_SIZE, _int(asked, "itemsPerPage", PAGE_SIZE))
        if "id" not in asked and size == PAGE_SIZE:
            return self.pages[number - 1] if number <= len(self.pages) else EMPTY
        wanted = asked.get("id")
        ids = list(self.catalogue)
        if wanted is not None:
            ids = [offer_id for offer_id in ids if str(offer_id) == str(wanted)]
        rows = [self.catalogue.document(offer_id) for offer_id in ids[(number - 1) * size : number * size]]
        return answer(_OPENING + b"[" + b",".join(rows) + b"]}")

    def count(self, asked: dict[str, object]) -> bytes:
        """The answer of the count call."""
        items, size = len(self.catalogue), _int(asked, "itemsPerPage", PAGE_SIZE)
        counts = {"noOfItems": str(items), "noOfPages": str(-(-items // size)), "itemsPerPage": str(size)}
        return answer(_OPENING + json.dumps(counts).encode() + b"}")


class Server:
    """Both states, the one that is served now, and what was asked."""

    def __init__(self, offers: int, states: int) -> None:
        self._states = [Served(catalogue) for catalogue in catalogues(offers)[:states]]
        self._now = self._states[0]
        self._calls = 0
        self._first_call: float | None = None
        self._lock = threading.Lock()

    def serve(self, connection: socket.socket) -> None:
        """Answer one connection until its other end closes it."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        try:
            with connection:
                for head, body in _requests(connection):
                    connection.sendall(self._answer(head, body))
        except (ConnectionError, ValueError):
            return  # a client that was killed

    def _answer(self, head: bytes, body: bytes) -> bytes:
        path = head.split(b" ", 2)[1]
        if path.startswith(b"/bench/"):
            return self._command(path)
        if AUTHORIZATION not in head:
            return REFUSED
        with self._lock:
            self._calls += 1
            if self._first_call is None:
                self._first_call = time.monotonic()
        asked = json.loads(body or b"{}")
        if path == b"/api-3/product_offer/read":
            return self._now.read(asked)
        return self._now.count(asked) if path == b"/api-3/product_offer/count" else NOT_FOUND

    def _command(self, path: bytes) -> bytes:
        if path.startswith(b"/bench/serve/"):
            self._now = self._states[int(path.rpartition(b"/")[2])]
            self._calls, self._first_call = 0, None
        contents = self._now.contents
        facts = {
            "calls": self._calls,
            "first_call": self._first_call,
            "count": contents.count,
            "prices_digest": contents.prices_digest,
            "average_bytes": round(self._now.size_bytes / max(1, contents.count)),
        }
        return answer(json.dumps(facts).encode())


def _requests(connection: socket.socket) -> Iterator[tuple[bytes, bytes]]:
    """Head and body of each request; bodies must come with a Content-Length."""
    pending = b""
    while True:
        while b"\r\n\r\n" not in pending:
            chunk = connection.recv(65536)
            if not chunk:
                return
            pending += chunk
        head, _, pending = pending.partition(b"\r\n\r\n")
        _, found, rest = head.lower().partition(b"content-length:")
        length = int(rest.split(b"\r\n", 1)[0]) if found else 0
        while len(pending) < length:
            chunk = connection.recv(65536)
            if not chunk:
                return
            pending += chunk
        yield head, pending[:length]
        pending = pending[length:]


def _int(asked: dict[str, object], name: str, default: int) -> int:
    return int(str(asked.get(name, default)))


def main() -> None:
    """Render, print the port, serve until the end of standard input."""
    parser = argparse.ArgumentParser(description="The benchmark's API server.")
    parser.add_argument("--offers", type=int, required=True)
    parser.add_argument("--states", type=int, default=2, help="1: never serve the changed offers")
    arguments = parser.parse_args()
    server = Server(arguments.offers, arguments.states)
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    threading.Thread(target=_accept, args=(server, listener), daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    sys.stdin.buffer.read()


def _accept(server: Server, listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=server.serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
