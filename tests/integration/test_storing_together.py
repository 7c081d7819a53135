"""Pages that wait are stored together: what one of them lacks costs the others nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from syncd.contract.errors import FatalError
from syncd.contract.records import Rejected
from syncd.contract.runs import BatchResult
from syncd.contract.words import Rejection
from syncd.engine.stop import StopSignal
from syncd.engine.storing import Storing
from tests.streams import Stand, page_of, select


async def test_a_page_that_cannot_be_believed_does_not_cost_the_one_before_it(stand: Stand) -> None:
    """They came together, as the pages that wait while another batch is being written."""
    claim = await stand.claim()
    heard: list[tuple[int, BatchResult]] = []
    rejected = [Rejected(ordinal, f"r{ordinal}", Rejection.NUL_ESCAPE, b"{}") for ordinal in range(9)]
    bad = replace(page_of(2, [7]), rejected=rejected, received=10)
    async with stand.writer(claim) as writer:
        storing = Storing(writer.page_store, StopSignal(), lambda page, result: heard.append((page, result)))
        with pytest.raises(FatalError, match="page 2: 9 of 10 records cannot be stored"):
            await storing.put(writer.sweep, [page_of(1, range(5)), bad, page_of(3, [8])], overlap_page=0)
        await storing.settle()
    assert [page for page, _ in heard] == [1]
    assert select(stand.conninfo, "SELECT page FROM sweep_page") == [{"page": 1}]
    assert stand.count("record") == 5
    assert stand.count("quarantine") == 0
