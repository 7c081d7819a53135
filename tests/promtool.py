"""Prometheus's own programs, where they are installed (Debian: package prometheus)."""

from __future__ import annotations

import shutil
import subprocess

import pytest


def needs(name: str) -> str:
    """Where the program is; the test is skipped where it is missing."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (Debian: apt install prometheus)")
    return path


def check_metrics(text: bytes | str) -> None:
    """`promtool check metrics` finds nothing to say."""
    data = text.encode() if isinstance(text, str) else text
    done = subprocess.run([needs("promtool"), "check", "metrics"], input=data, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
