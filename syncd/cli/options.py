"""What many commands share: where the settings come from, which streams are meant, how facts are printed."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Awaitable, Callable, Mapping, Set
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import click

from syncd.app import open_postgres, stream_of
from syncd.config import EVERYTHING, AccountSettings, Settings, load_settings
from syncd.contract.errors import ConfigError, DatabaseAwayError
from syncd.ledger.schema import check_schema
from syncd.runtime.command import place_options
from syncd.runtime.log import configure_log
from syncd.runtime.postgres import Postgres

T = TypeVar("T")

LEDGER_SECONDS = 15.0
"""The most that a command waits for the ledger; a frozen server costs ten seconds more until the wait is given up."""


class Place:
    """Where a command finds its settings, and how much it says."""

    def __init__(self, config: Path | None, env_file: Path | None, verbose: int) -> None:
        self._config = config
        self._env_file = env_file
        self.verbose = verbose

    def load(
        self, command_line: Mapping[str, object] = MappingProxyType({}), *, need: Set[str] = EVERYTHING
    ) -> Settings:
        """All settings; ConfigError with every problem. Warnings go to standard error."""
        settings = self.read(command_line, need=need)
        for warning in settings.warnings:
            click.echo(f"syncd: {warning}", err=True)
        configure_log(self.verbose, secrets=secrets_of(settings))
        return settings

    def read(
        self, command_line: Mapping[str, object] = MappingProxyType({}), *, need: Set[str] = EVERYTHING
    ) -> Settings:
        """The settings as they stand now, and nothing else."""
        return load_settings(
            config_path=self._config,
            env_file=self._env_file,
            environ=os.environ,
            command_line=command_line,
            need=need,
        )


def secrets_of(settings: Settings) -> list[str]:
    """Every secret text of the settings, for the log's last filter."""
    secrets = []
    for account in settings.accounts:
        password = account.password.get_secret_value()
        basic = base64.b64encode(f"{account.username}:{password}".encode()).decode("ascii")  # as HTTP Basic sends both
        secrets += [password, basic]
    if settings.optional_database is not None:
        secrets += settings.optional_database.secrets
    return secrets + settings.sync.secrets


def place_of(settings: Settings) -> str:
    """Database and schema in words, without user and password: what tells two daemons of one machine apart."""
    return f"{settings.database.place} schema {settings.database.schema_name}"


with_place = place_options(Place)


def on_ledger(settings: Settings, work: Callable[[Postgres], Awaitable[T]]) -> T:
    """Run `work` with the database open and its schema checked."""

    return asyncio.run(within_deadline(settings, work))


async def within_deadline(settings: Settings, work: Callable[[Postgres], Awaitable[T]]) -> T:
    """As `on_ledger`, for who has an event loop. DatabaseAwayError where the ledger does not answer in time."""
    try:
        async with asyncio.timeout(LEDGER_SECONDS), open_postgres(settings) as postgres:
            await check_schema(postgres)
            return await work(postgres)
    except TimeoutError:
        raise DatabaseAwayError(f"the ledger did not answer within {LEDGER_SECONDS:.0f} s") from None


def choose_accounts(settings: Settings, names: tuple[str, ...]) -> list[AccountSettings]:
    """The accounts behind these streams, all where none is named. An account's name alone will do."""
    by_name = {str(stream_of(account)): account for account in settings.accounts}
    short = {account.name: str(stream_of(account)) for account in settings.accounts}
    unknown = [name for name in names if name not in by_name and name not in short]
    if unknown:
        known = ", ".join(by_name)
        raise ConfigError([f"stream {name!r}: not configured, expected one of {known}" for name in unknown])
    chosen = dict.fromkeys(short.get(name, name) for name in names) or by_name
    return [by_name[name] for name in chosen]
