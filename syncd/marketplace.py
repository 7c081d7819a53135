"""An account's marketplace, opened: its source, its share of the API's limit, the calls to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from syncd.config import AccountSettings
from syncd.contract.runs import Claim
from syncd.engine.calls import Calls, persist
from syncd.engine.observer import Observer
from syncd.engine.run import RunOptions
from syncd.engine.stop import StopSignal
from syncd.ledger.accounts import Ids
from syncd.ledger.accumulators import Recorder
from syncd.ledger.budget import Budget, login_of
from syncd.runtime.postgres import Postgres
from syncd.sources.emag import EmagOffers
from syncd.sources.http import HttpClient


@asynccontextmanager
async def open_source(account: AccountSettings) -> AsyncIterator[EmagOffers]:
    """The account's source, with its connections open."""
    sync = account.sync
    async with HttpClient(
        account.base_url,
        account.username,
        account.password.get_secret_value(),
        timeout_seconds=sync.request_timeout_seconds,
        connections=sync.concurrency,
    ) as client:
        yield EmagOffers(client, page_size=sync.items_per_page, paging=account.paging, count=account.count)


async def open_budget(postgres: Postgres, account: AccountSettings, account_id: int) -> Budget:
    """The account's slots, registered."""
    login = login_of(account.host, account.username)
    budget = Budget(
        postgres,
        account_id=account_id,
        login=login,
        calls_per_second=account.calls_per_second,
        extra_seconds=account.sync.request_delay,
    )
    await budget.register()
    return budget


@asynccontextmanager
async def calling(
    postgres: Postgres,
    account: AccountSettings,
    of: Claim | Ids,
    recorder: Recorder,
    options: RunOptions,
    *,
    stop: StopSignal,
    observer: Observer,
) -> AsyncIterator[tuple[EmagOffers, Calls]]:
    """The account's source, open, and the calls to it under these caps. Halt where the stop comes before the budget."""
    budget = await persist(lambda: open_budget(postgres, account, of.account_id), stop)
    calls = Calls(
        postgres=postgres,
        claim=of if isinstance(of, Claim) else None,
        budget=budget,
        recorder=recorder,
        stop=stop,
        observer=observer,
        max_requests=options.caps.max_requests,
        max_attempts=account.sync.max_attempts,
        deadline=options.deadline,
    )
    async with open_source(account) as source:
        yield source, calls
