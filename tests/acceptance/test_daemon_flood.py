"""A thousand `POST /sync` from fifty clients at once, while another account syncs as fast as it goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.acceptance.daemon import Daemon, serving
from tests.acceptance.flood import Answer, flood, percentile
from tests.acceptance.marketplaces import marketplaces
from tests.acceptance.processes import until
from tests.acceptance.scene import Scene, Start

CLIENTS = 50
ASKED = "emag/asked/offers"
PAGES = """
SELECT r.pages FROM run r JOIN stream s USING (stream_id) JOIN account a USING (account_id)
 WHERE a.name = 'busy' AND r.status = 'running'
"""

RUNS = """
SELECT run_id FROM run JOIN stream USING (stream_id) JOIN account a USING (account_id) WHERE a.name = 'asked'
"""
P99_SECONDS = 0.1


@asynccontextmanager
async def busy(start: Start, offers: int) -> AsyncIterator[tuple[Scene, Daemon]]:
    """One account reads without a limit; the other one, slow and idle, is there to be asked for."""
    scene = await start(offers=0)
    with marketplaces(2, offers=offers, per_second=None, per_minute=None) as markets:
        markets.ask(1, "faults", {"faults": ["slow:page=all:seconds=1"]})
        keys = {"calls_per_second": "10000", "max_pages": "10000", "max_requests": "20000"}
        markets.configure(scene, {"busy": 0, "asked": 1}, **keys)
        path = scene.program.config
        assert path is not None
        path.write_text(path.read_text() + "\ninterval_seconds = 0\n")
        async with serving(scene, EMAG_SYNC_INTERVAL_SECONDS="") as daemon:
            await until(lambda: (scene.query(PAGES) or [(0,)])[0][0] >= 10, "the busy account is being read")
            yield scene, daemon


def shown(answers: list[Answer]) -> str:
    return ", ".join(f"p{100 * share:g} {1000 * percentile(answers, share):.0f} ms" for share in (0.5, 0.9, 0.99, 1))


def runs_of_asked(scene: Scene) -> list[Any]:
    return [str(row[0]) for row in scene.query(RUNS)]


@pytest.mark.parametrize("each", [4, pytest.param(20, marks=pytest.mark.prove)])
async def test_of_a_thousand_requests_one_starts_a_run_and_the_others_learn_its_id(start: Start, each: int) -> None:
    """409 with the living run's id for all but one."""
    async with busy(start, 6_000 * each) as (scene, daemon):
        before = scene.query(PAGES)[0][0]
        answers = await flood(daemon, {"stream": ASKED}, clients=CLIENTS, each=each)
        pages = scene.query(PAGES)[0][0] - before
        (run_id,) = runs_of_asked(scene)
    print(f"{len(answers)} requests while {pages} pages were read: {shown(answers)}")
    assert Counter(answer.status for answer in answers) == {202: 1, 409: CLIENTS * each - 1}
    assert {answer.document.get("run_id") or answer.document["sync_id"] for answer in answers} == {run_id}
    assert pages > 0
    if each == 20:
        assert percentile(answers, 0.99) < P99_SECONDS


@pytest.mark.parametrize("each", [4, pytest.param(20, marks=pytest.mark.prove)])
async def test_a_thousand_requests_with_one_key_get_one_answer(start: Start, each: int) -> None:
    """The same 202, and one run."""
    async with busy(start, 6_000 * each) as (scene, daemon):
        answers = await flood(daemon, {"stream": ASKED}, clients=CLIENTS, each=each, key="monday")
        (run_id,) = runs_of_asked(scene)
    print(f"{len(answers)} requests with one key: {shown(answers)}")
    assert Counter(answer.status for answer in answers) == {202: CLIENTS * each}
    assert all(answer.document == answers[0].document for answer in answers)
    assert answers[0].document["sync_id"] == run_id
    if each == 20:
        assert percentile(answers, 0.99) < P99_SECONDS
