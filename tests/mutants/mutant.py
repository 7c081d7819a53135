"""A mutant: a copy of the package with a guarantee taken out, which the suite must catch.

A check that has never been seen to fail proves nothing. Each mutant is a small replacement in the source;
the tests that stand for the guarantee are run against the copy, in a process of its own, and must fail
there by an assertion of theirs: an import error or a broken fixture is not a catch.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CAUGHT_BY = re.compile(r"^E +(AssertionError|assert |Failed: DID NOT RAISE)", re.MULTILINE)
COUNTS = re.compile(r"(\d+) (failed|passed|error)")


@dataclass(frozen=True)
class Replacement:
    """This text of this file, which stands there exactly once, becomes that one."""

    path: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """What is taken out, where, and which tests must notice."""

    name: str
    replacements: tuple[Replacement, ...]
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """What pytest said about one copy of the package."""

    output: str

    @property
    def counts(self) -> dict[str, int]:
        last = self.output.strip().rpartition("\n")[2]
        return {word: int(number) for number, word in COUNTS.findall(last)}

    @property
    def caught(self) -> bool:
        """At least one test failed by an assertion, and none for another reason than failing."""
        return self.counts.get("failed", 0) > 0 and "error" not in self.counts and bool(CAUGHT_BY.search(self.output))

    @property
    def failures(self) -> str:
        """The lines that say what was noticed."""
        lines = [line for line in self.output.splitlines() if line.startswith(("E  ", "FAILED"))]
        return "\n".join(lines[:20])


def copy_of_package(folder: Path, replacements: tuple[Replacement, ...] = ()) -> Path:
    """A folder with the packages and their tests as they stand, and these replacements."""
    for name in ("syncd", "monitor", "tests", "deploy", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for pattern in ("*.cfg", "*.toml", "*.md", "LICENSE", "*.sh"):
        for path in ROOT.glob(pattern):
            shutil.copy(path, folder)
    for replacement in replacements:
        file = folder / replacement.path
        text = file.read_text()
        found = text.count(replacement.old)
        assert found == 1, (
            f"this mutant is out of date: {replacement.path} holds {found} times\n{replacement.old}\n"
            "declare it anew against the source as it is now"
        )
        file.write_text(text.replace(replacement.old, replacement.new))
    return folder


def judge(package_folder: Path, tests: tuple[str, ...]) -> Verdict:
    """Run these tests against this copy, with pytest's own report."""
    # PYTHONSAFEPATH: without it, `python -m` looks into the current folder first, here and in the tests' children.
    environment = os.environ | {"PYTHONPATH": str(package_folder), "PYTHONSAFEPATH": "1"}
    where = subprocess.check_output(
        [sys.executable, "-c", "import syncd; print(syncd.__file__)"], cwd=ROOT, env=environment, text=True
    )
    assert where.strip() == str(package_folder / "syncd" / "__init__.py"), "the copy is not what would be tried"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "--tb=short",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:unraisableexception",  # what a mutant leaves open would end pytest without its report
            "-m",
            "not prove",
            *tests,
        ],
        cwd=package_folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return Verdict(done.stdout)
