"""The fence: the first statement of every transaction that writes for a run.

It locks the lease row to the end of the transaction and refuses a stale fence or a lapsed lease by the
database's clock. A takeover locks the same row FOR UPDATE, so it waits for the writer, and a writer that
comes later sees the new fence and writes nothing.

Two forms that look right and are not (tests/integration/test_fence_mutants.py shows them failing): the
check in a transaction before the write, and the check in the same transaction without the row lock.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from syncd.contract.errors import LeaseLostError
from syncd.contract.runs import Claim
from syncd.runtime.postgres import Connection, translated

LOCK = """
SELECT 1 FROM lease
 WHERE stream_id = %(stream_id)s AND fence = %(fence)s AND run_id = %(run_id)s AND expires_at > clock_timestamp()
   FOR KEY SHARE
"""


@asynccontextmanager
async def fenced(connection: Connection, claim: Claim, doing: str) -> AsyncIterator[None]:
    """A transaction that writes only while the claim holds; LeaseLostError otherwise."""
    with translated(doing, connection):
        async with connection.transaction():
            cursor = await connection.execute(
                LOCK, {"stream_id": claim.stream_id, "fence": claim.fence, "run_id": claim.run_id}
            )
            if await cursor.fetchone() is None:
                raise lost(claim, doing)
            yield


def lost(claim: Claim, doing: str) -> LeaseLostError:
    """The error of a write that the fence refused."""
    return LeaseLostError(f"{doing}: the lease on {claim.stream} is not ours any more; nothing was written")
