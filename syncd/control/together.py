"""Asks once for everybody who asks the same at the same time.

While an answer is being made, those who come wait for the next one, and share it. Nobody gets an answer that
was begun before the question: it could tell of a state that had already passed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from syncd.contract.errors import SyncError
from syncd.http.problem import Problem, unavailable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shared(Generic[T]):
    """An answer. own: made by this caller's work, not by that of another."""

    answer: T
    own: bool


class Together(Generic[T]):
    """The questions under way, by key."""

    def __init__(self) -> None:
        self._next: dict[Hashable, asyncio.Future[T]] = {}
        self._locks: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    async def ask(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> Shared[T]:
        """The answer of `work`, or of the work of whoever asked first. Errors are shared, too."""
        joined = self._next.get(key)
        if joined is not None:
            return Shared(await asyncio.shield(joined), own=False)
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        future.add_done_callback(_hear)
        self._next[key] = future
        lock = self._locks.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                del self._next[key]  # whoever comes from now on waits for the next answer
                future.set_result(await work())
        except BaseException as error:
            if self._next.get(key) is future:
                del self._next[key]
            # that this caller is given up is not the others' error
            shared = isinstance(error, SyncError | Problem)
            future.set_exception(error if shared else unavailable("asked in vain; ask again"))
            raise
        return Shared(future.result(), own=True)


def _hear(future: asyncio.Future[T]) -> None:
    """Nobody may have joined: an error that nobody else waits for is not reported as lost."""
    if not future.cancelled():
        future.exception()
