"""The port `Source`, tried on every marketplace that we have: one suite, two simulators, two places for paging."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from syncd.contract.errors import CallError
from syncd.contract.words import Cause
from syncd.sandbox import Sandbox
from syncd.sources.emag import EmagOffers
from syncd.sources.http import HttpClient
from tests.second_marketplace.server import SecondMarketplace

OFFERS = 230
MARKETPLACES = [("sandbox", "top"), ("sandbox", "data"), ("second", "top"), ("second", "data")]


@dataclass
class Marketplace:
    """A source, and what its marketplace serves: key → exact bytes."""

    source: EmagOffers
    served: Mapping[str, bytes]


@asynccontextmanager
async def opened(kind: str, wrap: str, paging: str, *, password: str | None = None) -> AsyncIterator[Marketplace]:
    """`wrap`: where the marketplace wants paging; `paging`: where we put it."""
    if kind == "sandbox":
        async with Sandbox(offers=OFFERS, wrap=wrap, per_second=None, per_minute=None) as api:
            served = {str(key): api.catalogue[key] for key in api.catalogue}
            async with source_of(api.base_url, api.username, password or api.password, paging) as source:
                yield Marketplace(source, served)
    else:
        with SecondMarketplace(offers=OFFERS, paging=wrap, rate_limit=False) as api:
            async with source_of(api.base_url, api.username, password or api.password, paging) as source:
                yield Marketplace(source, api.documents)


@asynccontextmanager
async def source_of(base_url: str, username: str, password: str, paging: str) -> AsyncIterator[EmagOffers]:
    async with HttpClient(base_url, username, password, timeout_seconds=10, connections=2) as client:
        yield EmagOffers(client, page_size=100, paging=paging, count="trust")  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "paging"), MARKETPLACES)
async def test_pages_hold_every_record_with_the_bytes_that_were_served(kind: str, paging: str) -> None:
    """In two full pages, a short one, and an empty one after it."""
    async with opened(kind, paging, paging) as market:
        assert await market.source.count() == OFFERS
        pages = [await market.source.fetch_page(number) for number in (1, 2, 3, 4)]
    assert [page.received for page in pages] == [100, 100, 30, 0]
    found = {key: bytes(document) for page in pages for key, document in zip(page.keys, page.documents, strict=True)}
    assert found == dict(market.served)


@pytest.mark.parametrize(("kind", "paging"), MARKETPLACES)
async def test_a_look_up_tells_what_exists_from_what_is_gone(kind: str, paging: str) -> None:
    """By id, with an answer that respects the filter."""
    async with opened(kind, paging, paging) as market:
        key = next(iter(market.served))
        assert await market.source.look_up(key) is True
        assert await market.source.look_up("424242") is False


@pytest.mark.parametrize(("kind", "paging"), MARKETPLACES)
async def test_an_ignored_filter_proves_nothing(kind: str, paging: str) -> None:
    """What stands in the wrong place is ignored, and the answer is everything: that is no sign of life."""
    wrong = "data" if paging == "top" else "top"
    async with opened(kind, wrong, paging) as market:
        assert await market.source.look_up("424242") is None


@pytest.mark.parametrize("kind", ["sandbox", "second"])
async def test_a_wrong_password_is_an_auth_error_that_is_not_repeated(kind: str) -> None:
    """HTTP 403 with an envelope."""
    async with opened(kind, "top", "top", password="wrong-password") as market:
        with pytest.raises(CallError) as caught:
            await market.source.count()
    assert (caught.value.cause, caught.value.retryable) == (Cause.AUTH, False)
