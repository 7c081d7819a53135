"""Notices, against a real HTTP server and a real ledger: once each, tried again, and nobody waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr

from monitor.notify import MOST_WAITING, Announcer, Message, Sender, note_sent
from monitor.summary import Expectation, Summary, summarise
from monitor.trouble import Surroundings
from syncd.contract.words import Cause
from syncd.ledger.outlook import load_outlook
from syncd.ledger.scrape import load_facts
from syncd.runtime.log import configure_log
from syncd.runtime.settings.sync import SyncSettings
from tests.acceptance.processes import until
from tests.listener import Listener, listening_for_notices
from tests.streams import Stand, execute, scalar

EXPECTATION = Expectation(600, 7200, enabled=True)
SECRET = "hush-hush"


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    async with listening_for_notices() as opened:
        yield opened


def message(listener: Listener, *, path: str = "/hook", key: str = "") -> Message:
    return Message(SecretStr(f"{listener.url}{path}?{SECRET}"), "trouble", key, {"event": "trouble"})


@asynccontextmanager
async def sending(*, call_seconds: float = 10.0, sent: list[str] | None = None) -> AsyncIterator[Sender]:
    arrived: list[str] = [] if sent is None else sent

    async def note(key: str) -> None:
        arrived.append(key)

    sender = Sender(note, call_seconds=call_seconds)
    task = asyncio.create_task(sender.run())
    yield sender
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def announcing(stand: Stand, listener: Listener) -> AsyncIterator[Announcer]:
    """As one process of the monitor would."""
    sync = SyncSettings(webhook_url=f"{listener.url}/hook", ping_url=f"{listener.url}/ping/{{account}}")
    sender = Sender(lambda key: note_sent(stand.postgres, key))
    task = asyncio.create_task(sender.run())
    yield Announcer(stand.postgres, sender, lambda: sync)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def summary_of(stand: Stand) -> Summary:
    around = Surroundings(await load_outlook(stand.postgres), "elsewhere", 1)
    return summarise(await load_facts(stand.postgres), [], EXPECTATION, 0.0, around)


def end(stand: Stand, status: str, cause: Cause) -> None:
    """A run began and ended just now."""
    execute(
        stand.conninfo,
        "INSERT INTO run (stream_id, initiated_by, status, cause, started_at, completed_at, error_message)"
        " SELECT stream_id, 'test', %s, %s, clock_timestamp(), clock_timestamp(), 'page 3: \u202eno' FROM stream",
        [status, cause],
    )


def all_sent(stand: Stand) -> bool:
    return not scalar(stand.conninfo, "SELECT count(*) FROM notice WHERE sent_at IS NULL")


async def test_a_failure_and_the_recovery_are_told_once_over_restarts_and_by_two(
    stand: Stand, listener: Listener
) -> None:
    end(stand, "failed", Cause.UPSTREAM)
    for _ in range(2):
        async with announcing(stand, listener) as one, announcing(stand, listener) as other:
            for announcer in (one, other, one):
                await announcer.tell(await summary_of(stand), [], 0.0)
            await until(
                lambda: not scalar(stand.conninfo, "SELECT count(*) FROM notice WHERE sent_at IS NULL"),
                "it is told",
                10,
            )
    assert len(listener.bodies("trouble")) == 1
    (trouble,) = listener.bodies("trouble")
    assert (trouble["kind"], trouble["subject"]) == ("failed", "emag/main/offers")
    assert "\\u202eno" in trouble["text"]
    end(stand, "complete", Cause.END_OF_DATA)
    for _ in range(2):
        async with announcing(stand, listener) as announcer:
            await announcer.tell(await summary_of(stand), [], 0.0)
            await announcer.tell(await summary_of(stand), [], 0.0)
            await until(
                lambda: not scalar(stand.conninfo, "SELECT count(*) FROM notice WHERE sent_at IS NULL"),
                "it is told",
                10,
            )
    assert len(listener.bodies("recovered")) == 1
    (recovered,) = listener.bodies("recovered")
    assert recovered["key"] == f"{trouble['key']}/over"
    end(stand, "failed", Cause.UPSTREAM)
    async with announcing(stand, listener) as announcer:
        await announcer.tell(await summary_of(stand), [], 0.0)
        await until(
            lambda: not scalar(stand.conninfo, "SELECT count(*) FROM notice WHERE sent_at IS NULL"), "it is told", 10
        )
    assert len(listener.bodies("trouble")) == 2
    assert len(listener.bodies("recovered")) == 1
    runs = scalar(stand.conninfo, "SELECT array_agg(run_id::text ORDER BY queued_at) FROM run")
    ends = ["/fail", "", "/fail"]
    expected = [f"/ping/main{path}?rid={run}" for run, how in zip(runs, ends, strict=True) for path in ("/start", how)]
    assert sorted(listener.pings) == sorted(expected)


async def test_what_nobody_sent_is_sent_by_the_next_process(stand: Stand, listener: Listener) -> None:
    end(stand, "failed", Cause.UPSTREAM)
    dead = Announcer(stand.postgres, Sender(lambda key: note_sent(stand.postgres, key)), lambda: SyncSettings(
        webhook_url=f"{listener.url}/hook"
    ))  # fmt: skip
    await dead.tell(await summary_of(stand), [], 0.0)  # it has noted it, and dies before it sends it
    async with announcing(stand, listener) as announcer:
        await announcer.tell(await summary_of(stand), [], 0.0)
        assert listener.bodies("trouble") == []
        execute(stand.conninfo, "UPDATE notice SET claimed_at = claimed_at - interval '6 minutes'")
        await announcer.tell(await summary_of(stand), [], 0.0)
        await until(lambda: len(listener.bodies("trouble")) == 1, "it is told", 10)
    made = scalar(
        stand.conninfo, "SELECT to_char(made_at AT TIME ZONE 'UTC', 'HH24:MI:SS') FROM notice WHERE event = 'trouble'"
    )
    assert f"T{made}Z" in listener.bodies("trouble")[0]["at"]


async def test_old_runs_are_no_news(stand: Stand, listener: Listener) -> None:
    end(stand, "complete", Cause.END_OF_DATA)
    execute(stand.conninfo, "ALTER TABLE run DISABLE TRIGGER USER")
    execute(stand.conninfo, "UPDATE run SET started_at = started_at - interval '1 day', completed_at ="
            " completed_at - interval '1 day'")  # fmt: skip
    async with announcing(stand, listener) as announcer:
        await announcer.tell(await summary_of(stand), [], 0.0)
    assert stand.count("notice") == 0


async def test_the_end_of_a_long_run_is_pinged_however_many_short_ones_came_after_it(
    stand: Stand, listener: Listener
) -> None:
    """Of 40 streams, where the newest 100 runs are those of half an hour."""
    execute(stand.conninfo, "ALTER TABLE run DISABLE TRIGGER USER")
    execute(stand.conninfo, "INSERT INTO account (source, name) SELECT 'emag', 'a' || n FROM generate_series(1, 40) n")
    execute(stand.conninfo, "INSERT INTO stream (account_id, resource) SELECT account_id, 'offers' FROM account"
            " WHERE name <> 'main'")  # fmt: skip
    run = (
        "INSERT INTO run (stream_id, initiated_by, status, cause, queued_at, started_at, completed_at)"
        " SELECT stream_id, 'test', 'complete', 'end_of_data', began, began, clock_timestamp() - %s * interval '1 s'"
        " FROM stream JOIN account USING (account_id), (SELECT clock_timestamp() - %s * interval '1 s') t(began)"
        " WHERE (name = 'main') = %s"
    )
    execute(stand.conninfo, run, [1, 7000, True])
    for past in (3000, 2000, 1000):
        execute(stand.conninfo, run, [past, past + 100, False])
    async with announcing(stand, listener) as announcer:
        await announcer.tell(await summary_of(stand), [], 0.0)
        await until(lambda: listener.pings, "it is told", 10)
    (ping,) = listener.pings
    assert ping.startswith("/ping/main?rid=")


async def test_a_ledger_that_is_away_is_told_after_a_minute_and_its_return_too(
    stand: Stand, listener: Listener
) -> None:
    async with announcing(stand, listener) as announcer:
        for now in (0.0, 59.0, 60.0, 90.0):
            await announcer.tell(None, [], now)
        await announcer.tell(await summary_of(stand), [], 100.0)
        await until(lambda: listener.bodies("recovered"), "it is told", 10)
    (trouble,) = listener.bodies("trouble")
    assert (trouble["kind"], trouble["subject"]) == ("ledger_away", "ledger")


async def test_a_webhook_that_hangs_delays_no_ping_and_its_queue_is_bounded(listener: Listener) -> None:
    listener.hanging = "/hook"
    async with sending() as sender:
        sender.put(message(listener) for _ in range(3 * MOST_WAITING))
        sender.put([Message(SecretStr(f"{listener.url}/ping"), "ping start", "", None)])
        await until(lambda: listener.pings == ["/ping"], "it is told", 10)
        listener.hanging = "never"
        listener.released.set()
        await until(lambda: len(listener.bodies("trouble")) >= MOST_WAITING, "it is told", 10)
    assert len(listener.bodies("trouble")) <= MOST_WAITING + 1


async def test_what_waits_behind_a_webhook_that_hangs_is_told_once_however_often_it_is_overdue(
    stand: Stand, listener: Listener
) -> None:
    listener.hanging = "/hook"
    end(stand, "failed", Cause.UPSTREAM)
    async with announcing(stand, listener) as announcer:
        for _ in range(3):  # the first is under way, or waits; then the ledger names it again
            await announcer.tell(await summary_of(stand), [], 0.0)
            await until(lambda: len(listener.heard) == 3, "two pings and the call that hangs", 10)
            execute(stand.conninfo, "UPDATE notice SET claimed_at = claimed_at - interval '6 minutes'")
        listener.hanging = "never"
        listener.released.set()
        await until(lambda: all_sent(stand), "it is told", 10)
    assert len(listener.bodies("trouble")) == 1


async def test_what_was_refused_is_sent_when_it_is_overdue(stand: Stand, listener: Listener) -> None:
    end(stand, "failed", Cause.UPSTREAM)
    listener.statuses = [404, 404, 404]
    async with announcing(stand, listener) as announcer:
        await announcer.tell(await summary_of(stand), [], 0.0)
        await until(lambda: len(listener.heard) == 3, "two pings and the notice are refused", 10)
        deadline = asyncio.get_running_loop().time() + 10
        while not all_sent(stand):  # a look comes too early where the refusal is still being read
            assert asyncio.get_running_loop().time() < deadline, "it is told"
            execute(stand.conninfo, "UPDATE notice SET claimed_at = claimed_at - interval '6 minutes'")
            await announcer.tell(await summary_of(stand), [], 0.0)
    assert len(listener.heard) == 6


async def test_a_call_is_tried_again_and_noted_when_it_arrives(listener: Listener) -> None:
    listener.statuses = [500]
    sent: list[str] = []
    async with sending(sent=sent) as sender:
        sender.put([message(listener, key="k")])
        await until(lambda: sent == ["k"], "it is told", 10)
    assert len(listener.heard) == 2


async def test_a_redirect_is_not_followed_and_no_line_of_the_log_holds_the_url(
    listener: Listener, capsys: pytest.CaptureFixture[str]
) -> None:
    listener.statuses = [302, 404]
    configure_log(target="stderr")  # also for loggers that other tests have used
    written = ""

    def told() -> int:
        nonlocal written
        written += capsys.readouterr().err
        return written.count("notice.not_sent")

    async with sending(call_seconds=5.0) as sender:
        sender.put([message(listener), message(listener), Message(SecretStr(f"http://[{SECRET}"), "trouble", "", {})])
        await until(lambda: told() == 3, "it is told", 10)
    assert len(listener.heard) == 2
    assert "HTTP 302" in written
    assert SECRET not in written
    assert "127.0.0.1" not in written


async def test_who_wants_no_notices_has_none_in_the_ledger(stand: Stand) -> None:
    end(stand, "failed", Cause.UPSTREAM)
    announcer = Announcer(stand.postgres, Sender(lambda key: note_sent(stand.postgres, key)), SyncSettings)
    await announcer.tell(await summary_of(stand), [], 0.0)
    assert stand.count("notice") == 0
