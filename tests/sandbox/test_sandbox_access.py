"""Routes, credentials, the rate limit and the log, as a client meets them."""

from __future__ import annotations

import asyncio
from collections import deque

import aiohttp
import pytest

from syncd.sandbox import Sandbox
from syncd.sandbox.gate import VENDOR_WINDOWS, RateLimit, Window, login_of


async def test_a_call_without_credentials_is_a_401(start):
    caller = await start()
    answer = await caller.call("product_offer/read", login=None)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic")


async def test_a_wrong_password_is_a_403_in_the_vendors_envelope(start):
    caller = await start()
    answer = await caller.call("product_offer/read", login="sandbox:guess")
    assert answer.status == 403
    assert answer.json()["isError"] is True
    assert answer.json()["messages"] == ["You are not allowed to use this API."]


@pytest.mark.parametrize("route", ["product_offer/delete", "order/read", "http"])
async def test_an_unknown_route_is_a_404_with_kongs_body(start, route):
    caller = await start()
    url = f"http://127.0.0.1:{caller.sandbox.port}/product_offer/read" if route == "http" else route
    for login in ("sandbox:sandbox", None):
        answer = await caller.call(url, login=login)
        assert (answer.status, answer.json()) == (404, {"message": "no Route matched with those values"})


async def test_a_read_must_be_a_post_but_a_count_may_be_a_get(start):
    caller = await start()
    assert (await caller.call("product_offer/read", method="GET")).status == 404
    answer = await caller.call("product_offer/count?status=1", method="GET")
    assert answer.results == (await caller.count(status=1)).results


async def test_the_fourth_call_in_a_second_is_refused_whatever_the_first_three_were(start):
    caller = await start(per_second=3, per_minute=180)
    seen = [
        await caller.read(),
        await caller.count(),
        await caller.call("product_offer/read", login="sandbox:guess"),
        await caller.read(),
    ]
    assert [answer.status for answer in seen] == [200, 200, 403, 429]
    assert seen[-1].json() == {"message": "API rate limit exceeded"}
    assert [answer.headers["X-RateLimit-Remaining-3second"] for answer in seen] == ["2", "1", "0", "0"]
    assert {answer.headers["X-RateLimit-Limit-3second"] for answer in seen} == {"3"}
    assert "Retry-After" not in seen[-1].headers
    other = await caller.call("product_offer/read", login="other:login")
    assert other.status == 403, "the windows are kept for each login"


async def test_retry_after_is_sent_when_asked_for(start):
    caller = await start(per_second=1, retry_after="2")
    await caller.read()
    assert (await caller.read()).headers["Retry-After"] == "2"


def allowed(limit: RateLimit, clock: deque[float], times: list[float]) -> list[bool]:
    clock.extend(times)
    return [limit.admit("seller")[0] for _ in times]


def test_even_pacing_with_20_ms_of_jitter_is_never_refused():
    clock: deque[float] = deque()
    limit = RateLimit(VENDOR_WINDOWS, clock.popleft)
    times = [n * 0.335 + (0.010 if n % 2 else -0.005) for n in range(2000)]
    assert all(allowed(limit, clock, times))


def test_a_burst_across_the_turn_of_a_second_is_refused():
    clock: deque[float] = deque()
    limit = RateLimit((Window(3, 1.0),), clock.popleft)
    assert allowed(limit, clock, [0.9, 0.91, 0.92, 1.1, 1.85, 1.89]) == [True, True, True, False, False, True]


def test_the_181st_call_of_a_minute_is_refused():
    clock: deque[float] = deque()
    limit = RateLimit((Window(180, 60.0),), clock.popleft)
    assert allowed(limit, clock, [n / 10 for n in range(181)]) == [True] * 180 + [False]
    assert allowed(limit, clock, [59.99, 60.0]) == [True, False]


@pytest.mark.parametrize("header", [None, "", "Bearer x", "Basic", "Basic !!!", "Basic bm9jb2xvbg=="])
def test_what_is_no_basic_header_is_no_login(header):
    assert login_of(header) is None


def test_a_password_may_hold_a_colon():
    assert login_of(aiohttp.encode_basic_auth("me", "a:b")) == ("me", "a:b")


async def test_the_log_holds_each_call_with_page_parameters_status_and_fault(start):
    caller = await start(faults=["502:page=2"])
    await caller.count(status=1)
    await caller.read(2, itemsPerPage=10)
    await caller.read(2, itemsPerPage=10)
    await caller.call("order/read")
    count, failed, read, lost = caller.sandbox.log
    assert (count.route, count.page, count.parameters) == ("product_offer/count", 0, {"status": 1})
    assert (failed.status, failed.fault, failed.page) == (502, "502", 2)
    assert (read.status, read.fault, read.rows, read.login) == (200, "", 10, "sandbox")
    assert (lost.route, lost.status) == ("order/read", 404)
    assert count.at_seconds <= failed.at_seconds
    assert count.at.tzinfo is not None


async def test_stopping_ends_calls_that_hang_and_a_second_start_keeps_the_port(start):
    caller = await start(faults=["hang", "slow:page=2:seconds=60"])
    hanging = [asyncio.create_task(caller.read(page)) for page in (1, 2)]
    while len(caller.sandbox.log) < 2:  # noqa: ASYNC110 - the calls arrive over a socket, with no event of their own
        await asyncio.sleep(0)
    port = caller.sandbox.port
    async with asyncio.timeout(1):
        await caller.sandbox.stop()
        await asyncio.gather(*hanging, return_exceptions=True)
    await caller.sandbox.start()
    assert caller.sandbox.port == port
    assert (await caller.read(3)).status == 200


async def test_a_port_that_is_taken_is_an_oserror(start):
    caller = await start()
    with pytest.raises(OSError, match="in use"):
        async with Sandbox(port=caller.sandbox.port):
            pass
