"""The monitor's settings: the same places and names as the daemon's, without any account.

A mistake in an account's table must not blind the watch: those tables are not read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from monitor.watch import Patience
from syncd.contract.errors import ConfigError
from syncd.runtime.settings.database import NO_DATABASE, DatabaseSettings, check_database_table, find_database
from syncd.runtime.settings.layers import SYSTEM_DIRECTORY, read_layers
from syncd.runtime.settings.sync import SyncSettings, find_disable_auto_sync, find_sync, warn_of_unknown_variables


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that the monitor needs; warnings are for people, one line each."""

    sync: SyncSettings
    database: DatabaseSettings
    disable_auto_sync: bool
    warnings: tuple[str, ...]

    @property
    def patience(self) -> Patience:
        """How long nothing may happen before a run is stuck."""
        sync = self.sync
        return Patience(sync.stuck_threshold_hours * 3600, sync.request_timeout_seconds, sync.lease_seconds)


def load_settings(
    *,
    config_path: Path | None = None,
    env_file: Path | None = None,
    environ: Mapping[str, str],
    system_directory: Path = SYSTEM_DIRECTORY,
) -> Settings:
    """All settings, or ConfigError with every problem."""
    layers = read_layers(
        environ=environ,
        command_line={},
        config_path=config_path,
        env_file=env_file,
        system_directory=system_directory,
    )
    layers.check_keys((), {"database", "sync", "accounts"})
    check_database_table(layers)
    layers.check_keys(("sync",), frozenset(SyncSettings.model_fields) | {"disable_auto_sync"})
    warn_of_unknown_variables(layers)
    sync, database, disabled = find_sync(layers), find_database(layers), find_disable_auto_sync(layers)
    warnings = layers.finish()
    if sync is None or database is None or disabled is None:
        raise ConfigError([NO_DATABASE])
    return Settings(sync, database, disabled, warnings)


def secrets_of(settings: Settings) -> list[str]:
    """Every secret text of the settings, for the log's last filter."""
    return settings.database.secrets + settings.sync.secrets
