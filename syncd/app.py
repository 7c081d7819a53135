"""Puts the parts together: settings become connections, sources and runs.

The only place that knows every other one.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from uuid import UUID

from syncd.config import AccountSettings, Settings
from syncd.contract.errors import DatabaseAwayError
from syncd.contract.runs import Busy, Caps, Claim, ClaimRequest, Outcome, Paused, RunRow
from syncd.contract.words import Stream
from syncd.engine.observer import Observer
from syncd.engine.plan import Keep, Plan, PlanReport
from syncd.engine.run import Run, RunOptions
from syncd.engine.saying import say_ended, say_started
from syncd.engine.stop import Halt, StopSignal
from syncd.engine.supervision import load_quietly, work_under_lease
from syncd.ledger import accounts, claims
from syncd.ledger.accumulators import Recorder
from syncd.ledger.queue import Wanted
from syncd.ledger.runs import note_read
from syncd.marketplace import calling
from syncd.runtime.log import about
from syncd.runtime.postgres import Postgres
from syncd.runtime.process import current_owner, proven_dead

RESOURCE = "offers"
LONGEST_CLAIM_SECONDS = 30.0
"""A claim may wait twice for a lock; a frozen server never answers, and a drain waits for whoever asks it."""


@dataclass(frozen=True, slots=True)
class RunRequest(Wanted):
    """What one run is asked; beyond what can be queued: a new sweep, a paused stream all the same."""

    fresh: bool = False
    force: bool = False


@dataclass(slots=True)
class RunReport:
    """What came of one stream: an outcome, or why there was no run. run_id is None where none began, row where the
    ledger is away; problems are of its configuration."""

    stream: Stream
    outcome: Outcome | None = None
    refused: Busy | Paused | None = None
    row: RunRow | None = None
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    run_id: UUID | None = None
    seconds: float = 0.0

    def say_end(self, next_run_seconds: float | None = None) -> None:
        """The run's last line in the log, where there was a run; with when the next one is due, where that is known."""
        if self.run_id is not None and self.outcome is not None:
            with about(self.stream, self.run_id):
                say_ended(self.outcome, self.row, seconds=self.seconds, next_run_seconds=next_run_seconds)


def stream_of(account: AccountSettings) -> Stream:
    """The stream that an account's offers are."""
    return Stream(account.source, account.name, RESOURCE)


def open_postgres(settings: Settings) -> Postgres:
    """The database of the settings, not connected yet."""
    database = settings.database
    return Postgres(database.conninfo.get_secret_value(), database.schema_name, pool_max=database.pool_max)


async def sync_account(
    postgres: Postgres, account: AccountSettings, request: RunRequest, stop: StopSignal, observer: Observer
) -> RunReport:
    """One run of one account's offers, claimed, worked and released. Its last line is left to `RunReport.say_end`."""
    stream = stream_of(account)
    caps = _caps(account, request)
    wanted = ClaimRequest(
        stream,
        current_owner(),
        caps,
        account.sync.lease_seconds,
        request.initiated_by,
        request.force,
        account.sync.request_timeout_seconds,
    )
    try:
        async with asyncio.timeout(LONGEST_CLAIM_SECONDS):
            await accounts.register(postgres, stream)
            await accounts.pin_identity(postgres, stream, host=account.host, username=account.username)
            claimed_at = asyncio.get_running_loop().time()
            claim = await claims.claim(postgres, wanted, proven_dead=proven_dead)
    except TimeoutError:
        raise DatabaseAwayError(f"claim {stream}: no answer within {LONGEST_CLAIM_SECONDS:.0f} s") from None
    if not isinstance(claim, Claim):
        return RunReport(stream, refused=claim)
    with about(stream, claim.run_id):
        say_started(claim, caps, initiated_by=request.initiated_by, dry_run=request.dry_run)
        return await _run_claimed(postgres, account, request, claim, caps, claimed_at, stop=stop, observer=observer)


def _caps(account: AccountSettings, request: RunRequest) -> Caps:
    sync = account.sync
    return Caps(
        request.max_pages or sync.max_pages,
        request.max_requests or sync.max_requests,
        sync.timeout_hours * 3600,
        request.max_records,
    )


