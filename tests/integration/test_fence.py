"""The fence: what a stale holder tries to write, and when a takeover comes in the middle of a write."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from psycopg import AsyncConnection

from syncd.contract.errors import DatabaseAwayError, LeaseLostError
from syncd.contract.records import Page, Rejected
from syncd.contract.runs import Claim, Outcome, Sweep
from syncd.contract.words import Cause, Phase, Rejection
from syncd.ledger import claims, runs, sweeps
from syncd.ledger.accounts import register
from syncd.ledger.fence import fenced
from syncd.policy.completeness import SweepFacts
from syncd.runtime.process import current_owner
from syncd.warehouse import tombstones
from tests.fault_proxy import FaultProxy
from tests.streams import STREAM, Stand, Writer, held_open, open_stand, page_of, select, waiting

TABLES = {
    "lease": "stream_id",
    "run": "run_id",
    "sweep": "sweep_id",
    "sweep_page": "sweep_id, pass, page, run_id",
    "record": "stream_id, key",
    "change": "change_id",
    "quarantine": "quarantine_id",
    "consent": "run_id",
    "accumulator": "stream_id, metric, endpoint, detail",
}
FACTS = SweepFacts(1, 1, 0, 0, 3, 0, "digest")


def everything(stand: Stand) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table that a run writes."""
    return {
        table: select(stand.conninfo, f"SELECT t.*, t.xmin FROM {table} t ORDER BY {order}")
        for table, order in TABLES.items()
    }


Write = Callable[[AsyncConnection[Any], Claim, Sweep, Stand], Awaitable[object]]


WRITES: dict[str, Write] = {
    "tombstone": lambda connection, claim, sweep, stand: tombstones.tombstone(connection, claim, ["1"]),
    "note_absent": lambda connection, claim, sweep, stand: tombstones.note_absent(connection, claim, sweep, ["1"]),
    "ask_consent": lambda connection, claim, sweep, stand: tombstones.ask_consent(connection, claim, sweep),
    "use_consents": lambda connection, claim, sweep, stand: tombstones.use_consents(connection, claim),
    "store_facts": lambda connection, claim, sweep, stand: sweeps.store_facts(connection, claim, sweep, FACTS),
    "set_expected": lambda connection, claim, sweep, stand: sweeps.set_expected(connection, claim, sweep, 99),
    "begin_second_pass": lambda connection, claim, sweep, stand: sweeps.begin_second_pass(
        connection, claim, sweep, FACTS
    ),
    "open_sweep": lambda connection, claim, sweep, stand: sweeps.open_sweep(connection, claim, page_size=7, fresh=True),
}


async def stale_claims(stand: Stand, claim: Claim) -> list[Claim]:
    """Claims that no longer hold: overtaken, of a fence to come, of another run, lapsed."""
    successor = await stand.take_over()
    return [claim, replace(successor, fence=successor.fence + 1), replace(successor, run_id=claim.run_id)]


async def test_a_stale_fence_stores_no_page(stand: Stand) -> None:
    """Neither new nor changed nor unchanged records, nor an empty page, nor a quarantined one."""
    first = await stand.claim()
    async with stand.writer(first) as writer:
        await writer.store(page_of(1, range(5)))
        bad = replace(page_of(2, [8]), rejected=[Rejected(1, None, Rejection.NO_KEY, b"{}")])
        pages = [page_of(2, [7]), page_of(2, [1], name="changed"), page_of(2, [1]), page_of(2, []), bad]
        for stale in await stale_claims(stand, first):
            async with stand.writer_of(stale, writer.sweep) as late:
                before = everything(stand)
                for page in pages:
                    with pytest.raises(LeaseLostError, match="nothing was written"):
                        await late.store(page)
                assert everything(stand) == before


