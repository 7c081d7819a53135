"""Tells others: a webhook (JSON) what goes wrong and when it is well again, pings at each run's start and end.

Nothing here is waited for by the watch: messages lie in bounded queues, a task each for webhook and pings, and each
message is tried MOST_ATTEMPTS times; the ledger remembers which have arrived, and a later look tries the others again
for an hour. Where a queue is full the oldest message gives way, and that is said.

The URLs are secrets: no line of the log holds one, nor an error's text, which would.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import aiohttp
import structlog
from pydantic import SecretStr

from monitor import news
from monitor.summary import Summary
from syncd import __version__
from syncd.contract.errors import SyncError
from syncd.ledger import notices
from syncd.ledger.notices import RECOVERED, TROUBLE, Notice
from syncd.ledger.rescue import Ended
from syncd.ledger.runs import load_news
from syncd.runtime.postgres import Postgres
from syncd.runtime.settings.sync import SyncSettings
from syncd.runtime.waiting import OutOfTimeError, give_up_after

log = structlog.get_logger()

MOST_WAITING = 100
RUNS_OF_EACH = 20
"""So many of each stream are looked at for pings: the newest of all would be those of the busy streams only."""
MOST_ATTEMPTS = 5
CALL_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 60.0
LONGEST_NOTE_SECONDS = 5.0
AWAY_SECONDS = 60.0
"""A ledger that cannot be read for so long is told; shorter outages are shown on the page and logged."""
_PATHS = {"start": "/start", "success": "", "fail": "/fail"}


@dataclass(frozen=True, slots=True)
class Message:
    """One call to make. body None: a ping without one. key: of the notice in the ledger, empty where it has none."""

    url: SecretStr
    name: str
    key: str
    body: Mapping[str, Any] | None


class Announcer:
    """Finds what is new, and hands it to the sender. settings: as they are now, for they may be read anew."""

    def __init__(self, postgres: Postgres, sender: Sender, settings: Callable[[], SyncSettings]) -> None:
        self._postgres = postgres
        self._sender = sender
        self._settings = settings
        self._known: frozenset[str] = frozenset()
        self._away_since: float | None = None
        self._away_told = ""
        self._can_note = True

    async def tell(self, summary: Summary | None, ended: Iterable[Ended], now: float) -> None:
        """After each look. summary None: the ledger cannot be watched. now: by the event loop's clock. Never raises."""
        if self._settings().webhook_url is None and self._settings().ping_url is None:
            return
        self._tell_of_ledger(now, is_away=summary is None)
        if summary is None:
            return
        try:
            found = await give_up_after(LONGEST_NOTE_SECONDS, self._find(summary, ended))
        except (SyncError, OutOfTimeError) as error:
            if self._can_note:  # once: it is tried again at each look
                log.warning("notice.not_noted", error=str(error) or "no answer in time")
            self._can_note = False
        else:
            self._can_note = True
            self._sender.put(message for one in found if (message := self.message_of(one)) is not None)

    async def _find(self, summary: Summary, ended: Iterable[Ended]) -> list[Notice]:
        found = [*news.of_troubles(summary), *news.of_ended(ended)] if self._settings().webhook_url else []
        if self._settings().ping_url:
            runs = await load_news(self._postgres, within_seconds=notices.NEWS_SECONDS, of_each=RUNS_OF_EACH)
            found += news.pings(runs)
        unknown = [one for one in found if one.key not in self._known]
        new = await notices.claim(self._postgres, unknown) if unknown else []
        self._known = frozenset(one.key for one in found)
        if self._settings().webhook_url:
            new += await notices.recover(self._postgres, news.well(summary))
        return new + await notices.overdue(self._postgres)

    def _tell_of_ledger(self, now: float, *, is_away: bool) -> None:
        """Kept here and nowhere else: the ledger cannot hold the notice that it is away."""
        if not is_away:
            self._away_since = None
            if self._away_told:
                body = {"kind": "ledger", "text": "Well again: the ledger is watched"}
                self._put(Notice(f"{self._away_told}/over", news.LEDGER, RECOVERED, body))
                self._away_told = ""
            return
        self._away_since = now if self._away_since is None else self._away_since
        if not self._away_told and now - self._away_since >= AWAY_SECONDS:
            self._away_told = f"ledger/{socket.gethostname()}/{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
            text = f"The ledger has not been usable for {now - self._away_since:.0f} s: nothing is watched"
            todo = "look at PostgreSQL, then at `syncd check`"
            body = {"kind": "ledger_away", "text": text, "todo": todo}
            self._put(Notice(self._away_told, news.LEDGER, TROUBLE, body))

    def _put(self, notice: Notice) -> None:
        message = self.message_of(notice, is_noted=False)
        self._sender.put([message] if message is not None else [])

    def message_of(self, notice: Notice, *, is_noted: bool = True) -> Message | None:
        """None where nobody wants to be told any more."""
        sync, key = self._settings(), notice.key if is_noted else ""
        if notice.event == news.PING:
            return _ping(sync.ping_url, notice, key) if sync.ping_url is not None else None
        if sync.webhook_url is None:
            return None
        body = {
            "event": notice.event,
            "subject": notice.subject,
            **notice.body,
            "key": notice.key,
            "at": f"{(notice.made_at or datetime.now(UTC)).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "host": socket.gethostname(),
            "version": __version__,
        }
        return Message(sync.webhook_url, f"{notice.event} {notice.body.get('kind', '')}".strip(), key, body)


