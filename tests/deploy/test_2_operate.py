"""The services in their life on a real systemd: crashes, hangs, reloads, stops, drop-ins, the journal."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.box import Box
from tests.deploy.machine import OUTSIDE, QUICK, SCRAPER, Machine

SCORES = {"syncd.service": 1.2, "sync-monitor.service": 1.1, "sync-monitor-prune.service": 1.1}
REFUSED = {"Read-only file system", "Permission denied", "Operation not permitted"}
IMPATIENT = "[Service]\nWatchdogSec=5\nTimeoutAbortSec=2\nRestartSec=1\n"
DROP_INS = "/opt/syncd/current/share/drop-ins"


def test_systemd_finds_no_fault_in_the_units(machine: Machine) -> None:
    done = machine.box.exec("systemd-analyze", "verify", "--man=no", *SCORES, "sync-monitor-prune.timer")
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("unit", SCORES)
def test_a_unit_is_as_little_exposed_as_promised(machine: Machine, unit: str) -> None:
    path = f"/usr/local/lib/systemd/system/{unit}"
    said = machine.box.say("systemd-analyze", "security", "--offline=true", "--no-pager", path)
    (score,) = re.findall(rf"exposure level for {unit}: ([0-9.]+)", said)
    assert float(score) <= SCORES[unit]


_PROBING = "[Service]\nType=oneshot\nStandardOutput=file:/run/probe.json"


@pytest.fixture(params=["syncd.service", "sync-monitor.service"])
def allowed(machine: Machine, request: pytest.FixtureRequest) -> dict[str, object]:
    """What a process in the place of the service could do."""
    unit, probe = request.param, "probe.service"
    text = (machine.box.root / f"usr/local/lib/systemd/system/{unit}").read_text()
    text = re.sub(r"^ExecStart=.*", "ExecStart=/usr/bin/python3 -I /var/lib/probe.py", text, flags=re.MULTILINE)
    text = re.sub(r"^(Type|Restart|WatchdogSec|RuntimeDirectory)=.*\n", "", text, flags=re.MULTILINE)
    machine.write(f"/run/systemd/system/{probe}", text.replace("[Service]", _PROBING))
    machine.write("/var/lib/probe.py", Path(__file__).with_name("probe.py").read_text())
    machine.box.exec("systemctl", "daemon-reload")
    # file modes would let everybody in there: only the unit's own walls do not
    machine.box.exec("install", "-d", "-m", "0777", "/var/lib/open-to-all")
    machine.box.exec("systemctl", "start", probe)
    facts: dict[str, object] = json.loads((machine.box.root / "run/probe.json").read_text())
    machine.remove(f"/run/systemd/system/{probe}", "/var/lib/probe.py", "/run/probe.json", "/var/lib/open-to-all")
    return facts | {"unit": unit}


def test_the_hardening_really_blocks(allowed: dict[str, object]) -> None:
    unit = allowed.pop("unit")
    assert allowed.pop("elsewhere") == ("done" if unit == "syncd.service" else "Operation not permitted")
    expected = {"user": True, "config": "done", "loopback": "done", "others": [], "capabilities": 0}
    expected |= {"no_new_privileges": "1", "seccomp": "2"}
    expected |= {"open_to_all": "Read-only file system"}
    expected |= {"state": "done"} if unit == "syncd.service" else {}
    assert {name: allowed[name] for name in expected} == expected
    rest = {name: outcome for name, outcome in allowed.items() if name not in expected}
    assert {
        name: outcome
        for name, outcome in rest.items()
        if outcome not in {*REFUSED, "Address family not supported by protocol"}
    } == ({} if unit == "syncd.service" else {"state": "No such file or directory"})


def test_a_run_is_found_in_the_journal_by_its_fields_and_explained(machine: Machine) -> None:
    run_id = machine.query("SELECT run_id FROM sync.run WHERE status = 'complete' LIMIT 1")[0][0]
    lines = machine.journal(f"SYNC_RUN_ID={run_id}", "_SYSTEMD_UNIT=syncd.service")
    assert [line["MESSAGE"].split()[0] for line in lines] == ["run.started", "run.ended"]
    for line in lines:
        assert (line["SYNC_STREAM"], line["SYNC_ACCOUNT"], line["PRIORITY"]) == ("emag/main/offers", "main", "5")
    assert lines[-1]["SYNC_CAUSE"] == "end_of_data"
    explained = machine.box.say("journalctl", "--quiet", "--catalog", f"MESSAGE_ID={lines[-1]['MESSAGE_ID']}")
    assert f"Subject: Run {run_id} has ended" in explained
    assert f"syncd explain {run_id}" in explained
    (page,) = set(re.findall(r"Documentation: file://(/opt/syncd/current/share/docs/runbook/\S+)", explained))
    assert "# " in machine.box.say("cat", page), "what the journal points to can be read there"


def test_a_reload_takes_new_settings_without_a_restart(machine: Machine) -> None:
    before = machine.lives()
    machine.write("/etc/syncd/syncd.env", QUICK + "EMAG_SYNC_LOG_LEVEL=notice\n")
    machine.box.exec("systemctl", "reload", "syncd", "sync-monitor")
    for unit, life in before.items():
        machine.box.until(
            lambda life=life: machine.journal(f"_SYSTEMD_INVOCATION_ID={life}", "--grep=^config.reloaded"),
            f"{unit} reloaded",
        )
    assert machine.lives() == before
    machine.write("/etc/syncd/syncd.env", QUICK)
    machine.box.exec("systemctl", "reload", "syncd", "sync-monitor")


def test_a_stop_while_syncing_keeps_what_was_read_and_the_monitor_lives_on(machine: Machine) -> None:
    run_id = machine.begin_run()
    monitor = machine.lives()["sync-monitor.service"]
    began = time.monotonic()
    machine.box.exec("systemctl", "stop", "syncd")
    assert time.monotonic() - began < 10
    assert machine.box.show("syncd.service", "Result") == "success"
    assert machine.run_ended(run_id) == ("partial", "shutdown")
    assert machine.lives()["sync-monitor.service"] == monitor
    assert "emag_sync_up 1" in machine.get("http://127.0.0.1:9108/metrics")
    machine.box.exec("systemctl", "start", "syncd")
    machine.sync_completely()
    machine.assert_nothing_lost_or_doubled()


@pytest.fixture(scope="class")
def impatient(machine: Machine) -> Iterator[Machine]:
    """Drop-ins, as `systemctl edit` leaves them: nobody wants to wait a minute for a watchdog in a test."""
    units = ("syncd.service", "sync-monitor.service")
    for unit in units:
        machine.write(f"/etc/systemd/system/{unit}.d/override.conf", IMPATIENT)
    machine.box.exec("systemctl", "daemon-reload")
    machine.box.exec("systemctl", "restart", *units)
    yield machine
    machine.box.exec("systemctl", "revert", *units)
    machine.box.exec("systemctl", "restart", *units)
    assert machine.box.show("syncd.service", "WatchdogUSec") == "1min"


def _live_again(machine: Machine, before: dict[str, str]) -> None:
    """These units are other processes than before, and ready."""
    for unit, life in before.items():
        machine.box.until(lambda unit=unit, life=life: machine.lives()[unit] != life, f"a new life of {unit}")
        machine.box.until(lambda unit=unit: machine.box.show(unit, "ActiveState") == "active", f"{unit} is ready again")


class TestImpatient:
    def test_a_killed_daemon_is_started_again_and_goes_on(self, impatient: Machine) -> None:
        machine = impatient
        run_id = machine.begin_run()
        before = {"syncd.service": machine.lives()["syncd.service"]}
        machine.box.exec("systemctl", "kill", "--signal=KILL", "syncd.service")
        _live_again(machine, before)
        assert machine.run_ended(run_id) == ("failed", "lease_lost")
        ask = f"SELECT run_id FROM sync.run WHERE run_id > '{run_id}' ORDER BY run_id"
        successor = machine.box.until(lambda: machine.query(ask), "the run that goes on")[0][0]
        assert machine.run_ended(successor) == ("complete", "end_of_data")
        machine.assert_nothing_lost_or_doubled()

    def test_frozen_processes_are_found_by_the_watchdog(self, impatient: Machine) -> None:
        before = impatient.lives()
        for unit in before:
            impatient.box.exec("kill", "-STOP", str(impatient.pid(unit)))
        _live_again(impatient, before)
        for unit in before:
            assert impatient.journal("_PID=1", f"UNIT={unit}", "--grep=Watchdog timeout"), unit
        impatient.assert_well()


def test_a_wrong_configuration_is_no_reason_to_start_again_and_again(machine: Machine) -> None:
    machine.write("/etc/syncd/syncd.env", QUICK + "EMAG_SYNC_MAX_PAGES=many\n")
    done = machine.box.exec("systemctl", "restart", "syncd", check=False)
    assert done.returncode == 1
    assert machine.box.show("syncd.service", "ActiveState") == "failed"
    assert machine.box.show("syncd.service", "ExecMainStatus") == "78"
    assert machine.box.show("syncd.service", "NRestarts") == "0"
    assert "EMAG_SYNC_MAX_PAGES: found" in machine.box.say("journalctl", "-qu", "syncd", "-n", "20", "-o", "cat")
    machine.write("/etc/syncd/syncd.env", QUICK)
    machine.box.exec("systemctl", "start", "syncd")
    machine.assert_well()


def test_the_start_limit_lets_a_hundred_restarts_pass_and_a_crash_loop_is_slow(machine: Machine) -> None:
    """The hundred themselves: `make prove`."""
    for unit in ("syncd.service", "sync-monitor.service"):
        assert machine.box.show(unit, "StartLimitIntervalUSec") == "10min"
        assert int(machine.box.show(unit, "StartLimitBurst")) > 100 + 10 * 60 / 5
        assert machine.box.show(unit, "RestartUSec") == "5s"


def _addresses(box: Box) -> str:
    return box.show("sync-monitor.service", "IPAddressAllow")


def test_the_drop_ins_open_what_they_say(machine: Machine) -> None:
    unit, folder = "sync-monitor.service", "/etc/systemd/system/sync-monitor.service.d"
    local = _addresses(machine.box)
    assert set(machine.box.show(unit, "IPAddressDeny").split()) == {"::/0", "0.0.0.0/0"}
    for name, address in (
        ("remote-database", "192.0.2.10/32"),
        ("webhook", "0.0.0.0/0"),
        ("scraper-elsewhere", "192.0.2.20/32"),
    ):
        machine.box.exec("install", "-D", "-m", "0644", f"{DROP_INS}/{name}.conf", f"{folder}/{name}.conf")
        machine.box.exec("systemctl", "daemon-reload")
        done = machine.box.exec("systemd-analyze", "verify", "--man=no", unit)
        assert (done.stdout, done.stderr) == ("", ""), name
        assert address in _addresses(machine.box).split(), name
        if name == "scraper-elsewhere":
            machine.box.exec("systemctl", "restart", unit)
            url = f"http://{OUTSIDE}:9108/metrics"
            assert "emag_sync_up" in machine.get(url, name="sync.example.org:9108", source=SCRAPER)
            assert machine.is_cut_off(url, source=OUTSIDE), "from another address than the scraper's"
        machine.remove(f"{folder}/{name}.conf")
    machine.box.exec("systemctl", "daemon-reload")
    machine.box.exec("systemctl", "restart", unit)
    assert _addresses(machine.box) == local


def test_old_runs_are_pruned_by_the_timer(machine: Machine) -> None:
    machine.box.exec("systemctl", "start", "sync-monitor-prune.service")
    assert machine.box.show("sync-monitor-prune.service", "Result") == "success"
    assert machine.box.show("sync-monitor-prune.timer", "NextElapseUSecRealtime")


@pytest.mark.prove
@pytest.mark.timeout(1200)
def test_a_hundred_restarts_while_syncing_lose_and_double_nothing(machine: Machine) -> None:
    machine.write("/etc/syncd/syncd.env", "EMAG_SYNC_STARTUP_DELAY_SECONDS=0\nEMAG_SYNC_INTERVAL_SECONDS=1\n")
    machine.box.exec("systemctl", "restart", "syncd")
    machine.begin_run()  # its slot lies an hour ahead; from now on the interval is a second
    took = []
    for _ in range(100):
        machine.box.until(
            lambda: machine.query("SELECT 1 FROM sync.run WHERE status = 'running'"), "a run is cut short"
        )
        began = time.monotonic()
        machine.box.exec("systemctl", "restart", "syncd")
        took.append(time.monotonic() - began)
        assert machine.box.show("syncd.service", "ActiveState") == "active"
    cut = int(machine.query("SELECT count(*) FROM sync.run WHERE cause = 'shutdown'")[0][0])
    print(
        f"100 restarts in {sum(took):.0f} s, each {min(took):.2f} to {max(took):.2f} s; {cut} of them cut a run short"
    )
    assert cut > 20
    machine.sync_completely()
    machine.assert_nothing_lost_or_doubled()
    machine.write("/etc/syncd/syncd.env", QUICK)
    machine.box.exec("systemctl", "restart", "syncd")
    assert max(took) < 5
