"""What the documents say of the status page and the notices is so."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from monitor.news import of_ended
from monitor.notify import MOST_ATTEMPTS, MOST_WAITING
from monitor.page.picture import Picture
from monitor.page.text import render_text
from monitor.summary import Expectation, summarise
from monitor.trouble import Kind, Surroundings
from syncd import __version__
from syncd.contract.observation import Fault
from syncd.contract.words import Cause, Status, Stream
from syncd.ledger.notices import GIVE_UP_SECONDS, NEWS_SECONDS, RETRY_SECONDS
from syncd.ledger.outlook import StreamOutlook
from syncd.ledger.rescue import Ended
from syncd.ledger.scrape import counter_key
from tests.facts import open_run, stream_facts
from tests.unit.test_docs import README, ROOT
from tests.unit.test_docs import _code_spans as code_spans
from tests.unit.test_docs import _numberless as numberless


def test_the_readmes_picture_is_a_small_one() -> None:
    picture = (ROOT / "docs/status-page.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 100_000


def test_the_kinds_of_notices_are_documented_and_what_is_sent_is_what_is_shown() -> None:
    text = (ROOT / "docs/notices.md").read_text("utf-8")
    documented = {span for span in code_spans(text) if span in {*Kind}}
    assert documented == {*Kind} - {Kind.SLOW}
    (shown,) = re.findall(r"^```json\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    ended = Ended(UUID(int=1), Stream("emag", "main", "offers"), Fault(Cause.LEASE_LOST, "is gone"), UUID(int=2), None)
    (notice,) = of_ended([ended])
    beside = {"event", "subject", "key", "at", "host", "version"}
    assert set(json.loads(shown)) == beside | set(notice.body)
    assert f"tried {('', 'once', 'twice', 'three', 'four', 'five')[MOST_ATTEMPTS]} times" in text
    assert (RETRY_SECONDS, GIVE_UP_SECONDS, NEWS_SECONDS, MOST_WAITING) == (300, 3600, 600, 100)


def test_the_status_pages_text_in_the_readme_is_that_of_the_page() -> None:
    """But for its numbers."""
    facts = stream_facts(open_run=open_run(page=7, pages=7, pages_expected=13, requests=8), succeeded_at=1.0)
    done = stream_facts("fbe", succeeded_at=1.0, status=Status.COMPLETE, cause=Cause.END_OF_DATA)
    counters = {counter_key("records", "", "inserted"): 1250.0}
    streams = [replace(done, counters=counters), replace(facts, counters=counters)]
    outlook = {
        one.stream: StreamOutlook(one.stream, 0, None, 3900.0, 1, "", None, True, None, None, None, None, None)
        for one in streams
    }
    summary = summarise(streams, [], Expectation(600, 7200, enabled=True), 22.0, Surroundings(outlook, "", 1))
    shown = render_text(Picture(datetime.now(UTC), __version__, summary, [])).splitlines()[:4]
    (readme,) = re.findall(r"http://127.0.0.1:9108/\n(All good.*?)\n\.\.\.", README, re.DOTALL)
    assert [numberless(line) for line in shown] == [numberless(line) for line in readme.splitlines()]
    (fields,) = re.findall(r"status.json \| jq -c '\{(.*?)\}'", README)
    assert set(fields.split(", ")) <= set(summary.as_dict())