async def test_a_lapsed_lease_stores_no_page_though_nobody_has_taken_it(stand: Stand) -> None:
    """The database's clock decides: a holder that was away must not write on its own word."""
    claim = await stand.claim()
    async with stand.writer(claim) as writer:
        stand.lapse()
        before = everything(stand)
        for page in (page_of(1, [1]), page_of(1, [])):
            with pytest.raises(LeaseLostError):
                await writer.store(page)
        assert everything(stand) == before


@pytest.mark.parametrize("write", WRITES)
async def test_a_stale_fence_writes_nothing(stand: Stand, write: str) -> None:
    """No other write of a run either."""
    first = await stand.claim()
    async with stand.writer(first) as writer:
        await writer.store(page_of(1, [1, 2, 3]))
        sweep = writer.sweep
    connection = await stand.postgres.connect("write late", writer=True)
    async with connection:
        for stale in await stale_claims(stand, first):
            before = everything(stand)
            with pytest.raises(LeaseLostError, match="nothing was written"):
                await WRITES[write](connection, stale, sweep, stand)
            assert everything(stand) == before


async def test_a_stale_fence_releases_nothing(stand: Stand) -> None:
    """The run that another process closed keeps its end, and the successor its lease."""
    first = await stand.claim()
    for stale in await stale_claims(stand, first):
        before = everything(stand)
        assert not await claims.release(stand.postgres, stale, Outcome(Cause.END_OF_DATA))
        assert everything(stand) == before


async def test_a_closed_run_says_nothing_more_of_itself(stand: Stand) -> None:
    """Waits and phases of the old process do not appear on the run that was closed."""
    first = await stand.claim()
    await stand.take_over()
    before = everything(stand)
    await runs.declare_wait(stand.postgres, first, 60.0, "because")
    await runs.enter_phase(stand.postgres, first, Phase.VERIFY)
    assert everything(stand) == before


async def store_new(writer: Writer) -> Any:
    return await writer.store(page_of(2, range(100, 105)))


async def store_changed(writer: Writer) -> Any:
    return await writer.store(page_of(2, range(3), name="changed"))


async def store_unchanged(writer: Writer) -> Any:
    return await writer.store(page_of(2, range(3)))


HELD_PAGES = {
    "new records": (store_new, "record", "INSERT", "COPY record"),
    "changed records": (store_changed, "record", "UPDATE", "UPDATE record"),
    "one statement": (store_unchanged, "sweep_page", "INSERT", "INSERT INTO sweep_page"),
}


@pytest.mark.parametrize("kind", HELD_PAGES)
async def test_a_takeover_waits_for_a_page_that_is_being_written(stand: Stand, kind: str) -> None:
    """A page held open in the server commits before the takeover, never after it."""
    store, table, operation, statement = HELD_PAGES[kind]
    first = await stand.claim()
    async with stand.writer(first) as writer:
        await writer.store(page_of(1, range(3)))
        with held_open(stand, table, operation) as holder:
            page = asyncio.create_task(store(writer))
            assert await waiting(stand, statement, page)
            takeover = asyncio.create_task(stand.take_over())
            assert await waiting(stand, "FOR UPDATE OF l", takeover), "the takeover did not wait for the page"
            holder.commit()
            successor = await takeover
        assert page.done() or await asyncio.wait({page}, timeout=1)
        assert not (await page).already_applied
    by_fence = select(stand.conninfo, "SELECT page, fence FROM sweep_page ORDER BY page")
    assert by_fence == [{"page": 1, "fence": 1}, {"page": 2, "fence": 1}]
    assert successor.fence == 2
    assert stand.run(first)["pages"] == 2


@pytest.mark.parametrize("write", ["tombstone", "note_absent", "store_facts"])
async def test_a_takeover_waits_for_whatever_is_being_written(stand: Stand, write: str) -> None:
    """Tombstones too are held open in the server while another process claims."""
    first = await stand.claim()
    async with stand.writer(first) as writer:
        await writer.store(page_of(1, [1, 2, 3]))
        sweep = writer.sweep
    connection = await stand.postgres.connect("write", writer=True)
    async with connection:
        with held_open(stand, "sweep" if write == "store_facts" else "record", "UPDATE") as holder:
            writing = asyncio.ensure_future(WRITES[write](connection, first, sweep, stand))
            assert await waiting(stand, "UPDATE", writing)
            takeover = asyncio.create_task(stand.take_over())
            assert await waiting(stand, "FOR UPDATE OF l", takeover), "the takeover did not wait for the write"
            holder.commit()
            await takeover
        await writing


