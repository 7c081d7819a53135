"""Whether both ports answer: /readyz of each, and metrics that the ledger fed. Exit 1 says which does not.

    ports.py ETC SECONDS

Runs on the system's Python, standard library only.
"""

from __future__ import annotations

import re
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # -I leaves it out
from settings import read_document, read_env, read_unit, sync_setting

UP = re.compile(r"^emag_sync_up 1(\.0)?$", re.MULTILINE)


def main() -> None:
    etc, seconds = sys.argv[1:]
    daemon = place_of(Path(etc), "syncd.service", "control", "8000")
    monitor = place_of(Path(etc), "sync-monitor.service", "metrics", "9108")
    deadline = time.monotonic() + float(seconds)
    for (base, host), path, wanted in (
        (daemon, "readyz", None),
        (monitor, "readyz", None),
        (monitor, "metrics", UP),
    ):
        while (why := fault(f"{base}/{path}", host, wanted)) is not None:
            if time.monotonic() > deadline:
                sys.exit(f"{base}/{path}: {why}")
            time.sleep(0.2)


def place_of(etc: Path, unit: str, name: str, default: str) -> tuple[str, str]:
    """Where a port listens, by what the services read; and a host name that is answered there, '' for its own."""
    document, env = read_document(etc)[0], read_env(etc) | read_unit(unit)
    address = sync_setting(document, env, f"{name}_address", "127.0.0.1")
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104  # asked from here
    hosts = sync_setting(document, env, "allowed_hosts", "").replace(" ", "").split(",")
    asked = f"[{address}]" if ":" in address else address
    port = sync_setting(document, env, f"{name}_port", default)
    return f"http://{asked}:{port}", "" if address in hosts else hosts[0]


def fault(url: str, host: str, wanted: re.Pattern[str] | None) -> str | None:
    """What is wrong there; None where it answers as it should."""
    try:
        request = urllib.request.Request(url, headers={"Host": host} if host else {})  # noqa: S310  # our own ports
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            text = answer.read().decode()
    except (OSError, ValueError, urllib.error.URLError) as error:
        return str(error)
    return None if wanted is None or wanted.search(text) else f"it lacks {wanted.pattern}"


main()
