"""When a sweep may be called complete, and how many records may vanish at once.

Complete means: every page of the sweep answered; an empty page after the last; the count at the start =
the count at the end = distinct keys + records in quarantine without a key; no key on two pages. Where the
source has no usable count, two sweeps (or two passes) with equal keys stand in for it.

This proves a catalogue that stands still. One that moves while it is read can hide a gap from any count;
hence tombstones ask for more (`syncd.engine.verify`).
"""

from __future__ import annotations

from dataclasses import dataclass

BLAST_RADIUS_RECORDS = 50
BLAST_RADIUS_SHARE = 0.10


@dataclass(frozen=True, slots=True)
class SweepFacts:
    """What the manifest of one pass shows.

    last_received  items of the last page; None where no page was stored
    repeated_keys  keys that stood on two different pages
    previous_digest  digest of the keys of the pass or sweep before; None where there was none
    """

    pages: int
    last_page: int
    last_received: int | None
    keyless: int
    distinct_keys: int
    repeated_keys: int
    keys_digest: str
    previous_digest: str | None = None


def find_gap(facts: SweepFacts, *, count_at_start: int | None, count_at_end: int | None) -> str | None:
    """Why this pass is not proven complete; None where it is. Counts are None where the source has none."""
    if facts.pages != facts.last_page or facts.pages == 0:
        return f"{facts.pages} of {facts.last_page} pages are stored"
    if facts.last_received != 0:
        return f"no empty page after page {facts.last_page}"
    if facts.repeated_keys:
        return f"{facts.repeated_keys} keys stood on two pages: the catalogue moved while it was read"
    if count_at_start is None or count_at_end is None:
        if facts.previous_digest == facts.keys_digest:
            return None
        return "no second sweep with equal keys yet (count is ignored)"
    if count_at_start != count_at_end:
        return f"the count went from {count_at_start} to {count_at_end} while reading"
    found = facts.distinct_keys + facts.keyless
    if found != count_at_end:
        return f"the count says {count_at_end}, the pages showed {found}"
    return None


def exceeds_blast_radius(missing: int, live: int) -> bool:
    """Whether so many of the live records would vanish that a person must agree first."""
    if missing == 0:
        return False
    return missing > max(BLAST_RADIUS_RECORDS, live * BLAST_RADIUS_SHARE) or missing * 2 > live or missing == live
