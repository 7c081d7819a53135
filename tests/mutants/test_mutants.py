"""The suite catches the mutants that it must catch, and passes on the same copy without them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.declared import FURTHER, REQUIRED
from tests.mutants.mutant import Mutant, Replacement, copy_of_package, judge

IN_CI = ("the checkpoint is written outside the page's transaction",)


def _named(mutants: tuple[Mutant, ...]) -> list[object]:
    return [
        pytest.param(mutant, id=mutant.name.replace(" ", "-"), marks=() if ci else pytest.mark.prove)
        for mutant in mutants
        for ci in [mutant in REQUIRED or mutant.name in IN_CI]
    ]


@pytest.mark.parametrize("mutant", _named(REQUIRED + FURTHER))
def test_the_suite_catches(mutant: Mutant, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A test that stands for the guarantee fails on it, by an assertion of its own."""
    verdict = judge(copy_of_package(tmp_path, mutant.replacements), mutant.tests)
    assert verdict.caught, f"the mutant lives: {mutant.name}\n{verdict.output}"
    with capsys.disabled():
        print(f"\ncaught: {mutant.name}\n{verdict.failures}")


def test_the_same_tests_pass_on_a_copy_without_mutants(tmp_path: Path) -> None:
    """Otherwise a catch would say nothing."""
    tests = tuple(dict.fromkeys(test for mutant in REQUIRED for test in mutant.tests))
    verdict = judge(copy_of_package(tmp_path), tests)
    assert set(verdict.counts) == {"passed"}, verdict.output


@pytest.mark.parametrize("mutant", REQUIRED + FURTHER, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_the_source_still_holds_what_the_mutant_replaces(mutant: Mutant, tmp_path: Path) -> None:
    """A mutant that replaces nothing would pass for caught, or for living, without having been tried."""
    copy_of_package(tmp_path, mutant.replacements)


def test_a_mutant_that_is_out_of_date_says_so(tmp_path: Path) -> None:
    """It names the file and the text that it looked for."""
    gone = Replacement("syncd/ledger/fence.py", "no such text", "")
    with pytest.raises(AssertionError, match=r"out of date: syncd/ledger/fence\.py holds 0 times"):
        copy_of_package(tmp_path, (gone,))


def test_a_copy_that_cannot_be_imported_does_not_count_as_caught(tmp_path: Path) -> None:
    """Every test fails on it, and none of them has noticed anything."""
    broken = Replacement("syncd/ledger/fence.py", "from syncd.contract.runs import Claim", "import no_such_module")
    verdict = judge(copy_of_package(tmp_path, (broken,)), REQUIRED[0].tests)
    assert not verdict.caught
