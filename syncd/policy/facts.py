"""A run for machines: what `--json` prints and what the HTTP API answers, in the same names."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from syncd.contract.runs import RunRow
from syncd.policy.explanation import explain


def run_facts(row: RunRow) -> dict[str, Any]:
    """A run in the names of the HTTP API. Times and ids are left to the encoder."""
    facts = asdict(row)
    del facts["updated"], facts["unchanged"], facts["error_message"], facts["run_id"]
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
