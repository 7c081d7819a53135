"""The dashboards by Grafana's own types: a key that it does not know, or of another kind, is an error.

Wants npm and the network (33 MB), so it is not in the gate. Queries are tried in test_live.py.
"""

from __future__ import annotations

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.observe.dashboards import DASHBOARDS
from tests.observe.prometheus import program

PACKAGES = ("@grafana/schema@13.2.3", "typescript@5.9")
TYPES = Path(__file__).with_name("dashboard_types.ts.in")
RAW = "./node_modules/@grafana/schema/dist/types/raw"
FLAGS = "--noEmit --strict --skipLibCheck --module esnext --moduleResolution bundler --allowImportingTsExtensions"


def errors(folder: Path, dashboards: list[dict[str, Any]]) -> str:
    """What the compiler says."""
    lines = ["import type { Kinds, Whole } from './types.ts';"]
    for dashboard in copy.deepcopy(dashboards):
        panels = dashboard.pop("panels")
        lines += [f"export const d{len(lines)}: Whole = {json.dumps(dashboard)};"]
        lines += [
            f"export const p{len(lines)}_{n}: Kinds['{p['type']}'] = {json.dumps(p)};" for n, p in enumerate(panels)
        ]
    (folder / "check.ts").write_text("\n".join(lines))
    command = ["npx", "tsc", *FLAGS.split(), "check.ts"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200, check=False).stdout


@pytest.mark.prove
def test_grafanas_own_types_accept_the_dashboards(tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text('{"private": true}')
    (tmp_path / "types.ts").write_text(TYPES.read_text("utf-8").replace("@RAW@", RAW))
    install = [program("npm"), "install", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES]
    subprocess.run(install, cwd=tmp_path, check=True, capture_output=True, timeout=200)
    assert errors(tmp_path, list(DASHBOARDS.values())) == ""
    wrong = copy.deepcopy(DASHBOARDS["emag-sync-overview"])
    wrong["panels"][1]["options"]["colourMode"] = "background"
    assert "'\"colourMode\"' does not exist" in errors(tmp_path, [wrong])
