"""The runbook as tests see it: its pages, and the commands that they tell people to type."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from tests.observe.prometheus import ROOT

FOLDER = ROOT / "docs" / "runbook"
PAGES = sorted(FOLDER.glob("*.md"))
AS_SERVICE = ["runuser", "-u", "syncd", "--"]
OURS = ("syncd", "sync-monitor", r"\./deploy_sync_system\.sh")


def blocks(page: Path, kind: str) -> list[str]:
    """The fenced blocks of a page: `sh` or `sql`."""
    found = re.findall(rf"^ *```{kind}\n(.*?)^ *```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [str(one) for one in found]


def commands(page: Path) -> list[list[str]]:
    """Every command of its blocks, and every code span that is one of ours, split as a shell would."""
    text = page.read_text("utf-8")
    spoken = re.findall(rf"`((?:{'|'.join(OURS)}) [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return [*typed(text), *map(shlex.split, spoken)]


def typed(text: str) -> Iterator[list[str]]:
    """The commands of the `sh` blocks, in their order; what a here-document holds is not one, and who types it is left
    out."""
    for block in re.findall(r"^ *```sh\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
        for line in re.sub(r"<<'SQL'.*?^SQL$", "", block, flags=re.DOTALL | re.MULTILINE).splitlines():
            if line.strip():
                words = shlex.split(line.strip(), comments=True)
                yield words[len(AS_SERVICE) :] if words[: len(AS_SERVICE)] == AS_SERVICE else words


def section(page: Path, title: str) -> str:
    """The text below this headline, up to the next of its rank."""
    return page.read_text("utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]
