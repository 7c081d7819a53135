"""The monitor's settings: the same places and names as the daemon's, without any login.

Of an account's table only its [sync] keys are read, and a mistake in there must not blind the watch: the daemon
names it, and here [sync] holds instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from monitor.watch import Patience
from syncd.contract.errors import ConfigError
from syncd.contract.words import Stream
from syncd.runtime.settings.database import NO_DATABASE, DatabaseSettings, check_database_table, find_database
from syncd.runtime.settings.layers import SYSTEM_DIRECTORY, Layers, read_layers
from syncd.runtime.settings.sync import SyncSettings, find_disable_auto_sync, find_sync, warn_of_unknown_variables


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that the monitor needs; warnings are for people, one line each. accounts: (source, name) → [sync] of
    those that the file tells something of."""

    sync: SyncSettings
    database: DatabaseSettings
    disable_auto_sync: bool
    warnings: tuple[str, ...]
    accounts: Mapping[tuple[str, str], SyncSettings] = field(default_factory=dict)

    def sync_of(self, source: str, account: str) -> SyncSettings:
        """What holds for this account."""
        return self.accounts.get((source, account), self.sync)

    def patience_with(self, stream: Stream) -> Patience:
        """How long nothing may happen before a run of this stream is stuck."""
        sync = self.sync_of(stream.source, stream.account)
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
    return Settings(sync, database, disabled, warnings, _find_accounts(layers))


def _find_accounts(layers: Layers) -> dict[tuple[str, str], SyncSettings]:
    found = {}
    for source in layers.table(("accounts",)):
        for name in layers.table(("accounts", source)):
            sync = find_sync(layers.aside(), ("accounts", source, name))
            if sync is not None:
                found[source, name] = sync
    return found


def secrets_of(settings: Settings) -> list[str]:
    """Every secret text of the settings, for the log's last filter."""
    return settings.database.secrets + settings.sync.secrets
