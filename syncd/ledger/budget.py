"""What one login may ask of the API, shared by every process and host through one row.

Each call takes the next slot: `next_at` moves on by a fixed spacing, and the caller waits for its slot.
Even spacing keeps 3 calls in any second and 180 in any minute at once, across restarts, with no second
window. The spacing carries 1.4 % of slack, so that a few milliseconds of jitter at either end do not push
a fourth call into a second (177 a minute at most).

The breaker (policy.breaker) stands beside it: one an account.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from syncd.policy.breaker import COOLDOWN_SECONDS, FAILURES_TO_OPEN
from syncd.runtime.postgres import Postgres

SLACK = 1.014

_TAKE_SLOT = """
UPDATE api_budget
   SET next_at = greatest(next_at, clock_timestamp()) + make_interval(secs => %(spacing)s * %(slots)s)
 WHERE login = %(login)s AND limit_class = %(class)s
RETURNING extract(epoch FROM next_at - clock_timestamp())::float8 - %(spacing)s * %(slots)s
"""

_PROBE = """
UPDATE account SET breaker_open_until = clock_timestamp() + make_interval(secs => %s)
 WHERE account_id = %s AND breaker_open_until <= clock_timestamp()
RETURNING account_id
"""


_CLOSE_BREAKER = """
WITH before AS (
    SELECT account_id, breaker_open_until IS NOT NULL AS was_open FROM account
     WHERE account_id = %s AND (breaker_failures > 0 OR breaker_open_until IS NOT NULL) FOR NO KEY UPDATE)
UPDATE account SET breaker_failures = 0, breaker_open_until = NULL
  FROM before WHERE account.account_id = before.account_id
RETURNING was_open
"""


@dataclass(frozen=True, slots=True)
class Slot:
    """A call may be made in `wait_seconds`. `probe`: the breaker is half open, and this call tries it.

    blocked: the breaker is open, no slot was taken; ask again after the wait.
    """

    wait_seconds: float
    probe: bool = False
    blocked: bool = False


def login_of(host: str, username: str) -> str:
    """The budget's key: accounts that share a login on a host share its limits. A hash: no name is stored."""
    return sha256(f"{host}\n{username}".encode()).hexdigest()


class Budget:
    """The slots and the breaker of one account."""

    def __init__(
        self,
        postgres: Postgres,
        *,
        account_id: int,
        login: str,
        calls_per_second: float,
        limit_class: str = "default",
        extra_seconds: float = 0.0,
    ) -> None:
        self._postgres = postgres
        self._account_id = account_id
        self._key = {"login": login, "class": limit_class}
        # An extra pause is part of the spacing: slept after a slot, it would move calls out of their slots.
        self.spacing_seconds = SLACK / calls_per_second + extra_seconds
        # Beyond marketplace rates (loopback only) a slot costs more than a call: take a tenth of a second's.
        self._slots_at_once = max(1, int(calls_per_second / 10)) if calls_per_second > 100 and not extra_seconds else 1
        self._in_hand = 0

    async def register(self) -> None:
        """Make the row, once."""
        async with self._postgres.connection("register the API budget") as connection:
            await connection.execute(
                "INSERT INTO api_budget (login, limit_class) VALUES (%(login)s, %(class)s) ON CONFLICT DO NOTHING",
                self._key,
            )

    async def take_slot(self) -> Slot:
        """The next call's slot, or how long the breaker stays open."""
        if self._in_hand > 0:
            self._in_hand -= 1
            return Slot(0.0)
        async with self._postgres.connection("take an API slot") as connection:
            cursor = await connection.execute(
                "SELECT extract(epoch FROM breaker_open_until - clock_timestamp())::float8 FROM account"
                " WHERE account_id = %s AND breaker_open_until IS NOT NULL",
                [self._account_id],
            )
            open_row = await cursor.fetchone()
            if open_row is not None:
                if open_row[0] > 0:
                    return Slot(open_row[0], blocked=True)
                # Whoever moves open_until on is the one prober; the others see it open again.
                cursor = await connection.execute(_PROBE, [COOLDOWN_SECONDS, self._account_id])
                if await cursor.fetchone() is None:
                    return Slot(COOLDOWN_SECONDS, blocked=True)
            cursor = await connection.execute(
                _TAKE_SLOT, {**self._key, "spacing": self.spacing_seconds, "slots": self._slots_at_once}
            )
            row = await cursor.fetchone()
            assert row is not None  # noqa: S101  # registered before the first call
        probe = open_row is not None
        self._in_hand = 0 if probe else self._slots_at_once - 1
        return Slot(max(0.0, row[0]), probe=probe)

    async def push_out(self, seconds: float) -> None:
        """The server asked for a pause: nobody on this login calls before it is over."""
        async with self._postgres.connection("push out the API budget") as connection:
            await connection.execute(
                "UPDATE api_budget SET next_at = greatest(next_at, clock_timestamp() + make_interval(secs => %(s)s))"
                " WHERE login = %(login)s AND limit_class = %(class)s",
                {**self._key, "s": seconds},
            )

    async def note_success(self) -> bool:
        """The API answered; True where that closed an open breaker, which of all processes only one is told."""
        async with self._postgres.connection("close the breaker") as connection:
            cursor = await connection.execute(_CLOSE_BREAKER, [self._account_id])
            row = await cursor.fetchone()
        return row is not None and bool(row[0])

    async def note_failure(self) -> bool:
        """One more failure in a row; True for the very one that opened the breaker, of all those of an outage."""
        self._in_hand = 0  # the next call asks the breaker again
        async with self._postgres.connection("count a failure") as connection:
            cursor = await connection.execute(
                """
                UPDATE account SET breaker_failures = breaker_failures + 1,
                       breaker_open_until = CASE WHEN breaker_failures + 1 >= %(limit)s
                           THEN clock_timestamp() + make_interval(secs => %(cooldown)s) END
                 WHERE account_id = %(account)s
                RETURNING breaker_failures
                """,
                {"limit": FAILURES_TO_OPEN, "cooldown": COOLDOWN_SECONDS, "account": self._account_id},
            )
            row = await cursor.fetchone()
        self._in_hand = 0  # those that were taken meanwhile
        return row is not None and bool(row[0] == FAILURES_TO_OPEN)
