"""The accounts: who logs in where, and what each may do.

An account is configured when it has a user name, a password or a table in the TOML file. `EMAG_API_*` is the
account main, `EMAG_FBE_API_*` is fbe; others stand in the file, with their password in a credential. An
account without a base URL of its own uses EMAG_API_BASE_URL.

The base URL decides where a password travels. So it is matched against a narrow pattern: what passes has one
reading only, for us and for the HTTP client, and plain http goes to loopback and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, SecretStr, ValidationInfo, field_validator

from syncd.contract.words import ACCOUNT_NAME
from syncd.runtime.loopback import is_loopback
from syncd.runtime.settings.layers import FROZEN, Found, Layers
from syncd.runtime.settings.sync import PROCESS_WIDE, Number, SyncSettings, Words, find_sync
from syncd.runtime.settings.text import shown, toml_name

DEFAULT_BASE_URL = "https://marketplace-api.emag.ro/api-3"
CALLS_PER_SECOND = 3.0
SOURCES = ("emag",)
VOLATILE_KEYS = ("buy_button_rank", "number_of_offers", "best_offer_sale_price", "best_offer_recommended_price")

_PREFIXES = {"main": "EMAG_API_", "fbe": "EMAG_FBE_API_"}
_CURRENCIES = {"ro": "RON", "bg": "EUR", "hu": "HUF"}  # Bulgaria pays in euro since January 2026
_BASE_URL = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:.]+\])"
    r"(:(?P<port>[0-9]{1,5}))?(?P<path>(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*)/*"
)
_MAX_URL_CHARACTERS = 500
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def parse_base_url(text: str) -> str:
    """The URL in its one form, no trailing slash; ValueError says why not and quotes nothing."""
    scheme, separator, rest = text.partition("://")
    host, slash, path = rest.partition("/")
    # Judged before lower(): that turns some letters outside ASCII into ASCII ones.
    is_plain = text.isascii() and len(text) <= _MAX_URL_CHARACTERS
    match = _BASE_URL.fullmatch(f"{scheme.lower()}{separator}{host.lower()}{slash}{path}") if is_plain else None
    if match is None:
        raise ValueError("no user, query, fragment, space or unusual character may stand in it")
    if match["port"] is not None and not 1 <= int(match["port"]) <= 65_535:
        raise ValueError("its port is no number from 1 to 65535")
    if match["scheme"] == "http" and not is_loopback(match["host"]):
        raise ValueError("plain http is for 127.0.0.0/8, [::1] and localhost only")
    return match[0].rstrip("/")


def _host_of(base_url: str) -> str:
    match = _BASE_URL.fullmatch(base_url)
    return match["host"] if match else ""


def _credential_text(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError("it has a control character or a line break")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("it is not UTF-8") from None
    return value


def _user_name(value: str) -> str:
    if ":" in value:
        raise ValueError("Basic authentication allows no colon in it")
    return _credential_text(value)


def _password(value: SecretStr) -> SecretStr:
    _credential_text(value.get_secret_value())
    return value


class AccountSettings(BaseModel):
    """One login on one host. Basic authentication sends both halves as UTF-8."""

    model_config = FROZEN

    source: str = "emag"
    name: str
    base_url: Annotated[str, AfterValidator(parse_base_url)] = Field(
        default=DEFAULT_BASE_URL, description="https://host/path, or http://127.0.0.1:port"
    )
    username: Annotated[str, AfterValidator(_user_name)] = Field(
        min_length=1, repr=False, description="the account's user name, as text"
    )
    password: Annotated[SecretStr, AfterValidator(_password)] = Field(description="the account's password")
    currency: str | None = Field(
        default=None, pattern=r"^[A-Z]{3}$", validate_default=True, description="three capital letters, as RON"
    )
    paging: Literal["top", "data"] = Field(default="top", description='"top" or "data"')
    count: Literal["trust", "ignore"] = Field(default="trust", description='"trust" or "ignore"')
    calls_per_second: Number = Field(
        default=CALLS_PER_SECOND,
        gt=0,
        le=100_000,
        description="a number above 0, at most 3; more for loopback URLs only",
    )
    ignore_changes: Words = Field(default=VOLATILE_KEYS, description="a list of the offers' top-level keys")
    sync: SyncSettings = SyncSettings()

    @property
    def host(self) -> str:
        """Name or address in the base URL, without the port; the ledger pins it. IPv6 keeps its brackets."""
        return _host_of(self.base_url)

    @field_validator("currency")
    @classmethod
    def _default_currency(cls, value: str | None, info: ValidationInfo) -> str | None:
        return value or _CURRENCIES.get(_host_of(info.data.get("base_url", "")).rpartition(".")[2])

    @field_validator("calls_per_second")
    @classmethod
    def _marketplace_limit(cls, value: float, info: ValidationInfo) -> float:
        host = _host_of(info.data.get("base_url", ""))
        if value > CALLS_PER_SECOND and host and not is_loopback(host):
            raise ValueError
        return value


ACCOUNT_KEYS = frozenset(AccountSettings.model_fields) - {"source", "name", "password", "sync"}


def check_account_tables(layers: Layers) -> None:
    """Names and keys of every [accounts.SOURCE.NAME]."""
    layers.check_keys(("accounts",), SOURCES, {"main": "[accounts.emag.main]", "fbe": "[accounts.emag.fbe]"})
    known = ACCOUNT_KEYS | SyncSettings.model_fields.keys()
    for source in SOURCES:
        layers.check_keys(("accounts", source), layers.table(("accounts", source)).keys())
        for name in layers.table(("accounts", source)):
            path = ("accounts", source, name)
            if not ACCOUNT_NAME.fullmatch(name):
                layers.problem(
                    f"[accounts.{source}]: found the name {shown(name)} in {layers.config_path}, "
                    "expected 1 to 40 characters of a-z, 0-9, _ and -"
                )
            layers.check_keys(path, known, {"password": f"the password in the credential {source}-{name}-password"})
            for key in PROCESS_WIDE & layers.table(path).keys():
                layers.warn(f"{toml_name(*path, key)}: has no effect for one account; write it under [sync]")


def find_accounts(layers: Layers) -> tuple[AccountSettings, ...]:
    """Every usable account, main first, then fbe, then in the file's order; the others become problems."""
    accounts = []
    names = dict.fromkeys([*_PREFIXES, *layers.table(("accounts", "emag"))])
    for name in names:
        if ACCOUNT_NAME.fullmatch(name):
            account = _find_account(layers, "emag", name)
            accounts += [account] if account else []
    _warn_of_stray_credentials(layers, names)
    return tuple(accounts)


