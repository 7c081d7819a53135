"""Why a run is in its state and what happens next, in plain sentences."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from syncd.contract.observation import Rescue
from syncd.contract.runs import RunRow
from syncd.contract.words import SWEEP_ENDED_BY, Cause, Status

_WHY = {
    Cause.END_OF_DATA: "Every page answered, an empty page followed the last, and the counts agree.",
    Cause.CAP_PAGES: "It used the pages that one run may read (EMAG_SYNC_MAX_PAGES).",
    Cause.CAP_REQUESTS: "It used the calls that one run may make (EMAG_SYNC_MAX_REQUESTS).",
    Cause.CAP_RECORDS: "It stored as many records as --limit allowed.",
    Cause.CAP_TIME: "It used the time that one run may take (EMAG_SYNC_TIMEOUT_HOURS).",
    Cause.LOOP: "Pages came round again, so it stopped before it would spin.",
    Cause.INCOMPLETE: "Two passes could not prove that every record was seen, so nothing was tombstoned.",
    Cause.BLAST_RADIUS: "More records are missing than may vanish without a person's consent; none was tombstoned.",
    Cause.AUTH: "The API refused the login, the right to use it, or this machine's address.",
    Cause.RATE_LIMITED: "The API asked for a longer pause than this run had left.",
    Cause.UPSTREAM: "The API did not answer properly, however often it was asked.",
    Cause.BAD_RESPONSE: "The API's answer was not what it should be, so it was not believed.",
    Cause.DATABASE: "PostgreSQL refused to do its part.",
    Cause.SHUTDOWN: "It was told to stop; pages already received were stored first.",
    Cause.CANCELLED: "Somebody cancelled it.",
    Cause.LEASE_LOST: "Its process died, froze, or lost the database for longer than its lease.",
    Cause.NO_PROGRESS: "It lived but stored no page for too long, and the monitor ended it.",
    Cause.WAIT_OVERRUN: "It slept past the time that it had declared, and the monitor ended it.",
    Cause.NOT_STARTED: "It was queued and nobody took it.",
    Cause.INTERNAL: "syncd itself failed: this is a fault of ours.",
}

_ADVICE = {
    Cause.AUTH: "Check the user name, the password and the API's list of allowed addresses, then run `syncd check`.",
    Cause.LOOP: 'If it happens again, try the account setting paging = "data" (or "top").',
    Cause.BLAST_RADIUS: "Look at the marketplace. If they are really gone: `syncd approve {run}`, then sync again.",
    Cause.DATABASE: "Run `syncd check`.",
    Cause.INTERNAL: "Please report it, with the log of this run.",
}


def explain(run: RunRow, *, same_gap_runs: int = 0) -> list[str]:
    """Sentences for people, the most important first.

    same_gap_runs: how many runs in a row ended incomplete with this run's very message.
    """
    if run.status is Status.QUEUED:
        return ["It waits for a worker to take it.", *_held_back(run)]
    if run.status is Status.RUNNING:
        return _explain_running(run)
    cause = run.cause or Cause.INTERNAL
    sentences = [_WHY[cause]]
    if run.error_message and cause is not Cause.END_OF_DATA:
        sentences.append(f"In its own words: {run.error_message}.".replace("..", "."))
    if cause is Cause.BAD_RESPONSE and (run.error_message or "").startswith("count:"):
        sentences.append('If this API has no usable count, set count = "ignore" for the account.')
    if advice := _ADVICE.get(cause):
        sentences.append(advice.format(run=run.run_id))
    if cause is Cause.BLAST_RADIUS and run.consent_approved:
        sentences.append("That consent was given; the next complete sweep uses it.")
    if cause is Cause.INCOMPLETE and same_gap_runs >= 3:
        sentences.append(
            f"{same_gap_runs} runs in a row found the same: if the API's count is wrong for good, set "
            'count = "ignore" for this account; two sweeps with equal keys are then the proof.'
        )
    if run.quarantined:
        sentences.append(f"{run.quarantined} records could not be stored and lie in quarantine, with the reason.")
    return [*sentences, _what_next(run, cause), *_held_back(run)]


@dataclass(frozen=True, slots=True)
class Around:
    """What stands around a run.

    newest           the newest run of its stream
    before           the run before this one
    is_dead          the open run's process on this machine is gone
    next_in_seconds  until the next one, as the daemon here says, else as the ledger has it booked; None where none
                     begins by itself
    no_daemon        why no daemon answers here; None where one does
    """

    newest: UUID
    before: RunRow | None
    is_paused: bool
    next_in_seconds: float | None
    failures: int
    no_daemon: str | None
    is_dead: bool = False


def explain_stream(run: RunRow, around: Around) -> list[str]:
    """What the run's stream has to do with it: whom it follows, what holds it back, when the next one begins."""
    sentences = []
    if around.before is not None and around.before.cause is Cause.LEASE_LOST:
        sentences.append(f"It took over from run {around.before.run_id}, whose process had gone.")
    if run.run_id != around.newest:
        return [*sentences, f"It is not the newest: run {around.newest} came after it."]
    if around.is_dead:
        goes_on = (
            "" if around.no_daemon is None else f", when one is there; here is none to be seen: {around.no_daemon}"
        )
        return [*sentences, f"But its process on this machine is gone: the next daemon ends it and goes on{goes_on}."]
    if around.is_paused:  # `explain` has said who and why
        return sentences
    if run.status is Status.QUEUED:
        begins = "The daemon here takes it within seconds."
        if around.no_daemon is not None:
            begins = f"A daemon takes it within seconds; here is none to be seen: {around.no_daemon}."
        return [*sentences, begins]
    if run.completed_at is None:
        return sentences
    if around.failures:
        sentences.append(
            f"Failures in a row so far: {around.failures}; each makes the pause before the next run longer."
        )
    if around.next_in_seconds is None:
        sentences.append("No next run begins by itself; `syncd trigger` starts one.")
    else:
        when = f"in {around.next_in_seconds:.0f} s" if around.next_in_seconds > 0 else "now"
        sentences.append(f"By the schedule its stream is due {when}; `syncd trigger` does not wait for that.")
    if around.no_daemon is not None:
        sentences.append(f"But no daemon is to be seen here: {around.no_daemon}.")
    return sentences


