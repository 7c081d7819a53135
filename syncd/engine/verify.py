"""Is this pass proven, and which records are gone?

A record is tombstoned only where a complete sweep did not show it **and** one of these holds: a look-up by
id answers empty, an earlier complete sweep did not show it either, or a person agreed to its disappearance.
A look-up that finds the record proves the opposite: the pass missed something, whatever the counts say.
A record in quarantine without a key could be any of the missing ones: then nothing is tombstoned.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import structlog

from syncd.contract.errors import SyncError
from syncd.contract.runs import Claim, Sweep
from syncd.engine.calls import Calls, persist
from syncd.engine.stop import Halt, StopSignal
from syncd.ledger.runs import note_at_work
from syncd.ledger.sweeps import load_facts, store_facts
from syncd.policy.completeness import SweepFacts, exceeds_blast_radius, find_gap
from syncd.runtime.postgres import Postgres
from syncd.sources.source import Source
from syncd.warehouse import tombstones
from syncd.warehouse.pages import PageStore
from syncd.warehouse.tombstones import Candidate

log = structlog.get_logger()

CONCURRENT_LOOK_UPS = 5
SAY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """gap: why the pass is not proven, None where it is. blast: why nothing was tombstoned."""

    facts: SweepFacts
    gap: str | None = None
    blast: str | None = None


@dataclass(slots=True)
class _Looked:
    gone: list[str] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)


class Verifier:
    """Judges one pass and applies what follows from it."""

    def __init__(
        self, postgres: Postgres, claim: Claim, source: Source, calls: Calls, store: PageStore, stop: StopSignal
    ) -> None:
        self._postgres = postgres
        self._claim = claim
        self._source = source
        self._calls = calls
        self._store = store
        self._stop = stop
        self._say_again_at = 0.0

    async def judge(self, sweep: Sweep) -> Verdict:
        """Compare counts and manifest; nothing is written."""
        count_at_end = None
        if self._source.has_count:
            count_at_end = await self._calls.make(self._source.count_endpoint, "count", self._source.count)
        facts = await persist(lambda: load_facts(self._postgres, self._claim, sweep), self._stop)
        return Verdict(facts, find_gap(facts, count_at_start=sweep.expected, count_at_end=count_at_end))

    async def bury(self, sweep: Sweep, facts: SweepFacts) -> Verdict:
        """Tombstone what is proven gone from a proven pass; or ask, or find that it was not proven after all."""
        claim, stop = self._claim, self._stop
        if facts.keyless:
            log.warning("tombstones.withheld", records_without_key=facts.keyless)

            async def keep() -> None:
                await store_facts(await self._store.connection(), claim, sweep, facts)

            await persist(keep, stop)
            return Verdict(facts)
        missing = await persist(lambda: tombstones.count_missing(self._postgres, claim, sweep), stop)
        if exceeds_blast_radius(missing.missing - missing.agreed, missing.live):

            async def ask() -> None:
                await tombstones.ask_consent(await self._store.connection(), claim, sweep)

            await persist(ask, stop)
            return Verdict(
                facts,
                blast=f"{missing.missing} of {missing.live} live records are missing: nothing was tombstoned; look at "
                f"the marketplace, and if they are really gone: syncd approve {claim.run_id}",
            )
        candidates: list[Candidate] = []
        if missing.missing:
            candidates = await persist(lambda: tombstones.load_candidates(self._postgres, claim, sweep), stop)
        looked = await self._look_up([candidate.key for candidate in candidates if not candidate.proven])
        if looked.found:
            return Verdict(
                facts,
                gap=f"{len(looked.found)} records stood on no page but answer a look-up "
                f"(such as {looked.found[0][:40]!r}): the catalogue moved while it was read",
            )
        gone = [candidate.key for candidate in candidates if candidate.proven] + looked.gone
        await self._apply(sweep, facts, gone, looked.undecided)
        return Verdict(facts)

    async def _apply(self, sweep: Sweep, facts: SweepFacts, gone: list[str], undecided: list[str]) -> None:
        claim, store = self._claim, self._store

        async def write() -> None:
            connection = await store.connection()
            await tombstones.tombstone(connection, claim, gone)
            await tombstones.note_absent(connection, claim, sweep, undecided)
            await tombstones.use_consents(connection, claim)
            await store_facts(connection, claim, sweep, facts)

        await persist(write, self._stop)
        if gone or undecided:
            log.info("records.tombstoned", count=len(gone), undecided=len(undecided))

    async def _say_at_work(self) -> None:
        """Hundreds of look-ups take longer than a run may stand still, and no page comes meanwhile."""
        now = asyncio.get_running_loop().time()
        if now >= self._say_again_at:
            self._say_again_at = now + SAY_SECONDS
            doing = "it asks for missing records one by one"
            await persist(lambda: note_at_work(self._postgres, self._claim, doing), self._stop)

    async def _look_up(self, keys: list[str]) -> _Looked:
        """Ask for each by id, as far as the caps allow; the rest is undecided."""
        looked = _Looked()
        asked = keys[: self._calls.left]
        looked.undecided += keys[len(asked) :]
        gate = asyncio.Semaphore(CONCURRENT_LOOK_UPS)

        async def ask(key: str) -> None:
            async with gate:
                if looked.found:  # one is enough: the pass will be read again
                    return
                subject = f"look-up of {key[:40]}"
                exists = await self._calls.make(self._source.read_endpoint, subject, lambda: self._source.look_up(key))
                await self._say_at_work()
            place = looked.undecided if exists is None else looked.found if exists else looked.gone
            place.append(key)

        try:
            async with asyncio.TaskGroup() as group:
                for key in asked:
                    group.create_task(ask(key))
        except* (Halt, SyncError) as errors:  # several may fail at once: the first says enough
            raise errors.exceptions[0] from None
        return looked
