"""A run for machines: what `--json` prints and what the HTTP API answers, in the same names."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from syncd.contract.runs import RunRow
from syncd.policy.explanation import explain

_FOR_WORDS = ("paused_by", "pause_reason", "sweep_ended_by", "cancelled_by")
"""What is told in sentences only."""


def run_facts(row: RunRow) -> dict[str, Any]:
    """A run in the names of the HTTP API. Times and ids are left to the encoder."""
    facts = asdict(row)
    for name in ("updated", "unchanged", "error_message", "run_id", *_FOR_WORDS):
        del facts[name]
    return {
        "sync_id": row.run_id,
        **facts,
        "stream": str(row.stream),
        "triggered_by": row.initiated_by,
        "explanation": explain(row),
        "updated": row.updated,
        "skipped": row.unchanged,
        "error_message": row.error_message,
        "progress_percent": row.progress_percent,
    }
