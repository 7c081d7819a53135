"""What the control API answers: requests, history, steering, health; over a real ledger and real sockets."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from syncd.ledger.identity import load_ledger_id
from syncd.ledger.queue import Answered, begin_idempotent
from tests.control import FBE, MAIN, Port, open_port
from tests.streams import execute, scalar, select


@pytest.fixture
async def port(database: str) -> AsyncIterator[Port]:
    async with open_port(database) as opened:
        yield opened


def end_runs(conninfo: str, status: str = "complete", cause: str = "end_of_data") -> None:
    """What a worker does at the end of its runs."""
    execute(
        conninfo,
        "UPDATE run SET status = %s, cause = %s, completed_at = clock_timestamp(),"
        " started_at = coalesce(started_at, queued_at) WHERE completed_at IS NULL",
        [status, cause],
    )


async def test_a_request_is_answered_at_once_and_can_be_followed(port: Port, database: str) -> None:
    status, headers, started = await port.post("/sync", {"stream": str(MAIN), "max_pages": 7, "limit": 50})
    assert status == 202
    assert headers["Location"] == started["poll_url"] == f"/syncs/{started['sync_id']}"
    assert int(headers["Retry-After"]) > 0
    assert set(started) == {
        "success", "status", "message", "sync_id", "syncs", "dry_run", "triggered_by", "triggered_at",
        "estimated_duration_seconds", "check_progress", "poll_url",
    }  # fmt: skip
    assert started["syncs"] == [{"sync_id": started["sync_id"], "stream": str(MAIN), "status": "queued"}]
    assert (started["success"], started["status"], started["dry_run"]) == (True, "started", False)
    assert (started["triggered_by"], started["check_progress"]) == ("api", "/sync/progress")
    assert port.service.woken == 1
    (row,) = select(database, "SELECT wanted_pages, wanted_requests, wanted_records, dry_run FROM run")
    assert row == {"wanted_pages": 7, "wanted_requests": None, "wanted_records": 50, "dry_run": False}
    status, _, run = await port.read(headers["Location"])
    assert (status, run["status"], run["stream"], run["triggered_by"]) == (200, "queued", str(MAIN), "api")
    assert run["explanation"] == ["It waits for a worker to take it."]


async def test_no_stream_means_all_that_are_idle(port: Port, database: str) -> None:
    _, _, first = await port.post("/sync", {"account": "fbe", "dry_run": True})
    assert [one["stream"] for one in first["syncs"]] == [str(FBE)]
    assert scalar(database, "SELECT dry_run FROM run") is True
    status, _, second = await port.post("/sync")
    assert status == 202
    assert [one["stream"] for one in second["syncs"]] == [str(MAIN)]
    assert first["sync_id"] in second["message"]
    status, headers, refused = await port.post("/sync", {})
    assert status == 409
    assert headers["Content-Type"] == "application/problem+json"
    assert {one["sync_id"] for one in refused["syncs"]} == {first["sync_id"], second["sync_id"]}
    assert refused["run_id"] == second["sync_id"]
    assert headers["Location"] == f"/syncs/{second['sync_id']}"


async def test_a_thousand_requests_from_fifty_clients_start_one_run(port: Port, database: str) -> None:
    answers: list[tuple[int, str]] = []

    async def client() -> None:
        for _ in range(20):
            status, _, document = await port.post("/sync", {"stream": str(MAIN)})
            answers.append((status, document.get("run_id") or document["sync_id"]))

    await asyncio.gather(*(client() for _ in range(50)))
    assert Counter(status for status, _ in answers) == {202: 1, 409: 999}
    assert len({run_id for _, run_id in answers}) == 1
    assert scalar(database, "SELECT count(*) FROM run") == 1


async def test_a_thousand_requests_with_one_key_get_the_same_202(port: Port, database: str) -> None:
    bodies: Counter[str] = Counter()
    headers = {"Idempotency-Key": "8f2e"}

    async def client() -> None:
        for _ in range(20):
            status, answer_headers, document = await port.post("/sync", {"stream": str(MAIN)}, headers=headers)
            assert status == 202, document
            bodies[repr(document) + answer_headers["Location"]] += 1

    await asyncio.gather(*(client() for _ in range(50)))
    assert list(bodies.values()) == [1000]
    assert scalar(database, "SELECT count(*) FROM run") == 1


async def test_a_key_is_kept_over_a_restart_and_bound_to_its_body(port: Port, database: str) -> None:
    headers = {"Idempotency-Key": "monday"}
    _, _, first = await port.post("/sync", {"account": "main", "max_pages": 3}, headers=headers)
    end_runs(database)
    async with open_port(database) as restarted:
        status, _, again = await restarted.post("/sync", {"max_pages": 3, "account": "main"}, headers=headers)
        assert (status, again) == (202, first)
        status, _, problem = await restarted.post("/sync", {"account": "main"}, headers=headers)
        assert (status, problem["title"]) == (422, "Unprocessable Entity")
    status, _, _ = await port.post("/sync", {"account": "main"}, headers=headers)
    assert status == 422
    assert scalar(database, "SELECT count(*) FROM run") == 1


async def test_a_key_whose_first_request_is_at_work_elsewhere_gets_409(port: Port, database: str) -> None:
    await port.post("/sync", {"stream": str(FBE)}, headers={"Idempotency-Key": "elsewhere"})
    execute(database, "UPDATE idempotency SET answer = NULL")
    async with open_port(database) as other:
        status, headers, _ = await other.post("/sync", {"stream": str(FBE)}, headers={"Idempotency-Key": "elsewhere"})
        assert (status, "Retry-After" in headers) == (409, True)


async def test_a_key_that_its_process_took_with_it_is_free_after_a_minute(port: Port, database: str) -> None:
    postgres = port.service.postgres
    assert await begin_idempotent(postgres, "key", b"body") is None
    assert await begin_idempotent(postgres, "key", b"body") == Answered(same_body=True, answer=None)
    execute(database, "UPDATE idempotency SET requested_at = requested_at - interval '61 seconds'")
    assert await begin_idempotent(postgres, "key", b"other") == Answered(same_body=False, answer=None)
    assert await begin_idempotent(postgres, "key", b"body") is None
    assert await begin_idempotent(postgres, "key", b"body") == Answered(same_body=True, answer=None)


async def test_keys_that_are_over_are_thrown_away(port: Port, database: str) -> None:
    """So that the table does not grow with the years; one that is over is new, even where there are many others."""
    old = "clock_timestamp() - interval '25 hours'"
    execute(
        database,
        "INSERT INTO idempotency (key, body_hash, answer, requested_at)"
        f" SELECT 'z' || n, 'other', '1', {old} - make_interval(secs => n) FROM generate_series(1, 1500) n",
    )
    for key, account in (("z1", "main"), ("a", "fbe")):  # z1 is the youngest of them
        status, *_ = await port.post("/sync", {"account": account}, headers={"Idempotency-Key": key})
        assert status == 202
    assert scalar(database, "SELECT array_agg(key ORDER BY key DESC) FROM idempotency") == ["z1", "a"]


async def test_a_refused_request_leaves_its_key_free(port: Port, database: str) -> None:
    await port.post("/sync", {"stream": str(MAIN)})
    headers = {"Idempotency-Key": "again"}
    assert (await port.post("/sync", {"stream": str(MAIN)}, headers=headers))[0] == 409
    end_runs(database)
    assert (await port.post("/sync", {"stream": str(MAIN)}, headers=headers))[0] == 202


async def test_an_unusable_key_is_refused(port: Port) -> None:
    for key in ("", "a b", "x" * 201, "naïve"):
        assert (await port.post("/sync", {}, headers={"Idempotency-Key": key}))[0] == 400, key


async def test_history_is_paged_without_gap_or_repetition(port: Port, database: str) -> None:
    made = []
    for _ in range(7):
        made.append((await port.post("/sync", {"stream": str(MAIN)}))[2]["sync_id"])
        end_runs(database)
    await port.post("/sync", {"stream": str(FBE)})
    seen, cursor = [], ""
    while cursor is not None:
        query = {"limit": "3", "stream": str(MAIN), **({"cursor": cursor} if cursor else {})}
        status, _, page = await port.read("/syncs", params=query)
        assert status == 200
        seen += [run["sync_id"] for run in page["syncs"]]
        cursor = page["next_cursor"]
    assert seen == made[::-1]
    assert [run["stream"] for run in (await port.read("/syncs?status=queued"))[2]["syncs"]] == [str(FBE)]
    _, _, active = await port.read("/syncs/active")
    assert (active["count"], [run["stream"] for run in active["syncs"]]) == (1, [str(FBE)])


async def test_a_queued_run_is_cancelled_at_once_and_only_once(port: Port) -> None:
    _, _, started = await port.post("/sync", {"stream": str(MAIN)})
    path = f"/syncs/{started['sync_id']}/cancel"
    status, headers, _ = await port.post(path, headers={"Syncd-Initiator": "cli:ana@shop"})
    assert (status, headers["Location"]) == (202, started["poll_url"])
    assert port.service.told_to_end == [UUID(started["sync_id"])]
    _, _, run = await port.read(started["poll_url"])
    assert (run["status"], run["cause"]) == ("cancelled", "cancelled")
    status, _, problem = await port.post(path)
    assert (status, problem["run_id"]) == (409, started["sync_id"])


async def test_only_a_run_that_asked_can_be_approved(port: Port, database: str) -> None:
    _, _, started = await port.post("/sync", {"stream": str(MAIN)})
    path = f"/syncs/{started['sync_id']}/approve"
    assert (await port.post(path))[0] == 409
    execute(
        database,
        "INSERT INTO consent (run_id, stream_id, keys, live) SELECT run_id, stream_id, '{1,2}', 2 FROM run",
    )
    status, _, agreed = await port.post(path, headers={"Syncd-Initiator": "cli:ana@shop"})
    assert (status, agreed["approved_keys"]) == (200, 2)
    assert scalar(database, "SELECT approved_by FROM consent") == "cli:ana@shop"


async def test_a_paused_stream_is_refused_with_who_and_why(port: Port, database: str) -> None:
    status, _, paused = await port.post(
        "/pause", {"stream": str(MAIN), "reason": "stock take"}, headers={"Syncd-Initiator": "cli:ana@shop"}
    )
    assert (status, paused["paused"]) == (200, [str(MAIN)])
    status, _, problem = await port.post("/sync", {"stream": str(MAIN)})
    assert (status, problem["paused"]) == (409, [str(MAIN)])
    assert "cli:ana@shop" in problem["detail"]
    assert "stock take" in problem["detail"]
    _, _, facts = await port.read("/sync-status")
    assert facts["scheduler"]["paused"] is False
    assert [(one["stream"], one["by"]) for one in facts["scheduler"]["paused_streams"]] == [(str(MAIN), "cli:ana@shop")]
    _, _, resumed = await port.post("/resume", {"stream": str(MAIN)})
    assert (resumed["resumed"], resumed["paused"]) == (1, [])
    assert (await port.post("/sync", {"stream": str(MAIN)}))[0] == 202


async def test_stop_pauses_everything_and_cancels_what_is_open(port: Port, database: str) -> None:
    await port.post("/sync")
    status, _, stopped = await port.post("/stop")
    assert (status, stopped["cancelled"], stopped["paused"]) == (202, 2, [str(FBE), str(MAIN)])
    assert select(database, "SELECT DISTINCT status FROM run") == [{"status": "cancelled"}]
    _, _, facts = await port.read("/sync-status")
    assert facts["scheduler"]["paused"] is True
    assert (await port.post("/sync"))[0] == 409


async def test_sync_status_has_what_old_scripts_read(port: Port, database: str) -> None:
    await port.post("/sync", {"stream": str(MAIN)})
    status, _, facts = await port.read("/sync-status")
    assert status == 200
    assert facts["scheduler"] | {"paused_streams": [], "next_run_seconds": {}} == {
        "enabled": True, "interval_seconds": 600, "interval_minutes": 10.0, "paused": False,
        "paused_streams": [], "next_run_seconds": {},
    }  # fmt: skip
    assert facts["current_sync"] == {"is_running": True, "last_completed": None}
    protection = facts["protection"]
    assert [protection[name] for name in ("duplicate_prevention", "lock_based", "resource_management")] == [True] * 3
    assert {one["state"] for one in protection["breaker"]} == {"closed"}
    assert protection["caps"] == {"max_pages": 100, "max_requests": 500, "timeout_hours": 2.0}
    end_runs(database)
    _, _, facts = await port.read("/sync-status")
    assert facts["current_sync"]["last_completed"] is not None


async def test_health_shows_its_checks_only_with_the_token(port: Port, database: str) -> None:
    status, _, health = await port.read("/health")
    assert (status, health["status"]) == (200, "healthy")
    assert set(health) == {"status", "auto_sync"}
    assert health["auto_sync"] == {"enabled": True, "interval": 600, "is_syncing": False, "last_sync_time": None}
    await port.post("/sync", {"stream": str(MAIN)})
    end_runs(database, "failed", "upstream")
    _, _, health = await port.read("/health", headers={"Authorization": "Bearer a token for the tests"})
    assert health["status"] == "degraded"
    assert {check["name"]: check["status"] for check in health["checks"]}[str(MAIN)] == "degraded"


async def test_probes_follow_the_daemon(port: Port) -> None:
    assert (await port.read("/livez"))[:1] == (200,)
    ready = (await port.read("/readyz"))[2]
    assert ready == {"status": "ready", "ledger": await load_ledger_id(port.service.postgres)}
    port.service.is_ready = False
    status, headers, _ = await port.read("/readyz")
    assert (status, headers["Content-Type"]) == (503, "application/problem+json")
    status, _, health = await port.read("/health")
    assert (status, health["status"]) == (503, "unhealthy")
    assert (await port.read("/livez"))[0] == 200
    assert (await port.post("/sync"))[2]["status"] == "queued"


async def test_metrics_are_the_process_s_own(port: Port) -> None:
    status, headers, text = await port.read("/metrics")
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    for name in ("process_resident_memory_bytes", "syncd_event_loop_lag_seconds_count", "syncd_pool_connections"):
        assert f"\n{name} " in text
    assert "emag_sync" not in text
    assert "_created" not in text


async def test_an_event_loop_that_stands_still_shows_in_the_metrics(port: Port) -> None:
    """Wherever in between two samples it stood."""

    async def slow_samples() -> int:
        _, _, text = await port.read("/metrics")
        counts = dict(re.findall(r'^syncd_event_loop_lag_seconds_bucket\{le="([^"]+)"\} (\S+)$', text, re.MULTILINE))
        return int(float(counts["+Inf"]) - float(counts["0.1"]))

    before = await slow_samples()
    for blocks in range(1, 4):
        await asyncio.sleep(blocks * 0.03)
        time.sleep(0.25)  # noqa: ASYNC251  # this is what is tried
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        assert await slow_samples() >= before + blocks
