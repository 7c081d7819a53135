"""Each fault as a client meets it, where and how often it was ordered."""

from __future__ import annotations

import asyncio
import gzip
import json
import time

import aiohttp
import pytest

from syncd.sandbox import FOREVER, Fault, Faults
from syncd.sandbox.fault import KINDS, Place
from syncd.sandbox.transport import bomb

ROW_COUNT = 100


async def test_a_fault_hits_its_page_as_often_as_ordered_and_nothing_else(start):
    caller = await start(faults=["500:page=2:times=2"])
    statuses = [(await caller.read(page)).status for page in (1, 2, 3, 2, 2, 2)]
    assert statuses == [200, 500, 200, 500, 200, 200]
    [armed] = caller.sandbox.faults
    assert (armed.seen, armed.applied) == (4, 2)
    assert (await caller.count()).status == 200


async def test_a_fault_can_be_for_ever_and_can_be_healed(start):
    caller = await start(faults=[Fault("504", page=1, times=FOREVER)])
    assert {(await caller.read()).status for _ in range(5)} == {504}
    caller.sandbox.faults.clear()
    assert (await caller.read()).status == 200


async def test_a_fault_can_wait_for_the_count_a_lookup_or_a_later_sweep(start):
    caller = await start(faults=["502:page=count", "503:page=lookup", "500:page=1:after=1"])
    assert (await caller.read()).status == 200
    assert (await caller.read()).status == 500
    assert (await caller.count()).status == 502
    assert (await caller.read(id=5)).status == 503


@pytest.mark.parametrize("kind", ["500", "502", "503", "504"])
async def test_a_server_error_has_a_body_that_is_no_json(start, kind):
    caller = await start(faults=[kind])
    answer = await caller.read()
    assert answer.status == int(kind)
    assert answer.body.startswith(b"<!DOCTYPE html>")


async def test_a_429_on_order_has_kongs_body_and_the_retry_after_that_was_given(start):
    caller = await start(faults=["429:page=1", "429:page=2:retry_after=7"])
    plain, waiting = await caller.read(1), await caller.read(2)
    assert plain.json() == waiting.json() == {"message": "API rate limit exceeded"}
    assert "Retry-After" not in plain.headers
    assert (waiting.status, waiting.headers["Retry-After"]) == (429, "7")


@pytest.mark.parametrize(
    ("kind", "status", "text"),
    [
        ("is_error", 200, "An error has occurred"),
        ("blocked_ip", 200, "ERROR: Invalid vendor ip [1.2.3.4]"),
        ("403", 403, "You are not allowed to use this API."),
        ("hostile_error", 200, "\x1b[31m"),
    ],
)
async def test_a_refusal_comes_in_the_envelope(start, kind, status, text):
    caller = await start(faults=[kind])
    answer = await caller.read()
    assert answer.status == status
    assert answer.json()["isError"] is True
    assert text in answer.json()["messages"][0]


