"""Taking it away: uninstall keeps what is somebody's work, purge leaves what it names and nothing else."""

from __future__ import annotations

from tests.deploy.machine import OFFERS, Machine

BOOKS = {"/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow", "/etc/subuid", "/etc/subgid", "/etc/.pwd.lock"}
"""Their lines of other users stay; useradd and userdel keep a copy of each with a dash."""


SYSTEMDS = {"/var/lib/systemd/timers", "/etc/systemd/system/multi-user.target.wants"}
"""Folders that systemd makes for timers and enabled units; PostgreSQL's link is still in the second."""


def test_a_dry_run_of_a_removal_changes_nothing(machine: Machine) -> None:
    before, lives = machine.tree(), machine.lives()
    for what in ("--uninstall", "--purge"):
        assert "would remove /opt/syncd" in machine.deploy(what, "--dry-run")
    assert machine.tree() == before
    assert machine.lives() == lives


def test_an_uninstall_keeps_configuration_data_and_user(machine: Machine) -> None:
    kept = machine.box.tree("/etc/syncd", "/var/lib/syncd")
    said = machine.box.exec("/opt/syncd/current/share/deploy_sync_system.sh", "--uninstall").stdout
    assert "left: /etc/syncd" in said
    assert machine.box.tree("/etc/syncd", "/var/lib/syncd") == kept
    assert machine.box.tree("/opt/syncd", "/usr/local/bin/syncd", "/usr/local/lib/systemd") == {}
    for unit in ("syncd.service", "sync-monitor.service", "sync-monitor-prune.timer"):
        assert machine.box.show(unit, "LoadState") == "not-found"
        assert machine.box.show(unit, "ActiveState") == "inactive"
    assert machine.query("SELECT count(*) FROM sync.record") == [[str(OFFERS)]]
    assert machine.box.say("id", "-un", "syncd") == "syncd"
    assert "0 changed" in machine.deploy("--uninstall")


def test_a_purge_leaves_what_it_says_and_nothing_else(machine: Machine, untouched: dict[str, str]) -> None:
    assert machine.box.exec("/srv/syncd/now/deploy_sync_system.sh", "--purge", check=False).returncode == 2
    said = machine.deploy("--purge", "--yes")
    assert "left: the database" in said
    assert machine.query("SELECT count(*) FROM sync.record") == [[str(OFFERS)]]
    left = machine.tree()
    differ = {path for path in left.keys() | untouched.keys() if left.get(path) != untouched.get(path)}
    assert {path for path in differ if path.removesuffix("-") not in BOOKS and not _is_postgres(path)} <= SYSTEMDS
    for book in BOOKS:
        path = machine.box.root / book.lstrip("/")
        assert not path.exists() or "syncd" not in path.read_text()
    said = machine.deploy("--purge", "--yes", "--drop-database")
    assert "left: /var/log/syncd-deploy.log and the journal." in said
    assert (
        machine.box.exec(
            "setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "psql", "-XAtlq"
        ).stdout.count("syncd|")
        == 0
    )


def _is_postgres(path: str) -> bool:
    """--local-postgres lets it start at boot."""
    return "postgresql" in path
