"""What the page shows beside the metrics: what comes next, who is there, the last days, what changed most.

Read for people only, never for a scrape, and each part as often as it is worth: what cannot be read in time stays as
it was, because a page with yesterday's strip is better than none.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from monitor.config import Settings
from monitor.trouble import Surroundings
from monitor.watch import Verdict, judge
from syncd.contract.errors import SyncError
from syncd.contract.observation import Observation
from syncd.contract.runs import RunRow
from syncd.contract.words import Stream
from syncd.ledger.days import Day, load_days
from syncd.ledger.jumps import Jump, load_jumps
from syncd.ledger.observation import observe
from syncd.ledger.outlook import StreamOutlook, load_outlook
from syncd.runtime.postgres import Postgres
from syncd.runtime.presence import find_daemons
from syncd.runtime.waiting import OutOfTimeError, give_up_after

DAYS_FRESH_SECONDS = 30.0
RATE_SECONDS = 15.0
"""Over so long a time the calls of a run are counted for its rate."""
MOST_RUNS = 5
"""The newest runs that changed something: what changed most is looked for in these."""


class Panorama:
    """As it was when it could last be read."""

    def __init__(self) -> None:
        self.observed: Sequence[tuple[Observation, Verdict]] = ()
        self.outlook: Mapping[Stream, StreamOutlook] = {}
        self.days: Sequence[Day] = ()
        self.jumps: Sequence[Jump] = ()
        self._daemons: int | None = None
        self._days_read_at = -DAYS_FRESH_SECONDS
        self._jumps_of: tuple[UUID, ...] = ()
        self._calls: dict[UUID, deque[tuple[float, int]]] = {}

    async def refresh(self, postgres: Postgres, settings: Settings) -> None:
        """Read what is looked at first; SyncError where that cannot be done."""
        self.outlook = await load_outlook(postgres)
        self.observed = [(run, judge(run, settings.patience_with(run.stream))) for run in await observe(postgres)]
        self._daemons = await asyncio.to_thread(count_daemons, settings)

    async def refresh_history(self, postgres: Postgres, runs: Sequence[RunRow], within_seconds: float) -> None:
        """The days and the jumps, where they are worth a look again."""
        now = asyncio.get_running_loop().time()
        changing = tuple(run.run_id for run in runs if run.updated and run.completed_at is not None)[:MOST_RUNS]
        try:
            if now - self._days_read_at >= DAYS_FRESH_SECONDS or changing != self._jumps_of:
                self._days_read_at = now
                self.days = await give_up_after(within_seconds, load_days(postgres))
            if changing != self._jumps_of:
                self._jumps_of = changing
                self.jumps = await give_up_after(within_seconds, load_jumps(postgres, changing)) if changing else ()
        except (SyncError, OutOfTimeError):
            return  # it decorates; the ledger's own state has been read, and shown, before

    def surroundings(self, look_seconds: float | None) -> Surroundings:
        """For the summary. look_seconds: until the watch looks again."""
        return Surroundings(self.outlook, socket.gethostname(), self._daemons, look_seconds)

    def note_calls(self, requests: Mapping[UUID, int]) -> None:
        """How many calls each open run has made by now, for its rate."""
        now = asyncio.get_running_loop().time()
        for run_id, count in requests.items():
            samples = self._calls.setdefault(run_id, deque())
            samples.append((now, count))
            while now - samples[1 if len(samples) > 1 else 0][0] > RATE_SECONDS:
                samples.popleft()
        self._calls = {run_id: samples for run_id, samples in self._calls.items() if run_id in requests}

    def rates(self) -> dict[UUID, float]:
        """Calls a second of each open run, lately; those that were seen for a second or more."""
        rates = {}
        for run_id, samples in self._calls.items():
            (began, first), (ended, last) = samples[0], samples[-1]
            if ended - began >= 1:
                rates[run_id] = (last - first) / (ended - began)
        return rates


async def load_surroundings(postgres: Postgres, settings: Settings) -> Surroundings:
    """For a command, which watches nothing itself."""
    daemons = await asyncio.to_thread(count_daemons, settings)
    return Surroundings(await load_outlook(postgres), socket.gethostname(), daemons)


def count_daemons(settings: Settings, environ: Mapping[str, str] | None = None) -> int | None:
    """How many daemons of this ledger live on this machine; None where that cannot be seen."""
    place = f"{settings.database.place} schema {settings.database.schema_name}"
    try:
        with find_daemons(os.environ if environ is None else environ) as found:
            ours = sum(one.presence.database == place for one in found)
            return None if found and not ours else ours  # the same database may go by another name
    except OSError:
        return None


def as_rows(jumps: Sequence[Jump]) -> list[dict[str, Any]]:
    """For JSON: prices as exact text."""
    return [
        {
            "account": one.account,
            "key": one.key,
            "name": one.name,
            "field": one.field,
            "old": str(one.old),
            "new": str(one.new),
            "changed_at": one.changed_at,
        }
        for one in jumps
    ]
