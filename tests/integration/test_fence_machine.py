"""Workers that claim, write, freeze, wake and die in any order, against a real PostgreSQL.

Each worker is a connection pool and a claim; a frozen one simply does nothing until it wakes and tries to
write with what it remembers. The rules have preconditions, so that no step is spent on nothing, and the
counters say whether the interesting ones happened at all.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from syncd.contract.errors import LeaseLostError
from syncd.contract.runs import Busy, Claim, Outcome, Sweep
from syncd.contract.words import Cause
from syncd.ledger import claims
from syncd.runtime.embedded import EmbeddedPostgres
from syncd.runtime.process import current_owner
from tests.postgres import temporary_database
from tests.streams import Stand, execute, open_stand, page_of, select

_WIPE = "TRUNCATE lease, run, sweep, sweep_page, record, change, quarantine, accumulator CASCADE"


class FenceMachine(RuleBasedStateMachine):
    """One stream; the model knows who holds it, and the database must agree."""

    loop: asyncio.AbstractEventLoop
    stand: Stand
    seen: Counter[str]
    workers = Bundle("workers")

    def __init__(self) -> None:
        super().__init__()
        execute(self.stand.conninfo, _WIPE)
        execute(self.stand.conninfo, "INSERT INTO lease (stream_id) SELECT stream_id FROM stream")
        self.holder: Claim | None = None
        self.alive = False  # whether the holder's lease still runs
        self.fence = 0
        self.pages = 0
        self.owner_is_dead = False

    def do(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    @rule(target=workers, dead=st.booleans())
    def claim(self, dead: bool) -> Any:
        owner = replace(current_owner(), started="1") if dead else current_owner()
        result = self.do(self.stand.try_claim(owner=owner))
        if self.holder is not None and self.alive and not self.owner_is_dead:
            self.seen["refused"] += 1
            assert isinstance(result, Busy)
            assert result.run_id == self.holder.run_id
            return multiple()
        assert isinstance(result, Claim)
        assert result.fence == self.fence + 1
        assert result.closed_run == (self.holder.run_id if self.holder else None)
        self.seen["takeovers" if self.holder else "claims"] += 1
        self.holder, self.fence, self.alive, self.owner_is_dead = result, result.fence, True, dead
        return result, self.do(self.stand.open_sweep(result))

    @precondition(lambda self: self.holder is not None and self.alive)
    @rule()
    def lapse(self) -> None:
        self.stand.lapse()
        self.alive = False

    @rule(worker=workers, records=st.integers(0, 3))
    def write(self, worker: tuple[Claim, Sweep], records: int) -> None:
        claim, sweep = worker
        self.pages += 1
        page = page_of(self.pages, range(records), name=f"{self.pages}")
        valid = claim == self.holder and self.alive
        self.seen["writes" if valid else "writes_of_stale" if claim != self.holder else "writes_after_expiry"] += 1

        async def store() -> None:
            async with self.stand.writer_of(claim, sweep) as writer:
                await writer.store(page)

        if valid:
            self.do(store())
        else:
            with pytest.raises(LeaseLostError):
                self.do(store())

    @rule(worker=consumes(workers), cause=st.sampled_from([Cause.END_OF_DATA, Cause.SHUTDOWN]))
    def release(self, worker: tuple[Claim, Sweep], cause: Cause) -> None:
        valid = worker[0] == self.holder
        self.seen["releases" if valid else "releases_of_stale"] += 1
        assert self.do(claims.release(self.stand.postgres, worker[0], Outcome(cause))) is valid
        if valid:
            self.holder, self.alive = None, False

    @invariant()
    def one_open_run(self) -> None:
        rows = select(self.stand.conninfo, "SELECT run_id, fence FROM run WHERE status = 'running'")
        expected = [{"run_id": self.holder.run_id, "fence": self.fence}] if self.holder else []
        assert rows == expected

    @invariant()
    def no_page_after_its_takeover(self) -> None:
        late = """
            SELECT p.page FROM sweep_page p JOIN run r ON r.fence = p.fence + 1
             WHERE pg_xact_commit_timestamp(p.xmin) > r.started_at
        """
        assert select(self.stand.conninfo, late) == []


def explore(cluster: EmbeddedPostgres, template: str, examples: int, *, always_the_same: bool) -> Counter[str]:
    seen: Counter[str] = Counter()
    with temporary_database(cluster, template) as conninfo, asyncio.Runner() as runner:

        async def enter() -> tuple[Any, Stand]:
            manager = open_stand(conninfo)
            return manager, await manager.__aenter__()

        manager, stand = runner.run(enter())
        try:
            machine = type("Machine", (FenceMachine,), {"loop": runner.get_loop(), "stand": stand, "seen": seen})
            run_state_machine_as_test(
                machine,
                settings=settings(
                    max_examples=examples,
                    stateful_step_count=20,
                    deadline=None,
                    derandomize=always_the_same,
                    database=None,
                    phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(manager.__aexit__(None, None, None))
    print(dict(seen))
    return seen


INTERESTING = (
    "claims",
    "takeovers",
    "refused",
    "writes",
    "writes_after_expiry",
    "writes_of_stale",
    "releases_of_stale",
)


def test_no_order_of_claims_writes_lapses_and_releases_breaks_the_fence(
    cluster: EmbeddedPostgres, migrated_template: str
) -> None:
    """A few walks, each kind of step among them."""
    seen = explore(cluster, migrated_template, 20, always_the_same=True)
    assert all(seen[name] > 0 for name in INTERESTING), seen


@pytest.mark.prove
@pytest.mark.timeout(900)
def test_three_hundred_walks_break_nothing(cluster: EmbeddedPostgres, migrated_template: str) -> None:
    """The same, many times."""
    seen = explore(cluster, migrated_template, 300, always_the_same=False)
    assert all(seen[name] > 10 for name in INTERESTING), seen