async def test_401_missing_is_error_and_html(start):
    caller = await start(faults=["401:page=1", "missing_is_error:page=2", "html:page=3"])
    assert (await caller.read(1)).status == 401
    rows = (await caller.read(2)).json()
    assert "isError" not in rows
    assert len(rows["results"]) == ROW_COUNT
    html = await caller.read(3)
    assert (html.status, html.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"<html>" in html.body


async def test_a_redirect_points_to_another_origin_whose_visitors_are_logged(start):
    caller = await start(faults=["redirect:page=1", "redirect:page=2:location=https://elsewhere.test:8443/x?a:b"])
    first, second = await caller.read(1), await caller.read(2)
    assert first.status == second.status == 302
    assert second.headers["Location"] == "https://elsewhere.test:8443/x?a:b"
    assert first.headers["Location"] == f"http://localhost:{caller.sandbox.port}/elsewhere"
    assert (await caller.call(first.headers["Location"])).status == 404
    assert (caller.sandbox.log[-1].route, caller.sandbox.log[-1].login) == ("/elsewhere", "sandbox")


async def test_a_page_can_be_empty_or_short(start):
    caller = await start(faults=["empty:page=1", "short:page=2"])
    assert (await caller.read(1)).ids == []
    assert (await caller.read(2)).ids == list(caller.sandbox.catalogue)[100:150]
    assert (await caller.read(1)).ids == list(caller.sandbox.catalogue)[:100]


async def test_the_last_page_can_repeat_for_ever(start):
    caller = await start(faults=["last_page_forever"])
    every = list(caller.sandbox.catalogue)
    assert [(await caller.read(page)).ids for page in (2, 3, 4, 99)] == [every[100:200], *[every[200:]] * 3]


async def test_paging_and_filters_can_be_ignored(start):
    caller = await start(faults=["ignore_paging", "ignore_filters:page=lookup"])
    first = list(caller.sandbox.catalogue)[:100]
    assert (await caller.read(3)).ids == first
    assert (await caller.read(id=first[0])).ids == first


async def test_the_count_can_be_wrong_or_missing_for_a_while(start):
    caller = await start(faults=["wrong_count", "missing_count:after=1"])
    assert (await caller.count()).results["noOfItems"] == "257"
    assert (await caller.count()).status == 404
    assert (await caller.count()).results["noOfItems"] == "250"


@pytest.mark.parametrize("kind", ["truncated", "truncated_chunked"])
async def test_a_cut_body_with_a_length_or_chunks_is_noticed_by_the_client(start, kind):
    caller = await start(faults=[kind])
    with pytest.raises(aiohttp.ClientPayloadError):
        await caller.read()
    assert (await caller.read()).status == 200


async def test_a_body_cut_at_the_end_of_the_connection_is_not_noticed_by_the_client(start):
    caller = await start(faults=["truncated_eof:page=1", "truncated_gzip:page=2"])
    whole = [(await caller.read(page)).body for page in (3, 3)]
    cut = await caller.read(1)
    assert whole[0] == whole[1]
    assert "Content-Length" not in cut.headers
    assert "Transfer-Encoding" not in cut.headers
    with pytest.raises(json.JSONDecodeError):
        cut.json()
    unpacked = await caller.read(2)
    assert unpacked.headers["Content-Encoding"] == "gzip"
    with pytest.raises(json.JSONDecodeError):
        unpacked.json()


async def test_a_body_can_be_too_large_and_still_be_json(start):
    caller = await start(faults=["too_large"])
    answer = await caller.read()
    assert len(answer.body) == 17 << 20
    assert len(answer.results) == ROW_COUNT


async def test_a_gzip_bomb_is_small_on_the_wire_and_large_unpacked(start):
    caller = await start(faults=["gzip_bomb"])
    async with caller.session.post(
        f"{caller.sandbox.base_url}/product_offer/read",
        headers={"Authorization": aiohttp.encode_basic_auth("sandbox", "sandbox")},
    ) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert int(response.headers["Content-Length"]) < 1 << 20
    assert len(gzip.decompress(bomb(50))) > 50 << 20
    assert json.loads(gzip.decompress(bomb(2)))["results"] == []


async def test_a_drip_never_ends_in_time_although_bytes_keep_coming(start):
    caller = await start(faults=["drip:seconds=0.01"])
    with pytest.raises(TimeoutError):
        await caller.call("product_offer/read", seconds=0.2)


async def test_a_hang_never_answers_and_ends_when_the_client_gives_up(start):
    caller = await start(faults=["hang"])
    with pytest.raises(TimeoutError):
        await caller.call("product_offer/read", seconds=0.1)
    assert caller.sandbox.log[-1].status is None
    assert caller.sandbox.log[-1].fault == "hang"


async def test_a_reset_is_a_reset(start):
    caller = await start(faults=["reset"])
    with pytest.raises(aiohttp.ClientOSError, match="reset"):
        await caller.read()


async def test_a_slow_answer_takes_its_time_and_the_other_faults_still_apply(start):
    caller = await start(faults=["slow:seconds=0.1", "502:page=2"])
    began = time.monotonic()
    answers = await asyncio.gather(caller.read(1), caller.read(2))
    assert [answer.status for answer in answers] == [200, 502]
    assert 0.1 <= time.monotonic() - began < 1
    assert [call.fault for call in caller.sandbox.log] == ["slow", "slow+502"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_is_written_as_it_is_read(kind):
    fault = Fault.parse(f"{kind}:page=3-7:times=forever:after=2:seconds=0.5:retry_after=9:mib=3:location=http://h:1/x")
    assert fault == Fault(kind, "3-7", FOREVER, 2, 0.5, "9", "http://h:1/x", 3)
    assert Fault.parse(str(fault)) == fault
    assert str(Fault(kind)) == kind


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("teapot", "expected one of slow"),
        ("500:page=x", "expected N, N-M, any, count, lookup, all"),
        ("500:times=often", "times=often"),
        ("500:color=red", "expected one of page"),
    ],
)
def test_nonsense_is_refused_with_what_was_expected(text, reason):
    with pytest.raises(ValueError, match=reason):
        Fault.parse(text)


@pytest.mark.parametrize(
    ("page", "hit"),
    [
        (None, {"1", "5"}), ("any", {"1", "5"}), (5, {"5"}), ("4-6", {"5"}), ("count", {"count"}),
        ("lookup", {"lookup"}), ("all", {"1", "5", "count", "lookup"}),
    ],
)  # fmt: skip
def test_a_place_is_hit_or_not(page, hit):
    places = {"1": Place(1), "5": Place(5), "count": Place(1, count=True), "lookup": Place(1, lookup=True)}
    assert {name for name, place in places.items() if Fault("500", page).matches(place)} == hit


def test_of_two_answers_the_first_wins_and_the_rest_keep_their_turn():
    faults = Faults(["empty", "500", "502"])
    assert [fault.kind for fault in faults.take(Place(1))] == ["500"]
    assert [fault.kind for fault in faults.take(Place(1))] == ["502"]
    assert [fault.kind for fault in faults.take(Place(1))] == ["empty"]
    assert faults.take(Place(1)) == []
