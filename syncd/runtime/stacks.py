"""Where every task of the event loop stands, for whoever must find out why none of them gets on."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path
from types import AsyncGeneratorType, CodeType, FrameType
from typing import Any

MOST_TASKS = 30
MOST_FRAMES = 12


def task_stacks() -> list[str]:
    """A line a task, its innermost frame last: names and line numbers, no values. Call it inside the loop."""
    current = asyncio.current_task()
    tasks = sorted((task for task in asyncio.all_tasks() if task is not current), key=asyncio.Task.get_name)
    return [f"{task.get_name()}: {' > '.join(_frames(task.get_coro()))}" for task in tasks[:MOST_TASKS]]


def _frames(coroutine: Any) -> Iterator[str]:
    """From the outermost coroutine along what each waits for; a task's own stack knows the first of them only."""
    for _ in range(MOST_FRAMES):
        kind = next((kind for kind in ("cr", "ag", "gi") if hasattr(coroutine, f"{kind}_code")), None)
        if kind is None:
            # what stands between an async generator and whoever asks it for more tells of it to nobody else
            generator = next((one for one in gc.get_referents(coroutine) if isinstance(one, AsyncGeneratorType)), None)
            if generator is None:
                return
            coroutine, kind = generator, "ag"
        yield _place(getattr(coroutine, f"{kind}_code"), getattr(coroutine, f"{kind}_frame"))
        coroutine = getattr(coroutine, f"{kind}_yieldfrom" if kind == "gi" else f"{kind}_await")


def _place(code: CodeType, frame: FrameType | None) -> str:
    line = code.co_firstlineno if frame is None else frame.f_lineno
    return f"{Path(code.co_filename).name}:{line} {code.co_qualname}"
