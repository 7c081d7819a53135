"""What the control API refuses, and how: tokens, hosts, bodies, and the form of every error."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from syncd.control.feed import ControlLimits
from syncd.http.body import MOST_BODY_BYTES
from tests.control import MAIN, PREVIOUS, TOKEN, Port, assert_problem, eventually, open_port

READS = ["/sync/progress", "/syncs", "/syncs/active", "/sync-status", "/health", "/openapi.json"]
OPEN_EVERYWHERE = ["/livez", "/readyz", "/metrics"]
POST = f"POST /sync HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
CHANGES = ["/sync", "/pause", "/resume", "/stop", "/syncs/x/cancel", "/syncs/x/approve"]


@pytest.fixture
async def port(database: str) -> AsyncIterator[Port]:
    async with open_port(database, limits=ControlLimits(body_seconds=0.3, lingering_seconds=0.1)) as opened:
        yield opened


async def test_a_change_needs_the_token(port: Port) -> None:
    wrong_ones = ("", "Bearer", "Bearer no", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xe9\xff")
    for path, wrong in itertools.product(CHANGES, wrong_ones):
        headers = {"Authorization": wrong} if wrong else {}
        answer = await port.read(path, method="POST", headers=headers)
        assert_problem(answer, 401)
        assert answer[1]["WWW-Authenticate"].startswith("Bearer")
    for path, token in itertools.product(CHANGES, (TOKEN, PREVIOUS)):
        status, _, _ = await port.post(path, headers={"Authorization": f"Bearer {token}"})
        assert status not in (401, 403)


async def test_without_a_configured_token_a_change_is_refused_by_the_setting_s_name(port: Port) -> None:
    port.service.token = port.service.previous_token = None
    for path, authorization in itertools.product(CHANGES, ("", "Bearer ", f"Bearer {TOKEN}")):
        headers = {"Authorization": authorization}
        problem = assert_problem(await port.post(path, headers=headers), 403)
        assert "EMAG_SYNC_CONTROL_TOKEN" in problem["detail"]


async def test_reads_are_open_on_loopback_only(port: Port) -> None:
    for path in READS + OPEN_EVERYWHERE:
        assert (await port.read(path))[0] == 200, path
    port.service.loopback = False
    for path in READS:
        assert_problem(await port.read(path), 401)
        assert (await port.read(path, headers={"Authorization": f"Bearer {TOKEN}"}))[0] == 200
    assert_problem(await port.read("/nowhere"), 401)
    for path in OPEN_EVERYWHERE:
        assert (await port.read(path))[0] == 200
    port.service.token = port.service.previous_token = None
    for path in READS:
        assert_problem(await port.read(path), 403)


async def test_a_foreign_host_name_is_refused(port: Port) -> None:
    foreign = ["evil.example", "127.0.0.1.evil.example", "evil.example:8000", "[::2]:1", ""]
    for host, path in itertools.product(foreign, ("/health", "/livez", "/nowhere")):
        problem = assert_problem(await port.read(path, headers={"Host": host}), 421)
        assert "EMAG_SYNC_ALLOWED_HOSTS" in problem["detail"]


async def test_a_foreign_host_name_in_the_target_is_refused(port: Port) -> None:
    """It would outrank the header; one of ours is served."""
    for target, status in (("http://evil.example", 421), ("http://LOCALHOST:8000", 200)):
        reader, writer = await port.raw(f"GET {target}/livez HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert (await asyncio.wait_for(reader.readline(), 5)).split()[1] == str(status).encode()
        writer.close()


async def test_our_own_names_are_served(port: Port) -> None:
    for host in ["localhost", "LOCALHOST:8000", "127.0.0.1", "[::1]:8000", "[::1]"]:
        assert (await port.read("/livez", headers={"Host": host}))[0] == 200, host


async def test_an_unknown_path_and_a_wrong_method_are_problems(port: Port) -> None:
    for path in ("/nowhere", "/syncs/", "/syncs/x/y", "//sync", "/sync/", "/%2e%2e/etc/passwd"):
        assert_problem(await port.read(path), 404)
    for method, path, allowed in (
        ("DELETE", "/syncs", "GET, HEAD"),
        ("GET", "/sync", "POST"),
        ("OPTIONS", "/sync", "POST"),
        ("PUT", "/syncs/x/cancel", "POST"),
    ):
        answer = await port.read(path, method=method)
        assert_problem(answer, 405)
        assert answer[1]["Allow"] == allowed
    assert_problem(await port.read("/syncs/not-a-run"), 404)
    problem = assert_problem(await port.read("/syncs/01890000-0000-7000-8000-000000000000"), 404)
    assert problem["instance"] == "/syncs/01890000-0000-7000-8000-000000000000"


async def test_head_is_a_get_without_its_body(port: Port) -> None:
    status, headers, body = await port.read("/livez", method="HEAD")
    assert (status, body) == (200, "")
    assert int(headers["Content-Length"]) > 0


async def test_a_malformed_head_is_answered_with_a_problem(port: Port) -> None:
    for data in (b"NONSENSE\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: " + b"b" * 20_000 + b"\r\n\r\n"):
        reader, writer = await port.raw(data)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.0 400 ") or head.startswith(b"HTTP/1.1 400 ")
        assert b"application/problem+json" in head
        assert json.loads(body)["status"] == 400
        writer.close()


WRONG_FIELDS: list[tuple[dict[str, Any], list[str]]] = [
    ({"pages": 1, "streem": "x"}, ["#/pages", "#/streem"]),
    ({"max_pages": 0, "max_requests": 3, "limit": -1}, ["#/max_pages", "#/max_requests", "#/limit"]),
    ({"max_pages": True, "max_requests": 4.5, "limit": "9"}, ["#/max_pages", "#/max_requests", "#/limit"]),
    ({"max_pages": 2**31, "dry_run": 1}, ["#/dry_run", "#/max_pages"]),
    ({"dry_run": "true", "stream": None}, ["#/stream", "#/dry_run"]),
    ({"stream": "emag/other/offers", "account": "other"}, ["#/stream", "#/account"]),
    ({"stream": str(MAIN), "account": "fbe"}, ["#/account"]),
    ({"a/b~c": 1}, ["#/a~1b~0c"]),
]


async def test_every_wrong_field_is_named(port: Port) -> None:
    for document, names in WRONG_FIELDS:
        problem = assert_problem(await port.post("/sync", document), 422)
        assert [error["pointer"] for error in problem["errors"]] == names


async def test_a_pause_needs_a_reason_and_keeps_it_visible(port: Port) -> None:
    for document in ({}, {"reason": ""}, {"reason": " "}, {"reason": "x" * 501}, {"reason": 5}):
        problem = assert_problem(await port.post("/pause", document), 422)
        assert [error["pointer"] for error in problem["errors"]] == ["#/reason"]
    assert (await port.post("/pause", {"reason": " a\0b\u202e "}))[0] == 200
    _, _, facts = await port.read("/sync-status")
    assert {pause["reason"] for pause in facts["scheduler"]["paused_streams"]} == {r"a\x00b\u202e"}


WRONG_QUERIES = [
    ("limit=0&limit=5", ["limit"]),
    ("limit=201", ["limit"]),
    ("limit=%D9%A3", ["limit"]),
    ("cursor=abc&status=done&stream=x", ["cursor", "status", "stream"]),
    ("cursor=%00&lmit=1", ["cursor", "lmit"]),
]


async def test_every_wrong_parameter_is_named(port: Port) -> None:
    for query, names in WRONG_QUERIES:
        problem = assert_problem(await port.read(f"/syncs?{query}"), 422)
        assert [error["parameter"] for error in problem["errors"]] == names


async def test_what_is_not_json_is_refused(port: Port) -> None:
    as_json = {"Content-Type": "application/json"}
    for body in (b"{", b"\xff\xfe", b'{"a": "\\ud800"}', b"[" * 20_000, b"{} {}", b" "):
        assert_problem(await port.post("/sync", data=body, headers=as_json), 400)
    for body in (b"[]", b"1", b"null", b'"x"'):
        assert_problem(await port.post("/sync", data=body, headers=as_json), 422)
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert_problem(await port.post("/sync", data=b"{}", headers={"Content-Type": content_type}), 415)
    assert_problem(await port.post("/sync", data=b"{}", headers={**as_json, "Content-Encoding": "deflate"}), 415)


async def test_a_body_over_the_cap_is_refused_said_or_not(port: Port) -> None:
    as_json = {"Content-Type": "application/json"}
    assert_problem(await port.post("/sync", data=b" " * (MOST_BODY_BYTES + 1), headers=as_json), 413)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(MOST_BODY_BYTES // 1024 + 1):
            yield b" " * 1024

    assert_problem(await port.post("/sync", data=chunks(), headers=as_json), 413)
    status, _, _ = await port.post("/sync", data=b"{}" + b" " * (MOST_BODY_BYTES - 2), headers=as_json)
    assert status == 202


async def test_a_body_that_does_not_come_is_not_waited_for(port: Port) -> None:
    reader, writer = await port.raw(POST.encode() + b"Content-Length: 20\r\n\r\n{")
    answer = await asyncio.wait_for(reader.read(), 5)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in answer
    writer.close()


FRAMES = {
    "a bad chunk": b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
    "a chunk without an end": b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}XX\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
    "another coding before the chunks": b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "another coding": b"Transfer-Encoding: xchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a coding with a blank before its colon": b"Transfer-Encoding : chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a negative length": b"Content-Length: -1\r\n\r\n{}",
    "a length with a sign": b"Content-Length: +2\r\n\r\n{}",
    "a list of lengths": b"Content-Length: 2, 2\r\n\r\n{}",
    "a length beyond all numbers": b"Content-Length: " + b"9" * 40 + b"\r\n\r\n{}",
    "endless trailers": b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n" + b"A: b\r\n" * 50_000 + b"\r\n",
    "a length and chunks": b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
}


async def test_a_body_in_a_broken_frame_is_a_bad_request(port: Port) -> None:
    for name, frame in FRAMES.items():
        smuggled = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
        reader, writer = await port.raw(POST.encode() + frame + smuggled)
        answer = await asyncio.wait_for(reader.read(), 5)
        assert answer.split(b" ")[1] == b"400", name
        assert answer.count(b"HTTP/1.") == 1, f"{name}: what followed was taken for another request"
        assert b"application/problem+json" in answer
        writer.close()


async def test_a_client_that_goes_away_in_its_body_is_no_fault_of_ours(port: Port) -> None:
    with capture_logs() as logs:
        _, writer = await port.raw(POST.encode() + b"Content-Length: 20\r\n\r\n{")
        await eventually(lambda: port.control.open_connections == 1)
        writer.transport.abort()
        await eventually(lambda: port.control.open_connections == 0)
        assert (await port.read("/livez"))[0] == 200
    assert logs == []


async def test_a_client_that_waits_to_be_invited_is(port: Port) -> None:
    status, _, _ = await port.post("/sync", data=b"{}", headers={"Content-Type": "application/json"}, expect100=True)
    assert status == 202


async def test_a_fault_of_ours_shows_nothing_of_its_inside(port: Port) -> None:
    port.service.streams = None  # type: ignore[assignment]
    problem = assert_problem(await port.post("/sync", {}), 500)
    assert problem["detail"] == "a fault in syncd; its log has more"
    assert "Traceback" not in json.dumps(problem)


async def test_no_answer_invites_other_origins(port: Port) -> None:
    origin = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    for method, path in (("OPTIONS", "/sync"), ("GET", "/health")):
        _, headers, _ = await port.read(path, method=method, headers=origin)
        assert not [name for name in headers if name.lower().startswith("access-control")]
