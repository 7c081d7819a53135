"""Streams as the ledger shows them, made up by unit tests."""

from __future__ import annotations

from typing import Any

from syncd.contract.words import Status, Stream
from syncd.ledger.scrape import OpenRunFacts, StreamFacts


def stream_facts(account: str = "main", *, account_id: int = 1, resource: str = "offers", **given: Any) -> StreamFacts:
    """A stream that has never run, but for what is given."""
    facts: dict[str, Any] = {
        "account_id": account_id,
        "stream": Stream("emag", account, resource),
        "paused": False,
        "next_in_seconds": None,
        "status": None,
        "cause": None,
        "succeeded_at": None,
        "heartbeat_at": None,
        "progress_at": None,
        "open_run": None,
        "counters": {},
    }
    return StreamFacts(**facts | given)


def open_run(**given: Any) -> OpenRunFacts:
    """A run that has stored 10 of 41 pages in 10 s with 11 calls, far from every cap, but for what is given."""
    facts: dict[str, Any] = {
        "status": Status.RUNNING,
        "running_seconds": 10.0,
        "page": 10,
        "pages": 10,
        "pages_expected": 41,
        "max_pages": 100,
        "requests": 11,
        "max_requests": 500,
        "deadline_seconds_left": 7190.0,
        "wait_seconds_left": None,
    }
    return OpenRunFacts(**facts | given)
