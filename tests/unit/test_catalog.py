"""The journal's catalog explains every event of ours, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from syncd.runtime.journal import FIELD_OF, MESSAGE_IDS

CATALOG = Path(__file__).parents[2] / "deploy/systemd/syncd.catalog"
ENTRY = re.compile(
    r"^# (?P<event>\S+)\n-- (?P<id>[0-9a-f]{32})\nSubject: (?P<subject>.+)\nDefined-By: syncd\nSupport: \S+\n"
    r"Documentation: \S+\n\n(?P<text>(?:[^#\n].*\n)+)",
    re.MULTILINE,
)


@pytest.fixture(scope="module")
def catalog() -> str:
    return CATALOG.read_text("utf-8")


def test_each_event_is_explained_once_under_its_own_id(catalog: str) -> None:
    entries = [(match["event"], match["id"]) for match in ENTRY.finditer(catalog)]
    assert sorted(entries) == sorted(MESSAGE_IDS.items())
    assert catalog.count("\n-- ") == len(entries), "an entry that is written otherwise"


def test_an_explanation_names_only_fields_that_entries_have(catalog: str) -> None:
    assert set(re.findall(r"@([A-Z_]+)@", catalog)) <= set(FIELD_OF.values())
