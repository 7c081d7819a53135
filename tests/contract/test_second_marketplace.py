"""The second marketplace keeps the API's facts; urllib is the client, so that no code of ours is involved."""

import base64
import gzip
import http.client
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.second_marketplace.server import FRAMINGS, SecondMarketplace

ROOT = Path(__file__).parents[2]
LOGIN = "Basic " + base64.b64encode(b"seller:secret").decode()
JSON_BODY, FORM_BODY = "application/json", "application/x-www-form-urlencoded"


def send(api, action="read", body=None, *, login=LOGIN, kind=JSON_BODY, method="POST", accept="identity"):
    """(status, headers, body); an answer that was cut raises http.client.IncompleteRead."""
    data = json.dumps(body).encode() if isinstance(body, dict) else (body or b"")
    headers = {"Content-Type": kind, "Accept-Encoding": accept} | ({"Authorization": login} if login else {})
    request = urllib.request.Request(  # noqa: S310 - the URL is our own loopback server's
        f"{api.base_url}/product_offer/{action}", data if method == "POST" else None, headers, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def results(answer):
    status, _, body = answer
    envelope = json.loads(body)
    assert (status, envelope["isError"]) == (200, False)
    return envelope["results"]


def ids(rows):
    return [str(row["id"]) for row in rows]


def test_pages_serve_every_document_once_in_exact_bytes_and_stable_order():
    """Clamp at 100, empty past the end, unsorted order, another framing and envelope each call."""
    with SecondMarketplace(offers=230, rate_limit=False) as api:
        bodies = [send(api, body={"currentPage": n, "itemsPerPage": 300})[2] for n in (1, 2, 3, 4)]
        pages = [json.loads(body)["results"] for body in bodies]
        assert [len(page) for page in pages] == [100, 100, 30, 0]
        served = [key for page in pages for key in ids(page)]
        assert served == list(api.documents)
        assert served != sorted(served, key=int)
        assert all(document in b"".join(bodies) for document in api.documents.values())
        assert ids(results(send(api))) == served[:100]
        assert [call.page_number for call in api.calls] == [1, 2, 3, 4, 1]
        assert {frozenset(json.loads(body)) for body in bodies} > {frozenset({"isError", "messages", "results"})}


def test_documents_carry_the_exact_digits_and_the_odd_types():
    with SecondMarketplace(offers=100) as api:
        text = send(api)[2].decode("ascii")  # PHP escapes what is not ASCII
        rows = json.loads(text, parse_float=str)["results"]
    for digits in ("51.6477", '"51.6477"', "0.1", "1E+2", "12345678.99999"):
        assert f'"sale_price":{digits},' in text
    assert r"Lamp\u0103" in text
    assert r"https:\/\/" in text
    assert {type(row["ownership"]) for row in rows} == {bool, int}
    assert {type(row["family"]) for row in rows} == {list, dict, type(None)}
    assert any(row["id"] > 2**31 for row in rows)
    assert {type(row.get("part_number_key", "absent")) for row in rows} == {str, type(None)}


@pytest.mark.parametrize("paging", ["top", "data"])
def test_paging_at_the_other_place_is_ignored_without_a_word(paging):
    with SecondMarketplace(offers=30, paging=paging, rate_limit=False) as api:
        wanted = {"currentPage": 2, "itemsPerPage": 10, "status": 0}
        counts = {"top": wanted, "data": {"data": wanted}}
        heard, ignored = counts.pop(paging), counts.popitem()[1]
        inactive = [key for key, document in api.documents.items() if json.loads(document)["status"] == 0]
        assert ids(results(send(api, body={**heard, "nonsense": 1}))) == inactive[10:20]
        assert ids(results(send(api, body=ignored))) == list(api.documents)
        form = "&".join(f"{name if paging == 'top' else f'data[{name}]'}={wanted[name]}" for name in wanted)
        assert ids(results(send(api, body=form.encode(), kind=FORM_BODY))) == inactive[10:20]
        assert results(send(api, "count", heard))["noOfItems"] == str(len(inactive))
        assert results(send(api, "count?" + form, method="GET"))["noOfItems"] == str(len(inactive))
        assert results(send(api, "count", b"")) == {
            "noOfItems": "30",
            "noOfPages": "1",
            "itemsPerPage": "100",
        }


def test_an_id_filter_finds_one_offer_and_turns_its_companies_into_lists():
    with SecondMarketplace(offers=20, rate_limit=False) as api:
        key = next(key for key, document in api.documents.items() if b'"manufacturer":true' in document)
        (row,) = results(send(api, body={"id": int(key)}))
        assert (str(row["id"]), type(row["manufacturer"])) == (key, list)
        assert results(send(api, body={"id": 5})) == []
        status, _, body = send(api, body={"id": 2**32})
        assert (status, json.loads(body)["isError"]) == (200, True)


def test_login_and_route_are_refused_the_way_of_the_api():
    with SecondMarketplace(offers=1, rate_limit=False) as api:
        assert send(api, login=None)[0] == 401
        status, _, body = send(api, login="Basic " + base64.b64encode(b"seller:wrong").decode())
        assert (status, json.loads(body)["isError"]) == (403, True)
        assert "You are not allowed to use this API." in body.decode()
        for action, method in (("save", "POST"), ("read", "GET")):
            status, _, body = send(api, action, method=method)
            assert (status, list(json.loads(body))) == (404, ["message"])
            assert b"no Route matched" in body


def test_more_than_3_calls_a_second_meet_a_429_without_is_error():
    now = [100.0]
    with SecondMarketplace(offers=1, clock=lambda: now[0], retry_after="2") as api:
        answers = [send(api) for _ in range(4)]
        assert [status for status, _, _ in answers] == [200, 200, 200, 429]
        remaining = [headers["X-RateLimit-Remaining-3second"] for _, headers, _ in answers]
        assert (remaining, answers[3][1]["Retry-After"]) == (["2", "1", "0", "0"], "2")
        assert json.loads(answers[3][2]) == {"message": "API rate limit exceeded"}
        now[0] += 0.97
        assert send(api)[0] == 429
        now[0] += 0.02  # 10 ms early: within the tolerance
        assert send(api, "count")[0] == 200
        assert api.most_calls_within(0.5) == 4
        assert [call.number for call in api.calls] == [1, 2, 3, 0, 0, 4]


def test_more_than_180_calls_a_minute_meet_a_429_although_each_second_has_room():
    now = [0.0]
    with SecondMarketplace(offers=1, clock=lambda: now[0]) as api:
        statuses = []
        for now[0] in [*(n * 0.327 for n in range(181)), 59.97, 59.99]:
            statuses.append(send(api, "count")[0])
        assert statuses == [200] * 180 + [429, 429, 200]


@pytest.mark.parametrize("framing", FRAMINGS)
def test_the_fault_script_strikes_the_calls_it_names(framing):
    faults = {1: 500, 2: "502", 3: 504, 4: "html", 5: "is_error", 6: "blocked_ip", 7: "slow", 8: "cut"}
    options = {"framing": framing, "faults": faults, "slow_seconds": 0.0, "rate_limit": False, "gzip": True}
    with SecondMarketplace(offers=30, **options) as api:
        assert [send(api)[0] for _ in range(3)] == [500, 502, 504]
        assert send(api)[1].get_content_type() == "text/html"
        assert [json.loads(send(api)[2])["isError"] for _ in range(2)] == [True, True]
        assert len(results(send(api))) == 30
        if framing == "eof":  # HTTP cannot tell this cut; the JSON does
            with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
                json.loads(send(api)[2])
        else:
            with pytest.raises(http.client.IncompleteRead):
                send(api)
        status, headers, body = send(api, accept="gzip")
        assert (status, headers["Content-Encoding"]) == (200, "gzip")
        assert len(results((status, headers, gzip.decompress(body)))) == 30
        assert [call.behaviour for call in api.calls] == [*map(str, faults.values()), ""]


def test_as_a_process_it_prints_its_url_first_and_ends_on_a_signal():
    command = [
        sys.executable,
        "-m",
        "tests.second_marketplace.server",
        "--offers",
        "7",
        "--fault",
        "2=is_error",
    ]
    with subprocess.Popen(command, cwd=ROOT, env=dict(os.environ), stdout=subprocess.PIPE, text=True) as process:
        try:
            api = type("Remote", (), {"base_url": process.stdout.readline().strip()})
            assert len(results(send(api))) == 7
            assert json.loads(send(api)[2])["isError"] is True
        finally:
            process.terminate()
        assert process.wait(10) == 0
