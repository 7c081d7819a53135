"""Complete is said only where the count bears it out."""

from __future__ import annotations

from tests.acceptance.scene import Start, outcome


async def test_a_count_that_the_pages_do_not_bear_out_is_never_complete(start: Start) -> None:
    """Seven more announced than shown, twice over: read again once, then said; nothing is tombstoned."""
    scene = await start(count="wrong", offers=230)
    facts = await scene.sync()
    assert outcome(facts) == (3, "partial", "incomplete")
    assert "the count says 237, the pages showed 230" in facts["error_message"]
    assert scene.live == scene.served
