"""Records that are gone from the source: found, asked about, marked. Never deleted.

A record is *missing* where the manifest of a proven pass does not show its key. What follows from that
(look-up, second sweep, consent) is decided in `syncd.engine.verify`; here are the statements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from syncd.contract.runs import Claim, Sweep
from syncd.ledger import accumulators
from syncd.ledger.fence import fenced
from syncd.runtime.postgres import Connection, Postgres
from syncd.warehouse.pages import write_log

CHUNK = 1000

_MISSING = """
WITH missing AS MATERIALIZED (
    SELECT key FROM record WHERE stream_id = %(stream_id)s AND missing_since IS NULL
    EXCEPT
    SELECT unnest(keys) FROM sweep_page WHERE sweep_id = %(sweep_id)s AND pass = %(pass)s),
agreed AS MATERIALIZED (
    SELECT unnest(keys) AS key FROM consent
     WHERE stream_id = %(stream_id)s AND approved_at IS NOT NULL AND used_at IS NULL)
"""


@dataclass(frozen=True, slots=True)
class Missing:
    """How many live records a pass did not show. `agreed` of them were listed in an approved consent."""

    live: int
    missing: int
    agreed: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A missing record. proven: an earlier complete sweep did not show it either, or a person agreed."""

    key: str
    proven: bool


def _parameters(claim: Claim, sweep: Sweep) -> dict[str, object]:
    return {
        "stream_id": claim.stream_id,
        "run_id": claim.run_id,
        "sweep_id": sweep.sweep_id,
        "pass": sweep.pass_number,
    }


async def count_missing(postgres: Postgres, claim: Claim, sweep: Sweep) -> Missing:
    """Compare the live records with the manifest of the current pass."""
    async with postgres.connection(f"look for missing records of {claim.stream}") as connection:
        cursor = await connection.execute(
            _MISSING + "SELECT (SELECT count(*) FROM record WHERE stream_id = %(stream_id)s AND missing_since IS NULL),"
            "        (SELECT count(*) FROM missing), (SELECT count(*) FROM missing JOIN agreed USING (key))",
            _parameters(claim, sweep),
        )
        row = await cursor.fetchone()
    assert row is not None  # noqa: S101  # aggregates
    return Missing(*row)


async def load_candidates(postgres: Postgres, claim: Claim, sweep: Sweep) -> list[Candidate]:
    """The missing records, by key. Call it only below the blast radius, or with consent."""
    async with postgres.connection(f"list the missing records of {claim.stream}") as connection:
        cursor = await connection.execute(
            _MISSING
            + """
            SELECT m.key, r.absent_sweep IS NOT NULL AND r.absent_sweep <> %(sweep_id)s OR a.key IS NOT NULL
              FROM missing m JOIN record r ON r.stream_id = %(stream_id)s AND r.key = m.key
              LEFT JOIN agreed a ON a.key = m.key ORDER BY m.key
            """,
            _parameters(claim, sweep),
        )
        return [Candidate(*row) for row in await cursor.fetchall()]


async def ask_consent(connection: Connection, claim: Claim, sweep: Sweep) -> None:
    """Keep the list of missing keys for `syncd approve`; nothing is tombstoned."""
    async with fenced(connection, claim, f"ask for consent on {claim.stream}"):
        await connection.execute(
            _MISSING
            + """
            INSERT INTO consent (run_id, stream_id, keys, live)
            SELECT %(run_id)s, %(stream_id)s, coalesce((SELECT array_agg(key) FROM missing), '{}'),
                   (SELECT count(*) FROM record WHERE stream_id = %(stream_id)s AND missing_since IS NULL)
            ON CONFLICT (run_id) DO UPDATE SET keys = excluded.keys
            """,
            _parameters(claim, sweep),
        )


async def note_absent(connection: Connection, claim: Claim, sweep: Sweep, keys: Sequence[str]) -> None:
    """These were not shown by a complete sweep and could not be looked up: a second sweep decides."""
    for start in range(0, len(keys), CHUNK):
        async with fenced(connection, claim, f"note absent records of {claim.stream}"):
            await connection.execute(
                "UPDATE record SET absent_sweep = %s WHERE stream_id = %s AND key = ANY(%s) AND missing_since IS NULL",
                [sweep.sweep_id, claim.stream_id, list(keys[start : start + CHUNK])],
            )


async def tombstone(connection: Connection, claim: Claim, keys: Sequence[str]) -> int:
    """Mark these records as gone; return how many were live. Repeating it changes nothing."""
    marked = 0
    for start in range(0, len(keys), CHUNK):
        async with fenced(connection, claim, f"tombstone records of {claim.stream}"):
            cursor = await connection.execute(
                """
                UPDATE record SET missing_since = clock_timestamp(), absent_sweep = NULL, updated_run = %s
                 WHERE stream_id = %s AND key = ANY(%s) AND missing_since IS NULL RETURNING key
                """,
                [claim.run_id, claim.stream_id, list(keys[start : start + CHUNK])],
            )
            gone = [row[0] for row in await cursor.fetchall()]
            await write_log(cursor, claim, [(key, "tombstoned", None, None, None) for key in gone])
            await cursor.execute(
                "UPDATE run SET tombstoned = tombstoned + %s WHERE run_id = %s", [len(gone), claim.run_id]
            )
            deltas = {("records", "", "tombstoned"): float(len(gone))}
            await cursor.execute(
                accumulators.ADD.format(condition=""),
                {"stream_id": claim.stream_id, **accumulators.parameters(deltas)},
            )
        marked += len(gone)
    return marked


async def use_consents(connection: Connection, claim: Claim) -> None:
    """The approved consents of the stream have been used, or refer to keys that are back."""
    async with fenced(connection, claim, f"close the consents of {claim.stream}"):
        await connection.execute(
            "UPDATE consent SET used_at = clock_timestamp() WHERE stream_id = %s AND used_at IS NULL", [claim.stream_id]
        )
