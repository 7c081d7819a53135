"""`syncd run --dry-run`: what a run would begin with and cost, without a single call."""

from __future__ import annotations

from typing import Any

import click

from syncd.app import stream_of
from syncd.cli.options import on_ledger
from syncd.config import AccountSettings, Settings
from syncd.ledger.budget import SLACK
from syncd.ledger.sweeps import Outlook, load_outlook
from syncd.runtime.command import print_json
from syncd.runtime.postgres import Postgres

LOOK_UPS_AND_COUNTS = 2


def forecast(
    account: AccountSettings, outlook: Outlook, *, fresh: bool = False, limit: int | None = None
) -> dict[str, Any]:
    """Pages, requests and minutes that the next run of this account should need, as far as is known."""
    sync = account.sync
    size = sync.items_per_page
    goes_on = outlook.checkpoint_page and outlook.page_size == size and not fresh
    checkpoint = outlook.checkpoint_page if goes_on else 0
    facts: dict[str, Any] = {
        "stream": str(stream_of(account)),
        "checkpoint_page": checkpoint,
        "expected_records": outlook.expected,
        "expected_pages": None,
        "expected_requests": None,
        "expected_minutes": None,
        "max_pages": sync.max_pages,
        "max_records": limit,
        "max_requests": sync.max_requests,
        "timeout_hours": sync.timeout_hours,
        "paused_by": outlook.paused_by,
        "open_run": outlook.open_run,
    }
    if outlook.expected is None:
        return facts
    pages = max(0, -(-outlook.expected // size) - checkpoint) + 1
    capped = min(pages, sync.max_pages, pages if limit is None else limit // size + 1)
    requests = min(capped + LOOK_UPS_AND_COUNTS + bool(checkpoint), sync.max_requests)
    seconds = requests * (SLACK / account.calls_per_second + sync.request_delay)
    return facts | {
        "expected_pages": capped,
        "expected_requests": requests,
        "expected_minutes": round(seconds / 60, 2),
        "will_hit_cap": pages > capped,
    }


def print_forecast(
    settings: Settings, accounts: list[AccountSettings], *, fresh: bool, limit: int | None, as_json: bool
) -> None:
    """One forecast a stream."""

    async def load(postgres: Postgres) -> list[dict[str, Any]]:
        return [
            forecast(account, await load_outlook(postgres, stream_of(account)), fresh=fresh, limit=limit)
            for account in accounts
        ]

    forecasts = on_ledger(settings, load)
    if as_json:
        print_json({"dry_run": True, "streams": forecasts})
        return
    for facts in forecasts:
        click.echo(f"{facts['stream']}: dry run, nothing was called")
        begin = f"goes on after page {facts['checkpoint_page']}" if facts["checkpoint_page"] else "starts a new sweep"
        click.echo(f"  {begin}")
        if facts["expected_records"] is None:
            click.echo("  nothing is known yet about its size: the first run counts")
        else:
            click.echo(
                f"  {facts['expected_records']:,} records at the last count: {facts['expected_pages']} pages, "
                f"{facts['expected_requests']} requests, at least {facts['expected_minutes']} minutes"
            )
        cap = ", which this run will reach" if facts.get("will_hit_cap") else ""
        click.echo(
            f"  caps: {facts['max_pages']} pages{cap}, {facts['max_requests']} requests, "
            f"{facts['timeout_hours']:g} hours"
        )
        if facts["open_run"]:
            click.echo(f"  run {facts['open_run']} is at work right now")
        if facts["paused_by"]:
            click.echo(f"  paused by {facts['paused_by']}: needs --force")
