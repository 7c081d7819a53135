"""The lease: renewed by the database's clock, on its own connection, and believed no longer than it lasts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import pytest

from syncd.contract.errors import DatabaseAwayError, LeaseLostError
from syncd.contract.runs import Claim, Outcome
from syncd.contract.words import Cause
from syncd.engine.keeper import keep_lease, watch_trust
from syncd.engine.stop import StopSignal
from syncd.engine.supervision import work_under_lease
from syncd.ledger import runs
from syncd.ledger.accumulators import Recorder
from syncd.ledger.claims import LeaseHolder
from tests.fault_proxy import FaultProxy
from tests.streams import Stand, execute, held_open, open_stand, page_of, scalar, waiting


def seconds_left(stand: Stand) -> float:
    return float(scalar(stand.conninfo, "SELECT extract(epoch FROM expires_at - clock_timestamp()) FROM lease"))


@asynccontextmanager
async def holding(stand: Stand, *, lease_seconds: float = 60.0) -> AsyncIterator[tuple[LeaseHolder, Claim]]:
    loop = asyncio.get_running_loop()
    claimed_at = loop.time()
    claim = await stand.claim(lease_seconds=lease_seconds)
    holder = LeaseHolder(stand.postgres, claim, loop.time, claimed_at)
    try:
        yield holder, claim
    finally:
        await holder.close()


async def test_a_renewal_begins_the_lease_anew(stand: Stand) -> None:
    """By the database's clock; the heartbeat shows it."""
    async with holding(stand) as (holder, claim):
        execute(stand.conninfo, "UPDATE lease SET expires_at = clock_timestamp() + interval '3 seconds'")
        before = stand.run(claim)["heartbeat_at"]
        assert await holder.renew() is None
        assert seconds_left(stand) == pytest.approx(60, abs=2)
        assert stand.run(claim)["heartbeat_at"] > before


async def test_a_lapsed_lease_is_not_renewed(stand: Stand) -> None:
    """Though nobody has taken it yet: somebody may be about to."""
    async with holding(stand) as (holder, _):
        stand.lapse()
        with pytest.raises(LeaseLostError):
            await holder.renew()
        assert seconds_left(stand) < 0


async def test_a_lease_that_was_taken_is_not_renewed(stand: Stand) -> None:
    """The successor's lease is not touched."""
    async with holding(stand) as (holder, _):
        successor = await stand.take_over()
        before = scalar(stand.conninfo, "SELECT expires_at FROM lease")
        with pytest.raises(LeaseLostError):
            await holder.renew()
        assert scalar(stand.conninfo, "SELECT expires_at FROM lease") == before
        assert stand.run(successor)["status"] == "running"


async def test_a_page_that_is_slow_to_write_does_not_delay_the_renewal(stand: Stand) -> None:
    """The page holds its run's row and the lease row to its end; the lease goes on all the same."""
    async with holding(stand) as (holder, claim), stand.writer(claim) as writer:
        await writer.store(page_of(1, range(3)))
        with held_open(stand, "record", "INSERT") as held:
            page = asyncio.create_task(writer.store(page_of(2, range(10, 13))))
            assert await waiting(stand, "COPY record", page)
            execute(stand.conninfo, "UPDATE lease SET expires_at = clock_timestamp() + interval '3 seconds'")
            await asyncio.wait_for(holder.renew(), 2)
            assert seconds_left(stand) > 50
            assert not page.done()
            held.commit()
            await page


async def test_a_cancel_is_heard_with_the_renewal(stand: Stand) -> None:
    """Who asked for it comes back."""
    async with holding(stand) as (holder, claim):
        await runs.request_cancel(stand.postgres, claim.run_id, "cli:ana@desk")
        assert await holder.renew() == "cli:ana@desk"


async def test_trust_ends_before_the_lease(stand: Stand) -> None:
    """However long the answer took: what counts is when the renewal began."""
    async with holding(stand) as (holder, _):
        loop = asyncio.get_running_loop()
        assert holder.trusted_until - loop.time() < seconds_left(stand)
        await holder.renew()
        assert holder.trusted_until - loop.time() < seconds_left(stand)


async def test_a_cut_renewal_is_repeated_over_a_new_connection(database: str) -> None:
    """The old connection is not asked again."""
    async with (
        FaultProxy(database) as proxy,
        open_stand(database, through=proxy.conninfo) as stand,
        holding(stand) as (holder, _),
    ):
        await holder.renew()
        proxy.cut_all()
        with pytest.raises(DatabaseAwayError):
            await holder.renew()
        execute(stand.conninfo, "UPDATE lease SET expires_at = clock_timestamp() + interval '3 seconds'")
        await holder.renew()
        assert seconds_left(stand) > 50


