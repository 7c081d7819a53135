"""The embedded PostgreSQL keeps its promises: real servers, real kills, a real terminal."""

from __future__ import annotations

import os
import pty
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from syncd.contract.errors import FatalError
from syncd.runtime.embedded import EmbeddedPostgres
from syncd.runtime.embedded import folder as embedded_folder
from syncd.runtime.embedded import watch as embedded_watch
from syncd.runtime.embedded.binaries import find_binaries, server_user
from tests.postgres import (
    crash,
    frozen,
    kill_and_wait,
    new_folder,
    processes_of,
    restart,
    state_of,
    temporary_database,
    wait_until,
)

ROOT = Path(__file__).parents[2]

# argv: folder, prefer, what to do once the server runs
OWNER = """
import os, signal, sys
from pathlib import Path
import psycopg
from syncd.runtime.embedded import EmbeddedPostgres

def ask(server):
    with psycopg.connect(server.conninfo()) as connection:
        return connection.execute("SELECT 'answers'").fetchone()[0]

with EmbeddedPostgres(Path(sys.argv[1]), durable=False, prefer=sys.argv[2]) as server:
    print(server.binaries.source, ask(server), flush=True)
    exec(sys.argv[3])
"""

ON_A_TERMINAL = """
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
"""

AFTER_CTRL_C = """
try:
    print("waiting", flush=True)
    signal.pause()
except KeyboardInterrupt:
    print("interrupted, and the server", ask(server), flush=True)
"""


def started(folder: Path, prefer: str = "local") -> EmbeddedPostgres:
    server = EmbeddedPostgres(folder, durable=False, prefer=prefer)
    server.start()
    return server


def query(server: EmbeddedPostgres, text: str, database: str = "postgres") -> object:
    with psycopg.connect(server.conninfo(database), autocommit=True) as connection:
        cursor = connection.execute(text)
        return cursor.fetchone()[0] if cursor.description else None


