"""What the monitor knows at this moment: filled by the watch and by the port's own looks, shown by the port."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from monitor.config import Settings
from monitor.exporter import Exporter
from monitor.page.picture import LEDGER_TODO, Picture
from monitor.panorama import Panorama
from monitor.recovery import Look
from monitor.summary import State, Summary, summarise
from monitor.work import expectation_of
from syncd import __version__
from syncd.contract.errors import SyncError
from syncd.contract.runs import RunRow
from syncd.contract.words import Status, Stream
from syncd.ledger.runs import load_runs
from syncd.ledger.scrape import StreamFacts, ledger_time, load_facts
from syncd.runtime.postgres import Postgres
from syncd.runtime.waiting import OutOfTimeError, give_up_after

FRESH_SECONDS = 1.0
LONGEST_READ_SECONDS = 3.0
RUNS_SHOWN = 20


class View:
    """The ledger as it was at most FRESH_SECONDS ago, and the last look of the watch.

    However many ask at once, one of them reads and the others wait for what it finds.
    """

    def __init__(self, postgres: Postgres, settings: Settings) -> None:
        self.settings = settings
        self._postgres = postgres
        self._reading = asyncio.Lock()
        self._read_at = -FRESH_SECONDS
        self._facts: Sequence[StreamFacts] = ()
        self._runs: Sequence[RunRow] = ()
        self._trouble: str | None = "it has not been read yet"
        self._panorama = Panorama()
        self._panorama_at = -FRESH_SECONDS
        self.exporter = Exporter(postgres, self)
        self.look: Look | None = None
        self.looked_at: float | None = None
        """When the last look that succeeded ended, by the event loop's clock."""
        self.watch_trouble: str | None = None
        """Why the newest look did not succeed; None where it did."""

    def saw(self, look: Look) -> None:
        """The watch has looked."""
        self.look, self.looked_at = look, asyncio.get_running_loop().time()

    @property
    def watch_state(self) -> str:
        """One of `monitor.exporter.WATCH_STATES`: failing where no look has succeeded for two periods."""
        since = self.seconds_since_look
        if since is None or since > 2 * watch_period_seconds(self.settings) + LONGEST_READ_SECONDS:
            return "failing"
        has_failed = self.look is not None and (self.look.failed or self.look.unfinished)
        return "degraded" if has_failed or self.watch_trouble is not None else "ok"

    @property
    def stuck_streams(self) -> set[Stream]:
        """Those whose run the last look found stuck."""
        return set() if self.look is None else {run.stream for run, _ in self.look.stuck}

    def interval_of(self, source: str, account: str) -> float:
        """Seconds from a run's end to the account's next one, as set; 0: nothing starts by itself."""
        sync = self.settings.sync_of(source, account)
        return 0.0 if self.settings.disable_auto_sync else float(sync.interval_seconds)

    @property
    def seconds_since_look(self) -> float | None:
        """None before the first one."""
        return None if self.looked_at is None else asyncio.get_running_loop().time() - self.looked_at

    async def refresh(self) -> None:
        """Read the ledger, unless that was done a moment ago; never raises for a database that is away."""
        loop = asyncio.get_running_loop()
        async with self._reading:
            if loop.time() - self._read_at < FRESH_SECONDS:
                return
            try:
                self._facts, self._runs = await give_up_after(LONGEST_READ_SECONDS, self._read())
                self._trouble = None
            except SyncError as error:
                self._trouble = str(error)
            except OutOfTimeError:
                self._trouble = f"no answer within {LONGEST_READ_SECONDS:.0f} s"
            self._read_at = loop.time()

    async def refresh_page(self) -> None:
        """The same, and what only people look at."""
        await self.refresh()
        loop = asyncio.get_running_loop()
        async with self._reading:
            if self._trouble is not None or loop.time() - self._panorama_at < FRESH_SECONDS:
                return
            try:
                work = self._panorama.refresh(self._postgres, self.settings)
                await give_up_after(LONGEST_READ_SECONDS, work)
                self._panorama.note_calls(
                    {run.run_id: run.requests for run in self._runs if run.status is Status.RUNNING}
                )
                await self._panorama.refresh_history(self._postgres, self._runs, LONGEST_READ_SECONDS)
            except SyncError as error:
                self._trouble = str(error)
            except OutOfTimeError:
                self._trouble = f"no answer within {LONGEST_READ_SECONDS:.0f} s"
            self._panorama_at = loop.time()

    @property
    def _look_seconds(self) -> float | None:
        """Until the watch looks again; None where it does not."""
        since = self.seconds_since_look
        if since is None or self.watch_state == "failing":
            return None
        return max(1.0, watch_period_seconds(self.settings) - since)

    async def _read(self) -> tuple[Sequence[StreamFacts], Sequence[RunRow]]:
        return await load_facts(self._postgres), await load_runs(self._postgres, limit=RUNS_SHOWN)

    def summary(self) -> Summary | None:
        """None where the ledger cannot be read."""
        if self._trouble is not None:
            return None
        around = self._panorama.surroundings(self._look_seconds)
        now = ledger_time(self._facts)
        found = summarise(self._facts, self._panorama.observed, expectation_of(self.settings), now, around)
        if self.watch_trouble is None:
            return found
        sentence = f"Not watched just now: {self.watch_trouble}. {LEDGER_TODO}"
        return replace(found, state=State.UNHEALTHY, sentence=sentence, is_held=False)

    def status_line(self) -> str:
        """The line of `systemctl status`: `2 runs open, 0 stuck, last check 4s ago`."""
        since = self.seconds_since_look
        checked = "" if since is None else f"; last check {since:.0f}s ago"
        if self.watch_trouble is not None:
            return f"not watching {self.settings.database.place}: {self.watch_trouble}{checked}"
        if self.look is None:
            return "the first check is under way"
        ended = {one.run_id for one in self.look.ended}
        succeeded = sum(one.successor is not None for one in self.look.ended)
        runs = sum(run.run_id not in ended for run, _ in self.look.verdicts) + succeeded
        stuck = sum(run.run_id not in ended for run, _ in self.look.stuck)
        return f"{runs} run{'' if runs == 1 else 's'} open, {stuck} stuck{checked.replace(';', ',')}"

    def picture(self) -> Picture:
        """For the page."""
        seen = self._panorama
        return Picture(
            datetime.now(UTC) if self._trouble is not None else datetime.fromtimestamp(ledger_time(self._facts), UTC),
            __version__,
            self.summary(),
            self._runs,
            # the watch, which asks alone, knows the reason; a read knows only that it had no answer
            self._trouble and (self.watch_trouble or self._trouble),
            days=seen.days,
            jumps=seen.jumps,
            rates=seen.rates(),
            watch_state=self.watch_state,
            seconds_since_look=self.seconds_since_look,
        )


def watch_period_seconds(settings: Settings) -> float:
    """From look to look: a lapsed lease is found within one lease, the shortest that any account has; everything else
    within the interval."""
    shortest = min(sync.lease_seconds for sync in (settings.sync, *settings.accounts.values()))
    return min(0.5 * shortest, settings.sync.monitor_interval)
