"""Who may call: the Host allow-list and the bearer tokens.

A page in somebody's browser can reach loopback through a name of its own (DNS rebinding); it cannot choose
the Host header, so a name that is not on the list is refused.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256

from aiohttp import web
from pydantic import SecretStr

from syncd.http.problem import Problem
from syncd.runtime.settings.sync import SyncSettings

TOKEN_SETTING = "EMAG_SYNC_CONTROL_TOKEN"  # noqa: S105  # the name of the setting
HOSTS_SETTING = "EMAG_SYNC_ALLOWED_HOSTS"


@dataclass(frozen=True, slots=True)
class Access:
    """Who may call. allowed_hosts are names and addresses without ports; loopback: where we are bound."""

    token: SecretStr | None
    previous_token: SecretStr | None
    allowed_hosts: tuple[str, ...]
    loopback: bool


def access_of(sync: SyncSettings, *, loopback: bool) -> Access:
    """As the settings have it. loopback is that of the bound socket: a reload changes the setting, not the socket."""
    return Access(sync.control_token, sync.control_token_previous, tuple(sync.allowed_hosts), loopback)


class Need(Enum):
    """What a route asks of its caller."""

    NOTHING = "probes and metrics: open wherever we are bound"
    READ = "open on loopback, else the token"
    CHANGE = "always the token"


def check_host(request: web.BaseRequest, access: Access) -> None:
    """Raise 421 unless the one Host header names us, and the request's target, too, where it has a host."""
    hosts = request.headers.getall("Host", [])
    named = [*hosts, *_host_of_target(request.raw_path)]
    if len(hosts) != 1 or any(_without_port(host) not in access.allowed_hosts for host in named):
        raise Problem(421, f"this host name is not served here; {HOSTS_SETTING} lists those that are", close=True)


def _host_of_target(target: str) -> list[str]:
    """The host of a target in absolute form (`GET http://host/path`): it outranks the header (RFC 9112, 3.2.2)."""
    scheme, separator, rest = target.partition("://")
    return [re.split("[/?#]", rest, maxsplit=1)[0]] if separator and scheme.isalnum() else []


def _without_port(host: str) -> str:
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() and ":" not in name else host


def check_token(request: web.BaseRequest, access: Access, need: Need) -> None:
    """Raise 401 or 403 unless the caller may do this."""
    if need is Need.NOTHING or (need is Need.READ and may_read(request, access)):
        return
    if access.token is None and access.previous_token is None:
        raise Problem(403, f"no token is configured, so this is refused to everybody: set {TOKEN_SETTING}", close=True)
    if not has_token(request, access):
        given = "Authorization" in request.headers
        challenge = 'Bearer realm="syncd"' + (', error="invalid_token"' if given else "")
        detail = "the bearer token is not right" if given else "this needs the header Authorization: Bearer TOKEN"
        raise Problem(401, detail, headers={"WWW-Authenticate": challenge}, close=True)


def may_read(request: web.BaseRequest, access: Access) -> bool:
    """Whether everything may be shown: to everybody on loopback, elsewhere to who has the token."""
    return access.loopback or has_token(request, access)


def has_token(request: web.BaseRequest, access: Access) -> bool:
    """Whether the caller sent a valid token. Takes as long for a wrong one as for a right one."""
    headers = request.headers.getall("Authorization", [])
    scheme, _, given = (headers[0] if len(headers) == 1 else "").partition(" ")
    digest = sha256(given.strip().encode("utf-8", "surrogateescape")).digest()
    matches = [hmac.compare_digest(digest, _digest(token)) for token in (access.token, access.previous_token)]
    known = [token is not None for token in (access.token, access.previous_token)]
    return scheme.lower() == "bearer" and any(match and there for match, there in zip(matches, known, strict=True))


def _digest(token: SecretStr | None) -> bytes:
    return sha256(token.get_secret_value().encode() if token is not None else b"").digest()
