"""The settings of `syncd`, from every place where they may stand.

    load_settings → Settings → database, sync, accounts (each with its own merged [sync])

Places and precedence: runtime/settings/layers.py. All problems are reported at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from syncd.accounts import AccountSettings, check_account_tables, find_accounts, is_any_configured, parse_base_url
from syncd.contract.errors import ConfigError
from syncd.runtime.settings.database import NO_DATABASE, DatabaseSettings, check_database_table, find_database
from syncd.runtime.settings.layers import SYSTEM_DIRECTORY, Layers, read_layers
from syncd.runtime.settings.sync import (
    SyncSettings,
    find_disable_auto_sync,
    find_sync,
    warn_of_unknown_variables,
)

__all__ = ["AccountSettings", "DatabaseSettings", "Settings", "SyncSettings", "load_settings", "parse_base_url"]

EVERYTHING = frozenset({"database", "accounts"})
_SYNC_KEYS = frozenset(SyncSettings.model_fields) | {"disable_auto_sync"}
_OPTIONS = _SYNC_KEYS | {"schema", "pool_max"}
_NO_ACCOUNT = (
    "EMAG_API_USERNAME, EMAG_API_PASSWORD: found nothing, expected the login of account emag/main "
    "(or of emag/fbe in EMAG_FBE_API_USERNAME and EMAG_FBE_API_PASSWORD, or of an [accounts.emag.NAME] in the file)"
)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that was found. `accounts` has main first; `warnings` are for people, one line each."""

    sync: SyncSettings
    accounts: tuple[AccountSettings, ...]
    disable_auto_sync: bool
    warnings: tuple[str, ...]
    optional_database: DatabaseSettings | None

    @property
    def database(self) -> DatabaseSettings:
        """The database; ConfigError where it was not needed and none is configured."""
        if self.optional_database is None:
            raise ConfigError([NO_DATABASE])
        return self.optional_database


def load_settings(
    *,
    config_path: Path | None = None,
    env_file: Path | None = None,
    environ: Mapping[str, str],
    command_line: Mapping[str, object] = MappingProxyType({}),
    need: Set[str] = EVERYTHING,
    system_directory: Path = SYSTEM_DIRECTORY,
) -> Settings:
    """All settings, or ConfigError with every problem.

    command_line  names of [sync] keys, `schema`, `pool_max`, `disable_auto_sync`; None counts as not given
    need          of "database" and "accounts" the ones that must be there; a fault in another leaves it out
    """
    if unknown := set(command_line) - _OPTIONS:
        raise ValueError(f"no such settings: {sorted(unknown)}")
    layers = read_layers(
        environ=environ,
        command_line=command_line,
        config_path=config_path,
        env_file=env_file,
        system_directory=system_directory,
    )
    _check_file(layers)
    warn_of_unknown_variables(layers)
    sync = find_sync(layers)
    disable_auto_sync = find_disable_auto_sync(layers)
    database = find_database(layers if "database" in need else layers.aside())
    accounts = find_accounts(layers if "accounts" in need else layers.aside())
    if "accounts" in need and not is_any_configured(layers):
        layers.problem(_NO_ACCOUNT)
    warnings = layers.finish()
    if sync is None or disable_auto_sync is None:
        raise AssertionError("a setting is missing although no problem was noted")
    return Settings(sync, accounts, disable_auto_sync, warnings, database)


def _check_file(layers: Layers) -> None:
    layers.check_keys((), {"database", "sync", "accounts"})
    check_database_table(layers)
    layers.check_keys(("sync",), _SYNC_KEYS)
    check_account_tables(layers)
