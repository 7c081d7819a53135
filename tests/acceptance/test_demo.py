"""The demo as a newcomer starts it: real processes, both kinds of PostgreSQL, and every way to end it."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from syncd.runtime.embedded.binaries import Source, find_binaries, server_user
from tests.program import wait_until

OFFERS = "300"
DEADLINE_SECONDS = 180.0
CHECKOUT = Path(__file__).parents[2]
NOBODY = 65534
ELSEWHERE = {
    "DATABASE_URL": "postgresql://elsewhere@192.0.2.1/elsewhere",
    "DATABASE_SYNC_URL": "postgresql://elsewhere@192.0.2.1/elsewhere",
    "DB_SCHEMA": "elsewhere",
    "EMAG_API_BASE_URL": "https://192.0.2.1/elsewhere",
    "EMAG_API_PASSWORD": "elsewhere",
    "EMAG_FBE_API_USERNAME": "elsewhere",
    "EMAG_SYNC_MAX_PAGES": "1",
    "DISABLE_AUTO_SYNC": "perhaps",
    "PGSERVICE": "elsewhere",
    "PGSSLMODE": "verify-full",
    "EMAG_SYNC_CONTROL_PORT": "1",
    "EMAG_SYNC_CONTROL_TOKEN": "elsewhere",
    "NOTIFY_SOCKET": "/nowhere/notify",
    "WATCHDOG_USEC": "1",
    "RUNTIME_DIRECTORY": "/nowhere",
    "CREDENTIALS_DIRECTORY": "/nowhere",
}


@dataclass
class Demo:
    """`syncd demo` in a folder of the test's, as some user."""

    folder: Path
    output: Path
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    python: str = sys.executable
    as_user: int | None = None
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *options: str, **streams: int) -> subprocess.Popen[bytes]:
        user = {} if self.as_user is None else {"user": self.as_user, "group": self.as_user, "extra_groups": []}
        with self.output.open("wb") as output:
            process = subprocess.Popen(
                [self.python, "-m", "syncd", "demo", "--folder", str(self.folder), "--offers", OFFERS, *options],
                env=self.environment,
                cwd="/",
                **{"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output, **streams},
                **user,  # type: ignore[arg-type]
            )
        self.started.append(process)
        return process

    def run(self, *options: str) -> int:
        return self.start(*options).wait(DEADLINE_SECONDS)

    def wait_for(self, moment: str) -> None:
        wait_until(lambda: MOMENTS[moment](self), what=moment, seconds=DEADLINE_SECONDS)

    def said(self, pattern: str = "") -> list[str]:
        return re.findall(pattern or ".*", self.output.read_text("utf-8", "replace"), re.MULTILINE)

    def processes(self) -> list[str]:
        """Every living process that belongs to this folder: by its command line, environment or place."""
        found = []
        for process in Path("/proc").iterdir():
            try:
                if not process.name.isdecimal() or int(process.name) == os.getpid():
                    continue
                traces = [(process / name).read_bytes() for name in ("cmdline", "environ")]
                if any(os.fsencode(self.folder) in trace for trace in [*traces, os.readlink(process / "cwd").encode()]):
                    found.append(traces[0].replace(b"\0", b" ").decode())
            except OSError:
                continue  # gone meanwhile, or somebody else's
        return found


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    # not below pytest's own folder: root's server runs as another user, who must reach it
    folder = Path(tempfile.mkdtemp(prefix="syncd-tests-", dir="/var/tmp"))
    made = Demo(folder, tmp_path / "output")
    yield made
    for process in made.started:
        process.kill()
        process.wait()
    shutil.rmtree(folder, ignore_errors=True)


def _assert_tells_all(demo: Demo) -> None:
    told = demo.output.read_text()
    assert "300 read: 300 new, 0 changed, 0 unchanged, 0 back again, 0 gone" in told
    assert "15 offers get another price and stock, 5 another name, 5 vanish, 7 appear: 302 now" in told
    second = re.search(r"302 read: 7 new, (\d+) changed, (\d+) unchanged, 0 back again, 5 gone", told)
    # an offer may be changed twice, or vanish after it was changed
    assert second is not None
    assert 10 <= int(second[1]) <= 20
    assert int(second[1]) + int(second[2]) == 295
    assert re.search(r"\d+ +updated +sale_price +\S+ +\S+\n", told)
    assert told.count("(no rows)") == 0
    _assert_the_daemon_synced(demo, told)
    _assert_the_monitor_rescued(told)
    assert "elsewhere" not in told


def _assert_the_monitor_rescued(told: str) -> None:
    """Its page's address and first line; the run of a frozen daemon ended, and another one at its end."""
    assert re.search(r"^Its page, for a browser: http://127.0.0.1:\d+/$", told, re.MULTILINE)
    assert told.count("\nAll good: main finished ") == 2
    assert re.search(r"^\d+\.\d s later the monitor has ended its run, which .*\(lease_lost\),$", told, re.MULTILINE)
    assert re.search(r'{"triggered_by": "monitor", "status": "complete", "cause": "end_of_data", "fetched": \d+}', told)


def _assert_the_daemon_synced(demo: Demo, told: str) -> None:
    """Asked over its control API, with a token that nobody sees; its status; its end."""
    assert re.search(r"[$] curl -s -X POST -H @\S+/control.header .*-d '{}' http://127.0.0.1:\d+/sync\n{", told)
    assert re.search(r'{"status": "complete", "cause": "end_of_data".* "fetched": 302, .* "skipped": 302}', told)
    assert re.search(r"emag/main/offers +complete +4/4 +100 .* in \d+m", told)
    assert "is ready)" in told
    assert "It has ended with exit code 0." in told
    token = (demo.folder / "credentials" / "control-token").read_text()
    assert len(token) >= 32
    assert token not in told + (demo.folder / "daemon.log").read_text()
    for secret in ("credentials/control-token", "control.header", "demo.env"):
        assert (demo.folder / secret).stat().st_mode & 0o777 == 0o600, secret


@pytest.mark.prove  # the gate has one of them by another user, and the whole CI one more by `make demo`
@pytest.mark.parametrize("postgres", ["local", "wheel"])
def test_the_demo_shows_two_syncs_and_what_changed(demo: Demo, postgres: Source) -> None:
    if find_binaries(postgres, server_user()).source != postgres:
        pytest.skip("no PostgreSQL server is installed on this machine")
    demo.environment |= ELSEWHERE
    assert demo.run("--postgres", postgres) == 0, demo.said()
    assert len(demo.said(rf"PostgreSQL \d+\.\d+ \({'this machine' if postgres == 'local' else 'the wheel'}'s\)")) == 1
    _assert_tells_all(demo)
    assert demo.processes() == []

    assert demo.run("--postgres", postgres) == 0, demo.said()
    assert demo.said("into the data of an earlier demo")
    assert demo.said(r"300 read: 0 new, \d+ changed, \d+ unchanged, 5 back again, 7 gone")

    assert demo.run("--remove") == 0
    assert not demo.folder.exists()
    assert demo.run("--remove") == 0
    assert demo.said("There was no demo")


def _exists(name: str) -> Callable[[Demo], bool]:
    return lambda demo: (demo.folder / name).exists()


def _told(pattern: str) -> Callable[[Demo], bool]:
    return lambda demo: bool(demo.said(pattern))


MOMENTS = {
    "before_the_server": _exists("embedded.lock"),
    "in_initdb": _exists("data.new/PG_VERSION"),
    "at_the_marketplace": _exists("sandbox.log"),
    "in_migrate": _told(r"\$ .* migrate"),
    "in_the_first_sync": _told("First sync[^$]*[$] .* run [^/]*/.*\n.*page"),
    "between_the_syncs": _told("The marketplace changes"),
    "in_the_second_sync": _told("Second sync[^$]*[$] .* run [^/]*/.*\n.*page"),
    "while_the_monitor_starts": _exists("monitor.log"),
    "while_the_daemon_starts": _exists("daemon.log"),
    "while_the_daemon_syncs": _told(r"read: \d+ of 302 records"),
    "while_the_daemon_is_frozen": _told("kill -STOP"),
    "while_it_keeps_running": _told("until you press Ctrl-C"),
}


RARE = (
    "between_the_syncs",
    "while_the_monitor_starts",
    "while_the_daemon_starts",
    "while_the_daemon_syncs",
    "while_the_daemon_is_frozen",
    "in_the_first_sync",
)


@pytest.mark.parametrize(
    "moment", [pytest.param(name, marks=pytest.mark.prove if name in RARE else ()) for name in MOMENTS]
)
def test_ctrl_c_leaves_nothing_running(demo: Demo, moment: str) -> None:
    process = demo.start("--keep-running")
    demo.wait_for(moment)
    if moment == "while_it_keeps_running":
        _call_the_daemon_as_shown(demo)
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE_SECONDS) == (0 if moment == "while_it_keeps_running" else 130), demo.said()
    assert demo.processes() == []
    assert demo.said("Traceback") == []
    if moment == "in_the_first_sync":
        assert demo.run() == 0, demo.said()
        assert demo.said(r"302 read: \d new"), "the next demo goes on with what is there"


