"""The answer to a scrape, from a real ledger: what it says of runs, how often it reads, what it costs others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from psycopg.conninfo import make_conninfo

from monitor import exporter as exporter_module
from monitor.exporter import Exporter
from monitor.series import MOST_ACCOUNTS, accounts_of
from syncd.contract.runs import Outcome
from syncd.contract.words import Cause, Stream
from syncd.ledger import accounts, claims
from syncd.ledger.scrape import load_facts
from syncd.runtime.postgres import Postgres
from tests.control import eventually
from tests.facts import open_run, stream_facts
from tests.promtool import check_metrics
from tests.streams import Stand, execute, page_of, scalar

MAIN = '{account_type="main",source="emag"}'


@dataclass
class Watched:
    """A watch that is well and sees nothing stuck."""

    watch_state: str = "ok"
    stuck_streams: set[Stream] = field(default_factory=set)

    def interval_of(self, source: str, account: str) -> float:
        return 600.0


@pytest.fixture
async def exporter(stand: Stand) -> AsyncIterator[Exporter]:
    opened = Exporter(stand.postgres, Watched())
    yield opened
    await opened.close()


async def samples(postgres: Postgres) -> dict[str, float]:
    """Every sample of a new scrape."""
    opened = Exporter(postgres, Watched())
    text = (await opened.scrape()).decode()
    await opened.close()
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


async def end(stand: Stand, cause: Cause) -> None:
    assert await claims.release(stand.postgres, await stand.claim(), Outcome(cause))


async def test_promtool_has_nothing_to_say(stand: Stand, exporter: Exporter) -> None:
    check_metrics(await exporter.scrape())
    for number in range(MOST_ACCOUNTS + 2):
        await accounts.register(stand.postgres, Stream("emag", f"shop-{number}", "offers"))
    await end(stand, Cause.END_OF_DATA)
    many = Exporter(stand.postgres, Watched())
    text = await many.scrape()
    await many.close()
    assert b'account_type="other"' in text
    check_metrics(text)


async def test_a_queued_run_and_a_plan_show_the_run_before_them(stand: Stand) -> None:
    postgres = stand.postgres
    assert (await samples(postgres))[f"emag_sync_run_status{MAIN}"] == 0
    await end(stand, Cause.END_OF_DATA)
    shown = await samples(postgres)
    ended_at = scalar(stand.conninfo, "SELECT extract(epoch FROM completed_at)::float8 FROM run")
    assert shown[f"emag_sync_run_status{MAIN}"] == 2
    assert shown[f"emag_sync_last_success_timestamp_seconds{MAIN}"] == pytest.approx(ended_at)
    await end(stand, Cause.UPSTREAM)
    shown = await samples(postgres)
    assert shown[f"emag_sync_run_status{MAIN}"] == 3
    assert shown[f"emag_sync_last_success_timestamp_seconds{MAIN}"] == pytest.approx(ended_at)
    insert = "INSERT INTO run (stream_id, initiated_by, dry_run) SELECT stream_id, 'test', %s FROM stream"
    execute(stand.conninfo, insert, [False])
    shown = await samples(postgres)
    assert (shown[f"emag_sync_run_status{MAIN}"], shown[f"emag_sync_open_runs{MAIN}"]) == (3, 1)
    claim = await stand.claim()
    assert (await samples(postgres))[f"emag_sync_run_status{MAIN}"] == 1
    assert await claims.release(postgres, claim, Outcome(Cause.CAP_TIME))
    assert (await samples(postgres))[f"emag_sync_run_status{MAIN}"] == 4
    execute(stand.conninfo, insert, [True])
    claim = await stand.claim()
    assert (await samples(postgres))[f"emag_sync_run_status{MAIN}"] == 4
    assert await claims.release(postgres, claim, Outcome(Cause.END_OF_DATA, keeps_sweep=True))
    assert (await samples(postgres))[f"emag_sync_run_status{MAIN}"] == 4


async def test_a_page_moves_what_it_should(stand: Stand) -> None:
    claim = await stand.claim()
    async with stand.writer(claim) as writer:
        execute(stand.conninfo, "UPDATE sweep SET expected = 4100")
        execute(stand.conninfo, "UPDATE run SET expected = 4100, requests = 3")
        await writer.store(page_of(1, range(100)), page_of(2, range(100, 200)))
    shown = await samples(stand.postgres)
    names = ("offers_processed_total", "run_pages", "run_pages_expected", "run_requests_cap", "run_status")
    assert [shown[f"emag_sync_{name}{MAIN}"] for name in names] == [200, 2, 41, 500, 1]
    assert shown['emag_sync_records{account_type="main",source="emag",state="live"}'] == 200
    assert shown[f"emag_sync_run_eta_seconds{MAIN}"] > 0
    progress_at = scalar(stand.conninfo, "SELECT extract(epoch FROM progress_at)::float8 FROM run")
    assert shown[f"emag_sync_progress_timestamp_seconds{MAIN}"] == pytest.approx(progress_at)


async def test_however_many_ask_the_ledger_is_read_once(exporter: Exporter) -> None:
    bodies = await asyncio.gather(*(exporter.scrape() for _ in range(20)))
    assert len(set(bodies)) == 1
    for _ in range(20):
        await exporter.scrape()
    assert exporter.reads == 1


async def test_while_somebody_scrapes_the_answer_is_made_before_it_is_asked_for(
    exporter: Exporter, stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter_module, "FRESH_SECONDS", 0.05)
    await exporter.scrape()
    await end(stand, Cause.END_OF_DATA)
    async with asyncio.timeout(10):
        while f"emag_sync_run_status{MAIN} 2.0" not in (await exporter.scrape()).decode():
            assert exporter.reads < 100
            await asyncio.sleep(0.01)
    monkeypatch.setattr(exporter_module, "WATCHED_SECONDS", 0.0)
    await eventually(lambda: not exporter.is_watched)


async def test_writing_hundreds_of_accounts_holds_nobody_up(exporter: Exporter) -> None:
    counters = {f"requests\tproduct_offer/{n}\t": 1.0 for n in range(10)}
    facts = [
        stream_facts(f"shop-{n}", account_id=n, counters=counters, open_run=open_run()) for n in range(MOST_ACCOUNTS)
    ]
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    body = await exporter_module.joined(exporter.text(facts, 0.0), asyncio.get_running_loop().time)
    task.cancel()
    assert body.count(b"\n") > 10_000
    assert turns > 20


async def test_a_ledger_that_is_away_is_told_and_its_series_are_absent(stand: Stand) -> None:
    async with Postgres(make_conninfo(stand.conninfo, port=1), "sync") as nowhere:
        opened = Exporter(nowhere, Watched("failing"))
        text = (await opened.scrape()).decode()
        await opened.close()
    check_metrics(text)
    assert "emag_sync_up 0.0\n" in text
    assert "emag_sync_monitor_status 0.0\n" in text
    assert 'emag_sync_monitor_state{state="failing"} 1.0\n' in text
    assert "process_resident_memory_bytes " in text
    assert "account_type" not in text


async def test_a_long_list_of_streams_is_read_whole(stand: Stand) -> None:
    for number in range(23):
        await accounts.register(stand.postgres, Stream("emag", f"shop-{number:02}", "offers"))
    facts = await load_facts(stand.postgres)
    assert len(facts) == 24
    assert [account.name for account in accounts_of(facts, (), lambda source, account: 0.0)] == [
        "main",
        *(f"shop-{n:02}" for n in range(23)),
    ]