@contextmanager
def owner(folder: Path, then: str, *, first: str = "", prefer: str = "local", **options: object) -> Iterator:
    """A process of its own that owns a server in this folder."""
    command = [sys.executable, "-c", first + OWNER, str(folder), prefer, then]
    options = {"stdout": subprocess.PIPE, "stdin": subprocess.DEVNULL, "cwd": ROOT} | options
    with subprocess.Popen(command, text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until_nothing_runs_in(folder: Path) -> None:
    identities = [embedded_watch.identity_of(path) for path in folder.glob("data*")]
    wait_until(
        lambda: not any(embedded_watch.processes_in(identity) for identity in identities),
        f"no process left in {folder}",
    )


def modes_above(path: Path) -> dict[Path, tuple[int, int, int]]:
    found = {above: above.stat() for above in path.absolute().parents}
    return {above: (status.st_mode, status.st_uid, status.st_gid) for above, status in found.items()}


@pytest.mark.parametrize("prefer", ["local", "wheel"])
def test_a_new_server_is_utf8_c_utc_and_reachable_by_its_socket_only(reachable_folder: Path, prefer: str) -> None:
    """Both sources of programs give the same server."""
    with EmbeddedPostgres(reachable_folder, prefer=prefer) as server:
        assert query(server, "SHOW server_encoding") == "UTF8"
        assert query(server, "SELECT datcollate FROM pg_database WHERE datname = 'template1'") == "C"
        assert query(server, "SHOW timezone") == "UTC"
        assert query(server, "SHOW track_commit_timestamp") == "on"
        assert query(server, "SHOW fsync") == "on"
        assert query(server, "SHOW listen_addresses") == ""
        assert str(query(server, "SHOW server_version")).startswith(server.version)
        assert query(server, "SELECT pg_postmaster_start_time() <= now()") is True
        if prefer == "wheel":
            assert server.binaries.source == "wheel"
        assert stat.S_IMODE(server.folder.stat().st_mode) & 0o007 == 0
        assert stat.S_IMODE((server.folder / "run").stat().st_mode) == 0o700
        assert stat.S_IMODE(server.data.stat().st_mode) == 0o700


def test_a_second_start_finds_the_data_of_the_first(reachable_folder: Path) -> None:
    """Also start and stop twice in a row are no mistake."""
    with EmbeddedPostgres(reachable_folder) as server:
        query(server, "CREATE TABLE kept AS SELECT 42 AS answer")
        pid = server.server_pid
        server.start()
        assert server.server_pid == pid
    server.stop()
    with pytest.raises(FatalError, match="not started"):
        server.conninfo()
    with EmbeddedPostgres(reachable_folder) as again:
        assert query(again, "SELECT answer FROM kept") == 42


def test_a_folder_stays_with_the_version_that_made_it(reachable_folder: Path) -> None:
    """A newer or older server on the machine could not read the data: the one that made it is looked for."""
    with EmbeddedPostgres(reachable_folder, prefer="wheel") as server:
        made_by = server.binaries.major
        query(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    with EmbeddedPostgres(reachable_folder, prefer="local") as again:
        assert again.binaries.major == made_by
        assert query(again, "SELECT answer FROM kept") == 42
    (reachable_folder / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(FatalError, match="PostgreSQL 9 that made this folder"):
        again.start()


def test_a_killed_server_recovers(own_postgres: EmbeddedPostgres) -> None:
    """kill -9 of the postmaster alone, in the middle of a statement: its sessions end, the next start recovers."""
    query(own_postgres, "CREATE TABLE kept AS SELECT 42 AS answer")
    with psycopg.connect(own_postgres.conninfo()) as connection:
        connection.execute("INSERT INTO kept VALUES (43)")
        kill_and_wait(own_postgres.server_pid)
        own_postgres.start()
        assert query(own_postgres, "SELECT array_agg(answer) FROM kept") == [42]
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


def test_a_session_that_outlived_its_postmaster_does_not_stop_the_start(own_postgres: EmbeddedPostgres) -> None:
    """PostgreSQL refuses to start while an orphan still holds the old shared memory; nobody is left to end it."""
    next_owner = EmbeddedPostgres(own_postgres.folder, durable=False)
    with psycopg.connect(own_postgres.conninfo(), autocommit=True) as connection:
        os.kill(connection.info.backend_pid, signal.SIGSTOP)
        (watcher,) = (pid for pid in children_of(os.getpid()) if is_watcher_of(pid, own_postgres))
        kill_and_wait(watcher)
        kill_and_wait(own_postgres.server_pid)
        with next_owner:
            assert query(next_owner, "SELECT 1") == 1


def test_a_pid_file_with_the_number_of_a_stranger_does_not_stop_the_start(own_postgres: EmbeddedPostgres) -> None:
    """After a reboot of the machine the number of the dead postmaster may be anybody's."""
    crash(own_postgres)
    lock_files = [own_postgres.data / "postmaster.pid", own_postgres.folder / "run" / ".s.PGSQL.5432.lock"]
    with subprocess.Popen(["sleep", "300"], **server_user().options()) as stranger:
        for path in lock_files:
            number, rest = path.read_text().split("\n", 1)
            assert number != str(stranger.pid)
            path.write_text(f"{stranger.pid}\n{rest}")
        own_postgres.start()
        assert query(own_postgres, "SELECT 1") == 1
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize("name", ["x" * 120, "a,b", "it's", "spațiu și ț"])
def test_the_socket_moves_to_a_short_private_folder_where_the_path_does_not_fit(
    reachable_folder: Path, name: str
) -> None:
    """A socket's path has 107 bytes, and libpq reads a comma as the start of another host."""
    folder = reachable_folder / name
    if os.geteuid() == 0:
        reachable_folder.chmod(0o711)
    with EmbeddedPostgres(folder, durable=False) as server:
        host = Path(psycopg.conninfo.conninfo_to_dict(server.conninfo())["host"])
        assert query(server, "SELECT 1") == 1
        assert folder not in host.parents
        assert stat.S_IMODE(host.stat().st_mode) == 0o700
    assert not host.exists()


def test_programs_in_a_closed_folder_serve_root_too_and_stay_closed(reachable_folder: Path) -> None:
    """A clone below /root: the wheel is copied, and no permission above anything of ours is touched."""
    wheel = find_binaries("wheel", server_user()).folder.parents[1]
    closed = reachable_folder / "closed"
    closed.mkdir(mode=0o700)
    for path in (wheel, wheel.with_name(f"{wheel.name}.libs")):
        (closed / path.name).symlink_to(path)
    reachable_folder.chmod(0o711)
    folder = reachable_folder / "open" / "pg"
    folder.parent.mkdir(mode=0o711)
    watched = [folder, closed / "anything", wheel / "anything", Path(sys.executable), Path(sys.executable).resolve()]
    environment = {**os.environ, "PYTHONPATH": f"{closed}:{os.environ.get('PYTHONPATH', '')}"}
    before = [modes_above(path) for path in watched]
    with owner(folder, "", prefer="wheel", env=environment) as process:
        assert process.communicate(timeout=60)[0] == "wheel answers\n"
    assert [modes_above(path) for path in watched] == before


def test_a_folder_that_the_servers_user_cannot_enter_is_named(reachable_folder: Path) -> None:
    """Root must choose another folder; for everybody else a closed parent is the usual case and works."""
    closed = reachable_folder / "closed"
    closed.mkdir(mode=0o700)
    server = EmbeddedPostgres(closed / "pg", durable=False)
    if os.geteuid() == 0:
        with pytest.raises(FatalError, match=r"cannot enter .*/closed/pg: choose a folder .* /var/tmp"):
            server.start()
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    else:
        with server:
            assert query(server, "SELECT 1") == 1


def test_without_any_server_the_error_names_what_to_install(reachable_folder: Path) -> None:
    """An interpreter without the wheel, on a machine without a server."""
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path\n"
        "from syncd.contract.errors import FatalError\n"
        "from syncd.runtime.embedded.binaries import find_binaries, server_user\n"
        "try:\n"
        f"    find_binaries('local', server_user(), local_servers=Path({str(reachable_folder)!r}))\n"
        "except FatalError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script],
        env={"PATH": str(reachable_folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "pip install 'syncd[embedded]'" in done.stdout
    assert "apt install postgresql" in done.stdout


def test_a_start_that_fails_shows_the_servers_own_words(reachable_folder: Path) -> None:
    """And leaves nothing running."""
    server = EmbeddedPostgres(reachable_folder, durable=False, settings={"shared_buffers": "much"})
    with pytest.raises(FatalError, match='invalid value for parameter "shared_buffers": "much"'):
        server.start()
    wait_until_nothing_runs_in(reachable_folder)


def test_one_server_a_folder(own_postgres: EmbeddedPostgres) -> None:
    """The second owner is told at once who the first is, and cannot remove the folder either."""
    second = EmbeddedPostgres(own_postgres.folder)
    with pytest.raises(FatalError, match=f"in use: process {os.getpid()} "):
        second.start()
    with pytest.raises(FatalError, match="in use"):
        second.remove()
    assert query(own_postgres, "SELECT 1") == 1


def test_only_a_folder_of_ours_is_used_or_removed(reachable_folder: Path) -> None:
    """A slip in a path must not cost somebody's files."""
    (reachable_folder / "thesis.txt").write_text("ten years of work")
    server = EmbeddedPostgres(reachable_folder)
    for call in (server.start, server.remove):
        with pytest.raises(FatalError, match="not made by us"):
            call()
    assert [path.name for path in reachable_folder.iterdir()] == ["thesis.txt"]


def test_remove_leaves_nothing(reachable_folder: Path) -> None:
    """It stops the server first, and may be called twice."""
    server = started(reachable_folder, prefer="wheel")
    pid = server.server_pid
    server.remove()
    server.remove()
    assert not reachable_folder.exists()
    assert not Path(f"/proc/{pid}").exists()


def test_a_killed_owner_leaves_no_server(reachable_folder: Path) -> None:
    """kill -9 of the owner; the next owner starts at once, without waiting for anybody to clean up."""
    with owner(reachable_folder, "signal.pause()") as process:
        assert process.stdout.readline().endswith("answers\n")
        process.kill()
        process.wait()
    with EmbeddedPostgres(reachable_folder, durable=False) as next_owner:
        assert query(next_owner, "SELECT 1") == 1
        # it was a proper shutdown: no recovery
        assert "was not properly shut down" not in next_owner.log.read_text()
    wait_until_nothing_runs_in(reachable_folder)


def test_a_killed_owner_leaves_no_server_without_a_successor(reachable_folder: Path) -> None:
    """Nobody comes after it: the watcher alone ends the server, and a statement that runs in it."""
    with owner(reachable_folder, "signal.pause()") as process:
        assert process.stdout.readline().endswith("answers\n")
        (data,) = reachable_folder.glob("data")
        identity = embedded_watch.identity_of(data)
        assert len(embedded_watch.processes_in(identity)) > 3
        process.kill()
        wait_until(lambda: not embedded_watch.processes_in(identity), "the server has ended")
    assert not (data / "postmaster.pid").exists()
    with embedded_folder.locked(reachable_folder):
        pass


@pytest.mark.parametrize(
    "moment", ["data.new", "data.new/PG_VERSION", "data.new/base/1", "data", "data/postmaster.pid"]
)
def test_an_owner_killed_while_starting_leaves_no_server(reachable_folder: Path, moment: str) -> None:
    """At each step of the first start; what it left behind does not trouble the next start."""
    with owner(reachable_folder, "signal.pause()") as process:
        wait_until((reachable_folder / moment).exists, f"{moment} exists")
        process.kill()
        process.wait()
    wait_until_nothing_runs_in(reachable_folder)
    with EmbeddedPostgres(reachable_folder, durable=False) as next_owner:
        assert query(next_owner, "SELECT 1") == 1
    assert not (reachable_folder / "data.new").exists()


def test_ctrl_c_reaches_the_owner_only(reachable_folder: Path) -> None:
    """A terminal signals its whole foreground group: the server must answer until its owner stops it."""
    ours, theirs = pty.openpty()
    try:
        options = {"stdin": theirs, "start_new_session": True}
        with owner(reachable_folder, AFTER_CTRL_C, first=ON_A_TERMINAL, **options) as process:
            assert process.stdout.readline().endswith("answers\n")
            assert process.stdout.readline() == "waiting\n"
            os.write(ours, b"\x03")
            assert process.stdout.readline() == "interrupted, and the server answers\n"
            assert process.wait(timeout=30) == 0
    finally:
        os.close(ours)
        os.close(theirs)
    assert not (reachable_folder / "data" / "postmaster.pid").exists()
    wait_until_nothing_runs_in(reachable_folder)


def test_a_killed_watcher_does_not_keep_the_server_alive(reachable_folder: Path) -> None:
    """Then stop() itself ends it, less gently."""
    server = started(reachable_folder)
    (watcher,) = (pid for pid in children_of(os.getpid()) if is_watcher_of(pid, server))
    kill_and_wait(watcher)
    server.stop()
    wait_until_nothing_runs_in(reachable_folder)


def children_of(pid: int) -> set[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return {int(child) for task in tasks for child in task.read_text().split()}


def is_watcher_of(pid: int, server: EmbeddedPostgres) -> bool:
    """The session's own server has one too."""
    command = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return embedded_watch.__file__ in command and str(server.folder / "run") in command


def test_no_secret_of_the_owner_reaches_the_server(reachable_folder: Path) -> None:
    """The server's environment is built anew."""
    environment = {**os.environ, "EMAG_API_PASSWORD": "canary", "PGOPTIONS": "-c search_path=canary"}
    then = "print(*(Path(f'/proc/{pid}/environ').read_text() for pid in range(server.server_pid, 0, -1)[:1]))"
    with owner(reachable_folder, then, env=environment) as process:
        output = process.communicate(timeout=60)[0]
    assert "LC_ALL=C" in output
    assert "canary" not in output


def test_a_frozen_server_answers_again_when_thawed(own_postgres: EmbeddedPostgres) -> None:
    """The fixture for tests of a database that is away."""
    with psycopg.connect(own_postgres.conninfo(), autocommit=True) as connection:
        with frozen(own_postgres):
            assert {state_of(pid) for pid in processes_of(own_postgres)} == {"T"}
            with pytest.raises(psycopg.OperationalError, match="timeout"):
                psycopg.connect(own_postgres.conninfo(), connect_timeout=2)
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_frozen_server_can_be_stopped(own_postgres: EmbeddedPostgres) -> None:
    """A test that fails while its server is frozen must not hang at its end."""
    begun = time.monotonic()
    os.kill(own_postgres.server_pid, signal.SIGSTOP)
    own_postgres.stop()
    assert time.monotonic() - begun < embedded_watch.GRACE_SECONDS  # woken and asked, not killed
    own_postgres.start()
    assert query(own_postgres, "SELECT 1") == 1


def test_a_restart_ends_every_session_and_keeps_the_data(own_postgres: EmbeddedPostgres) -> None:
    """The conninfo stays true."""
    before = own_postgres.conninfo()
    with psycopg.connect(before, autocommit=True) as connection:
        restart(own_postgres)
        with pytest.raises(psycopg.errors.AdminShutdown):
            connection.execute("SELECT 1")
    assert own_postgres.conninfo() == before


def test_each_test_gets_a_database_of_its_own(cluster: EmbeddedPostgres) -> None:
    """Cloned, and dropped even though a session is still in it."""
    with temporary_database(cluster) as conninfo:
        left_open = psycopg.connect(conninfo)
        left_open.execute("CREATE TABLE mine ()")
    left_open.close()
    assert query(cluster, "SELECT count(*) FROM pg_database WHERE datname LIKE 'test!_%' ESCAPE '!'") == 0


def test_the_folder_of_a_new_server_may_not_exist_yet() -> None:
    """With its parents."""
    folder = new_folder()
    folder.chmod(0o711)
    server = EmbeddedPostgres(folder / "a" / "b", durable=False)
    with server:
        assert query(server, "SELECT 1") == 1
    server.remove()
    (folder / "a").rmdir()
    folder.rmdir()