def _call_the_daemon_as_shown(demo: Demo) -> None:
    """As typed into another terminal, where there is a curl."""
    pattern = r"^  (curl .*-X POST.*)$"
    wait_until(lambda: demo.said(pattern), what="the command is shown", seconds=DEADLINE_SECONDS)
    (command,) = demo.said(pattern)
    if shutil.which("curl"):
        answer = json.loads(subprocess.run(shlex.split(command), capture_output=True, check=True).stdout)
        assert answer["status"] == "started"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL], ids=lambda number: number.name)
def test_no_other_end_leaves_anything_running(demo: Demo, number: signal.Signals) -> None:
    process = demo.start()
    demo.wait_for("in_the_first_sync")
    process.send_signal(number)
    assert process.wait(DEADLINE_SECONDS) == (-number if number is signal.SIGKILL else 128 + number)
    wait_until(lambda: demo.processes() == [], what="every process has gone")


def test_ctrl_c_typed_twice_on_a_terminal_leaves_nothing_running(demo: Demo) -> None:
    terminal, its_end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _ON_TERMINAL, demo.python, "-m", "syncd", "demo", "--folder", str(demo.folder)],
        env=demo.environment | {"COLUMNS": "100", "TERM": "xterm"},
        stdin=its_end,
        stdout=its_end,
        stderr=its_end,
        start_new_session=True,
    )
    demo.started.append(process)
    os.close(its_end)
    seen = b""

    def read_until(wanted: bytes) -> bool:
        nonlocal seen
        try:
            seen += os.read(terminal, 65536)
        except OSError:  # the other end has gone
            return True
        return re.search(wanted, seen) is not None

    wait_until(
        lambda: read_until(rb"read page [1-9][0-9]*/50"), what="the progress bar moves", seconds=DEADLINE_SECONDS
    )
    os.write(terminal, b"\x03")
    os.write(terminal, b"\x03")
    wait_until(lambda: read_until(b"Nothing is left running"), what="it says so")
    assert process.wait(DEADLINE_SECONDS) == 130, seen.decode()
    os.close(terminal)
    assert demo.processes() == []
    assert "━".encode() in seen, "a bar, not lines"
    assert b"Traceback" not in seen


