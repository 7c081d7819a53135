"""The peers' own virtual environment, made on first use: `.venv-bench/`, pinned in bench/peers/requirements.txt."""

from __future__ import annotations

import subprocess
import sys
import venv
from hashlib import sha256
from pathlib import Path

from bench.surroundings import ROOT

FOLDER = ROOT / ".venv-bench"
REQUIREMENTS = Path(__file__).with_name("peers") / "requirements.txt"


def program(name: str) -> str:
    """The path of one of the environment's programs."""
    return str(FOLDER / "bin" / name)


def install() -> None:
    """Make the environment, again only where the pinned versions changed."""
    mark = FOLDER / "installed"
    pinned = sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if mark.exists() and mark.read_text() == pinned:
        return
    print(f"installing the peers into {FOLDER.name} …", file=sys.stderr, flush=True)
    venv.create(FOLDER, with_pip=True, clear=True)
    subprocess.run([program("pip"), "install", "--quiet", "--requirement", str(REQUIREMENTS)], check=True)
    mark.write_text(pinned)


def versions() -> dict[str, str]:
    """The peers' versions, as pip says."""
    done = subprocess.run([program("pip"), "freeze"], check=True, capture_output=True, text=True)
    frozen = dict(line.split("==", 1) for line in done.stdout.splitlines() if "==" in line)
    return {name: frozen[name] for name in ("dlt", "singer-sdk", "meltanolabs-target-postgres")}