def is_any_configured(layers: Layers) -> bool:
    """Whether there is a trace of an account, usable or not."""
    return bool(layers.table(("accounts", "emag"))) or any(
        _find_login(layers, "emag", name, half) for name in _PREFIXES for half in ("username", "password")
    )


def _find_login(layers: Layers, source: str, name: str, half: str) -> Found | None:
    prefix = _PREFIXES.get(name)
    return layers.find(
        variable=f"{prefix}{half.upper()}" if prefix else "",
        credential=f"{source}-{name}-{half}",
        keys=[("accounts", source, name, half)] if half == "username" else [],
    )


def _find_account(layers: Layers, source: str, name: str) -> AccountSettings | None:
    path = ("accounts", source, name)
    login = {half: _find_login(layers, source, name, half) for half in ("username", "password")}
    if not any(login.values()) and name not in layers.table(path[:-1]):
        return None
    found = {half: item for half, item in login.items() if item is not None}
    missing = [half for half, item in login.items() if item is None]
    for half in missing:
        layers.problem(_missing(layers, source, name, half))
    for key in ACCOUNT_KEYS - {"username", "base_url"}:
        if item := layers.find(keys=[(*path, key)]):
            found[key] = item
    if url := _find_base_url(layers, path):
        found["base_url"] = url
    sync = find_sync(layers, path)
    # Built also with a half missing: every problem is to be reported at once.
    fixed = {"source": source, "name": name, "sync": sync or SyncSettings(), **dict.fromkeys(missing, "missing")}
    account = layers.build(AccountSettings, found, fixed=fixed, hidden={"username", "base_url"})
    return account if sync and not missing else None


def _find_base_url(layers: Layers, path: tuple[str, ...]) -> Found | None:
    prefix = _PREFIXES.get(path[-1])
    own = layers.find(variable=f"{prefix}BASE_URL" if prefix else "", keys=[(*path, "base_url")])
    return own or layers.find(variable="EMAG_API_BASE_URL")


def _missing(layers: Layers, source: str, name: str, half: str) -> str:
    prefix, word = _PREFIXES.get(name), "user name" if half == "username" else "password"
    path = layers.credentials / f"{source}-{name}-{half}"
    places = [f"the variable {prefix}{half.upper()}"] if prefix else []
    places += [toml_name("accounts", source, name, half)] if half == "username" else []
    title = f"{prefix}{half.upper()}" if prefix else f"credential {path.name}"
    where = " or ".join([*places, f"the file {path}"])
    return f"{title}: found nothing, expected the {word} of account {source}/{name} in {where}"


def _warn_of_stray_credentials(layers: Layers, names: Mapping[str, None]) -> None:
    try:
        files = sorted(path.name for path in layers.credentials.iterdir())
    except OSError:
        return
    for file in files:
        match = re.fullmatch(r"emag-([a-z0-9_-]{1,40})-(?:username|password)", file)
        if match and match[1] not in names:
            layers.warn(f"credential {file}: belongs to no account; expected a table [accounts.emag.{match[1]}]")