def _ping(url: SecretStr, notice: Notice, key: str) -> Message:
    """{account} in the URL becomes the account's name, so that each may have a check of its own."""
    how, full = notice.body["how"], url.get_secret_value().replace("{account}", quote(notice.body["account"]))
    scheme, host, base, query, _ = urlsplit(full)
    query = f"{query}&rid={quote(notice.body['run_id'])}".lstrip("&")
    full = urlunsplit((scheme, host, f"{base.rstrip('/')}{_PATHS[how]}", query, ""))
    return Message(SecretStr(full), f"ping {how}", key, None)


class Sender:
    """Two queues and the tasks that empty them: a webhook that hangs delays no ping. sent: told of each arrival."""

    def __init__(self, sent: Callable[[str], Awaitable[None]], *, call_seconds: float = CALL_SECONDS) -> None:
        self._sent = sent
        self._call_seconds = call_seconds
        self._queues = {is_ping: _Queue() for is_ping in (False, True)}

    def put(self, messages: Iterable[Message]) -> None:
        """To be sent; returns at once."""
        for message in messages:
            self._queues[message.body is None].put(message)

    async def run(self) -> None:
        """Send until cancelled."""
        timeout = aiohttp.ClientTimeout(total=self._call_seconds)
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False, auto_decompress=False) as session,
            asyncio.TaskGroup() as group,
        ):
            for queue in self._queues.values():
                group.create_task(self._empty(session, queue))

    async def _empty(self, session: aiohttp.ClientSession, queue: _Queue) -> None:
        while True:
            message = await queue.next()
            if await _send(session, message) and message.key:
                await self._sent(message.key)
            queue.end(message)


class _Queue:
    """Bounded; the oldest gives way. What waits here, or is under way, is not taken once more: behind a webhook that
    hangs it waits for longer than the ledger does before it names it again."""

    def __init__(self) -> None:
        self._waiting: deque[Message] = deque()
        self._filled = asyncio.Event()
        self._keys: set[str] = set()

    def put(self, message: Message) -> None:
        if message.key in self._keys:
            return
        if len(self._waiting) >= MOST_WAITING:
            dropped = self._waiting.popleft()
            self.end(dropped)
            log.warning("notice.dropped", notice=dropped.name)
        self._waiting.append(message)
        self._keys |= {message.key} if message.key else set()
        self._filled.set()

    def end(self, message: Message) -> None:
        """It has arrived, or was given up for now."""
        self._keys.discard(message.key)

    async def next(self) -> Message:
        await self._filled.wait()
        message = self._waiting.popleft()
        if not self._waiting:
            self._filled.clear()
        return message


async def _send(session: aiohttp.ClientSession, message: Message) -> bool:
    """Whether it arrived."""
    pause, why, attempt = 1.0, "", 0
    headers = {"Idempotency-Key": message.key} if message.key else {}
    for attempt in range(1, MOST_ATTEMPTS + 1):
        if attempt > 1:
            await asyncio.sleep(pause * random.uniform(0.75, 1.25))  # noqa: S311  # no herd
            pause = min(LONGEST_PAUSE_SECONDS, pause * 4)
        try:
            url, body = message.url.get_secret_value(), message.body
            async with session.post(url, json=body, headers=headers, allow_redirects=False) as answer:
                if answer.status < 300:
                    return True
                why = f"HTTP {answer.status}"
                if 300 <= answer.status < 500 and answer.status not in (408, 429):
                    break  # the same call would be refused again
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            why = type(error).__name__  # its text would hold the URL, which is a secret
            if isinstance(error, ValueError):
                break  # no URL at all
    log.warning("notice.not_sent", notice=message.name, attempts=attempt, error=why)
    return False


async def note_sent(postgres: Postgres, key: str) -> None:
    """Keep in the ledger that it arrived; where that fails it may be sent once more, with the same key."""
    try:
        await give_up_after(LONGEST_NOTE_SECONDS, notices.mark_sent(postgres, key))
    except (SyncError, OutOfTimeError) as error:
        log.warning("notice.not_noted", error=str(error) or "no answer in time")
