"""Writes the dashboards: `python deploy/grafana/build.py [FOLDER]`; the JSON beside it is what this makes.

Classic dashboards, which Grafana 9 to 13 load. What is in which dashboard stands in overview.py and runs.py.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import overview
import runs

HERE = Path(__file__).parent


def main(folder: Path) -> None:
    """All dashboards."""
    for dashboard in (overview.DASHBOARD, runs.DASHBOARD):
        text = json.dumps(dashboard, indent=2, ensure_ascii=False)
        (folder / f"{dashboard['uid']}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "dashboards")
