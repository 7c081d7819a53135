"""How the daemons of this machine are found and ended: by a lock whose holder the kernel names."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from syncd.cli.stop import end_daemon
from syncd.runtime.presence import Presence, find_daemons
from tests.postgres import state_of, wait_until

_DAEMON = """
import os, signal, sys
from syncd.runtime.presence import announced
with announced(os.environ, database="there", control_address="127.0.0.1", control_port=8000):
    print("announced", flush=True)
    sys.stdin.read()
"""


@contextmanager
def living(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that announces itself in this folder until its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", _DAEMON],
        env=os.environ | {"RUNTIME_DIRECTORY": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "announced\n"
        try:
            yield process
        finally:
            process.kill()


def found_in(folder: Path) -> list[Presence]:
    with find_daemons({"RUNTIME_DIRECTORY": str(folder)}) as found:
        return [daemon.presence for daemon in found if daemon.presence.database == "there"]


def test_a_daemon_is_found_while_it_lives(tmp_path: Path) -> None:
    """With what it serves; gone with its file when it ends."""
    with living(tmp_path) as process:
        assert found_in(tmp_path) == [Presence(process.pid, "there", "127.0.0.1", 8000)]
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0
        assert found_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_one_left_is_nobody_and_goes_at_the_next_start(tmp_path: Path) -> None:
    with living(tmp_path) as process:
        process.kill()
        process.wait()
    (left,) = tmp_path.iterdir()
    assert found_in(tmp_path) == []
    with living(tmp_path) as process:
        assert [path.name for path in tmp_path.iterdir()] == [f"daemon-{process.pid}.json"]
        assert not left.exists()


def test_no_file_can_name_a_process_that_does_not_hold_it(tmp_path: Path) -> None:
    """Under whatever name it lies: the holder counts. A file that nobody holds is nobody, and a pipe does not block."""
    with living(tmp_path) as process:
        (path,) = tmp_path.iterdir()
        path.rename(tmp_path / "daemon-1.json")
        (tmp_path / f"daemon-{os.getpid()}.json").write_text((tmp_path / "daemon-1.json").read_text())
        os.mkfifo(tmp_path / "daemon-2.json")
        (tmp_path / "daemon-3.json").symlink_to(tmp_path / "daemon-1.json")
        assert [presence.pid for presence in found_in(tmp_path)] == [process.pid]


def test_one_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    """Frozen: it cannot even hear it."""
    with living(tmp_path) as process, find_daemons({"RUNTIME_DIRECTORY": str(tmp_path)}) as found:
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: state_of(process.pid) == "T", "it has stopped")
        (daemon,) = [one for one in found if one.presence.pid == process.pid]
        assert "and was killed" in end_daemon(daemon, kill_after_seconds=0.2)
        assert process.wait(20) == -signal.SIGKILL
        assert "has ended by itself" in end_daemon(daemon)
