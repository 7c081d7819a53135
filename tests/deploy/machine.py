"""A server with an operator: what is asked of it, and what it then looks like."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.deploy.box import Box
from tests.deploy.supplies import NOW, SOURCE, WHEELS

OFFERS = 1550
SERVICES = ("syncd.service", "sync-monitor.service")
PASSWORD = "the-password-of-the-sandbox"
MARKETPLACE = "http://127.0.0.1:9999/api-3"
ACCOUNT = ("--local-postgres", "--username", "sandbox", "--base-url", MARKETPLACE, "--password-file", "/root/password")
OUTSIDE, SCRAPER = "192.0.2.1", "192.0.2.20"
"""Addresses that are not loopback ones; the box has both, having no other machine beside it."""
QUICK = "EMAG_SYNC_STARTUP_DELAY_SECONDS=0\nEMAG_SYNC_INTERVAL_SECONDS=3600\n"
"""One scheduled run at once, and then none for the length of a test."""
PLACES = ("/etc", "/opt/syncd", "/usr/local/bin", "/usr/local/lib", "/var/lib/syncd", "/var/lib/systemd", "/var/spool")
"""Everywhere where an installation may leave something, but for PostgreSQL's own folders and /var/log."""
_GET = """
import http.client, sys, urllib.parse
url, name, source = urllib.parse.urlsplit(sys.argv[1]), sys.argv[2], sys.argv[3]
own = (source, 0) if source else None
door = http.client.HTTPConnection(url.netloc, timeout=float(sys.argv[4]), source_address=own)
door.request("GET", url.path, headers={"Host": name or url.netloc})
answer = door.getresponse()
sys.stdout.write(answer.read().decode())
sys.exit(answer.status != 200)
"""


@dataclass(frozen=True)
class Machine:
    """A box in which the marketplace answers at MARKETPLACE."""

    box: Box

    def deploy(self, *options: str, script: str = NOW, expect: int = 0) -> str:
        """Run the script, offline; what it said on both channels. Its exit code must be the expected one."""
        done = self.box.exec(script, "--offline", WHEELS, *options, check=False, timeout=240)
        said = done.stdout + done.stderr
        assert done.returncode == expect, f"exit {done.returncode}, expected {expect}:\n{said}"
        return said

    def tree(self) -> dict[str, str]:
        return self.box.tree(*PLACES)

    def write(self, path: str, text: str) -> None:
        target = self.box.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def remove(self, *paths: str) -> None:
        self.box.exec("rm", "-rf", *paths)

    def query(self, sql: str) -> list[list[str]]:
        """Rows of the service's database, as text."""
        text = self.box.say(
            "setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "psql", "-XAt", "syncd", "-c", sql
        )
        return [line.split("|") for line in text.splitlines()]

    def get(self, url: str, *, name: str = "", source: str = "") -> str:
        """What is answered there; name: the Host header, source: the address it is asked from."""
        return self.box.say("/usr/bin/python3", "-c", _GET, url, name, source, "10")

    def answers(self, url: str) -> bool:
        """Whether somebody answers there with 200 by now."""
        return self.box.exec("/usr/bin/python3", "-c", _GET, url, "", "", "10", check=False).returncode == 0

    def is_cut_off(self, url: str, *, source: str) -> bool:
        """Whether nobody answers there to whom asks from this address, not even that nobody listens."""
        done = self.box.exec("/usr/bin/python3", "-c", _GET, url, "", source, "1", check=False)
        return done.returncode != 0 and "TimeoutError" in done.stderr

    def pid(self, unit: str = "syncd.service") -> int:
        return int(self.box.show(unit, "MainPID"))

    def lives(self) -> dict[str, str]:
        """Which process each service is; another life has another id."""
        return {unit: self.box.show(unit, "InvocationID") for unit in SERVICES}

    def assert_well(self) -> None:
        for unit in SERVICES:
            assert self.box.show(unit, "ActiveState") == "active", unit
        assert '"status":"ready"' in self.get("http://127.0.0.1:8000/readyz").replace(" ", "")
        assert re.search(r"^emag_sync_up 1", self.get("http://127.0.0.1:9108/metrics"), re.MULTILINE)

    def command(self, *arguments: str, program: str = "syncd") -> subprocess.CompletedProcess[str]:
        """A command as an operator types it."""
        return self.box.exec(f"/usr/local/bin/{program}", *arguments, check=False)

    def begin_run(self) -> str:
        """Ask for a sync; the id of its run, once it has stored some pages."""
        self.box.until(lambda: not self.query("SELECT 1 FROM sync.run WHERE completed_at IS NULL"), "no run is open")
        self._trigger()
        ask = "SELECT run_id FROM sync.run WHERE status = 'running' AND pages > 2"
        run_id: str = self.box.until(lambda: self.query(ask), "pages are stored")[0][0]
        return run_id

    def sync_completely(self) -> None:
        """Until a run that began now, or goes on now, is complete."""
        complete = "SELECT count(*) FROM sync.run WHERE status = 'complete'"
        before = self.query(complete)
        self._trigger()
        self.box.until(lambda: self.query(complete) != before, "a complete run")

    def _trigger(self) -> None:
        done = self.command("trigger", "--json")
        assert done.returncode in (0, 75), done.stdout + done.stderr

    def run_ended(self, run_id: str, seconds: float = 60.0) -> tuple[str, str]:
        """Status and cause, as soon as it has some."""
        ask = f"SELECT status, cause FROM sync.run WHERE run_id = '{run_id}' AND completed_at IS NOT NULL"
        row = self.box.until(lambda: self.query(ask), f"run {run_id} has ended", seconds)[0]
        return row[0], row[1]

    def assert_nothing_lost_or_doubled(self) -> None:
        (counts,) = self.query(
            "SELECT count(*), count(DISTINCT key), (SELECT sum(inserted) FROM sync.run) FROM sync.record"
        )
        assert counts == [str(OFFERS)] * 3

    def journal(self, *matches: str) -> list[dict[str, Any]]:
        text = self.box.say("journalctl", "--quiet", "--output", "json", *matches)
        return [json.loads(line) for line in text.splitlines()]


def prepare(box: Box) -> Machine:
    """A machine with PostgreSQL's packages and no cluster, the marketplace, and its password in a file."""
    machine = Machine(box)
    box.exec("sh", "-c", "rm -rf /etc/postgresql/* /var/lib/postgresql/*")
    box.exec("systemctl", "daemon-reload")
    for address in (OUTSIDE, SCRAPER):
        box.exec("ip", "address", "add", f"{address}/32", "dev", "lo")
    machine.write("/root/password", PASSWORD + "\n")
    box.exec(
        *(
            "systemd-run",
            "--quiet",
            "--unit",
            "marketplace",
            f"--property=WorkingDirectory={SOURCE}/now",
            sys.executable,
        ),
        *(
            "-m",
            "syncd",
            "sandbox",
            "--port",
            "9999",
            "--offers",
            str(OFFERS),
            "--password",
            PASSWORD,
            "--no-rate-limit",
        ),
    )
    return machine


def bindings() -> dict[Path, str]:
    """The tests' own Python, which the marketplace runs on."""
    return {Path(sys.prefix): sys.prefix}
