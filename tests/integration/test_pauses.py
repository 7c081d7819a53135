"""Everything is paused: a fact of the ledger that streams obey which are registered later."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from syncd.contract.runs import ClaimRequest, Paused
from syncd.contract.words import Stream
from syncd.ledger import accounts, claims, pauses
from syncd.ledger.overview import load_pauses
from syncd.ledger.situation import book_next, load_states
from syncd.ledger.sweeps import load_outlook
from syncd.runtime.process import current_owner, proven_dead
from tests.streams import CAPS, STREAM, Stand, held_open, waiting

LATER = replace(STREAM, account="later")


async def held(stand: Stand) -> set[Stream]:
    return set(await load_pauses(stand.postgres))


async def pause_all(stand: Stand) -> list[Stream]:
    return await pauses.pause(stand.postgres, None, by="cli:anna@host", reason="wrong prices")


async def test_a_stream_that_is_registered_while_everything_is_paused_begins_paused(stand: Stand) -> None:
    """By the same person, at the same time, for the same reason; and it is refused a run."""
    assert await pause_all(stand) == [STREAM]
    assert (await load_outlook(stand.postgres, LATER)).paused_by == "cli:anna@host"
    await accounts.register(stand.postgres, LATER)
    paused = await load_pauses(stand.postgres)
    assert paused.get(LATER) == paused[STREAM]
    request = ClaimRequest(LATER, current_owner(), CAPS, 60.0, "test")
    refused = await claims.claim(stand.postgres, request, proven_dead=proven_dead)
    assert isinstance(refused, Paused)
    assert (refused.by, refused.reason) == ("cli:anna@host", "wrong prices")


async def test_a_stream_that_is_resumed_goes_on_alone(stand: Stand) -> None:
    """The others stay paused, and so do those to come, until everything is resumed."""
    await pause_all(stand)
    assert await pauses.resume(stand.postgres, STREAM) == 1
    await accounts.register(stand.postgres, LATER)
    assert await held(stand) == {LATER}
    assert await pauses.load_standing(stand.postgres) is not None
    assert await pauses.resume(stand.postgres, None) == 1
    assert await pauses.load_standing(stand.postgres) is None
    await accounts.register(stand.postgres, replace(STREAM, account="latest"))
    assert await held(stand) == set()


async def test_a_pause_of_one_stream_says_nothing_of_those_to_come(stand: Stand) -> None:
    await pauses.pause(stand.postgres, STREAM, by="cli:anna@host", reason="inventory")
    await accounts.register(stand.postgres, LATER)
    assert await held(stand) == {STREAM}


async def test_a_stream_that_is_being_registered_does_not_slip_through_a_pause(stand: Stand) -> None:
    with held_open(stand, "stream", "INSERT") as holder:
        registering = asyncio.create_task(accounts.register(stand.postgres, LATER))
        assert await waiting(stand, "INSERT INTO stream", registering)
        pausing = asyncio.create_task(pause_all(stand))
        await waiting(stand, "UPDATE standing_pause", pausing)
        holder.commit()
        await asyncio.gather(registering, pausing)
    assert await held(stand) == {STREAM, LATER}


async def test_a_resume_forgives_the_backoff_and_leaves_the_slot(stand: Stand) -> None:
    """A slot that the schedule has booked is none of the pause's business; one that failures have put off is."""
    for failed, stays in ((None, True), (True, False)):
        await book_next(stand.postgres, STREAM, seconds=3600, failed=failed)
        await pause_all(stand)
        await pauses.resume(stand.postgres, None)
        state = (await load_states(stand.postgres))[STREAM]
        assert state.failures == 0
        assert (state.next_in_seconds is not None) is stays