_ON_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_a_second_demo_at_once_is_refused(demo: Demo, tmp_path: Path) -> None:
    process = demo.start("--keep-running")
    demo.wait_for("in_migrate")
    second = Demo(demo.folder, tmp_path / "second")
    assert second.run() == 1
    assert second.said(r"is in use: process \d+ runs its PostgreSQL there")
    assert second.run("--remove") == 1
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE_SECONDS) == 130


def test_a_folder_of_somebody_else_is_left_alone(demo: Demo) -> None:
    precious = demo.folder / "precious"
    precious.write_text("here")
    assert demo.run() == 1
    assert demo.run("--remove") == 1
    assert demo.said("was not made by us")
    assert [path.name for path in demo.folder.iterdir()] == ["precious"]


def test_root_is_not_needed(demo: Demo) -> None:
    if os.geteuid() == 0:
        _become_nobody(demo)
    assert demo.run() == 0, demo.said()
    _assert_tells_all(demo)
    assert {path.stat().st_uid for path in demo.folder.rglob("*")} == {demo.as_user or os.geteuid()}


def _become_nobody(demo: Demo) -> None:
    """Put this program where `nobody` can read it, whatever closed folder the checkout lies in."""
    version = f"python3.{sys.version_info.minor}"
    pythons = [path for path in (os.path.realpath(sys.executable), f"/usr/bin/{version}") if os.path.exists(path)]
    demo.as_user = NOBODY
    demo.python = next(filter(_nobody_can_run, pythons), "")
    if not demo.python:
        pytest.skip(f"nobody but root can run {' or '.join(pythons)}")
    demo.folder.chmod(0o755)
    library = demo.folder / "library"
    not_needed = shutil.ignore_patterns("*mypy*", "pip", "hypothesis", "ruff", "__pycache__")
    shutil.copytree(Path(pytest.__file__).parents[1], library, ignore=not_needed)
    for package in ("syncd", "monitor"):
        shutil.copytree(CHECKOUT / package, library / package)
    subprocess.run(["chmod", "-R", "a+rX", library], check=True)
    home = demo.folder / "home"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    demo.folder = home / "demo"
    demo.environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "PYTHONPATH": str(library)}


def _nobody_can_run(python: str) -> bool:
    nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    try:
        return subprocess.run([python, "-I", "-c", ""], check=False, cwd="/", **nobody).returncode == 0  # type: ignore[call-overload]
    except PermissionError:
        return False


@pytest.mark.parametrize(
    ("lacking", "message"),
    [("ensurepip", "apt install python3-venv"), ("version_info", "needs Python 3.11 or newer")],
)
def test_make_says_what_python_lacks(tmp_path: Path, lacking: str, message: str) -> None:
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\ncase "$*" in *{lacking}*) exit 1;; esac\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    done = subprocess.run(
        ["make", "demo", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert message in done.stderr or not Path("/etc/debian_version").exists()
    assert "cannot create virtual environments" in done.stderr or lacking == "version_info"
    assert not (tmp_path / "venv").exists()
