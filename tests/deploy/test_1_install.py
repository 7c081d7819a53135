"""From an empty machine to both services green, by one command; and again, which changes nothing."""

from __future__ import annotations

import stat

from tests.deploy.conftest import OLD_MONITOR
from tests.deploy.machine import ACCOUNT, MARKETPLACE, PASSWORD, QUICK, Machine
from tests.deploy.supplies import NOW, WHEELS


def test_a_dry_run_shows_everything_and_changes_nothing(empty: Machine) -> None:
    before = empty.tree()
    said = empty.deploy("--dry-run", *ACCOUNT)
    assert empty.tree() == before
    for word in ("create user syncd", "database syncd", "syncd.service", "start sync-monitor.service", "would be"):
        assert word in said
    assert PASSWORD not in said


def test_the_preflight_says_all_it_found_at_once_and_changes_nothing(empty: Machine) -> None:
    empty.write("/etc/systemd/system/sync-monitor.service", OLD_MONITOR)
    empty.write("/etc/syncd/credentials/database-url", "postgresql://u:hush@127.0.0.1:1/x")
    before = empty.tree()
    empty.box.exec("chmod", "o+w", "/srv/syncd/now/deploy")
    said = empty.deploy("--offline", "/srv/syncd/now/deploy", expect=78)
    assert "others than root may write /srv/syncd/now/deploy" in said
    assert "/etc/systemd/system/sync-monitor.service is not ours" in said
    empty.box.exec("chmod", "o-w", "/srv/syncd/now/deploy")
    empty.remove("/etc/systemd/system/sync-monitor.service")
    empty.box.exec(
        "systemd-run",
        "--quiet",
        "--unit=squatter",
        "/usr/bin/python3",
        "-m",
        "http.server",
        "9108",
        "--bind",
        "127.0.0.1",
    )
    empty.box.until(lambda: empty.answers("http://127.0.0.1:9108/"), "the squatter listens")
    said = empty.deploy(expect=78)
    empty.box.exec("systemctl", "stop", "squatter")
    for finding in ("port 9108", "no login of the marketplace", "PostgreSQL at 127.0.0.1:1: "):
        assert finding in said
    assert "hush" not in said
    empty.write("/etc/systemd/system/sync-monitor.service", OLD_MONITOR)
    assert empty.tree() == before
    empty.remove("/etc/syncd", "/etc/systemd/system/sync-monitor.service")


def test_a_unit_that_is_a_link_is_somebodys_too(empty: Machine) -> None:
    """To a file elsewhere, or to nowhere, as `systemctl mask` makes it: either would win over ours."""
    place = "/etc/systemd/system/sync-monitor.service"
    empty.write("/root/old.service", OLD_MONITOR)
    for target in ("/root/old.service", "/dev/null"):
        empty.box.exec("ln", "-s", target, place)
        assert f"{place} is not ours" in empty.deploy(*ACCOUNT, expect=78)
        empty.remove(place)
    empty.remove("/root/old.service")


def test_a_program_that_lies_where_somebody_stands_is_not_run(empty: Machine) -> None:
    for module in ("venv", "subprocess", "runpy"):
        empty.write(f"/tmp/trap/{module}.py", f"open('/root/trapped', 'a').write('{module} ')")
    line = f"cd /tmp/trap && {NOW} --dry-run --offline {WHEELS} {' '.join(ACCOUNT)}"
    empty.box.exec("bash", "-c", line)
    assert not (empty.box.root / "root/trapped").exists()


def test_nothing_is_written_where_a_secret_is_empty(empty: Machine) -> None:
    empty.write("/root/nothing", "")
    said = empty.deploy("--local-postgres", "--username", "sandbox", "--password-file", "/root/nothing", expect=78)
    assert "/root/nothing is empty" in said


def test_two_at_once_do_not_get_in_each_others_way(empty: Machine) -> None:
    empty.box.exec("systemd-run", "--quiet", "--unit=other", "flock", "/run/syncd-deploy.lock", "sleep", "infinity")
    empty.box.until(
        lambda: "syncd-deploy" in empty.box.say("lslocks", "--noheadings", "--output=PATH"), "the lock is held"
    )
    said = empty.deploy(*ACCOUNT, expect=75)
    empty.box.exec("systemctl", "stop", "other")
    assert "another one is at work" in said


def test_a_person_without_root_is_told_so(empty: Machine) -> None:
    done = empty.box.exec(
        "setpriv", "--reuid=nobody", "--clear-groups", "/srv/syncd/now/deploy_sync_system.sh", check=False
    )
    assert (done.returncode, "needs root" in done.stderr) == (78, True)


def test_one_command_makes_a_green_system_that_syncs(machine: Machine) -> None:
    machine.assert_well()
    machine.assert_nothing_lost_or_doubled()
    for unit in ("syncd.service", "sync-monitor.service", "sync-monitor-prune.timer"):
        assert machine.box.show(unit, "UnitFileState") == "enabled"
    assert machine.command("status").returncode == 0
    assert machine.command("health", program="sync-monitor").returncode == 0


