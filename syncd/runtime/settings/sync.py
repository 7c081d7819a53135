"""What a sync and its watch may do: every `EMAG_SYNC_*` variable, which is every key of `[sync]`.

A field's description says what is expected of it, in the words that a problem shows. An account may set any
of them for itself in the TOML file; command line and environment still win over that.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, SecretStr, ValidationInfo, field_validator

from syncd.runtime.settings.layers import FROZEN, Found, Layers
from syncd.runtime.settings.text import did_you_mean

PREFIX = "EMAG_SYNC_"
LEASE_SECONDS_ADVISED = 30
TOKEN_CHARACTERS_ADVISED = 16
_INT32 = 2**31 - 1
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f.]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*")


def _whole(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", value):
        return int(value)
    raise ValueError


def _number(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?[0-9]{1,18}(\.[0-9]{0,18})?\s*", value):
        return float(value)
    raise ValueError


def _switch(value: object) -> bool:
    if isinstance(value, bool):
        return value
    known = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if str(value).strip().lower() not in known:
        raise ValueError
    return known[str(value).strip().lower()]


def _words(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _web_url(value: object) -> object:
    if not isinstance(value, str) or not re.fullmatch(r"https?://[^\s/?#]+[!-~]*", value):
        raise ValueError
    return value


def _token(value: object) -> object:
    if not isinstance(value, str) or not re.fullmatch(r"[!-~]+", value):
        raise ValueError
    return value


def _address(value: object) -> object:
    if not isinstance(value, str) or not _HOST.fullmatch(value):
        raise ValueError
    return value


Whole = Annotated[int, BeforeValidator(_whole)]
Number = Annotated[float, BeforeValidator(_number)]
Switch = Annotated[bool, BeforeValidator(_switch)]
Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
WebUrl = Annotated[SecretStr | None, BeforeValidator(_web_url)]
Token = Annotated[SecretStr | None, BeforeValidator(_token)]
Address = Annotated[str, BeforeValidator(_address)]

SWITCH_EXPECTED = "true or false (1/0, yes/no, on/off)"


def whole(default: int, low: int, high: int = _INT32) -> Any:
    """A field for whole numbers from `low` to `high`."""
    limits = f"a whole number from {low} to {high}" if high < _INT32 else f"a whole number, at least {low}"
    return Field(default=default, ge=low, le=high, description=limits)


def _above_zero(default: float, high: float) -> Any:
    return Field(default=default, gt=0, le=high, allow_inf_nan=False, description=f"a number above 0, at most {high:g}")


class _Switches(BaseModel):
    model_config = FROZEN

    disable_auto_sync: Switch = Field(default=False, description=SWITCH_EXPECTED)


class SyncSettings(BaseModel):
    """The [sync] table; where it belongs to an account, with that account's own values in it."""

    model_config = FROZEN

    max_pages: Whole = whole(100, 1)
    max_requests: Whole = whole(500, 4)
    timeout_hours: Number = _above_zero(2.0, 8760)
    items_per_page: Whole = whole(100, 1, 100)
    batch_size: Whole = whole(1000, 1, 1_000_000)
    concurrency: Whole = whole(5, 1, 32)
    request_timeout_seconds: Number = _above_zero(30.0, 3600)
    max_attempts: Whole = whole(5, 1, 100)
    request_delay: Number = Field(default=0.0, ge=0, le=3600, description="seconds, a number from 0 to 3600")
    progress_interval: Whole = whole(10, 0)
    interval_seconds: Whole = whole(600, 0)
    startup_delay_seconds: Whole = whole(30, 0)
    monitor_interval: Whole = whole(300, 1)
    stuck_threshold_hours: Number = _above_zero(1.0, 8760)
    lease_seconds: Whole = whole(60, 5, 86_400)
    metrics_port: Whole = whole(9108, 0, 65_535)
    metrics_address: Address = Field(default="127.0.0.1", description="an address to listen on, as 127.0.0.1")
    control_port: Whole = whole(8000, 0, 65_535)
    control_address: Address = Field(default="127.0.0.1", description="an address to listen on, as 127.0.0.1")
    control_token: Token = Field(default=None, description="visible ASCII characters without a space")
    control_token_previous: Token = Field(default=None, description="visible ASCII characters without a space")
    allowed_hosts: Words = Field(
        default=(), validate_default=True, description="host names without ports, with commas between"
    )
    retention_days: Whole = whole(30, 1, 36_500)
    webhook_url: WebUrl = Field(default=None, description="an http or https URL")
    ping_url: WebUrl = Field(default=None, description="an http or https URL")
    log_level: str = Field(default="info", pattern="^(debug|info|notice|warning|error|critical)$",
                           description="debug, info, notice, warning, error or critical")  # fmt: skip

    @property
    def secrets(self) -> list[str]:
        """Every secret text of these settings, for the log's last filter."""
        known = (self.control_token, self.control_token_previous, self.webhook_url, self.ping_url)
        return [secret.get_secret_value() for secret in known if secret is not None]

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator("allowed_hosts")
    @classmethod
    def _default_hosts(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        """Not set: the addresses that we listen on, and their usual name."""
        if not all(_HOST.fullmatch(host) for host in value):
            raise ValueError
        addresses = [info.data.get("control_address"), info.data.get("metrics_address")]
        return tuple(host.lower() for host in value) or tuple(
            dict.fromkeys([*(address for address in addresses if address), "localhost"])
        )


PROCESS_WIDE = frozenset(
    {
        "startup_delay_seconds",
        "monitor_interval",
        "metrics_port",
        "metrics_address",
        "control_port",
        "control_address",
        "control_token",
        "control_token_previous",
        "allowed_hosts",
        "retention_days",
        "webhook_url",
        "ping_url",
        "log_level",
    }
)
"""Keys that one account can carry but that one process has only once."""

VARIABLES = {name: f"{PREFIX}{name.upper()}" for name in SyncSettings.model_fields}
CREDENTIALS = {
    name: name.replace("_", "-") for name in ("control_token", "control_token_previous", "webhook_url", "ping_url")
}


def find_sync(layers: Layers, account: tuple[str, ...] = ()) -> SyncSettings | None:
    """The [sync] settings, or those of one account (`("accounts", "emag", "main")`); None after a problem."""
    found: dict[str, Found] = {}
    for name, variable in VARIABLES.items():
        keys = [(*account, name), ("sync", name)] if account else [("sync", name)]
        item = layers.find(option=name, variable=variable, credential=CREDENTIALS.get(name, ""), keys=keys)
        if item is not None:
            found[name] = item
    sync = layers.build(SyncSettings, found)
    if sync is not None:
        _warn(layers, sync, found)
    return sync


def find_disable_auto_sync(layers: Layers) -> bool | None:
    """The switch that both services heed; None after a problem."""
    name = "disable_auto_sync"
    item = layers.find(option=name, variable=name.upper(), keys=[("sync", name)])
    switches = layers.build(_Switches, {name: item} if item else {})
    return switches.disable_auto_sync if switches is not None else None


def _warn(layers: Layers, sync: SyncSettings, found: dict[str, Found]) -> None:
    if sync.lease_seconds < LEASE_SECONDS_ADVISED:
        layers.warn(
            f"{found['lease_seconds'].name}: {sync.lease_seconds} s is short; "
            f"below {LEASE_SECONDS_ADVISED} a busy host may lose its leases"
        )
    for name in ("control_token", "control_token_previous"):
        token: SecretStr | None = getattr(sync, name)
        if token is not None and len(token.get_secret_value()) < TOKEN_CHARACTERS_ADVISED:
            layers.warn(f"{found[name].name}: shorter than {TOKEN_CHARACTERS_ADVISED} characters, easy to guess")


def warn_of_unknown_variables(layers: Layers) -> None:
    """A variable of a later release must not stop an earlier one: it is only mentioned."""
    known = set(VARIABLES.values())
    for name in dict.fromkeys([*layers.environ, *layers.env_file]):
        if name.startswith(PREFIX) and name not in known:
            layers.warn(f"{name}: an unknown variable, ignored; expected {did_you_mean(name, known)}")