def explain_rescue(run: RunRow, rescue: Rescue) -> list[str]:
    """Who found the run stuck, what it was doing then, and what came of it."""
    found = f"{rescue.found_by} found it stuck at {rescue.found_at:%Y-%m-%d %H:%M:%S %Z}: it {rescue.why}."
    sentences = [found[0].upper() + found[1:]]
    noted = [activity["doing"].get("calling", []) for activity in rescue.forensics.get("activity", [])]
    if noted and noted[0]:
        call = noted[0][0]
        sentences.append(f"It was on a call then: {call['subject']}, {call['age_seconds']:.0f} s old by its note.")
    if rescue.ended_at is None:
        sentences.append("It is being ended.")
    else:
        sentences.append(f"That was over at {rescue.ended_at:%H:%M:%S %Z}: {rescue.outcome}.")
    where = f"`syncd explain {str(run.run_id)[:13]} --json` shows what else was seen of it, under `rescue`"
    return [*sentences, f"{where}: calls, sessions, locks, stacks."]


def _explain_running(run: RunRow) -> list[str]:
    sentences = [f"It is at work: {run.phase}."]
    if run.lease_seconds_left is not None and run.lease_seconds_left < 0:
        sentences = ["Its lease has run out: its process is gone or frozen, and the next run takes over."]
    if run.wait_until is not None:
        sentences.append(f"It sleeps until {run.wait_until:%H:%M:%S %Z}, because: {run.wait_reason}.")
    if run.cancelled_by is not None:
        sentences.append(f"It was asked to end by {run.cancelled_by}.")
    return [*sentences, *_held_back(run)]


def _held_back(run: RunRow) -> list[str]:
    """A pause is of the stream, and of now: it says more about the next run than this one does."""
    if run.paused_by is None:
        return []
    return [f"The stream is paused by {run.paused_by} ({run.pause_reason}): nothing begins until `syncd resume`."]


def _what_next(run: RunRow, cause: Cause) -> str:
    if run.dry_run:
        return "It was a dry run: no record was changed, and the stream's sweep is as it was."
    when = f" not before {run.next_attempt_at:%Y-%m-%d %H:%M:%S %Z}" if run.next_attempt_at else ""
    if cause in SWEEP_ENDED_BY:
        return f"The next run starts a new sweep{when}."
    if run.sweep_ended_by is not None:
        return f"Its sweep was ended later ({run.sweep_ended_by})."
    at = f" at page {run.checkpoint_page}" if run.checkpoint_page else " where the stored pages end"
    return f"The sweep stays open: the next run goes on{at}{when}."
