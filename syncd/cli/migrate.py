"""`syncd migrate`: bring the schema to this release."""

from __future__ import annotations

import asyncio

import click

from syncd.app import open_postgres, stream_of
from syncd.cli.options import Place, with_place
from syncd.config import Settings
from syncd.ledger import accounts
from syncd.ledger.schema import SCHEMA_VERSION
from syncd.ledger.schema import migrate as migrate_schema
from syncd.runtime.command import json_option, print_json


@click.command()
@json_option
@with_place
def migrate(place: Place, as_json: bool) -> None:
    """Create or upgrade our tables; refuses a schema with foreign tables of our names."""
    settings = place.load(need=frozenset({"database"}))
    database = settings.database
    before = migrate_schema(database.conninfo.get_secret_value(), database.schema_name)
    asyncio.run(_register(settings))
    if as_json:
        streams = [str(stream_of(account)) for account in settings.accounts]
        facts = {"schema": database.schema_name, "version": SCHEMA_VERSION, "was": before or None, "streams": streams}
        print_json(facts)
    elif before == SCHEMA_VERSION:
        click.echo(f'schema "{database.schema_name}" is already at version {SCHEMA_VERSION}')
    else:
        click.echo(f'schema "{database.schema_name}" is at version {SCHEMA_VERSION} now (was {before or "empty"})')


async def _register(settings: Settings) -> None:
    async with open_postgres(settings) as postgres:
        for account in settings.accounts:
            await accounts.register(postgres, stream_of(account))
