"""Whether both ports answer: /readyz of each, and metrics that the ledger fed. Exit 1 says which does not.

    ports.py ETC SECONDS

Runs on the system's Python, standard library only.
"""

from __future__ import annotations

import re
import sys
import time
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

UP = re.compile(r"^emag_sync_up 1(\.0)?$", re.MULTILINE)


def main() -> None:
    etc, seconds = sys.argv[1:]
    daemon, monitor = (base_url(Path(etc), name, port) for name, port in (("control", 8000), ("metrics", 9108)))
    deadline = time.monotonic() + float(seconds)
    for url, wanted in ((f"{daemon}/readyz", None), (f"{monitor}/readyz", None), (f"{monitor}/metrics", UP)):
        while (why := fault(url, wanted)) is not None:
            if time.monotonic() > deadline:
                sys.exit(f"{url}: {why}")
            time.sleep(0.2)


def base_url(etc: Path, name: str, default: int) -> str:
    """Where a port listens, by the files that the services read."""
    settings = {f"{name}_port": str(default), f"{name}_address": "127.0.0.1"}
    if (etc / "syncd.toml").exists():
        settings |= {
            key: str(value) for key, value in tomllib.loads((etc / "syncd.toml").read_text()).get("sync", {}).items()
        }
    if (etc / "syncd.env").exists():
        pairs = re.findall(
            r"^(?:export\s+)?EMAG_SYNC_(\w+)=['\"]?([^'\"\n]*)", (etc / "syncd.env").read_text(), re.MULTILINE
        )
        settings |= {key.lower(): value for key, value in pairs}
    address = settings[f"{name}_address"].replace("0.0.0.0", "127.0.0.1")  # noqa: S104  # asked from here
    address = {"::": "[::1]"}.get(address, f"[{address}]" if ":" in address else address)
    return f"http://{address}:{settings[f'{name}_port']}"


def fault(url: str, wanted: re.Pattern[str] | None) -> str | None:
    """What is wrong there; None where it answers as it should."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  # our own ports
            text = answer.read().decode()
    except (OSError, urllib.error.URLError) as error:
        return str(error)
    return None if wanted is None or wanted.search(text) else f"it lacks {wanted.pattern}"


main()
