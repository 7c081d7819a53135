"""Which hosts are this machine and nothing else."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """A literal loopback address, IPv6 with its brackets or without, or the name `localhost`; no other name, whatever
    it resolves to."""
    if host == "localhost":
        return True
    try:
        if ":" in host:
            return ipaddress.IPv6Address(host.removeprefix("[").removesuffix("]")) == ipaddress.IPv6Address("::1")
        return ipaddress.IPv4Address(host) in ipaddress.IPv4Network("127.0.0.0/8")
    except ValueError:
        return False
