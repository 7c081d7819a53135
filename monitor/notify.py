"""Tells others: a webhook (JSON) when all goes wrong and when it is well again, pings at each run's start and end.

Nothing here is waited for by the watch: messages lie in a bounded queue, one task sends them, each at most
MOST_ATTEMPTS times. Where the queue is full the oldest message gives way, and that is said.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit
from uuid import UUID

import aiohttp
import structlog
from pydantic import SecretStr

from monitor.summary import State, Summary
from syncd.contract.runs import RunRow
from syncd.contract.words import Status

log = structlog.get_logger()

MOST_WAITING = 100
MOST_ATTEMPTS = 5
CALL_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Message:
    """One call to make. body None: a ping without one."""

    url: SecretStr
    name: str
    body: dict[str, Any] | None


class Announcer:
    """Knows what was said before, so that nothing is said twice. Makes messages; sends none."""

    def __init__(self, webhook: SecretStr | None, ping: SecretStr | None) -> None:
        self._webhook = webhook
        self._ping = ping
        self._said = State.HEALTHY
        self._pinged: dict[UUID, Status] = {}
        self._is_first = True

    def aim(self, webhook: SecretStr | None, ping: SecretStr | None) -> None:
        """Tell these from now on."""
        self._webhook, self._ping = webhook, ping

    def state(self, summary: Summary) -> list[Message]:
        """A message when the state changes: what is wrong, or that all is well again."""
        before, self._said = self._said, summary.state
        if self._webhook is None or before is summary.state:
            return []
        event = "recovered" if summary.state is State.HEALTHY else str(summary.state)
        return [Message(self._webhook, event, {"event": event, "before": str(before), **summary.as_dict()})]

    def runs(self, newest: Iterable[RunRow]) -> list[Message]:
        """A ping at the start of each run, and at its end: success, or failure with its exit word."""
        messages = []
        seen: dict[UUID, Status] = {}
        for run in newest:
            seen[run.run_id] = run.status
            if run.status is Status.QUEUED or self._pinged.get(run.run_id) is run.status or self._ping is None:
                continue
            if not self._is_first:
                messages.append(self._ping_of(self._ping, run))
        self._pinged, self._is_first = seen, False
        return messages

    @staticmethod
    def _ping_of(url: SecretStr, run: RunRow) -> Message:
        path = {Status.RUNNING: "/start", Status.COMPLETE: ""}.get(run.status, "/fail")
        scheme, host, base, query, _ = urlsplit(url.get_secret_value())
        query = f"{query}&rid={quote(str(run.run_id))}".lstrip("&")
        full = urlunsplit((scheme, host, f"{base.rstrip('/')}{path}", query, ""))
        return Message(SecretStr(full), f"ping {run.status}", None)


class Sender:
    """The queue and the task that empties it."""

    def __init__(self) -> None:
        self._waiting: deque[Message] = deque()
        self._filled = asyncio.Event()

    def put(self, messages: Iterable[Message]) -> None:
        """To be sent; returns at once."""
        for message in messages:
            if len(self._waiting) >= MOST_WAITING:
                log.warning("notice.dropped", notice=self._waiting.popleft().name)
            self._waiting.append(message)
            self._filled.set()

    async def run(self) -> None:
        """Send until cancelled."""
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=False, auto_decompress=False) as session:
            while True:
                await self._filled.wait()
                while self._waiting:
                    await self._send(session, self._waiting.popleft())
                self._filled.clear()

    async def _send(self, session: aiohttp.ClientSession, message: Message) -> None:
        pause, why = 1.0, ""
        for attempt in range(MOST_ATTEMPTS):
            if attempt:
                await asyncio.sleep(pause * random.uniform(0.75, 1.25))  # noqa: S311  # no herd
                pause = min(LONGEST_PAUSE_SECONDS, pause * 4)
            try:
                url = message.url.get_secret_value()
                async with session.post(url, json=message.body, allow_redirects=False) as answer:
                    if answer.status < 400:
                        return
                    why = f"HTTP {answer.status}"
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                why = type(error).__name__  # its text would hold the URL, which is a secret
        log.warning("notice.not_sent", notice=message.name, attempts=MOST_ATTEMPTS, error=why)
