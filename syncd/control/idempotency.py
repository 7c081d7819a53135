"""A repeated POST with the same Idempotency-Key gets the first one's answer.

As in draft-ietf-httpapi-idempotency-key-header-07 (October 2025). The keys are kept in the ledger for a day, so
they hold over restarts and for every daemon on it. Answers that this process gave are remembered besides;
requests that come together share one answer, so that only another process can find a key at work.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256

import msgspec
from aiohttp import web

from syncd.contract.errors import DatabaseAwayError
from syncd.control.together import Together
from syncd.http.problem import RETRY_SECONDS, Problem
from syncd.ledger.queue import begin_idempotent, finish_idempotent
from syncd.runtime.postgres import Postgres

HEADER = "Idempotency-Key"
MOST_REMEMBERED = 256
REMEMBERED_SECONDS = 60.0
"""Long enough for a storm of repetitions; after that the ledger is asked again."""

_KEY = re.compile(r"[!-~]{1,200}")


@dataclass(frozen=True, slots=True)
class Kept:
    """The body of a 202, and where it points to."""

    body: bytes

    @property
    def location(self) -> str:
        """The first run's path."""
        document = msgspec.json.decode(self.body)
        return str(document["poll_url"])


class Idempotency:
    """The answers by key."""

    def __init__(self) -> None:
        self._answers: OrderedDict[str, tuple[float, bytes, Kept]] = OrderedDict()
        self._together: Together[Kept] = Together()

    async def once(
        self, request: web.BaseRequest, postgres: Postgres, body: object, start: Callable[[], Awaitable[bytes]]
    ) -> Kept:
        """The answer of `start`, or the one that this key had before. Raises 400, 409 or 422.

        A key whose request was refused is free again: nothing happened that a repetition could double.
        """
        given = request.headers.getall(HEADER, [])
        if not given:
            return Kept(await start())
        if len(given) != 1 or not _KEY.fullmatch(given[0]):
            raise Problem(400, f"{HEADER}: expected 1 to 200 visible ASCII characters, once")
        key, body_hash = given[0], sha256(msgspec.json.encode(body, order="sorted")).digest()

        async def find_or_start() -> Kept:
            return self._remembered(key, body_hash) or await self._first(postgres, key, body_hash, start)

        shared = await self._together.ask((key, body_hash), find_or_start)
        return shared.answer

    def _remembered(self, key: str, body_hash: bytes) -> Kept | None:
        until, its_hash, kept = self._answers.get(key, (0.0, b"", None))
        if kept is None or until < asyncio.get_running_loop().time():
            return None
        if its_hash != body_hash:
            raise _other_body()
        return kept

    async def _first(
        self, postgres: Postgres, key: str, body_hash: bytes, start: Callable[[], Awaitable[bytes]]
    ) -> Kept:
        before = await begin_idempotent(postgres, key, body_hash)
        if before is not None:
            if not before.same_body:
                raise _other_body()
            if before.answer is None:
                raise Problem(
                    409,
                    f"the first request with this {HEADER} is still at work",
                    headers={"Retry-After": str(RETRY_SECONDS)},
                )
            return self._remember(key, body_hash, Kept(msgspec.json.encode(before.answer)))
        try:
            kept = Kept(await start())
        except BaseException:
            with suppress(DatabaseAwayError):  # the first error says more
                await finish_idempotent(postgres, key, None)
            raise
        with suppress(DatabaseAwayError):  # the run is queued: that is what the caller must hear
            await finish_idempotent(postgres, key, kept.body)
        return self._remember(key, body_hash, kept)

    def _remember(self, key: str, body_hash: bytes, kept: Kept) -> Kept:
        self._answers[key] = (asyncio.get_running_loop().time() + REMEMBERED_SECONDS, body_hash, kept)
        while len(self._answers) > MOST_REMEMBERED:
            self._answers.popitem(last=False)
        return kept


def _other_body() -> Problem:
    return Problem(422, f"this {HEADER} was used for another request: take a new one")
