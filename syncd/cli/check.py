"""`syncd check`: can it work here? A line each for configuration, database, and every account's API."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import click

from syncd.app import open_postgres, stream_of
from syncd.cli.options import Place, choose_accounts, on_ledger, with_place
from syncd.config import AccountSettings, Settings
from syncd.contract.errors import CallError, ConfigError, FatalError, SchemaError, SyncError
from syncd.contract.text import escape
from syncd.contract.words import Cause
from syncd.ledger import accounts
from syncd.ledger.schema import SCHEMA_VERSION, check_schema
from syncd.marketplace import open_budget, open_source
from syncd.runtime.command import EXIT_CONFIG, EXIT_FAILED, json_option, print_json
from syncd.runtime.postgres import Postgres

LONGEST_WAIT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, whether it is well, what was seen. exit_code where it is not."""

    subject: str
    well: bool
    seen: str
    exit_code: int = EXIT_FAILED


@click.command()
@click.option("--confirm-account", metavar="NAME", help="Agree that this account now has another login or host.")
@json_option
@with_place
def check(place: Place, confirm_account: str | None, as_json: bool) -> None:
    """Look at configuration, database, API and credentials, a line each."""
    settings = place.load()
    if confirm_account is not None:
        _confirm(settings, confirm_account)
        return
    findings = asyncio.run(_look(settings))
    if as_json:
        print_json([{"subject": one.subject, "ok": one.well, "seen": one.seen} for one in findings])
    for one in [] if as_json else findings:
        word = click.style("ok  ", fg="green") if one.well else click.style("FAIL", fg="red", bold=True)
        click.echo(f"{word}  {one.subject:<24} {escape(one.seen)}")
    sys.exit(max((one.exit_code for one in findings if not one.well), default=0))


def _confirm(settings: Settings, name: str) -> None:
    (account,) = choose_accounts(settings, (name,))
    stream = stream_of(account)
    on_ledger(
        settings,
        lambda postgres: accounts.confirm_identity(postgres, stream, host=account.host, username=account.username),
    )
    click.echo(
        f"account {account.name}: from now on its offers come from {account.host}; its next run starts a new sweep"
    )


async def _look(settings: Settings) -> list[Finding]:
    names = ", ".join(account.name for account in settings.accounts)
    findings = [Finding("configuration", True, f"accounts {names}; {settings.sync.max_pages} pages a run")]
    async with open_postgres(settings) as postgres:
        database = await _finding("database", lambda: _look_at_database(postgres, settings))
        findings.append(database)
        if not database.well:
            return findings
        for account in settings.accounts:
            subject = f"API of {account.name}"
            findings.append(await _finding(subject, lambda account=account: _look_at_api(postgres, account)))  # type: ignore[misc]
    return findings


async def _finding(subject: str, look: Callable[[], Awaitable[str]]) -> Finding:
    try:
        return Finding(subject, True, await look())
    except (ConfigError, SchemaError) as error:
        return Finding(subject, False, str(error), EXIT_CONFIG)
    except SyncError as error:
        return Finding(subject, False, str(error))


async def _look_at_database(postgres: Postgres, settings: Settings) -> str:
    async with postgres.connection("look at the database") as connection:
        cursor = await connection.execute(
            "SELECT current_setting('server_version'), current_setting('server_encoding'),"
            " (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), inet_client_addr() IS NOT NULL"
        )
        version, encoding, encrypted, remote = await cursor.fetchone() or ("", "", False, False)
    if encoding != "UTF8":
        raise SchemaError(f"its encoding is {encoding}, expected UTF8: create it with ENCODING 'UTF8'")
    await check_schema(postgres)
    line = "TLS" if encrypted else "no TLS" if remote else "local socket"
    return f"PostgreSQL {version} at {settings.database.place}, {line}, schema {postgres.schema} {SCHEMA_VERSION}"


async def _look_at_api(postgres: Postgres, account: AccountSettings) -> str:
    """One call of the count (a page where there is none), within the account's budget."""
    stream = stream_of(account)
    await accounts.register(postgres, stream)
    await accounts.pin_identity(postgres, stream, host=account.host, username=account.username)
    budget = await open_budget(postgres, account, (await accounts.load_ids(postgres, stream)).account_id)
    slot = await budget.take_slot()
    if slot.blocked or slot.wait_seconds > LONGEST_WAIT_SECONDS:
        raise FatalError(
            f"{account.base_url}: not asked: it is to be left alone for another {slot.wait_seconds:.0f} s "
            "(it asked for that, or it failed too often)",
            cause=Cause.RATE_LIMITED,
        )
    await asyncio.sleep(slot.wait_seconds)
    async with open_source(account) as source:
        try:
            found = f"{await source.count():,} offers" if source.has_count else "a page"
            if not source.has_count:
                await source.fetch_page(1)
        except CallError as error:
            raise CallError(
                error.reason, f"{account.base_url}: {error}", cause=error.cause, retryable=error.retryable
            ) from None
    return f"{account.base_url} answers as {account.username}: {found}"
