"""Which PostgreSQL, from any of the ways that people write it down.

`DATABASE_SYNC_URL`, else `DATABASE_URL`, else the five `DB_*`, else `[database] url`; but a place that wins
(settings.py) does so whichever of the names it uses: an exported DATABASE_URL beats a DATABASE_SYNC_URL in a
file, with a warning. Each `DB_*` is looked up on its own, so a password may come from another place.

Invariant: no text made here quotes a connection string or libpq. libpq's own messages hold the password in
most cases (psycopg 3.3.9, November 2026: a `[` host, a space, `%zz`), and a password with a bare @ or / in it
leaks when the rest of it is taken for a host. So hosts, ports and names are judged before anyone connects.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Annotated

from psycopg import Error, pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import AfterValidator, BaseModel, Field, SecretStr

from syncd.runtime.settings.layers import FROZEN, HIDDEN, Found, Layers
from syncd.runtime.settings.sync import Whole, whole

URL_EXPECTED = "postgresql://user:password@host:port/database"
PARTS = {"DB_HOST": "host", "DB_PORT": "port", "DB_USER": "user", "DB_PASS": "password", "DB_NAME": "dbname"}
_PART_EXPECTED = {
    "DB_HOST": "a host's name or address, or the folder of a socket",
    "DB_PORT": "a port, as 5432",
    "DB_USER": "a user's name",
    "DB_PASS": "a password",
    "DB_NAME": "a database's name",
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_SCHEME = re.compile(r"(postgres|postgresql)(\+[a-z0-9_]+)?://", re.IGNORECASE)
_ANY_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]+(%[A-Za-z0-9]+)?|/[^@:]*")
_ENCODE = "write @ : / ? # % and spaces of a user name or password as %40 %3A %2F %3F %23 %25 %20"
_TLS_MODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
_FOREIGN_PARAMETERS = {
    "ssl": "sslmode=require",
    "timeout": "connect_timeout",
    "command_timeout": "options=-cstatement_timeout=…",
    "server_settings": "options=-c…",
    "statement_cache_size": "nothing in its place",
    "prepared_statement_cache_size": "nothing in its place",
    "async_fallback": "nothing in its place",
    "charset": "client_encoding",
    "currentSchema": "the setting DB_SCHEMA",
    "schema": "the setting DB_SCHEMA",
    "pool_size": "the setting DB_POOL_MAX",
    "max_overflow": "the setting DB_POOL_MAX",
    "connection_limit": "the setting DB_POOL_MAX",
}
"""Parameters of other drivers and what to write here instead; the only unknown names that are ever shown."""


NO_DATABASE = (
    f"DATABASE_SYNC_URL: found nothing, also no DATABASE_URL, no {', '.join(PARTS)}, no credential database-url "
    f"and no [database] url; expected {URL_EXPECTED}"
)


def _schema_name(value: str) -> str:
    if value.startswith("pg_") or value == "information_schema":
        raise ValueError("PostgreSQL keeps that name for itself")
    return value


class DatabaseSettings(BaseModel):
    """How to reach PostgreSQL; `conninfo` is ready for psycopg."""

    model_config = FROZEN

    conninfo: SecretStr
    schema_name: Annotated[str, AfterValidator(_schema_name)] = Field(
        default="sync",
        pattern=r"^[a-z_][a-z0-9_]{0,62}$",
        description="a schema's name: a-z, 0-9 and _, no digit first, at most 63 characters",
    )
    pool_max: Whole = whole(10, 1, 1000)

    @property
    def secrets(self) -> list[str]:
        """Every secret text of these settings, for the log's last filter."""
        parts = conninfo_to_dict(self.conninfo.get_secret_value())
        return [str(parts[name]) for name in ("password", "sslpassword") if parts.get(name)]

    @property
    def place(self) -> str:
        """Host, port and database for people, without user and password."""
        parts = conninfo_to_dict(self.conninfo.get_secret_value())
        return f"{parts.get('host') or 'local socket'}:{parts.get('port') or 5432}/{parts.get('dbname') or ''}"


def parse_conninfo(text: str) -> str:
    """A libpq connection string of key=value pairs; ValueError says what is wrong and quotes nothing."""
    text, is_url = text.strip(), _ANY_SCHEME.match(text.strip()) is not None
    if "\x00" in text:
        raise ValueError("a control character")  # libpq would read up to it and take that for the whole
    if is_url:
        scheme = _SCHEME.match(text)
        if scheme is None:
            raise ValueError("a URL of another scheme")
        text = f"postgresql://{text[scheme.end() :]}"
    elif "=" not in text:
        raise ValueError("neither a URL nor key=value pairs")
    # Raised out here: within an except clause the error would carry libpq's text along as its context.
    parts = _split(text)
    if parts is None:
        raise ValueError(_why_refused(text, is_url))
    if why := _why_unusable(parts, is_url):
        raise ValueError(why)
    return make_conninfo("", **parts)


def _split(text: str) -> dict[str, str] | None:
    try:
        return {name: str(value) for name, value in conninfo_to_dict(text).items()}
    except (Error, UnicodeError):
        return None