async def ended(work: Awaitable[None], stop: StopSignal, within_seconds: float) -> None:
    task = asyncio.ensure_future(work)
    async with asyncio.timeout(within_seconds):
        await stop.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_the_keeper_renews_until_the_lease_is_taken(stand: Stand) -> None:
    """Then it ends the run; nothing received is written any more."""
    async with holding(stand, lease_seconds=0.6) as (holder, claim):
        stop = StopSignal()
        keeper = asyncio.create_task(keep_lease(holder, claim, stop))
        loop = asyncio.get_running_loop()
        first_trust = holder.trusted_until
        async with asyncio.timeout(10):
            while holder.trusted_until < first_trust + 1:  # well past the first lease
                assert not stop.lease_lost.is_set()
                await asyncio.sleep(0.01)
        assert loop.time() > first_trust
        await stand.take_over()
        async with asyncio.timeout(10):
            await stop.lease_lost.wait()
        assert stop.outcome is not None
        assert stop.outcome.cause is Cause.LEASE_LOST
        await keeper


async def test_a_silent_database_ends_the_trust_before_the_lease(database: str) -> None:
    """Nothing is refused, nothing is answered: the run stops itself while the row is still ours."""
    async with (
        FaultProxy(database) as proxy,
        open_stand(database, through=proxy.conninfo) as stand,
        holding(stand, lease_seconds=3) as (holder, claim),
    ):
        await holder.renew()
        stop = StopSignal()
        proxy.hold()
        keeper = asyncio.create_task(keep_lease(holder, claim, stop))
        await ended(watch_trust(holder, claim, stop), stop, 10)
        assert stop.lease_lost.is_set()
        assert scalar(stand.conninfo, "SELECT expires_at > clock_timestamp() FROM lease"), "stopped too late"
        proxy.pass_on()
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)


async def test_books_and_pages_do_not_wait_for_each_other_in_a_ring(stand: Stand) -> None:
    """Both lock the run's row and the counters: in the same order, or the server kills one of them."""
    claim = await stand.claim()
    async with stand.writer(claim) as writer:

        async def keep_books() -> None:
            while not done.is_set():
                for name in ("a", "z", "records"):
                    writer.recorder.add(name)
                await writer.recorder.flush(stand.postgres, claim.run_id)

        done = asyncio.Event()
        books = asyncio.create_task(keep_books())
        try:
            for number in range(1, 150):
                writer.recorder.add("a")
                writer.recorder.add("z")
                await writer.store(page_of(number, range(3), name=number))
        finally:
            done.set()
            await books
    assert scalar(stand.conninfo, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0


def refuse(stand: Stand, column: str, why: str) -> None:
    """The database refuses every statement that sets this column of a run."""
    execute(
        stand.conninfo,
        f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '{why}'; END $$;"
        f" CREATE TRIGGER refuse BEFORE UPDATE OF {column} ON run FOR EACH ROW EXECUTE FUNCTION refuse()",
    )


async def test_a_run_whose_keeper_fails_ends_and_says_why(stand: Stand) -> None:
    """A renewal that the database refuses for good: not a silent wait for the lease to run out."""
    stop = StopSignal()

    async def work() -> Outcome:
        await stop.wait()
        assert stop.outcome is not None
        return stop.outcome

    async with holding(stand, lease_seconds=5.0) as (holder, claim):
        refuse(stand, "heartbeat_at", "no beat")
        working = work_under_lease(stand.postgres, claim, holder, Recorder(claim.stream_id), stop, work)
        outcome = await asyncio.wait_for(working, 20)
    assert outcome.cause is Cause.DATABASE
    assert "no beat" in (outcome.message or "")
    assert (stand.run(claim)["status"], stand.run(claim)["cause"]) == ("failed", "database")


async def test_an_end_that_the_database_refuses_is_no_success(stand: Stand) -> None:
    """The run is left to lapse, and its outcome says so; nothing is raised past it."""
    refuse(stand, "completed_at", "no end")

    async def work() -> Outcome:
        return Outcome(Cause.END_OF_DATA)

    async with holding(stand) as (holder, claim):
        working = work_under_lease(stand.postgres, claim, holder, Recorder(claim.stream_id), StopSignal(), work)
        outcome = await asyncio.wait_for(working, 20)
    assert outcome.cause is Cause.LEASE_LOST
    assert "its end was not stored" in (outcome.message or "")
    assert "no end" in (outcome.message or "")
    assert stand.run(claim)["status"] == "running"
