"""What an operator brings to the machine: the source tree, also of broken releases, and the wheels."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from syncd import __version__

ROOT = Path(__file__).parents[2]
SOURCE = "/srv/syncd"
"""Where the box has the source trees, one folder each; `now` is this one."""
WHEELS = "/srv/wheels"
DEPLOY = "deploy_sync_system.sh"
PARTS = (
    "syncd",
    "monitor",
    "deploy",
    "docs",
    "setup.cfg",
    "pyproject.toml",
    *(path.name for path in ROOT.glob("*.md")),
    "LICENSE",
    DEPLOY,
)
NOW = f"{SOURCE}/now/{DEPLOY}"


@dataclass(frozen=True)
class Supplies:
    """Folders of this machine that the box shows at SOURCE and WHEELS."""

    source: Path
    wheels: Path

    def release(
        self, version: str, replacements: dict[str, tuple[str, str]] | None = None, files: dict[str, str] | None = None
    ) -> str:
        """A source tree of another version, with texts replaced and files added; its script, as the box sees it."""
        tree, script = self.source / version, f"{SOURCE}/{version}/{DEPLOY}"
        if tree.exists():
            return script
        copy_tree(tree)
        _replace(tree / "syncd/__init__.py", f'__version__ = "{__version__}"', f'__version__ = "{version}"')
        for path, (old, new) in (replacements or {}).items():
            _replace(tree / path, old, new)
        for path, text in (files or {}).items():
            (tree / path).write_text(text, "utf-8")
        return script


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert text.count(old) == 1, f"{path} holds {text.count(old)} times {old!r}"
    path.write_text(text.replace(old, new), "utf-8")


def copy_tree(target: Path) -> None:
    target.mkdir(parents=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, target / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        elif source.exists():
            shutil.copy(source, target / part)


def gathered(folder: Path) -> Supplies:
    """The tree as it stands, and the wheels."""
    supplies = Supplies(folder / "source", _wheels())
    copy_tree(supplies.source / "now")
    return supplies


def _wheels() -> Path:
    """Fetched as an operator does it, once for each state of the locks: beside the virtual environment of the tests."""
    locks = b"".join((ROOT / "deploy" / name).read_bytes() for name in ("build.lock", "requirements.lock"))
    folder = Path(sys.prefix, f"wheels-{hashlib.sha256(locks).hexdigest()[:16]}")
    if not folder.exists():
        new = Path(tempfile.mkdtemp(dir=sys.prefix))
        done = subprocess.run(
            [ROOT / DEPLOY, "--download", new], capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        new.chmod(0o755)
        new.rename(folder)
    return folder
