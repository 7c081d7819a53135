"""The runbook as tests see it: its pages, and the commands that they tell people to type."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from tests.observe.prometheus import ROOT

FOLDER = ROOT / "docs" / "runbook"
PAGES = sorted(FOLDER.glob("*.md"))
OURS = ("syncd", "sync-monitor", "./deploy_sync_system.sh")


def blocks(page: Path, kind: str) -> list[str]:
    """The fenced blocks of a page: `sh` or `sql`."""
    found = re.findall(rf"^ *```{kind}\n(.*?)^ *```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [str(one) for one in found]


def commands(page: Path) -> Iterator[list[str]]:
    """Every command line in a block of the page, and every code span that is one of ours, split as a shell would."""
    text = page.read_text("utf-8")
    lines = [
        line
        for block in blocks(page, "sh")
        for line in re.sub(r"<<'SQL'.*?^SQL$", "", block, flags=re.S | re.M).splitlines()
    ]
    lines += re.findall(
        r"`((?:syncd|sync-monitor|\./deploy_sync_system\.sh) [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.S)
    )
    for line in lines:
        if line.strip():
            yield shlex.split(line.strip(), comments=True)
