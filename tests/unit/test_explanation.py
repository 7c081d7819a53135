"""What is said of a run's stream: queue, slot, backoff, whom it took over from."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from syncd.contract.observation import Rescue
from syncd.contract.runs import RunRow
from syncd.contract.words import Cause, Status, Stream
from syncd.policy.explanation import Around, explain, explain_rescue, explain_stream

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
FIRST, SECOND = UUID(int=1), UUID(int=2)


def run(run_id: UUID = SECOND, status: Status = Status.COMPLETE, cause: Cause | None = None) -> RunRow:
    """A run of which only state and cause matter."""
    facts: dict[str, Any] = {field.name: None for field in fields(RunRow)}
    facts |= {"run_id": run_id, "stream": Stream("emag", "main", "offers"), "status": status, "cause": cause}
    return RunRow(**facts | {"completed_at": None if status in (Status.QUEUED, Status.RUNNING) else NOW})


QUIET = Around(newest=SECOND, before=None, is_paused=False, next_in_seconds=None, failures=0, no_daemon=None)


def test_a_run_that_took_over_names_the_dead_one() -> None:
    """The ledger says `scheduler` for both; this says why there are two."""
    before = run(FIRST, Status.FAILED, Cause.LEASE_LOST)
    (said,) = explain_stream(run(status=Status.RUNNING), replace(QUIET, before=before))
    assert said == f"It took over from run {FIRST}, whose process had gone."


def test_an_old_run_points_to_the_newest() -> None:
    (said,) = explain_stream(run(FIRST), replace(QUIET, failures=3, next_in_seconds=5.0))
    assert said == f"It is not the newest: run {SECOND} came after it."


def test_of_a_paused_stream_no_slot_is_told() -> None:
    """The pause itself is in what `explain` says of the run."""
    held = replace(QUIET, is_paused=True, next_in_seconds=5.0, failures=2)
    assert explain_stream(run(), held) == explain_stream(run(status=Status.QUEUED), held) == []


def test_slot_backoff_and_a_missing_daemon_are_said() -> None:
    said = explain_stream(run(), replace(QUIET, failures=2, next_in_seconds=60.4, no_daemon="nothing listens"))
    assert [sentence.split()[0] for sentence in said] == ["Failures", "By", "But"]
    assert "due in 60 s" in said[1]
    (queued,) = explain_stream(run(status=Status.QUEUED), QUIET)
    assert queued == "The daemon here takes it within seconds."


def test_of_a_running_run_pause_and_cancel_are_said() -> None:
    held = replace(run(status=Status.RUNNING), phase="read", paused_by="cli:ana@shop", pause_reason="maintenance")
    assert explain(held)[1].startswith("The stream is paused by cli:ana@shop (maintenance)")
    assert explain(replace(held, cancelled_by="api"))[1] == "It was asked to end by api."


def test_a_run_whose_process_is_gone_is_not_called_at_work_alone() -> None:
    gone = replace(QUIET, is_dead=True)
    (said,) = explain_stream(run(status=Status.RUNNING), gone)
    assert said == "But its process on this machine is gone: the next daemon ends it and goes on."
    (said,) = explain_stream(run(status=Status.RUNNING), replace(gone, no_daemon="nothing listens", is_paused=True))
    assert said.endswith("when one is there; here is none to be seen: nothing listens.")


def test_of_a_rescued_run_it_is_told_who_found_it_what_it_did_and_what_came_of_it() -> None:
    doing = {"calling": [{"endpoint": "product_offer/read", "subject": "page 17", "age_seconds": 600.4}]}
    rescue = Rescue(
        Cause.NO_PROGRESS, "has not moved for 11 min", "monitor", NOW, NOW, SECOND, "run 2 goes on from the checkpoint",
        {"activity": [{"doing": doing}]},
    )  # fmt: skip
    found, called, over, where = explain_rescue(run(), rescue)
    assert found == "Monitor found it stuck at 2026-11-22 12:00:00 UTC: it has not moved for 11 min."
    assert called == "It was on a call then: page 17, 600 s old by its note."
    assert over == "That was over at 12:00:00 UTC: run 2 goes on from the checkpoint."
    assert "`syncd explain 00000000-0000 --json`" in where
    assert explain_rescue(run(), replace(rescue, ended_at=None, forensics={}))[1] == "It is being ended."
