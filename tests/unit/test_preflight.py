"""What the installer finds before it changes anything, asked as it asks: on Python alone."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

LIB = Path(__file__).parents[2] / "deploy/lib"
NO_PSQL = {"PATH": "/nonexistent"}
"""It would wait for a listener that is no PostgreSQL."""


@pytest.fixture
def listening() -> Iterator[int]:
    """A port where somebody listens, as PostgreSQL would."""
    with closing(socket.create_server(("127.0.0.1", 0))) as door:
        yield door.getsockname()[1]


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    (tmp_path / "credentials").mkdir()
    for half in ("username", "password"):
        (tmp_path / f"credentials/emag-main-{half}").write_text("x")
    (tmp_path / "syncd.env").write_text("EMAG_SYNC_CONTROL_PORT=0\nEMAG_SYNC_METRICS_PORT=0\n")
    return tmp_path


def findings(etc: Path, url: str, *, given: str = "") -> str:
    (etc / "credentials/database-url").write_text(url)
    done = subprocess.run(
        [sys.executable, "-IB", LIB / "look.py", etc, etc, "", given, "no", ""],
        env=NO_PSQL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


@pytest.mark.parametrize("password", ["sec#ret", "sec?ret", "se[cret", "se:cret", "%2Fs℀ ret", "$'\"`\\"])
def test_a_password_of_any_characters_is_no_finding_and_never_shown(etc: Path, listening: int, password: str) -> None:
    assert findings(etc, f"postgresql://u:{password}@127.0.0.1:{listening}/x") == ""
    assert "ret" not in (said := findings(etc, f"postgresql://u:{password}@127.0.0.1:1/x"))
    assert said.startswith("PostgreSQL at 127.0.0.1:1: ")


@pytest.mark.parametrize("url", ["postgresql://u:pass@ret@127.0.0.1/x", "postgresql://u:sec/ret@127.0.0.1/x"])
def test_a_url_that_nobody_can_cut_is_said_without_a_word_of_it(etc: Path, url: str) -> None:
    said = findings(etc, url)
    assert said.startswith("the database's URL names no usable host")
    assert "ret" not in said
    assert "sec" not in said


def test_of_several_hosts_one_that_answers_is_enough(etc: Path, listening: int) -> None:
    assert findings(etc, f"postgresql://u:p@127.0.0.1:1,127.0.0.1:{listening}/x") == ""


def test_half_a_login_is_none(etc: Path, listening: int) -> None:
    url = f"postgresql://127.0.0.1:{listening}/x"
    (etc / "credentials/emag-main-username").unlink()
    assert "no username" in findings(etc, url)
    assert findings(etc, url, given="username") == ""
    (etc / "syncd.toml").write_text('\ufeff[accounts.emag.main]\nusername = "seller"\n')
    assert findings(etc, url) == ""


@pytest.mark.parametrize(
    ("line", "port"),
    [("=9109  # the other is taken", "9109"), (" = '9109' # x", "9109"), ("=", ""), ('="9109"', "9109")],
)
def test_a_port_is_read_as_the_services_read_it(etc: Path, line: str, port: str) -> None:
    (etc / "syncd.env").write_text(f"EMAG_SYNC_METRICS_PORT{line}\n", "utf-8-sig")
    done = subprocess.run(
        [sys.executable, "-IB", LIB / "settings.py", etc, "no-such.service", "metrics_port"],
        env=NO_PSQL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == port


def part(name: str, script: str, **environment: str) -> str:
    """What a part of the installer prints, with these lines after it."""
    done = subprocess.run(
        ["/bin/bash", "-euc", f'source "$1"\n{script}', "bash", LIB / f"{name}.sh"],
        env={"PATH": "/usr/bin:/bin"} | environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_source_finds_its_release_again_when_the_first_of_its_version_is_deleted(tmp_path: Path) -> None:
    find = 'source_digest() { echo 0123456789; }; find_release; echo "${RELEASE##*/}"'
    first, other = tmp_path / "releases/1.0", tmp_path / "releases/1.0-01234567"
    for folder, digest in ((first, "another"), (other, "0123456789")):
        folder.mkdir(parents=True)
        (folder / ".source").write_text(f"{digest}\n")
    environment = {"PREFIX": str(tmp_path), "VERSION": "1.0"}
    assert part("release", find, **environment) == "1.0-01234567\n"
    (first / ".source").unlink()
    assert part("release", find, **environment) == "1.0-01234567\n"
    (other / ".source").unlink()
    assert part("release", find, **environment) == "1.0\n"


def test_root_takes_the_services_home_along(tmp_path: Path) -> None:
    """In root's own libpq finds certificates that it may not read, and goes without TLS."""
    for name, line in (("id", "echo 0"), ("setpriv", 'echo "$HOME"')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    script = part("config", "command_script syncd", PREFIX="/opt/syncd")
    environ = {"PATH": str(tmp_path), "HOME": "/root"}
    done = subprocess.run(["/bin/sh", "-c", script], env=environ, capture_output=True, text=True, check=False)
    assert done.stdout == "/var/lib/syncd\n"
