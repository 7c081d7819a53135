"""The port that every source fills: one listable resource of one account."""

from __future__ import annotations

from typing import Protocol

from syncd.contract.records import Page


class Source(Protocol):
    """One call each; retries, caps and budgets are the engine's. Every method may raise CallError.

    read_endpoint, count_endpoint  names for metrics, a closed set
    page_size                      records asked for a page
    has_count                      False: the source's count is missing or wrong (setting count = "ignore")
    """

    read_endpoint: str
    count_endpoint: str
    page_size: int
    has_count: bool

    async def count(self) -> int:
        """How many records the source says it has."""

    async def fetch_page(self, number: int) -> Page:
        """Page `number`, from 1. Past the last page: an empty page."""

    async def look_up(self, key: str) -> bool | None:
        """Whether this record exists; None where the answer proves nothing (the filter was ignored)."""
