"""A record that cannot be stored lies in quarantine once."""

from __future__ import annotations

from dataclasses import replace

from syncd.contract.records import Page, Rejected
from syncd.contract.words import Rejection
from tests.streams import Stand, page_of, select

RAW = b"{bad"
IN_QUARANTINE = (
    "SELECT sum(CASE metric WHEN 'records' THEN value ELSE -value END) AS n FROM accumulator"
    " WHERE detail = 'quarantined' OR metric = 'quarantine_pruned'"
)


def page(number: int) -> Page:
    """Eight records, and the same bad bytes twice."""
    made = page_of(number, range(8))
    made.rejected = [Rejected(ordinal, "r1", Rejection.NOT_UTF8, RAW) for ordinal in (8, 9)]
    made.received += 2
    return made


async def test_a_second_pass_of_the_run_keeps_what_it_meets_again_once(stand: Stand) -> None:
    claim = await stand.claim()
    sweep = await stand.open_sweep(claim)
    for number in (1, 2):
        async with stand.writer_of(claim, replace(sweep, pass_number=number)) as writer:
            await writer.store(page(1))
        kept = select(stand.conninfo, "SELECT page, ordinal, raw FROM quarantine ORDER BY ordinal")
        assert kept == [{"page": 1, "ordinal": ordinal, "raw": RAW} for ordinal in (8, 9)]
        assert select(stand.conninfo, IN_QUARANTINE) == [{"n": 2}]
