"""What every command of ours does alike: who gave it, and how facts are printed for machines."""

from __future__ import annotations

import getpass
import json
import os
import socket
import sys
from datetime import datetime
from uuid import UUID


def initiator() -> str:
    """Who gave this command, for the ledger: `cli:user@host`."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # no such user in this container
        user = str(os.getuid())
    return f"cli:{user}@{socket.gethostname()}"


def print_json(facts: object) -> None:
    """One JSON document on standard output."""
    json.dump(facts, sys.stdout, default=_encode, ensure_ascii=False, indent=2)
    sys.stdout.write("\n")


def _encode(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(type(value).__name__)
