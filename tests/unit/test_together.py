"""Questions that come together share one answer, and nobody gets one that was begun before."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from syncd.contract.errors import DatabaseAwayError
from syncd.control.requests import Tried, seen_by_one
from syncd.control.together import Shared, Together
from syncd.http.problem import Problem
from syncd.ledger.queue import Living, Queued


class Work:
    """Answers 1, 2, 3, … when it is let go."""

    def __init__(self) -> None:
        self.begun = 0
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.begun += 1
        answer = self.begun
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return answer


async def turns() -> None:
    """Everybody who can go on does."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_nobody_gets_an_answer_that_was_begun_before_the_question() -> None:
    together: Together[int] = Together()
    work = Work()
    first = asyncio.create_task(together.ask("key", work))
    await turns()
    later = [asyncio.create_task(together.ask("key", work)) for _ in range(3)]
    other = asyncio.create_task(together.ask("another key", work))
    await turns()
    assert work.begun == 2
    work.go.set()
    assert await first == Shared(1, own=True)
    assert await other == Shared(2, own=True)
    assert await asyncio.gather(*later) == [Shared(3, own=True), Shared(3, own=False), Shared(3, own=False)]
    assert work.begun == 3


async def test_an_error_is_shared_and_then_forgotten() -> None:
    together: Together[int] = Together()
    work = Work()
    work.error = DatabaseAwayError("away")
    first = asyncio.create_task(together.ask("key", work))
    await turns()
    later = [asyncio.create_task(together.ask("key", work)) for _ in range(2)]
    await turns()
    work.go.set()
    found = await asyncio.gather(first, *later, return_exceptions=True)
    assert [type(one) for one in found] == [DatabaseAwayError] * 3
    work.error = None
    assert (await together.ask("key", work)).own


@pytest.mark.parametrize("waits_for_its_turn", [True, False])
async def test_who_is_given_up_does_not_take_the_others_along(waits_for_its_turn: bool) -> None:
    together: Together[int] = Together()
    work = Work()
    tasks = [asyncio.create_task(together.ask("key", work))]
    if waits_for_its_turn:
        await turns()
        tasks.append(asyncio.create_task(together.ask("key", work)))
    await turns()
    given_up = tasks.pop()
    joined = asyncio.create_task(together.ask("key", work))
    await turns()
    given_up.cancel()
    await turns()
    work.go.set()
    if waits_for_its_turn:
        with pytest.raises(Problem, match="ask again"):
            await joined
    else:
        assert (await joined).own
    assert (await together.ask("key", work)).own
    await asyncio.gather(*tasks, given_up, return_exceptions=True)


def test_a_run_belongs_to_one_of_those_who_asked_together() -> None:
    queued: Tried = Queued(uuid4())
    assert seen_by_one(Shared(queued, own=True)) == queued
    assert seen_by_one(Shared(queued, own=False)) == Living(queued.run_id)
    living: Tried = Living(uuid4())
    assert seen_by_one(Shared(living, own=False)) == living
