"""The watch, look after look: what it finds goes to the page and to who is told; what keeps it from looking is said.

    look      the ledger takes writes and is this release's → every open run judged, the stuck ones ended
    pause     half a lease, or the interval where that is shorter; some seconds while something is wrong

Nothing that goes wrong in a look ends the watch: a monitor that is gone tells nobody anything.
"""

from __future__ import annotations

import asyncio
import random

import structlog

from monitor.config import Settings
from monitor.notify import Announcer, Sender
from monitor.recovery import Look, Rescuer
from monitor.view import View, watch_period_seconds
from syncd.contract.errors import DatabaseAwayError, SyncError
from syncd.ledger.schema import check_ledger
from syncd.runtime.outage import Trouble, outage
from syncd.runtime.postgres import Postgres
from syncd.runtime.waiting import OutOfTimeError, give_up_after, wait_at_most

log = structlog.get_logger()

LONGEST_PROBE_SECONDS = 5.0
LONGEST_LOOK_SECONDS = 60.0
RETRY_SECONDS = 5.0


class Rounds:
    """The watch of one ledger."""

    def __init__(self, postgres: Postgres, settings: Settings, view: View, sender: Sender) -> None:
        self._postgres = postgres
        self._settings = settings
        self._view = view
        self._announcer = Announcer(postgres, sender, lambda: self._settings.sync)
        self._rescuer = Rescuer(postgres, settings.patience_with, lambda: not self._settings.disable_auto_sync)
        self._trouble = Trouble()
        self._fault: str | None = None
        self._woken = asyncio.Event()

    def apply(self, settings: Settings) -> None:
        """From the next look on, which comes at once."""
        self._settings = settings
        self._rescuer.patience_with = settings.patience_with
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            look = await self._look_once()
            await self._view.refresh_page()
            now = asyncio.get_running_loop().time()
            summary = self._view.summary() if self._view.watch_trouble is None else None
            await self._announcer.tell(summary, look.ended, now)
            await self._pause()

    async def _look_once(self) -> Look:
        look = Look()
        began = asyncio.get_running_loop().time()
        try:
            look = await self._look()
        except SyncError as error:
            self._trouble.note(error)
        except OutOfTimeError:
            self._trouble.note(DatabaseAwayError("look at the runs: no answer in time"))
        except Exception as error:  # the supervisor: a fault of ours must not blind the watch for good
            if self._is_new(error):
                log.error("watch.failed", exc_info=True)
        else:
            self._trouble.over()
            self._fault = None
            self._view.saw(look)
            duration_ms = round(1000 * (asyncio.get_running_loop().time() - began))
            log.debug("tick.done", open=len(look.verdicts), stuck=len(look.stuck), duration_ms=duration_ms)
        self._view.watch_trouble = self._trouble.text or self._fault
        return look

    async def _look(self) -> Look:
        await give_up_after(LONGEST_PROBE_SECONDS, self._probe())
        return await give_up_after(LONGEST_LOOK_SECONDS, self._rescuer.look())

    async def _probe(self) -> None:
        # alone and first: the pool would say only after seconds, and without a reason, that it has no connection
        await (await self._postgres.connect("reach PostgreSQL")).close()
        await check_ledger(self._postgres)

    def _is_new(self, error: Exception) -> bool:
        before, self._fault = self._fault, f"a fault of ours: {type(error).__name__}"
        return self._fault != before

    async def _pause(self) -> None:
        seconds = watch_period_seconds(self._settings)
        if self._view.watch_trouble is not None or outage.lasts:
            seconds = min(seconds, RETRY_SECONDS)
        seconds = min(seconds, self._rescuer.again_in_seconds or seconds)
        await wait_at_most(self._woken, seconds * random.uniform(0.8, 1.0))  # noqa: S311  # two monitors, two moments
        self._woken.clear()
