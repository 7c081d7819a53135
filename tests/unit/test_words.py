"""The closed sets of words hang together."""

from __future__ import annotations

import pytest

from syncd.contract.words import SWEEP_ENDED_BY, Cause, Status, Stream, status_of
from syncd.policy import explanation


def test_complete_is_reached_by_one_cause_only() -> None:
    """A capped run is partial."""
    assert [cause for cause in Cause if status_of(cause) is Status.COMPLETE] == [Cause.END_OF_DATA]


def test_every_cause_leads_to_a_terminal_status_and_can_be_explained() -> None:
    """Nobody has to guess."""
    for cause in Cause:
        assert status_of(cause) not in (Status.QUEUED, Status.RUNNING)
        assert explanation._WHY[cause].endswith(".")


def test_sweeps_end_after_a_verdict_only() -> None:
    """Everything else leaves the sweep open to be resumed."""
    assert {Cause.END_OF_DATA, Cause.LOOP, Cause.INCOMPLETE, Cause.BLAST_RADIUS} == SWEEP_ENDED_BY


def test_a_stream_reads_as_it_writes() -> None:
    """source/account/resource."""
    assert str(Stream.parse("emag/main/offers")) == "emag/main/offers"
    for wrong in ("main", "emag/main", "emag/Main/offers", "emag/main/offers/x", "emag//offers", "emag/../offers"):
        with pytest.raises(ValueError, match="expected source/account/resource"):
            Stream.parse(wrong)
