"""Which hosts are this machine: a token and plain http depend on it."""

from __future__ import annotations

import pytest

from syncd.runtime.loopback import is_loopback


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.255.255.254", "::1", "[::1]", "0:0:0:0:0:0:0:1"])
def test_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["", "192.0.2.1", "::", "::2", "[::]", "127.0.0.1.example", "localhost.example", "127.1", "::1%lo"],
)
def test_others(host: str) -> None:
    assert not is_loopback(host)
