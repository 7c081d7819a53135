"""What systemd hears from us, as a systemd of our own receives it over its notification socket."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from syncd.runtime.log import adjust_log
from syncd.runtime.systemd import LONGEST_STATUS, Notifier, feed_watchdog

STATUS_SECONDS = 0.2
ENOUGH = 10_000
"""Datagrams: more than any socket holds."""
pytestmark = pytest.mark.timeout(60)


class Systemd:
    """A socket at the address, and the datagrams that came there."""

    def __init__(self, address: str) -> None:
        self.environ = {"NOTIFY_SOCKET": address}
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def waiting(self) -> list[str]:
        """All that wait."""
        found = []
        try:
            while True:
                found.append(self.socket.recv(65536).decode("ascii"))
        except BlockingIOError:
            return found

    async def next(self) -> str:
        async with asyncio.timeout(20):
            return (await asyncio.get_running_loop().sock_recv(self.socket, 65536)).decode("ascii")


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@syncd-test-{os.getpid()}"
    receiver = Systemd(address)
    yield receiver
    receiver.socket.close()


@pytest.fixture
def notifier(systemd: Systemd) -> Iterator[Notifier]:
    opened = Notifier(systemd.environ, status_seconds=STATUS_SECONDS)
    yield opened
    opened.close()


def fill(notifier: Notifier) -> None:
    for _ in range(ENOUGH):
        notifier.watchdog()


def test_each_state_is_a_datagram_of_its_own(notifier: Notifier, systemd: Systemd) -> None:
    """As sd_notify(3) writes them."""
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.ready()
    notifier.status("emag/main/offers page 118/410 28% 2.9 req/s ETA 6m")
    notifier.watchdog()
    notifier.extend_timeout(2.5)
    notifier.reloading()
    notifier.ready()
    notifier.stopping()
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    heard = systemd.waiting()
    reloading = re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=(\d+)", heard.pop(4))
    assert reloading is not None
    assert before <= int(reloading[1]) <= after
    assert heard == [
        "READY=1",
        "STATUS=emag/main/offers page 118/410 28% 2.9 req/s ETA 6m",
        "WATCHDOG=1",
        "EXTEND_TIMEOUT_USEC=2500000",
        "READY=1",
        "STOPPING=1",
    ]


@pytest.mark.parametrize("text", ["Синхронизация…", "café", "a\nWATCHDOG=1\nMAINPID=1", "a\x1b[2J\0", "x" * 5000])
def test_a_status_is_one_line_of_ascii(notifier: Notifier, systemd: Systemd, text: str) -> None:
    """Whatever the remote side called its things; and nothing of it is taken for another state."""
    notifier.status(text)
    (heard,) = systemd.waiting()
    expected = "".join(char if " " <= char <= "~" else "?" for char in text)[:LONGEST_STATUS]
    assert heard == f"STATUS={expected}"


def test_a_status_holds_no_secret(notifier: Notifier, systemd: Systemd) -> None:
    """`systemctl status` shows it to everyone."""
    adjust_log(secrets=["canary-7f3a"])
    notifier.status("waiting for the database: canary-7f3a refused")
    assert systemd.waiting() == ["STATUS=waiting for the database: *** refused"]


async def test_of_many_statuses_the_last_one_wins_and_they_keep_their_distance(
    notifier: Notifier, systemd: Systemd
) -> None:
    """One a page would wake systemd sixty times a second."""
    for page in range(100):
        notifier.status(f"page {page}")
    assert await systemd.next() == "STATUS=page 0"
    first_at = time.monotonic()
    assert await systemd.next() == "STATUS=page 99"
    assert time.monotonic() - first_at > STATUS_SECONDS / 2
    notifier.status("page 100")
    notifier.watchdog()
    assert systemd.waiting() == ["WATCHDOG=1"]
    assert await systemd.next() == "STATUS=page 100"
    assert systemd.waiting() == []


def test_what_waits_is_said_at_the_end(notifier: Notifier, systemd: Systemd) -> None:
    """The last status too; afterwards nothing."""
    notifier.status("one")
    notifier.status("two")
    notifier.close()
    notifier.ready()
    notifier.status("three")
    notifier.watchdog()
    notifier.extend_timeout(1)
    assert systemd.waiting() == ["STATUS=one", "STATUS=two"]


async def test_a_systemd_that_does_not_read_costs_no_time_and_still_hears_what_matters(
    notifier: Notifier, systemd: Systemd
) -> None:
    """A lost READY would be a start that never ends."""
    fill(notifier)
    notifier.ready()
    notifier.status("one")
    notifier.reloading()
    notifier.status("two")
    notifier.ready()
    notifier.stopping()
    assert set(systemd.waiting()) == {"WATCHDOG=1"}
    heard = [(await systemd.next()).split("\n")[0] for _ in range(5)]
    assert heard == ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1", "STATUS=two"]


async def test_a_socket_made_anew_is_found_and_its_absence_breaks_nothing(tmp_path: Path) -> None:
    """systemd was executed anew, or restarted in its container."""
    path = tmp_path / "notify"
    first = Systemd(str(path))
    notifier = Notifier(first.environ, status_seconds=STATUS_SECONDS)
    notifier.ready()
    assert first.waiting() == ["READY=1"]
    first.socket.close()
    notifier.watchdog()
    path.unlink()
    notifier.watchdog()
    notifier.status("away")
    notifier.stopping()
    second = Systemd(str(path))
    assert [await second.next(), await second.next()] == ["STOPPING=1", "STATUS=away"]
    notifier.watchdog()
    assert second.waiting() == ["WATCHDOG=1"]
    notifier.close()
    second.socket.close()


@pytest.mark.parametrize("address", [None, "", "vsock:2:1234", "relative"])
async def test_without_a_socket_every_call_does_nothing(address: str | None) -> None:
    """A terminal, a container, another supervisor."""
    environ = {"WATCHDOG_USEC": "1000000"} | ({} if address is None else {"NOTIFY_SOCKET": address})
    notifier = Notifier(environ)
    notifier.ready()
    notifier.status("nobody hears it")
    notifier.reloading()
    notifier.stopping()
    notifier.watchdog()
    notifier.extend_timeout(1)
    async with asyncio.timeout(10):
        await feed_watchdog(notifier)
    notifier.close()


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        ("60000000", None, 60.0),
        ("500000", "ours", 0.5),
        ("60000000", "1", None),
        (None, None, None),
        ("0", None, None),
        ("-5", None, None),
        ("much", None, None),
    ],
)
def test_the_watchdog_is_asked_for_by_two_variables(
    systemd: Systemd, usec: str | None, pid: str | None, seconds: float | None
) -> None:
    """$WATCHDOG_PID names whom it is meant for."""
    asked = {"WATCHDOG_USEC": usec, "WATCHDOG_PID": str(os.getpid()) if pid == "ours" else pid}
    notifier = Notifier(systemd.environ | {name: value for name, value in asked.items() if value is not None})
    assert notifier.watchdog_seconds == seconds
    notifier.close()


async def test_the_watchdog_is_fed_by_the_loop_and_starves_with_it(systemd: Systemd) -> None:
    """Fed from a thread it would call a blocked loop alive."""
    notifier = Notifier(systemd.environ | {"WATCHDOG_USEC": "600000"})
    feeding = asyncio.create_task(feed_watchdog(notifier))
    started = time.monotonic()
    assert [await systemd.next() for _ in range(4)] == ["WATCHDOG=1"] * 4
    assert time.monotonic() - started >= 0.5
    blocked_until = time.monotonic() + 1
    while time.monotonic() < blocked_until:
        pass
    assert systemd.waiting() == []
    assert await systemd.next() == "WATCHDOG=1"
    feeding.cancel()
    await asyncio.gather(feeding, return_exceptions=True)
    notifier.close()


async def test_the_watchdog_is_fed_on_when_systemd_did_not_read(systemd: Systemd) -> None:
    """The task outlives a full socket."""
    notifier = Notifier(systemd.environ | {"WATCHDOG_USEC": "60000"})
    fill(notifier)
    feeding = asyncio.create_task(feed_watchdog(notifier))
    await asyncio.sleep(0)
    systemd.waiting()
    assert await systemd.next() == "WATCHDOG=1"
    assert not feeding.done()
    feeding.cancel()
    await asyncio.gather(feeding, return_exceptions=True)
    notifier.close()
