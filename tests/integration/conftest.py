"""What the integration tests share: a registered stream in a database of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.streams import Stand, open_stand


@pytest.fixture
async def stand(database: str) -> AsyncIterator[Stand]:
    """The stream emag/main/offers, not claimed yet."""
    async with open_stand(database) as opened:
        yield opened
