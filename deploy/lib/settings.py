"""What the files in /etc/syncd and the drop-ins of a unit say of a setting, for the installer's own looks.

    settings.py ETC UNIT NAME     prints the value of one of the keys of [sync], or nothing

Runs on the system's Python, standard library only. The services read the same with more care (syncd/runtime/settings).
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_LINE = re.compile(r"\s*(?:export\s+)?(\w+)\s*=\s*(?:'([^']*)'|\"([^\"]*)\"|(.*?))\s*(?:(?<=[\s'\"])#.*)?")


def read_document(etc: Path) -> tuple[dict[str, Any], list[str]]:
    """The TOML file, and what is wrong with it."""
    path = etc / "syncd.toml"
    try:
        return tomllib.loads(path.read_text("utf-8-sig")), []
    except FileNotFoundError:
        return {}, []
    except (ValueError, OSError) as error:
        # a parser's own words may quote what stands there
        place = re.search(r"line \d+, column \d+", str(error))
        return {}, [f"{path} cannot be read: a fault{f' at {place.group()}' if place else ''}"]


def read_env(etc: Path) -> dict[str, str]:
    """The variables of syncd.env that have a value."""
    try:
        lines = (etc / "syncd.env").read_text("utf-8-sig").splitlines()
    except (OSError, ValueError):
        return {}
    pairs = [_LINE.fullmatch(line) for line in lines]
    return {pair[1]: value for pair in pairs if pair and (value := pair[2] or pair[3] or pair[4])}


def read_unit(unit: str) -> dict[str, str]:
    """What drop-ins put into the unit's environment."""
    try:
        shown = subprocess.run(
            ["/usr/bin/systemctl", "show", "-P", "Environment", unit], capture_output=True, text=True, check=False
        )
        return dict(word.split("=", 1) for word in shlex.split(shown.stdout) if "=" in word)
    except (OSError, ValueError):
        return {}


def sync_setting(document: Mapping[str, Any], env: Mapping[str, str], name: str, default: str) -> str:
    """A key of [sync]; env: a unit's environment over that of syncd.env."""
    table = document.get("sync", {})
    written = table.get(name, "") if isinstance(table, dict) else ""
    text = ",".join(map(str, written)) if isinstance(written, list) else str(written)
    return env.get(f"EMAG_SYNC_{name.upper()}") or text or default


if __name__ == "__main__":
    folder, of_unit, key = sys.argv[1:]
    print(sync_setting(read_document(Path(folder))[0], read_env(Path(folder)) | read_unit(of_unit), key, ""))