async def test_a_writer_that_freezes_inside_a_copy_does_not_hold_the_stream_for_ever(stand: Stand) -> None:
    """No timeout of the server applies there: the claim ends its session."""
    first = await stand.claim()
    connection = await stand.postgres.connect("write", writer=True)
    columns = "stream_id, run_id, page, ordinal, reason, raw"

    async def write_and_freeze() -> None:
        async with (
            connection,
            fenced(connection, first, "write"),
            connection.cursor() as cursor,
            cursor.copy(f"COPY quarantine ({columns}) FROM STDIN") as copy,
        ):
            await copy.write(b"1\t")  # half a row, and then silence
            await register(stand.postgres, STREAM)
            assert (await stand.take_over()).closed_run == first.run_id

    with pytest.raises(DatabaseAwayError):
        await write_and_freeze()
    assert stand.count("quarantine") == 0


@pytest.mark.parametrize("kind", HELD_PAGES)
async def test_a_page_that_comes_during_a_takeover_waits_and_is_refused(stand: Stand, kind: str) -> None:
    """It looked valid when it was sent; the fence is read under the lock."""
    store = HELD_PAGES[kind][0]
    first = await stand.claim(owner=replace(current_owner(), started="1"))  # alive, but proven dead
    async with stand.writer(first) as writer:
        await writer.store(page_of(1, range(3)))
        before = everything(stand)
        with held_open(stand, "run", "INSERT") as holder:
            takeover = asyncio.create_task(stand.claim())
            assert await waiting(stand, "INSERT INTO run", takeover)
            page = asyncio.create_task(store(writer))
            assert await waiting(stand, "FOR KEY SHARE", page), "the page did not wait for the takeover"
            holder.commit()
            await takeover
        with pytest.raises(LeaseLostError):
            await page
    after = everything(stand)
    untouched = ("sweep_page", "record", "change", "quarantine", "accumulator", "sweep")
    assert {table: after[table] for table in untouched} == {table: before[table] for table in untouched}


def mixed_page() -> Page:
    """New, changed and unchanged records, and two that go to quarantine."""
    new, old = page_of(2, range(10, 13)), page_of(2, range(2), name="changed")
    documents = [*new.documents, *old.documents]
    rejected = [
        Rejected(5, None, Rejection.NO_KEY, b'{"name": "no id"}'),
        Rejected(6, "77", Rejection.NUL_ESCAPE, b'{"id": 77, "name": "\\u0000"}'),
    ]
    return Page(2, new.keys + old.keys, documents, new.hashes + old.hashes, 7, 1000, 0, rejected)


REPLAYED_PAGES: dict[str, tuple[Callable[[], Page], bytes]] = {
    "records": (mixed_page, b"COMMIT"),
    "one statement": (lambda: page_of(2, range(3)), b"sweep_page"),
    "the empty page": (lambda: page_of(2, []), b"sweep_page"),
}


@pytest.mark.parametrize("kind", REPLAYED_PAGES)
async def test_a_page_whose_commit_was_not_heard_of_is_applied_once(database: str, kind: str) -> None:
    """The server commits, the answer is lost, the page is sent again: nothing changes, nothing counts twice."""
    make, commit = REPLAYED_PAGES[kind]
    async with FaultProxy(database) as proxy, open_stand(database, through=proxy.conninfo) as stand:
        claim = await stand.claim()
        async with stand.writer(claim) as writer:
            await writer.store(page_of(1, range(3)))
            writer.recorder.call_ended("product_offer/read", 0.2, None)
            proxy.cut_after(commit)
            with pytest.raises(DatabaseAwayError):
                await writer.store(make())
            assert proxy.cuts == 1
            committed = everything(stand)
            assert [row["page"] for row in committed["sweep_page"]] == [1, 2]
            replayed = await writer.store(make())
            assert replayed.already_applied
            assert everything(stand) == committed
            run = stand.run(claim)
            assert run["quarantined"] == len(committed["quarantine"])
            assert (run["pages"], run["progress_seq"]) == (2, 2)
            assert counter(stand, "requests") == 1


