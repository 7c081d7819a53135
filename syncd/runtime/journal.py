"""The journal's native protocol: one datagram an event, with fields that journalctl finds, and never a wait.

    entry = field ...
    field = NAME "=" value "\\n"                                   for a value of one line
          | NAME "\\n" size_bytes (u64, little endian) value "\\n"   for any other

An entry larger than the socket takes travels as a sealed memory file, whose descriptor is the datagram.
Source: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/ (systemd 252 to 260, read in 2026-11).

Invariants:
    1. A send never waits. What a full socket refuses is lost and counted, and the count is said when there is room.
    2. No PRIORITY below 2: journald broadcasts 0 (emerg) to every terminal.
    3. The socket is looked up by its path at every send; one that journald made anew is simply found.
    4. An event's MESSAGE_ID never changes: the catalog and the operators' queries hang on it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

JOURNAL_SOCKET = Path("/run/systemd/journal/socket")

PRIORITY_OF: Mapping[str, int] = MappingProxyType(
    {"critical": 2, "error": 3, "warning": 4, "notice": 5, "info": 6, "debug": 7}
)
"""syslog's numbers (RFC 5424) by the names of our levels."""

FIELD_OF: Mapping[str, str] = MappingProxyType(
    {
        "run": "SYNC_RUN_ID",
        "stream": "SYNC_STREAM",
        "account": "SYNC_ACCOUNT",
        "page": "SYNC_PAGE",
        "cause": "SYNC_CAUSE",
        "status": "HTTP_STATUS",
        "duration_ms": "DURATION_MS",
    }
)
"""Journal fields by the names of an event's facts."""

MESSAGE_IDS: Mapping[str, str] = MappingProxyType(
    {
        "daemon.crashed": "686c54881a1840c697519d787b2fa59c",
        "daemon.ready": "7bd8d744c7c843008a34c3d1c1fa919b",
        "daemon.stopping": "a4585a526fa8421facb0f67c0c13858e",
        "monitor.crashed": "95e3838d3ec4455c9ac4a7ac0c264a1b",
        "monitor.stopping": "e93637a2978845568ce25d4cb8cea07a",
        "notice.not_noted": "58ea538361c14438a9ee3b13bfd5d69c",
        "scrape.failed": "92b243a4e74f432ebf366759e655494a",
        "ledger.not_read": "faf78540d8b148c9926797889cd83ab2",
        "watch.failed": "ac9e7f7e49db46eabefc92ddbf5c1aec",
        "monitor.ready": "6fee32f7826545f6be25ddba77f8053e",
        "drain.abandoned": "f6ccfb8a862e43058526724767817c19",
        "config.kept": "856511ec2ba2493e8f1da590b68c936a",
        "config.needs_restart": "a433b67b26c54e0780a9b5603c549154",
        "config.refused": "2e58ba4673f9479dbdfcf5805029d34e",
        "config.reloaded": "a8689cc8dc15487ea27a503c76bf3555",
        "config.warning": "8530931d15e34057bae7f138156d0dd6",
        "schedule.not_kept": "867498f487c941d4b9028091f6f9e8aa",
        "sync.disabled": "c98aeff851624cbf8a5954a06685d67e",
        "ledger.usable_again": "adf8ab7ab15844c4abb87e52d7b390df",
        "ledger.unusable": "92478330a800483eacdc14935c41c68d",
        "sync.paused": "20f597da8aa34d718c6fcf1014b91e9e",
        "sync.requested": "1e2c28e195944889ab271b744765b05a",
        "sync.resumed": "10b5a434d3684b1c9c22575ffae6faf8",
        "sync.stopped": "6ea2c2333fdc4c8db181d6275483ce0c",
        "account.login_changed": "780287700e2445748637e73025d6d3e5",
        "account.refused": "1609cd6fc8394d5f88895e2f178f5a05",
        "account.removed": "b6755011f3cc4005874e36e81b6f307d",
        "account.returned": "bfcfc484cc6242bebbef9b87491b9301",
        "stream.registered_anew": "6ea51118b689410faad82fb74723edb7",
        "tick.done": "4234e60401534cf2a03525bb9ef00f67",
        "slot.held_back": "52e1287e05434ebbb8b92ee9941dd693",
        "slot.skipped": "dad057645f7a4b4085c15b89b61e6120",
        "run.asked_to_end": "4017f5b1aea34991a175cc3985071a35",
        "run.approved": "d38fb78153844f028df0c03a27547912",
        "run.cancel_requested": "9122379201a44ee99d823d3950106475",
        "run.closed": "ab43f7c7229244ac94e3b8f0ac74cd52",
        "run.crashed": "54515dc4a59940838a331ebb83485213",
        "run.ended": "c0e10f79cc2c461a9ccde1843b58af3f",
        "run.failed": "eab26770c98e48199a6d4055fae9f669",
        "run.not_begun": "07df599b061a427893f758d996d0149e",
        "run.recovered": "cc62869753494a3daabe46382a846988",
        "run.not_recovered": "b2ef0f81c1164efd9afb1826f14167ef",
        "run.started": "83c3326c2a424f788aa7d5dcf36dcdfc",
        "run.stuck": "80a48cee550c434da751366410e7d97b",
        "run.took_over": "706c14064834432a91c9d43fcfc3456b",
        "call.answered": "2473de0f26e042d3aa8bd7f51bce1014",
        "call.failed": "367002037c2644b18de81dd03a0825f9",
        "page.stored": "b1691e2b2212488ea02f3001e9083299",
        "record.quarantined": "59b2bfc642d04eb690bdfb21bf3c7699",
        "records.tombstoned": "83f2dc063205420fb724b521407fcef9",
        "pass.unproven": "04c42f396c2d4636ac991692e763fa29",
        "tombstones.withheld": "57db13d37fb34a61bb446ee1a220429e",
        "statistics.not_made": "5ad09ff2df14430bb8d750bd17d3189b",
        "cap.near": "cb069639ee014181ae3c5a16dbcc2ff9",
        "wait.declared": "036d034f1f3943b780f4ef22ffe81d00",
        "breaker.closed": "8bf5e0c7712940f49d11c430e7bf0e22",
        "breaker.opened": "fa0703832c1341608b4cf3b1ee9f6ff6",
        "lease.lost": "d1606700d2a0486cba889a587d752e8d",
        "keeper.failed": "25f01dc3e7054a049883ff2245c297a4",
        "lease.not_renewed": "e1658141d94244dba5ec6517c04ee781",
        "database.came_back": "1303f6134fae458ab0c2826e3f6fa3c3",
        "database.went_away": "3dee18964796481f9e17853bb42698ba",
        "request.failed": "e7747743865e4a338c521280dc458834",
        "control.ledger_away": "126687a4e0df469784848aa9e2dd674e",
        "library.logged": "b024d16013744f52944dd25f89f1574b",
        "notice.dropped": "892791bec8174948a0925477f423f1f9",
        "notice.not_sent": "48bee39b99a34ad6b76bbfd818432e94",
        "presence.not_announced": "ef77abe06a5948168bbef9281c75030e",
        "log.lost": "252129f662ba4b9aa1c993b36957c731",
    }
)
"""128-bit random ids (`systemd-id128 new`) by event: every event of ours has one."""

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_SEND_BUFFER_BYTES = 8 * 1024 * 1024  # as libsystemd asks for; the kernel grants up to net.core.wmem_max
_FULL = (errno.EAGAIN, errno.ENOBUFS)


