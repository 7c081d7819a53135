"""The box: a real systemd in which tests install, break and remove things (box.sh does the work).

BOX          its name holds our process's number, so that sessions live side by side
exec         a command inside, in all of its namespaces
tree         what lies below folders, so that two moments can be compared
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.no_skips import NO_SYSTEMD

SCRIPT = Path(__file__).with_name("box.sh")
STATES = Path("/run/syncd-box")
COMMAND_SECONDS = 120.0
NEEDED = ("unshare", "nsenter", "setpriv", "pivot_root", "ip", "pg_createcluster")


def why_impossible() -> str:
    """Why this machine can have no box; '' where it can."""
    if os.geteuid() != 0:
        return "a real systemd needs root to live in namespaces of its own"
    if not Path("/lib/systemd/systemd").exists() or not Path("/usr/bin/dbus-daemon").exists():
        return "systemd and dbus are not installed here"
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [name for name in NEEDED if shutil.which(name, path=path) is None]
    if missing:
        return f"not installed here: {', '.join(missing)}"
    try:
        with booted():
            return ""
    except AssertionError as error:
        return f"{NO_SYSTEMD}: {error}"


@dataclass(frozen=True)
class Box:
    """A booted one."""

    name: str

    @property
    def root(self) -> Path:
        """Its root folder as this machine sees it."""
        return Path(self._script("root").strip())

    def exec(
        self, *command: str, check: bool = True, timeout: float = COMMAND_SECONDS, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside, with an environment that owes nothing to ours."""
        done = subprocess.run(
            [SCRIPT, "exec", "env", "-i", "LANG=C.UTF-8", f"PATH={_PATH}", "HOME=/root", *command],
            env=os.environ | {"BOX_NAME": self.name},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert not check or done.returncode == 0, (
            f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done

    def say(self, *command: str) -> str:
        """What a command prints; it must end with 0."""
        return self.exec(*command).stdout.strip()

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.say("systemctl", "show", "-P", name, unit)

    def until(self, condition: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
        """Poll until it holds; its value. Each look is a process or more, so it looks ten times a second."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
            time.sleep(0.1)
        return value

    def tree(self, *folders: str) -> dict[str, str]:
        """Each path below them with kind, mode, owner and content; times do not count."""
        root = self.root
        found: dict[str, str] = {}
        for folder in folders:
            start = root / folder.lstrip("/")
            for path in [start, *sorted(start.rglob("*"))] if start.exists() else []:
                found[f"/{path.relative_to(root)}"] = _describe(path)
        return found

    def _script(self, *arguments: str) -> str:
        return _script(self.name, *arguments)


_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _describe(path: Path) -> str:
    facts = path.lstat()
    content = ""
    if stat.S_ISLNK(facts.st_mode):
        content = os.readlink(path)
    elif stat.S_ISREG(facts.st_mode):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{stat.filemode(facts.st_mode)} {facts.st_uid}:{facts.st_gid} {content}"


def _script(name: str, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [SCRIPT, *arguments],
        env=os.environ | {"BOX_NAME": name} | environment,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"box.sh {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextmanager
def booted(bind: dict[Path, str] | None = None) -> Iterator[Box]:
    """A box with these folders of this machine at those places; gone at the end."""
    _remove_what_killed_sessions_left()
    name = f"tests-{os.getpid()}"
    try:
        _script(name, "up", BOX_BIND=" ".join(f"{source}:{place}" for source, place in (bind or {}).items()))
        yield Box(name)
    finally:
        _script(name, "down")


def _remove_what_killed_sessions_left() -> None:
    for state in STATES.glob("tests-*"):
        pid = state.name.removeprefix("tests-")
        if not Path("/proc", pid).exists():
            _script(state.name, "down")
