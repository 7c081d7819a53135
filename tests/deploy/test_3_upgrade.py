"""Another release: taken where it works, and where it does not the one before serves again, with the data untouched."""

from __future__ import annotations

import pytest

from syncd.ledger.schema import SCHEMA_VERSION
from tests.deploy.machine import Machine
from tests.deploy.supplies import WHEELS, Supplies

SERVICE, SCHEMA = "syncd/daemon/service.py", "syncd/ledger/schema.py"
VERSIONS = "syncd/ledger/migrations/versions"
DATA = "SELECT md5(string_agg(key || hash::text, ',' ORDER BY key)), count(*) FROM sync.record"


def _next_schema(sql: str) -> tuple[tuple[str, str], dict[str, str]]:
    """What a release with one migration more has: the replacement in SCHEMA, and its files."""
    newer = f"{int(SCHEMA_VERSION) + 1:04}"
    script = f"""
from alembic import op
revision, down_revision, branch_labels, depends_on = "{newer}", "{SCHEMA_VERSION}", None, None


def upgrade() -> None:
    op.execute("{sql}")
"""
    return (f'\nSCHEMA_VERSION = "{SCHEMA_VERSION}"', f'\nSCHEMA_VERSION = "{newer}"'), {
        f"{VERSIONS}/{newer}_more.py": script
    }


def _current(machine: Machine) -> str:
    return machine.box.say("readlink", "/opt/syncd/current")


def test_an_upgrade_is_taken_and_can_be_taken_back(machine: Machine, supplies: Supplies) -> None:
    first = _current(machine)
    machine.deploy(script=supplies.release("0.8.0"))
    assert _current(machine) == "releases/0.8.0"
    assert machine.command("--version").stdout.strip() == "syncd, version 0.8.0"
    machine.box.exec("/opt/syncd/current/share/deploy_sync_system.sh", "--rollback")
    assert _current(machine) == first
    machine.assert_well()


@pytest.mark.prove
def test_a_release_that_crashes_at_start_is_taken_back(machine: Machine, supplies: Supplies) -> None:
    """As one that never becomes ready, below, only sooner."""
    before, data = _current(machine), machine.query(DATA)
    crash = (
        "    async def run(self) -> None:\n",
        '    async def run(self) -> None:\n        raise RuntimeError("broken")\n',
    )
    said = machine.deploy(script=supplies.release("0.8.1", {SERVICE: crash}), expect=3)
    assert "syncd.service did not become ready" in said
    assert "daemon.crashed" in said
    assert f"/opt/syncd/{before} serves again" in said
    assert (_current(machine), machine.query(DATA)) == (before, data)
    machine.assert_well()


def test_a_release_whose_migration_fails_changes_nothing(machine: Machine, supplies: Supplies) -> None:
    before, data, lives = _current(machine), machine.query(DATA), machine.lives()
    schema, files = _next_schema("CREATE TABLE half (x int); SELECT 1/0")
    said = machine.deploy(script=supplies.release("0.8.2", {SCHEMA: schema}, files), expect=1)
    assert "the schema could not be brought to this release" in said
    assert (_current(machine), machine.query(DATA), machine.lives()) == (before, data, lives)
    assert machine.query("SELECT to_regclass('sync.half')") == []
    assert machine.query("SELECT version_num FROM sync.schema_version") == [[SCHEMA_VERSION]]
    machine.assert_well()


def _never_ready(supplies: Supplies) -> str:
    """Its script: a release that brings the schema forward, and then never says that it is ready."""
    silent = ('self._notifier.ready()\n            log.notice("daemon.ready"', 'log.notice("daemon.ready"')
    schema, files = _next_schema("ALTER TABLE account ADD remark text")
    return supplies.release("0.8.3", {SERVICE: silent, SCHEMA: schema}, files)


def test_a_release_that_never_becomes_ready_is_taken_back_although_it_migrated(
    machine: Machine, supplies: Supplies
) -> None:
    before, data = _current(machine), machine.query(DATA)
    said = machine.deploy("--ready-seconds", "8", script=_never_ready(supplies), expect=3)
    assert "syncd.service did not become ready within 8 s" in said
    assert (_current(machine), machine.query(DATA)) == (before, data)
    assert machine.query("SELECT count(remark) FROM sync.account") == [["0"]]
    machine.assert_well()
    machine.sync_completely()


def test_an_upgrade_that_is_interrupted_is_taken_back(machine: Machine, supplies: Supplies) -> None:
    """Also the second time, when the first one was killed and could take nothing back."""
    before = _current(machine)
    for signal in ("KILL", "INT"):
        machine.box.exec(
            *("systemd-run", "--quiet", "--unit=upgrade", "--property=RemainAfterExit=yes"),
            *(_never_ready(supplies), "--offline", WHEELS),
        )
        machine.box.until(lambda: machine.box.show("upgrade", "MainPID") != "0", "the upgrade")
        machine.box.until(lambda: machine.box.show("syncd.service", "ActiveState") == "activating", "the switch", 120)
        machine.box.exec("systemctl", "kill", f"--signal={signal}", "upgrade")  # all processes, as a terminal does it
        if signal == "KILL":
            machine.box.until(lambda: machine.box.show("upgrade", "SubState") == "failed", "its death")
            machine.box.exec("systemctl", "reset-failed", "upgrade")
            machine.box.exec("systemctl", "stop", "syncd")
    machine.box.until(lambda: machine.box.show("upgrade", "SubState") in ("exited", "failed"), "the end of it", 60)
    assert machine.box.show("upgrade", "ExecMainStatus") == "3"
    assert "interrupted" in machine.box.say("journalctl", "-qu", "upgrade", "-o", "cat")
    assert _current(machine) == before
    machine.assert_well()