@pytest.mark.parametrize("kind", REPLAYED_PAGES)
async def test_a_page_whose_commit_never_arrived_is_applied_at_the_second_try(database: str, kind: str) -> None:
    """Cut before the commit: nothing is there, and the replay does everything."""
    make, commit = REPLAYED_PAGES[kind]
    async with FaultProxy(database) as proxy, open_stand(database, through=proxy.conninfo) as stand:
        claim = await stand.claim()
        async with stand.writer(claim) as writer:
            await writer.store(page_of(1, range(3)))
            writer.recorder.call_ended("product_offer/read", 0.2, None)
            before = everything(stand)
            proxy.cut_before(commit)
            with pytest.raises(DatabaseAwayError):
                await writer.store(make())
            assert everything(stand) == before
            assert not (await writer.store(make())).already_applied
            assert [row["page"] for row in everything(stand)["sweep_page"]] == [1, 2]
            assert counter(stand, "requests") == 1


def counter(stand: Stand, metric: str) -> float:
    rows = select(stand.conninfo, "SELECT value FROM accumulator WHERE metric = %s", [metric])
    return sum(row["value"] for row in rows)


@pytest.mark.parametrize("books", ["before the replay", "after it"])
async def test_calls_are_counted_once_though_the_commit_was_not_heard_of(database: str, books: str) -> None:
    """The unheard commit carried the first call; one made meanwhile is neither lost nor counted twice."""
    async with FaultProxy(database) as proxy, open_stand(database, through=proxy.conninfo) as stand:
        claim = await stand.claim()
        async with stand.writer(claim) as writer:
            writer.recorder.call_ended("product_offer/read", 0.2, None)
            proxy.cut_after(b"COMMIT")
            with pytest.raises(DatabaseAwayError):
                await writer.store(page_of(1, range(3)))
            writer.recorder.call_ended("product_offer/read", 0.2, None)
            if books == "before the replay":
                await writer.recorder.flush(stand.postgres, claim.run_id)
            assert (await writer.store(page_of(1, range(3)))).already_applied
            await writer.recorder.flush(stand.postgres, claim.run_id)
            assert (counter(stand, "requests"), counter(stand, "offers_processed")) == (2, 3)


async def test_a_release_whose_commit_was_not_heard_of_is_still_ours(database: str) -> None:
    """The run ended as it said; asking again must not make it look as if somebody else had closed it."""
    async with FaultProxy(database) as proxy, open_stand(database, through=proxy.conninfo) as stand:
        claim = await stand.claim()
        proxy.cut_after(b"COMMIT")
        with pytest.raises(DatabaseAwayError):
            await claims.release(stand.postgres, claim, Outcome(Cause.END_OF_DATA))
        ended = stand.run(claim)
        assert ended["status"] == "complete"
        assert await claims.release(stand.postgres, claim, Outcome(Cause.END_OF_DATA))
        assert stand.run(claim) == ended


async def test_a_claim_whose_commit_was_not_heard_of_lapses_and_is_closed(database: str) -> None:
    """Nobody works on it: it ends like any other holder that went away."""
    async with FaultProxy(database) as proxy, open_stand(database, through=proxy.conninfo) as stand:
        proxy.cut_after(b"COMMIT")
        with pytest.raises(DatabaseAwayError):
            await stand.try_claim()
        (lost,) = select(stand.conninfo, "SELECT run_id, status FROM run")
        assert lost["status"] == "running"
        assert (await stand.take_over()).closed_run == lost["run_id"]