def test_the_unit_of_an_older_monitor_is_replaced_and_kept(machine: Machine) -> None:
    (copy,) = (machine.box.root / "etc/syncd/replaced").iterdir()
    assert copy.read_text() == OLD_MONITOR
    assert "/usr/local/lib/systemd/system/" in machine.box.show("sync-monitor.service", "FragmentPath")


def test_a_second_run_changes_nothing_and_restarts_nothing(machine: Machine) -> None:
    config = machine.box.root / "etc/syncd/syncd.toml"
    config.write_text(config.read_text() + "# an operator's remark\n")
    before, lives = machine.tree(), machine.lives()
    said = machine.deploy()
    assert "0 changed" in said
    assert machine.tree() == before
    assert machine.lives() == lives


def test_services_that_are_well_are_left_alone_whatever_they_went_through(machine: Machine) -> None:
    """A crash long ago, and settings under which the look at them is another."""
    config = machine.box.root / "etc/syncd/syncd.toml"
    text = config.read_bytes()
    config.write_bytes("\ufeff".encode() + text)
    hosts, level = "EMAG_SYNC_ALLOWED_HOSTS=sync.example.org", "EMAG_SYNC_LOG_LEVEL=warning"
    machine.write("/etc/syncd/syncd.env", f"{QUICK}{hosts}\n{level}\nEMAG_SYNC_METRICS_PORT=9109  # not 9108\n")
    machine.box.exec("systemctl", "reload", "syncd.service")
    life = machine.lives()["sync-monitor.service"]
    machine.box.exec("systemctl", "kill", "--signal=KILL", "sync-monitor.service")
    machine.box.until(
        lambda: (
            machine.lives()["sync-monitor.service"] not in ("", life)
            and machine.box.show("sync-monitor.service", "ActiveState") == "active"
        ),
        "the monitor is started again",
    )
    said = machine.deploy()
    assert "0 changed" in said
    config.write_bytes(text)
    machine.write("/etc/syncd/syncd.env", QUICK)
    machine.box.exec("systemctl", "restart", *machine.lives())
    machine.assert_well()


def test_what_is_missing_or_new_is_done_by_the_next_run_and_nothing_else(machine: Machine) -> None:
    """What an interrupted run left undone, modes that somebody changed, an account of a name that no unit knows."""
    root, drop_in = machine.box.root, "etc/systemd/system/syncd.service.d/10-credentials.conf"
    config = root / "etc/syncd/syncd.toml"
    text = config.read_text()
    config.write_text(f'{text}\n[accounts.emag.shop2]\nbase_url = "{MARKETPLACE}"\n')
    for half in ("username", "password"):
        machine.write(f"/etc/syncd/credentials/emag-shop2-{half}", "wrong")
    machine.remove("/usr/local/bin/syncd", "/usr/local/lib/systemd/catalog/syncd.catalog")
    machine.box.exec("systemctl", "disable", "--quiet", "sync-monitor.service")
    machine.box.exec("chmod", "0644", "/etc/syncd/credentials/control-token")
    said = machine.deploy(expect=4)  # the marketplace refuses that login, and `syncd check` says so
    assert "make /etc/syncd/credentials/control-token 0640 root:syncd (was 0644 root:syncd)" in said
    assert machine.box.show("sync-monitor.service", "UnitFileState") == "enabled"
    assert (root / "run/credentials/syncd.service/emag-shop2-password").read_text() == "wrong"
    assert "API of shop2" in said
    config.write_text(text)
    machine.remove("/etc/syncd/credentials/emag-shop2-username", "/etc/syncd/credentials/emag-shop2-password")
    machine.deploy()
    assert not (root / drop_in).exists()
    machine.assert_well()


def test_no_secret_can_be_read_by_others(machine: Machine) -> None:
    folder = machine.box.root / "etc/syncd/credentials"
    for path in folder.iterdir():
        assert stat.filemode(path.stat().st_mode) == "-rw-r-----", path
    for place in ("/etc/syncd/credentials", "/run/credentials/syncd.service"):
        for name in ("control-token", "emag-main-password"):
            read = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "cat", f"{place}/{name}")
            done = machine.box.exec(*read, check=False)
            assert (done.returncode, done.stdout) == (1, ""), place
    shown = machine.box.say("systemctl", "show", "syncd.service", "sync-monitor.service")
    environ = (machine.box.root / f"proc/{machine.pid()}/environ").read_bytes().decode()
    log = (machine.box.root / "var/log/syncd-deploy.log").read_text()
    token = (folder / "control-token").read_text().strip()
    for text in (
        shown,
        environ,
        log,
        machine.box.say("journalctl", "--quiet", "--output=export", "--unit=syncd", "--unit=sync-monitor"),
    ):
        assert token not in text
        assert PASSWORD not in text


def test_the_monitor_has_no_credentials_of_the_marketplace(machine: Machine) -> None:
    names = {path.name for path in (machine.box.root / "run/credentials/sync-monitor.service").iterdir()}
    assert names == {"database-url", "control-token", "control-token-previous", "webhook-url", "ping-url"}
