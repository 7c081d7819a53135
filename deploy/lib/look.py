"""What the preflight must know of this machine and can ask without anything installed: one finding a line.

    look.py ETC PREFIX DATABASE_URL_FILE GIVEN LOCAL_POSTGRES ACTIVE_UNITS
    look.py ETC                        prints how the database is named there: nothing, `local` or `other`

GIVEN is which halves of a login the command line brings: username, password, both, neither.
Runs on the system's Python, standard library only. No text here quotes a connection string.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

sys.path.insert(0, str(Path(__file__).parent))  # -I leaves it out
from settings import read_document, read_env, read_unit, sync_setting

LEAST_FREE_BYTES = 600 * 1024 * 1024
"""A release takes about 150 MiB, and three are kept."""
PORTS = {"syncd": ("control", 8000), "sync-monitor": ("metrics", 9108)}
DROP_INS = Path("/etc/systemd/system/sync-monitor.service.d")
LOCAL = re.compile(r"postgres\w*(\+\w+)?:///[^?]*")
HOST = re.compile(r"[A-Za-z0-9._:%-]+|/[^@:]*")


def main() -> None:
    etc, prefix, url_file, given, local_postgres, active = sys.argv[1:]
    document, problems = read_document(Path(etc))
    env = read_env(Path(etc))
    url = find_url(Path(etc), document, env, url_file)
    findings = [
        *problems,
        *look_at_disk(Path(prefix)),
        *look_at_ports(document, env, active.split()),
        *look_at_login(Path(etc, "credentials"), document, env, given.split()),
        *look_at_database(url, local_postgres == "yes", env),
    ]
    print("\n".join(findings))


def look_at_disk(prefix: Path) -> Iterator[str]:
    there = next(path for path in (prefix, *prefix.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < LEAST_FREE_BYTES:
        yield f"disk: {free >> 20} MiB free at {there}, {LEAST_FREE_BYTES >> 20} MiB needed"


def look_at_ports(document: dict[str, Any], env: dict[str, str], active: list[str]) -> Iterator[str]:
    """A port that our own running unit holds is as it should be."""
    for unit, (name, default) in PORTS.items():
        own = env | read_unit(f"{unit}.service")
        port = sync_setting(document, own, f"{name}_port", str(default))
        address = sync_setting(document, own, f"{name}_address", "127.0.0.1")
        if f"{unit}.service" in active or not port.isdigit() or int(port) == 0:
            continue
        try:
            family, kind, protocol, _, where = socket.getaddrinfo(address, int(port), type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind, protocol) as taken:
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                taken.bind(where)
        except (OSError, OverflowError) as error:
            hint = "the Graphite exporter uses it, too; " if int(port) == 9108 else ""
            hint += f"EMAG_SYNC_{name.upper()}_PORT changes it"
            why = error.strerror if isinstance(error, OSError) else error
            yield f"port {port} of {unit} at {address}: {why} ({hint})"


def look_at_login(credentials: Path, document: dict[str, Any], env: dict[str, str], given: list[str]) -> Iterator[str]:
    """A half of a login is none: the daemon would refuse to start."""
    halves = {
        half: half in given
        or any(env.get(f"EMAG_{fbe}API_{half.upper()}") for fbe in ("", "FBE_"))
        or any(path.is_file() and path.stat().st_size > 0 for path in credentials.glob(f"emag-*-{half}"))
        for half in ("username", "password")
    }
    accounts = document.get("accounts", {})
    tables = accounts.get("emag", {}) if isinstance(accounts, dict) else {}
    if isinstance(tables, dict):
        halves["username"] |= any(isinstance(table, dict) and table.get("username") for table in tables.values())
    if not halves["password"]:
        yield f"no login of the marketplace: --username and --password-file, or {credentials}/emag-main-password"
    elif not halves["username"]:
        yield f"a password of the marketplace and no username: --username, or {credentials}/emag-main-username"


def find_url(etc: Path, document: dict[str, Any], env: dict[str, str], url_file: str) -> str:
    for path in (Path(url_file) if url_file else None, etc / "credentials/database-url"):
        try:
            if path is not None and (text := path.read_text("utf-8").strip()):
                return text
        except (OSError, ValueError):
            continue
    table = document.get("database", {})
    in_file = table.get("url", "") if isinstance(table, dict) else ""
    return env.get("DATABASE_SYNC_URL") or env.get("DATABASE_URL") or str(in_file)


def look_at_database(url: str, local_postgres: bool, env: dict[str, str]) -> Iterator[str]:
    """Whether somebody listens there, and, where psql and a login are there, the encoding."""
    if not url and "DB_HOST" not in env:
        if not local_postgres:
            yield "no database: --local-postgres sets one up, --database-url-file names one"
        return
    if local_postgres and LOCAL.fullmatch(url):
        return
    places = find_places(url, env)
    if any(not HOST.fullmatch(host) or not port.isdigit() for host, port in places):
        yield "the database's URL names no usable host and port; write @ : / of a user or password as %40 %3A %2F"
        return
    faults = [f"PostgreSQL at {host}:{port}: {error}" for host, port in places if (error := cannot_reach(host, port))]
    yield from faults if len(faults) == len(places) else look_further(url, places)


def cannot_reach(host: str, port: str) -> OSError | ValueError | None:
    try:
        if host.startswith("/"):
            with socket.socket(socket.AF_UNIX) as door:
                door.settimeout(5)
                door.connect(f"{host}/.s.PGSQL.{port}")
        else:
            socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError, OverflowError) as error:
        return error if isinstance(error, OSError | ValueError) else ValueError(str(error))
    return None


def look_further(url: str, places: list[tuple[str, str]]) -> Iterator[str]:
    far = sorted({host for host, _ in places if not host.startswith("/") and not is_loopback(host)})
    opened = any("IPAddressAllow=" in path.read_text("utf-8", "replace") for path in DROP_INS.glob("*.conf"))
    if far and not opened:
        yield (
            f"the database is at {', '.join(far)}, and the monitor may talk to this machine only: first the drop-in "
            "deploy/systemd/drop-ins/remote-database.conf, whose head says how"
        )
    if (encoding := find_encoding(url, *places[0])) not in ("", "UTF8"):
        yield f"the database's encoding is {encoding}, expected UTF8"


def is_loopback(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host, None)
        return all(ipaddress.ip_address(str(where[0]).partition("%")[0]).is_loopback for *_, where in found)
    except (OSError, ValueError):
        return False


def find_encoding(url: str, host: str, port: str) -> str:
    """As psql is told, '' where it cannot ask. By its environment: command lines are there for everybody to read."""
    psql, parts = (
        shutil.which("psql"),
        re.fullmatch(r"[^:]+://(?:([^@/:]*)(?::([^@/]*))?@)?[^/?]*/?([^?]*)(\?.*)?", url),
    )
    if psql is None or parts is None:
        return ""
    query = {name: values[-1] for name, values in parse_qs((parts[4] or "?")[1:]).items()}
    named = {
        "PGUSER": parts[1] or query.get("user"),
        "PGPASSWORD": parts[2] or query.get("password"),
        "PGDATABASE": parts[3] or query.get("dbname"),
        "PGSSLMODE": query.get("sslmode"),
        "PGSSLROOTCERT": query.get("sslrootcert"),
    }
    login = {name: unquote(value) for name, value in named.items() if value}
    environ = {"PATH": os.defpath, "HOME": "/nonexistent", "PGCONNECT_TIMEOUT": "5", "PGHOST": host, "PGPORT": port}
    for user in ("syncd", "nobody"):
        try:
            asked = subprocess.run(
                [psql, "-XAtw", "-c", "SHOW server_encoding"], env=environ | login, user=user, extra_groups=[],
                cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=15, check=False,
            )  # fmt: skip
        except (KeyError, OSError, ValueError, subprocess.SubprocessError):
            continue  # before the first installation there is no user syncd
        return asked.stdout.strip() if asked.returncode == 0 else ""
    return ""


def find_places(url: str, env: dict[str, str]) -> list[tuple[str, str]]:
    """Host and port, all that a URL names; cut as libpq cuts it: # and ? may stand in a password."""
    default = ("/var/run/postgresql", "5432")
    if not url:
        return [(env["DB_HOST"], env.get("DB_PORT") or default[1])]
    if "://" not in url:
        pairs = dict(re.findall(r"(\w+)\s*=\s*'?([^\s']*)", url))
        return [(pairs.get("host") or default[0], pairs.get("port") or default[1])]
    rest = re.sub(r"^[^@/]*@", "", url.partition("://")[2])
    places, _, asked = rest.partition("?")
    query = {name: values[-1] for name, values in parse_qs(asked).items()}
    found = []
    for place in places.partition("/")[0].split(","):
        host, port = re.fullmatch(r"(\[[^]]*\]|[^:]*):?(.*)", place, re.DOTALL).groups()  # type: ignore[union-attr]
        host = unquote(host).strip("[]") or query.get("host", default[0])
        found.append((host, port or query.get("port", default[1])))
    return found


def how_named(etc: Path) -> str:
    """`local`: over the socket, by the service's own login."""
    env = read_env(etc)
    url = find_url(etc, read_document(etc)[0], env, "")
    if not url and "DB_HOST" not in env:
        return ""
    return "local" if LOCAL.fullmatch(url) else "other"


if len(sys.argv) == 2:
    print(how_named(Path(sys.argv[1])))
else:
    main()
