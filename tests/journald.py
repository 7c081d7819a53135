"""A journald of our own: the datagram socket of its native protocol, and the entries that came there."""

from __future__ import annotations

import array
import fcntl
import os
import re
import select
import socket
import struct
import threading
from pathlib import Path

from syncd.runtime.journal import MESSAGE_IDS


class Journald:
    """A socket at the path, and the entries that came there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(str(path))
        self.files = 0
        self.heard: list[dict[str, str]] = []
        self._closed = threading.Event()
        self._reader: threading.Thread | None = None

    def entry(self) -> dict[str, str]:
        """The next entry; BlockingIOError where there is none."""
        rights = socket.CMSG_SPACE(array.array("i").itemsize)
        data, ancillary, _, _ = self.socket.recvmsg(16 << 20, rights)
        for _, kind, descriptors in ancillary:
            assert kind == socket.SCM_RIGHTS
            data = self._read_sealed(struct.unpack("i", descriptors)[0])
        return decode_entry(data)

    def entries(self) -> list[dict[str, str]]:
        """All that wait."""
        found = []
        try:
            while True:
                found.append(self.entry())
        except BlockingIOError:
            return found

    def close(self) -> None:
        self._closed.set()
        if self._reader is not None:
            self._reader.join()
        self.socket.close()
        self.path.unlink()

    def listen(self) -> None:
        """Take in entries from now on, into `heard`: a real program says more than a socket holds."""
        self._reader = threading.Thread(target=self._listen, name="journald")
        self._reader.start()

    def said(self, event: str) -> list[dict[str, str]]:
        """The entries of this event."""
        return [entry for entry in self.heard if entry.get("MESSAGE_ID") == MESSAGE_IDS[event]]

    def _listen(self) -> None:
        while not self._closed.is_set():
            if select.select([self.socket], [], [], 0.1)[0]:
                self.heard += self.entries()

    def _read_sealed(self, descriptor: int) -> bytes:
        self.files += 1
        try:
            seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
            assert seals == fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
            return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        finally:
            os.close(descriptor)


def decode_entry(data: bytes) -> dict[str, str]:
    """Both forms of a field. A field twice would be a forgery."""
    fields: dict[str, str] = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, has_value, value = line.partition(b"=")
        if not has_value:
            (size,) = struct.unpack("<Q", data[:8])
            value, end, data = data[8 : 8 + size], data[8 + size : 9 + size], data[9 + size :]
            assert end == b"\n"
        assert re.fullmatch(rb"[A-Z][A-Z0-9_]*", name)
        assert name.decode() not in fields
        fields[name.decode()] = value.decode()
    return fields