def _why_refused(text: str, is_url: bool) -> str:
    """What libpq stumbled over, found out without its words."""
    if _CONTROL.search(text):
        return "a control character or bytes that are not UTF-8"
    if not is_url:
        names = re.findall(r"(?:^|\s)([A-Za-z_]+)\s*=", text)
        return _why_parameter(names) or "key=value pairs that libpq cannot read: check quotes, and \\ before ' and \\"
    if re.search(r"\s", text):
        return f"a space: {_ENCODE}"
    if re.search(r"%(?![0-9A-Fa-f]{2})|%00", text):
        return f"a % that is not followed by two hexadecimal digits: {_ENCODE}"
    after_host = text.rpartition("@")[2]
    if after_host.count("[") != after_host.count("]"):
        return "an IPv6 address whose [ ] is not closed"
    names = [pair.partition("=")[0] for pair in after_host.partition("?")[2].split("&") if pair]
    return _why_parameter(names) or f"a URL that libpq cannot read: {_ENCODE}"


def _why_parameter(names: list[str]) -> str:
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    for name in names:
        if name in known:
            continue
        if name in _FOREIGN_PARAMETERS:
            return f"the parameter {name}, which PostgreSQL's libpq does not have: write {_FOREIGN_PARAMETERS[name]}"
        near = difflib.get_close_matches(name, known, n=1)
        return "a parameter that libpq does not have" + (f": did you mean {near[0]}?" if near else "")
    return ""


def _why_unusable(parts: Mapping[str, str], is_url: bool) -> str:
    """What libpq accepts here but would fail on later, quoting it."""
    if any(_CONTROL.search(value) for value in parts.values()):
        return "a control character or bytes that are not UTF-8"
    if not all(_HOST.fullmatch(host) for host in parts.get("host", "").split(",") if host):
        return f"a host with characters that no host has: {_ENCODE}"
    for port in parts.get("port", "").split(","):
        if port and not (re.fullmatch(r"[0-9]{1,5}", port) and 1 <= int(port) <= 65_535):
            return f"a port that is no number from 1 to 65535: {_ENCODE}"
    if is_url and re.search(r"[@:/]", parts.get("dbname", "")):
        return f"a database name with @ : or / in it: {_ENCODE}"
    if parts.get("sslmode", "prefer") not in _TLS_MODES:
        return f"an unknown sslmode: write one of {', '.join(sorted(_TLS_MODES))}"
    return ""


def check_database_table(layers: Layers) -> None:
    """Note every unknown key of [database]."""
    layers.check_keys(
        ("database",),
        {"url", "schema", "pool_max"},
        {"password": "the password within url, or the whole url in the credential database-url"},
    )


def find_database(layers: Layers) -> DatabaseSettings | None:
    """The database that the layers name; None after a problem, or where they name none."""
    found = {}
    if schema := layers.find(option="schema", variable="DB_SCHEMA", keys=[("database", "schema")]):
        found["schema_name"] = schema
    if pool := layers.find(option="pool_max", variable="DB_POOL_MAX", keys=[("database", "pool_max")]):
        found["pool_max"] = pool
    conninfo = _find_conninfo(layers)
    # Built also without a connection string: every problem is to be reported at once.
    settings = layers.build(DatabaseSettings, found, fixed={"conninfo": conninfo or ""})
    return settings if conninfo is not None else None


def _find_conninfo(layers: Layers) -> str | None:
    keys = [("database", "url")]
    first = list(layers.find_all(variable="DATABASE_SYNC_URL", credential="database-url", keys=keys))
    urls = [*first, *layers.find_all(variable="DATABASE_URL")]
    best = min(urls, key=lambda url: url.rank, default=None)
    parts = {name: item for name in PARTS if (item := layers.find(variable=name)) is not None}
    anchors = [parts[name].rank for name in ("DB_HOST", "DB_NAME") if name in parts]
    uses_parts = bool(parts) if best is None else bool(anchors) and min(anchors) < best.rank
    chosen = "DB_HOST, DB_NAME" if uses_parts else best.name if best is not None else ""
    for url in first:
        if url.name == "DATABASE_SYNC_URL" and chosen != url.name:
            layers.warn(f"DATABASE_SYNC_URL {url.where} is not used: {chosen} comes from a place that wins over it")
    if uses_parts:
        return _join_parts(layers, parts)
    if best is None:
        layers.problem(NO_DATABASE)
        return None
    return _judge(layers, best, str(best.value))


def _join_parts(layers: Layers, parts: Mapping[str, Found]) -> str | None:
    if "DB_NAME" not in parts:
        layers.problem(f"DB_NAME: found nothing beside {', '.join(parts)}, expected the database's name")
        return None
    if "DB_PASS" in parts:
        layers.warn_if_open(parts["DB_PASS"])
    values = {PARTS[name]: str(item.value) for name, item in parts.items()}
    for name, item in parts.items():
        if why := _why_unusable({PARTS[name]: values[PARTS[name]]}, is_url=False):
            layers.reject(item, HIDDEN, f"{_PART_EXPECTED[name]} (it is {why.partition(':')[0]})")
            return None
    return make_conninfo("", **values)


def _judge(layers: Layers, url: Found, text: str) -> str | None:
    try:
        conninfo = parse_conninfo(text)
    except ValueError as error:
        layers.reject(url, HIDDEN, f"{URL_EXPECTED} (it is {error})")
        return None
    if "password" in conninfo_to_dict(conninfo):
        layers.warn_if_open(url)
    return conninfo
