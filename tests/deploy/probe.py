"""What a process may do in the unit that it runs in: prints JSON, one fact a line of the dictionary.

Runs on the system's Python, in a copy of syncd.service or sync-monitor.service whose ExecStart it is.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import socket
from collections.abc import Callable


def tried(action: Callable[[], object]) -> str:
    """`done`, or the name of the error that it ended with."""
    try:
        action()
    except OSError as error:
        return type(error).__name__ if error.errno is None else os.strerror(error.errno)
    return "done"


def write(path: str) -> None:
    with open(path, "w") as file:
        file.write("x")
    os.unlink(path)


def call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def connect(host: str) -> None:
    """Datagrams: no answer is needed to see that the kernel lets one go."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.sendto(b"x", (host, 9))


def status(name: str) -> str:
    with open("/proc/self/status") as file:
        return next(line.split()[1] for line in file if line.startswith(f"{name}:"))


CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x00020000
print(
    json.dumps(
        {
            "user": os.getuid() != 0,
            "state": tried(lambda: write(f"{os.environ.get('STATE_DIRECTORY', '/nowhere')}/x")),
            "etc": tried(lambda: write("/etc/x")),
            "opt": tried(lambda: write("/opt/syncd/x")),
            "usr": tried(lambda: write("/usr/local/bin/x")),
            "open_to_all": tried(lambda: write("/var/lib/open-to-all/x")),
            "home": tried(lambda: os.listdir("/home")),
            "config": tried(lambda: open("/etc/syncd/syncd.toml").read()),  # noqa: SIM115
            "shadow": tried(lambda: open("/etc/shadow").read()),  # noqa: SIM115
            "disk": tried(lambda: os.mknod("/tmp/disk", 0o060600, os.makedev(8, 0))),
            "namespace": tried(lambda: call("unshare", CLONE_NEWUSER)),
            "mount": tried(lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None)),
            "kernel_log": tried(lambda: call("klogctl", 3, ctypes.create_string_buffer(16), 16)),
            "clock": tried(lambda: call("adjtimex", ctypes.create_string_buffer(b"\1" + bytes(511), 512))),
            "root": tried(lambda: os.setuid(0)),
            "code": tried(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)),
            "raw_socket": tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)),
            "netlink": tried(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
            "packet": tried(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
            "loopback": tried(lambda: connect("127.0.0.1")),
            "elsewhere": tried(lambda: connect("192.0.2.1")),
            "others": [pid for pid in os.listdir("/proc") if pid.isdigit() and os.stat(f"/proc/{pid}").st_uid == 0],
            "capabilities": int(status("CapBnd"), 16),
            "no_new_privileges": status("NoNewPrivs"),
            "seccomp": status("Seccomp"),
        }
    )
)
