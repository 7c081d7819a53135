"""The watch goes on whatever a look meets, also what is a fault of ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from monitor import recovery
from monitor.config import Settings, load_settings
from monitor.notify import Sender, note_sent
from monitor.rounds import Rounds
from monitor.view import View
from tests.control import eventually
from tests.streams import Stand


@asynccontextmanager
async def rounds_of(stand: Stand, folder: Path) -> AsyncIterator[tuple[View, Callable[[], None], asyncio.Task[None]]]:
    """The view that the watch fills, the call that makes it look at once, and its task."""
    settings: Settings = load_settings(environ={"DATABASE_URL": stand.conninfo}, system_directory=folder)
    view = View(stand.postgres, settings)
    rounds = Rounds(stand.postgres, settings, view, Sender(partial(note_sent, stand.postgres)))
    task = asyncio.create_task(rounds.run())
    try:
        yield view, lambda: rounds.apply(settings), task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_a_fault_of_ours_in_a_look_is_shown_and_does_not_end_the_watch(
    stand: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one row that nobody thought of: the state is degraded, and healthy again with the first look that works."""
    claim = await stand.claim()
    judged = recovery.judge

    def broken(*_: Any) -> Any:
        raise KeyError("nobody thought of this")

    monkeypatch.setattr(recovery, "judge", broken)
    async with rounds_of(stand, tmp_path) as (view, look, task):
        await eventually(lambda: view.watch_trouble is not None or task.done())
        assert not task.done(), "the watch has ended"
        assert view.watch_trouble == "a fault of ours: KeyError"
        assert view.watch_state == "failing"
        await view.refresh()
        summary = view.summary()
        assert summary is not None
        assert summary.sentence.startswith("Not watched just now: a fault of ours: KeyError")
        assert "a fault of ours" in view.status_line()
        monkeypatch.setattr(recovery, "judge", judged)
        look()
        await eventually(lambda: view.watch_trouble is None)
        assert view.watch_state == "ok"
        assert view.look is not None
        assert [run.run_id for run, _ in view.look.verdicts] == [claim.run_id]
        assert view.status_line().startswith("1 run open, 0 stuck, last check ")
