"""What the preflight must know of this machine and can ask without anything installed: one finding a line.

    look.py ETC PREFIX DATABASE_URL_FILE LOGIN_GIVEN LOCAL_POSTGRES ACTIVE_UNITS

Runs on the system's Python, standard library only. No text here quotes a connection string.
"""

from __future__ import annotations

import re
import shutil
import socket
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LEAST_FREE_BYTES = 600 * 1024 * 1024
"""A release takes about 150 MiB, and three are kept."""
PORTS = {"syncd": ("control", 8000), "sync-monitor": ("metrics", 9108)}


def main() -> None:
    etc, prefix, url_file, login_given, local_postgres, active = sys.argv[1:]
    document, problems = read_settings(Path(etc, "syncd.toml"))
    env = read_env(Path(etc, "syncd.env"))
    findings = [
        *problems,
        *look_at_disk(Path(prefix)),
        *look_at_ports(document, env, active.split()),
        *look_at_login(Path(etc, "credentials"), env, login_given == "yes"),
        *look_at_database(find_url(Path(etc), document, env, url_file), local_postgres == "yes", env),
    ]
    print("\n".join(findings))


def read_settings(path: Path) -> tuple[dict[str, Any], list[str]]:
    try:
        return tomllib.loads(path.read_text("utf-8")), []
    except FileNotFoundError:
        return {}, []
    except (ValueError, OSError) as error:
        return {}, [f"{path} cannot be read: {error}"]


def read_env(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return {}
    pairs = [re.fullmatch(r"(?:export\s+)?(\w+)=(.*)", line.strip()) for line in lines]
    return {match[1]: match[2].strip("'\"") for match in pairs if match}


def look_at_disk(prefix: Path) -> Iterator[str]:
    there = next(path for path in (prefix, *prefix.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < LEAST_FREE_BYTES:
        yield f"disk: {free >> 20} MiB free at {there}, {LEAST_FREE_BYTES >> 20} MiB needed"


def look_at_ports(document: dict[str, Any], env: dict[str, str], active: list[str]) -> Iterator[str]:
    """A port that our own running unit holds is as it should be."""
    sync = document.get("sync", {})
    for unit, (name, default) in PORTS.items():
        port = env.get(f"EMAG_SYNC_{name.upper()}_PORT") or sync.get(f"{name}_port", default)
        address = env.get(f"EMAG_SYNC_{name.upper()}_ADDRESS") or sync.get(f"{name}_address", "127.0.0.1")
        if f"{unit}.service" in active or not str(port).isdigit() or int(port) == 0:
            continue
        try:
            family, kind, protocol, _, where = socket.getaddrinfo(address, int(port), type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind, protocol) as taken:
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                taken.bind(where)
        except OSError as error:
            hint = "the Graphite exporter uses it, too; " if int(port) == 9108 else ""
            hint += f"EMAG_SYNC_{name.upper()}_PORT changes it"
            yield f"port {port} of {unit} at {address}: {error.strerror} ({hint})"


def look_at_login(credentials: Path, env: dict[str, str], given: bool) -> Iterator[str]:
    in_env = any(env.get(f"EMAG_{fbe}API_PASSWORD") for fbe in ("", "FBE_"))
    if not (given or in_env or list(credentials.glob("emag-*-password"))):
        yield f"no login of the marketplace: --username and --password-file, or {credentials}/emag-main-password"


def find_url(etc: Path, document: dict[str, Any], env: dict[str, str], url_file: str) -> str:
    for path in (Path(url_file) if url_file else None, etc / "credentials/database-url"):
        try:
            if path is not None and (text := path.read_text("utf-8").strip()):
                return text
        except (OSError, ValueError):
            continue
    named = env.get("DATABASE_SYNC_URL") or env.get("DATABASE_URL") or document.get("database", {}).get("url", "")
    return str(named)


def look_at_database(url: str, local_postgres: bool, env: dict[str, str]) -> Iterator[str]:
    """Whether somebody listens there; who may log in, and the encoding, need more than Python alone."""
    if not url and "DB_HOST" not in env:
        if not local_postgres:
            yield "no database: --local-postgres sets one up, --database-url-file names one"
        return
    if local_postgres and re.match(r"postgres\w*:///", url):
        return
    for host, port in places(url, env):
        try:
            if host.startswith("/"):
                with socket.socket(socket.AF_UNIX) as door:
                    door.settimeout(5)
                    door.connect(f"{host}/.s.PGSQL.{port}")
            else:
                socket.create_connection((host, int(port)), timeout=5).close()
        except (OSError, ValueError) as error:
            yield f"PostgreSQL at {host}:{port}: {error}"
        else:
            return


def places(url: str, env: dict[str, str]) -> list[tuple[str, str]]:
    """Host and port, the first of several that a URL may name."""
    default = ("/var/run/postgresql", "5432")
    if not url:
        return [(env["DB_HOST"], env.get("DB_PORT", "5432"))]
    if "://" not in url:
        pairs = dict(re.findall(r"(\w+)\s*=\s*'?([^\s']*)", url))
        return [(pairs.get("host") or default[0], pairs.get("port") or default[1])]
    parts = urlsplit(url)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    host, _, port = parts.netloc.rpartition("@")[2].split(",")[0].partition(":")
    if parts.netloc.rpartition("@")[2].startswith("["):
        host, port = parts.hostname or "", str(parts.port or "")
    return [(unquote(host) or query.get("host", default[0]), port or query.get("port", default[1]))]


main()
