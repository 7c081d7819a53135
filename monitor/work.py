"""What the commands and the functions for scripts do, on one ledger: look, recover, prune, report."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any, TypeVar

from psycopg.conninfo import make_conninfo

from monitor.config import Settings
from monitor.forensics import collect
from monitor.panorama import load_surroundings
from monitor.summary import Expectation, Summary, summarise
from monitor.watch import Verdict, judge, spoken
from syncd.contract.errors import DatabaseAwayError, FatalError, SyncError
from syncd.contract.observation import Fault, Observation
from syncd.contract.words import Cause
from syncd.ledger import rescue
from syncd.ledger.eviction import evict_silent_writers
from syncd.ledger.observation import observe
from syncd.ledger.schema import check_schema
from syncd.ledger.scrape import ledger_time, load_facts
from syncd.runtime.postgres import Postgres, application_name
from syncd.runtime.settings.sync import SyncSettings
from syncd.runtime.waiting import OutOfTimeError, give_up_after

T = TypeVar("T")

APPLICATION = "sync-monitor"


LEDGER_SECONDS = 15.0
"""The most that one step waits for the ledger; a frozen server costs ten seconds more until the wait is given up."""


@asynccontextmanager
async def open_ledger(settings: Settings) -> AsyncIterator[Postgres]:
    """The ledger, with its schema checked. DatabaseAwayError with the reason, SchemaError with what to do."""
    async with open_postgres(settings) as postgres:
        await _within_deadline(_reach(postgres))
        yield postgres


async def _reach(postgres: Postgres) -> None:
    # alone and first: the pool would say only after seconds, and without a reason, that it has no connection
    await (await postgres.connect("reach PostgreSQL")).close()
    await check_schema(postgres)


async def _within_deadline(work: Coroutine[Any, Any, T]) -> T:
    try:
        return await give_up_after(LEDGER_SECONDS, work)
    except OutOfTimeError:
        raise DatabaseAwayError(f"the ledger did not answer within {LEDGER_SECONDS:.0f} s") from None


def open_postgres(settings: Settings) -> Postgres:
    """The database of the settings, not connected yet."""
    database = settings.database
    conninfo = make_conninfo(database.conninfo.get_secret_value(), application_name=application_name(APPLICATION))
    return Postgres(conninfo, database.schema_name, pool_max=database.pool_max)


def expectation_of(settings: Settings) -> Expectation:
    """What the settings promise."""

    def promise(sync: SyncSettings, accounts: Mapping[tuple[str, str], Expectation]) -> Expectation:
        enabled = not settings.disable_auto_sync
        return Expectation(sync.interval_seconds, sync.timeout_hours * 3600, enabled, accounts)

    return promise(settings.sync, {key: promise(sync, {}) for key, sync in settings.accounts.items()})


async def look(postgres: Postgres, settings: Settings) -> list[tuple[Observation, Verdict]]:
    """Every open run and what the watch thinks of it; nothing is done about any."""
    return [(run, judge(run, settings.patience_with(run.stream))) for run in await _within_deadline(observe(postgres))]


async def stuck(postgres: Postgres, settings: Settings) -> list[dict[str, Any]]:
    """The stuck runs for scripts and JSON, each with the forensics: as stored, else as they are now."""
    found = [(run, verdict) for run, verdict in await look(postgres, settings) if verdict.fault is not None]
    fresh = await _within_deadline(collect(postgres, [run for run, _ in found if not run.is_found]))
    facts = []
    for run, verdict in found:
        stored = await _within_deadline(rescue.load_rescue(postgres, run.run_id))
        forensics = (
            stored.forensics if stored is not None else json.loads(json.dumps(fresh.get(run.run_id), default=str))
        )
        facts.append(_as_dict(run, verdict) | {"forensics": forensics})
    return facts


async def report(postgres: Postgres, settings: Settings) -> Summary:
    """How everything is."""
    verdicts, around = await look(postgres, settings), await _within_deadline(load_surroundings(postgres, settings))
    facts = await _within_deadline(load_facts(postgres))
    return summarise(facts, verdicts, expectation_of(settings), ledger_time(facts), around)


async def recover(
    postgres: Postgres,
    settings: Settings,
    *,
    by: str,
    runs: Collection[str] = (),
    older_than_hours: float | None = None,
    resume: bool = False,
) -> list[rescue.Ended]:
    """End runs by hand: the named ones (by the beginning of their ids), else those that began so long ago (0: every
    open one), else the stuck ones. FatalError names what could not be ended; the others are."""
    ended, failed = [], []
    chosen = _chosen(await look(postgres, settings), runs, older_than_hours, by)
    forensics = await _within_deadline(collect(postgres, [run for run, _ in chosen]))
    await _within_deadline(evict_silent_writers(postgres))
    for run, fault in chosen:
        try:
            one = await _within_deadline(_end(postgres, run, fault, forensics[run.run_id], by=by, resume=resume))
        except SyncError as error:
            failed.append(f"run {run.run_id} of {run.stream}: {error}")
        else:
            ended += [one] if one is not None else []
    if failed:
        raise FatalError(f"recovered {len(ended)}, but not: {'; '.join(failed)}")
    return ended


async def _end(
    postgres: Postgres, run: Observation, fault: Fault, forensics: dict[str, object], *, by: str, resume: bool
) -> rescue.Ended | None:
    await rescue.find(postgres, run.run_id, fault, by=by, forensics=forensics)
    return await rescue.end(postgres, run.run_id, lambda _: fault, resume=resume, by_hand=True)


def _chosen(
    seen: list[tuple[Observation, Verdict]], runs: Collection[str], older_than_hours: float | None, by: str
) -> list[tuple[Observation, Fault]]:
    if runs:
        fits = {name: sum(str(run.run_id).startswith(name) for run, _ in seen) for name in runs}
        # an empty one is a variable that was not set
        if unknown := [name or '""' for name, count in fits.items() if not name or count != 1]:
            known = ", ".join(str(run.run_id) for run, _ in seen) or "none"
            raise FatalError(f"{', '.join(unknown)}: not the beginning of exactly one open run's id; open: {known}")
        return [(run, _fault(run, verdict, by)) for run, verdict in seen if str(run.run_id).startswith(tuple(runs))]
    if older_than_hours is not None:
        return [(run, _fault(run, verdict, by)) for run, verdict in seen if _age(run) >= older_than_hours * 3600]
    return [(run, verdict.fault) for run, verdict in seen if verdict.fault is not None]


def _age(run: Observation) -> float:
    return run.queued_seconds if run.started_seconds is None else run.started_seconds


def _fault(run: Observation, verdict: Verdict, by: str) -> Fault:
    """Ended because a person said so; the watch's own cause where it has one."""
    cause = verdict.cause or (Cause.NO_PROGRESS if run.started_seconds is not None else Cause.NOT_STARTED)
    return Fault(cause, f"{verdict.why}, and was ended by {by} {spoken(_age(run))} after it began")


def _as_dict(run: Observation, verdict: Verdict) -> dict[str, Any]:
    facts = asdict(run) | {"stream": str(run.stream), "run_id": str(run.run_id), "status": str(run.status)}
    names = {"sync_id": str(run.run_id), "account_type": run.stream.account}
    return facts | names | {"cause": str(verdict.cause), "why": verdict.why}
