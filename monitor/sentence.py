"""What is said first where nothing is wrong. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from monitor.trouble import remote
from monitor.watch import spoken
from syncd.contract.words import Status, Stream

if TYPE_CHECKING:
    from monitor.summary import StreamSummary

MOST_NAMED = 2
DISABLED = "auto-sync is disabled (DISABLE_AUTO_SYNC), nothing starts by itself: `syncd trigger` begins a run"


def namer(streams: Sequence[Stream]) -> Callable[[Stream], str]:
    """What people call a stream: its account, where that says which one is meant."""
    accounts = Counter(one.account for one in streams)
    return lambda stream: stream.account if accounts[stream.account] == 1 else str(stream)


def unit_of(streams: Sequence[Stream]) -> str:
    """Of what all of them are full."""
    resources = {one.resource for one in streams}
    return resources.pop() if len(resources) == 1 else "records"


def good_sentence(streams: Sequence[StreamSummary], name: Callable[[Stream], str], unit: str, *, enabled: bool) -> str:
    """Who runs, who has finished, how many records, what is next; who is held back, by whom, and what lets it go on."""
    if not streams:
        return "Nothing is configured yet: the ledger knows no stream; add an account, then `syncd migrate`"
    held = "".join(f"; {note}" for note in held_notes(streams, name, enabled=enabled))
    paused = [one for one in streams if one.facts.paused]
    running = [one for one in streams if one.facts.open_run is not None]
    done = [one for one in streams if one.age_seconds is not None and one.facts.open_run is None]
    parts = [_running(one, name) for one in running[:MOST_NAMED]] + _finished(done, name, beside=len(running))
    if not parts:
        parts = ["no sync has run yet"]
    live = sum(one.facts.live for one in streams)
    parts += [f"{live:,.0f} {unit}"] if live else []
    parts += _next(streams, enabled=enabled)
    if paused and len(paused) == len(streams) and not running:
        return f"Paused: {held.removeprefix('; ')}"
    return f"{'All good' if enabled else 'Disabled'}: {', '.join(parts)}{held}"


def held_notes(streams: Sequence[StreamSummary], name: Callable[[Stream], str], *, enabled: bool) -> list[str]:
    """What holds everything or a stream back, and what lets it go on."""
    paused = [one for one in streams if one.facts.paused]
    notes = [] if enabled else [DISABLED]
    notes += [_paused(one, name) for one in paused[:MOST_NAMED]]
    more = len(paused) - MOST_NAMED
    return [*notes, f"{more} more are paused"] if more > 0 else notes


def _running(one: StreamSummary, name: Callable[[Stream], str]) -> str:
    run = one.facts.open_run
    assert run is not None  # noqa: S101  # chosen by that
    if run.status is Status.QUEUED:
        return f"{name(one.stream)} is about to begin"
    outlook = one.outlook
    if outlook is not None and outlook.wait_seconds is not None and outlook.wait_seconds > 5:
        return f"{name(one.stream)} waits for {spoken(outlook.wait_seconds)} ({remote(outlook.wait_reason or '')})"
    of = f" of {run.pages_expected}" if run.pages_expected else ""
    eta = f", ready in {spoken(run.eta_seconds)}" if run.eta_seconds is not None else ""
    return f"{name(one.stream)} is at page {run.page}{of}{eta}"


def _finished(done: Sequence[StreamSummary], name: Callable[[Stream], str], *, beside: int) -> list[str]:
    newest = sorted(done, key=lambda one: one.age_seconds or 0.0)
    most = MOST_NAMED if len(done) <= MOST_NAMED else 1
    parts = [
        f"{name(one.stream)} {'' if number and not beside else 'finished '}{spoken(one.age_seconds or 0.0)} ago"
        for number, one in enumerate(newest[:most])
    ]
    more = len(done) - most
    return [*parts, f"{more} more are complete"] if more > 0 else parts


def _next(streams: Sequence[StreamSummary], *, enabled: bool) -> list[str]:
    """When the next run begins by itself."""
    if not enabled:
        return []
    slots = [
        one.outlook.next_in_seconds
        for one in streams
        if one.outlook is not None and one.outlook.next_in_seconds is not None
        if one.facts.open_run is None and not one.facts.paused
    ]
    return [f"next {f'in {spoken(min(slots))}' if min(slots) > 0 else 'now'}"] if slots else []


def _paused(one: StreamSummary, name: Callable[[Stream], str]) -> str:
    paused = one.outlook.paused if one.outlook is not None else None
    by = f" by {remote(paused.by)}" if paused is not None and paused.by else ""
    why = f" ({remote(paused.reason)})" if paused is not None and paused.reason else ""
    return f"{name(one.stream)} is paused{by}{why}: `syncd resume {one.stream}` lets it go on"
