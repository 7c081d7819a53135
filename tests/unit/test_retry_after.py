"""How long a server asks us to wait."""

from __future__ import annotations

import pytest

from syncd.sources.retry_after import LONGEST_WAIT_SECONDS, retry_after_seconds


@pytest.mark.parametrize("text", ["99999999999", "300000000000", "1" * 200, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_nobody_is_waited_for_longer_than_a_day(text: str) -> None:
    """Centuries would hold a login back for good, and PostgreSQL's calendar ends, too."""
    assert retry_after_seconds({"Retry-After": text}) == LONGEST_WAIT_SECONDS


@pytest.mark.parametrize(("text", "seconds"), [("7", 7.0), ("0", 0.0), ("2.5", 2.5), ("-3", None), ("soon", None)])
def test_seconds_are_read_and_nonsense_is_not(text: str, seconds: float | None) -> None:
    """Negative and unreadable values count as not said."""
    assert retry_after_seconds({"Retry-After": text}) == seconds
