"""The eMAG marketplace: product offers of one account (vendor document v4.4.9 of 19.09.2025).

Where paging and filters go is unsettled: the vendor wraps them in `data`, production clients send them at
the top, and what stands in the wrong place is silently ignored. So it is a setting, and the answers are
checked: more rows than asked for, or a page seen before, end the run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal, TypeVar

from syncd.contract.errors import CallError
from syncd.contract.records import Page
from syncd.contract.words import Reason
from syncd.sources.decode import decode_count, decode_page
from syncd.sources.http import HttpClient

T = TypeVar("T")

LARGE_BODY_BYTES = 1024 * 1024  # takes the event loop more than a few milliseconds to decode


class EmagOffers:
    """`product_offer/read` and `product_offer/count` of one account."""

    read_endpoint = "product_offer/read"
    count_endpoint = "product_offer/count"

    def __init__(
        self, client: HttpClient, *, page_size: int, paging: Literal["top", "data"], count: Literal["trust", "ignore"]
    ) -> None:
        self._client = client
        self._paging = paging
        self.page_size = page_size
        self.has_count = count == "trust"

    async def count(self) -> int:
        """The account's offers, as the API counts them."""
        answer = await self._client.call(self.count_endpoint, self._payload({}))
        return (await self._decode(lambda: decode_count(answer.body), answer.body)).items

    async def fetch_page(self, number: int) -> Page:
        """One page of all offers of the account, in the API's own order."""
        payload = self._payload({"currentPage": number, "itemsPerPage": self.page_size})
        answer = await self._client.call(self.read_endpoint, payload)
        return await self._decode(lambda: decode_page(answer.body, number, max_items=self.page_size), answer.body)

    async def look_up(self, key: str) -> bool | None:
        """Ask for one offer by id."""
        value: int | str = int(key) if key.isascii() and key.isdigit() else key
        payload = self._payload({"id": value, "currentPage": 1, "itemsPerPage": self.page_size})
        try:
            answer = await self._client.call(self.read_endpoint, payload)
            page = await self._decode(lambda: decode_page(answer.body, 1, max_items=self.page_size), answer.body)
        except CallError as error:
            if error.reason is Reason.API_IS_ERROR:  # an id that the filter refuses: no answer, but no fault either
                return None
            raise
        if not page.received:
            return False
        return True if page.seen_keys == [key] and not page.keyless else None

    def _payload(self, parameters: dict[str, object]) -> dict[str, object]:
        return {"data": parameters} if self._paging == "data" else parameters

    async def _decode(self, decode: Callable[[], T], body: bytes) -> T:
        """Decode off the event loop where it would take long. What an answer echoes of our login is blotted out."""
        try:
            return decode() if len(body) < LARGE_BODY_BYTES else await asyncio.to_thread(decode)
        except CallError as error:
            error.args = (self._client.scrub(str(error)),)
            raise
