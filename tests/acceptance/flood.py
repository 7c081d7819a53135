"""Many clients of a control port at the same moment, each over a connection of its own that is kept."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from typing import Any

from tests.acceptance.daemon import TOKEN, Daemon

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


@dataclass(frozen=True)
class Answer:
    """What one request got, and how long after its first byte had left."""

    status: int
    document: dict[str, Any]
    seconds: float


async def flood(daemon: Daemon, body: dict[str, Any], *, clients: int, each: int, key: str = "") -> list[Answer]:
    """POST /sync, so many times from so many clients; all connect first and then begin together."""
    content = json.dumps(body).encode()
    named = f"Idempotency-Key: {key}\r\n" if key else ""
    request = (
        f"POST /sync HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n{named}"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    ).encode() + content
    connections = [await asyncio.open_connection("127.0.0.1", daemon.port) for _ in range(clients)]
    try:
        groups = await asyncio.gather(*(_ask(*connection, request, each) for connection in connections))
    finally:
        for _, writer in connections:
            writer.close()
    return [answer for group in groups for answer in group]


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes, times: int) -> list[Answer]:
    loop = asyncio.get_running_loop()
    raw = []
    for _ in range(times):
        began = loop.time()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        assert length is not None, head
        body = await reader.readexactly(int(length[1]))
        raw.append((head, body, loop.time() - began))
    # read afterwards: what the client does with the answers is no part of their time
    return [Answer(int(head.split(b" ", 2)[1]), json.loads(body), seconds) for head, body, seconds in raw]


def percentile(answers: list[Answer], share: float) -> float:
    """So long took the slowest of this share of them, in seconds."""
    return sorted(answer.seconds for answer in answers)[max(0, round(share * len(answers)) - 1)]