async def _run_claimed(
    postgres: Postgres,
    account: AccountSettings,
    request: RunRequest,
    claim: Claim,
    caps: Caps,
    claimed_at: float,
    *,
    stop: StopSignal,
    observer: Observer,
) -> RunReport:
    loop = asyncio.get_running_loop()
    report = RunReport(claim.stream, run_id=claim.run_id)
    if claim.closed_run is not None:
        report.notes.append(f"closed run {claim.closed_run}, whose process is gone; going on at its checkpoint")
    holder = claims.LeaseHolder(postgres, claim, loop.time, claimed_at)
    recorder = Recorder(claim.stream_id)
    options = _options(account, request, caps, deadline=claimed_at + caps.timeout_seconds)

    async def work() -> Outcome:
        if request.dry_run:
            return await _plan(postgres, account, claim, recorder, options, stop=stop, observer=observer)
        return await _work(postgres, account, claim, recorder, options, stop=stop, observer=observer)

    report.outcome = await work_under_lease(postgres, claim, holder, recorder, stop, work)
    report.row = await load_quietly(postgres, claim)
    report.seconds = loop.time() - claimed_at
    return report


def _options(account: AccountSettings, request: RunRequest, caps: Caps, *, deadline: float) -> RunOptions:
    sync = account.sync
    return RunOptions(
        caps=caps,
        deadline=deadline,
        batch_size=sync.batch_size,
        concurrency=sync.concurrency,
        fresh=request.fresh,
        ignored=account.ignore_changes,
    )


async def _plan(
    postgres: Postgres,
    account: AccountSettings,
    claim: Claim,
    recorder: Recorder,
    options: RunOptions,
    *,
    stop: StopSignal,
    observer: Observer,
) -> Outcome:
    """A dry run that somebody queued: what it found is its message, what it used is the run's."""

    async def keep(report: PlanReport) -> None:
        used = {"pages": report.pages, "fetched": report.counts["fetched"]}
        await note_read(postgres, claim, **used, requests=recorder.requests, errors=recorder.errors)

    observer.planning(claim, account.sync.items_per_page)
    report = await _compare(postgres, account, claim, recorder, options, stop=stop, observer=observer, keep=keep)
    counts = report.counts
    missing = "" if report.would_vanish is None else f", {report.would_vanish} on no page"
    found = (
        f"dry run: would insert {counts['inserted']}, update {counts['updated']}, bring back {counts['revived']}; "
        f"{counts['unchanged']} unchanged{missing}"
    )
    message = f"{report.end.message}; {found}" if report.end.message else found
    return Outcome(report.end.cause, message, report.end.next_attempt_seconds, keeps_sweep=True)


async def plan_account(
    postgres: Postgres,
    account: AccountSettings,
    stop: StopSignal,
    observer: Observer,
) -> PlanReport:
    """What a sync of this account would change. Takes no lease: a plan may run beside a sync. Its calls are counted
    nowhere, because a plan writes nothing."""
    stream = stream_of(account)
    await accounts.register(postgres, stream)
    await accounts.pin_identity(postgres, stream, host=account.host, username=account.username)
    ids = await accounts.load_ids(postgres, stream)
    request = RunRequest("plan", dry_run=True)
    caps = _caps(account, request)
    options = _options(account, request, caps, deadline=asyncio.get_running_loop().time() + caps.timeout_seconds)
    return await _compare(postgres, account, ids, Recorder(ids.stream_id), options, stop=stop, observer=observer)


async def _compare(
    postgres: Postgres,
    account: AccountSettings,
    of: Claim | accounts.Ids,
    recorder: Recorder,
    options: RunOptions,
    *,
    stop: StopSignal,
    observer: Observer,
    keep: Keep | None = None,
) -> PlanReport:
    """Open what a plan needs, and make it."""
    try:
        async with calling(postgres, account, of, recorder, options, stop=stop, observer=observer) as (source, calls):
            return await Plan(
                postgres=postgres,
                source=source,
                calls=calls,
                recorder=recorder,
                stop=stop,
                observer=observer,
                options=options,
                keep=keep,
            ).make()
    except Halt as halt:
        return PlanReport(halt.outcome)


async def _work(
    postgres: Postgres,
    account: AccountSettings,
    claim: Claim,
    recorder: Recorder,
    options: RunOptions,
    *,
    stop: StopSignal,
    observer: Observer,
) -> Outcome:
    """Open what the run needs, and run it."""
    try:
        async with calling(postgres, account, claim, recorder, options, stop=stop, observer=observer) as (
            source,
            calls,
        ):
            return await Run(
                postgres=postgres,
                claim=claim,
                source=source,
                calls=calls,
                recorder=recorder,
                stop=stop,
                observer=observer,
                options=options,
            ).run()
    except Halt as halt:
        return halt.outcome