def stderr_is_journal(environ: Mapping[str, str], descriptor: int = 2) -> bool:
    """$JOURNAL_STREAM is inherited past redirections, so it counts only while the descriptor is that very stream."""
    try:
        facts = os.fstat(descriptor)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{facts.st_dev}:{facts.st_ino}"


def fields_of(facts: Mapping[str, object]) -> dict[str, str]:
    """The facts that have a field of their own. `status` is one only where it is HTTP's, a number."""
    return {
        FIELD_OF[name]: str(value)
        for name, value in facts.items()
        if name in FIELD_OF and value is not None and (name != "status" or isinstance(value, int))
    }


def encode_entry(fields: Mapping[str, str]) -> bytes:
    """What the datagram or the memory file holds."""
    entry = bytearray()
    for name, value in fields.items():
        data = value.encode("utf-8", "backslashreplace")
        if b"\n" in data:
            entry += name.encode("ascii") + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
        else:
            entry += name.encode("ascii") + b"=" + data + b"\n"
    return bytes(entry)


class Journal:
    """The way to journald.

    lost    entries that a full socket refused, since the start
    """

    def __init__(self, identifier: str, path: Path = JOURNAL_SOCKET) -> None:
        self.lost = 0
        self._identifier = identifier
        self._path = path
        self._unsaid = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)

    def send(self, event: str, level: str, message: str, fields: Mapping[str, str]) -> bool:
        """False: nobody listens at the path, so say it elsewhere. An entry that is lost and counted is True."""
        entry = self._entry(event, level, message, fields)
        try:
            self._deliver(entry)
            self._say_lost()
        except OSError as error:
            if error.errno not in _FULL:
                return False
            self.lost += 1
            self._unsaid += 1
        return True

    def close(self) -> None:
        self._socket.close()

    def _entry(self, event: str, level: str, message: str, fields: Mapping[str, str]) -> bytes:
        known = {"MESSAGE_ID": MESSAGE_IDS[event]} if event in MESSAGE_IDS else {}
        own = {"MESSAGE": message, "PRIORITY": str(PRIORITY_OF[level]), "SYSLOG_IDENTIFIER": self._identifier}
        return encode_entry(own | known | dict(fields))

    def _say_lost(self) -> None:
        """After a success, so that there was room; where there is none again the count waits."""
        if not self._unsaid:
            return
        with contextlib.suppress(OSError):
            self._deliver(self._entry("log.lost", "warning", f"log.lost entries={self._unsaid}", {}))
            self._unsaid = 0

    def _deliver(self, entry: bytes) -> None:
        try:
            self._socket.sendto(entry, str(self._path))
        except OSError as error:
            if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):  # ENOBUFS: no memory in one piece
                raise
            self._deliver_file(entry)

    def _deliver_file(self, entry: bytes) -> None:
        descriptor = os.memfd_create("journal-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(entry)
            # journald maps the file: it takes only one that can no longer change under its hands
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", descriptor))
            self._socket.sendmsg([b""], [rights], 0, str(self._path))
        finally:
            os.close(descriptor)
