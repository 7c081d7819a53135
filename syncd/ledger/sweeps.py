"""Sweeps: where a pass over a stream stands, and what its manifest proves.

A sweep may take several runs. Its manifest (`sweep_page`) has one row a reading of a page, with the keys
that the page showed; a resumed run reads its checkpoint page once more, and both readings count. The
second pass of a sweep has a manifest of its own and is judged alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from uuid import UUID

from psycopg.rows import class_row

from syncd.contract.runs import Claim, Sweep
from syncd.contract.words import Stream
from syncd.ledger.fence import fenced
from syncd.ledger.pauses import load_standing
from syncd.policy.completeness import SweepFacts
from syncd.runtime.postgres import Connection, Postgres

SWEEP_MAX_AGE = "24 hours"

_FACTS = """
WITH pages AS (
    SELECT DISTINCT ON (page) page, received, keyless
      FROM sweep_page WHERE sweep_id = %(sweep)s AND pass = %(pass)s
     ORDER BY page, committed_at DESC),
shown AS (
    SELECT DISTINCT page, k FROM sweep_page, unnest(keys) AS k WHERE sweep_id = %(sweep)s AND pass = %(pass)s),
keys AS (SELECT k, count(*) AS on_pages FROM shown GROUP BY k)
SELECT (SELECT count(*) FROM pages)                                   AS pages,
       (SELECT coalesce(max(page), 0) FROM pages)                     AS last_page,
       (SELECT received FROM pages ORDER BY page DESC LIMIT 1)        AS last_received,
       (SELECT coalesce(sum(keyless), 0)::bigint FROM pages)          AS keyless,
       (SELECT count(*) FROM keys)                                    AS distinct_keys,
       (SELECT count(*) FROM keys WHERE on_pages > 1)                 AS repeated_keys,
       (SELECT coalesce(md5(string_agg(k, E'\\n' ORDER BY k)), '') FROM keys) AS keys_digest
"""

_PREVIOUS_DIGEST = """
SELECT keys_digest FROM sweep
 WHERE stream_id = %s AND keys_digest IS NOT NULL AND (ended_at IS NOT NULL OR sweep_id = %s)
 ORDER BY started_at DESC LIMIT 1
"""


async def open_sweep(connection: Connection, claim: Claim, *, page_size: int, fresh: bool) -> Sweep:
    """The sweep that this run goes on with, or a new one.

    A new one starts where none is open, where `fresh` asks for it, where the page size differs (page
    numbers would mean other records), or where the open one is too old to be one picture.
    """
    async with fenced(connection, claim, f"open the sweep of {claim.stream}"):
        cursor = await connection.execute(
            f"""
            UPDATE sweep SET ended_at = clock_timestamp(), ended_by = 'superseded'
             WHERE stream_id = %s AND ended_at IS NULL
               AND (%s OR page_size <> %s OR started_at < clock_timestamp() - interval '{SWEEP_MAX_AGE}')
            """,  # a constant of ours
            [claim.stream_id, fresh, page_size],
        )
        sweep_cursor = connection.cursor(row_factory=class_row(Sweep))
        query = (
            "SELECT sweep_id, page_size, pass AS pass_number, expected, checkpoint_page AS checkpoint"
            " FROM sweep WHERE stream_id = %s AND ended_at IS NULL"
        )
        sweep = await (await sweep_cursor.execute(query, [claim.stream_id])).fetchone()
        if sweep is None:
            # The manifests of finished sweeps have served: their digests and consents are kept.
            await cursor.execute(
                "DELETE FROM sweep_page p USING sweep s"
                " WHERE s.sweep_id = p.sweep_id AND s.stream_id = %s AND s.ended_at IS NOT NULL",
                [claim.stream_id],
            )
            await cursor.execute(
                "INSERT INTO sweep (stream_id, page_size) VALUES (%s, %s)", [claim.stream_id, page_size]
            )
            sweep = await (await sweep_cursor.execute(query, [claim.stream_id])).fetchone()
        assert sweep is not None  # noqa: S101  # just inserted under the lock
        await cursor.execute(
            "UPDATE run SET sweep_id = %s, start_page = %s, expected = %s WHERE run_id = %s",
            [sweep.sweep_id, sweep.checkpoint + 1, sweep.expected, claim.run_id],
        )
    return sweep


async def set_expected(connection: Connection, claim: Claim, sweep: Sweep, expected: int) -> None:
    """Keep the count at the start of this pass."""
    async with fenced(connection, claim, f"store the count of {claim.stream}"):
        await connection.execute("UPDATE sweep SET expected = %s WHERE sweep_id = %s", [expected, sweep.sweep_id])
        await connection.execute("UPDATE run SET expected = %s WHERE run_id = %s", [expected, claim.run_id])


async def begin_second_pass(connection: Connection, claim: Claim, sweep: Sweep, facts: SweepFacts) -> Sweep:
    """The first pass was not proven: read everything once more, judged on its own."""
    async with fenced(connection, claim, f"begin the second pass over {claim.stream}"):
        await connection.execute(
            "UPDATE sweep SET pass = 2, expected = NULL, checkpoint_page = 0, distinct_keys = %s, keys_digest = %s"
            " WHERE sweep_id = %s",
            [facts.distinct_keys, facts.keys_digest, sweep.sweep_id],
        )
    return Sweep(sweep.sweep_id, sweep.page_size, 2, None, 0)


async def store_facts(connection: Connection, claim: Claim, sweep: Sweep, facts: SweepFacts) -> None:
    """Keep what this pass proved: the next sweep compares its keys with these."""
    async with fenced(connection, claim, f"store the facts of {claim.stream}"):
        await connection.execute(
            "UPDATE sweep SET distinct_keys = %s, keys_digest = %s WHERE sweep_id = %s",
            [facts.distinct_keys, facts.keys_digest, sweep.sweep_id],
        )


async def load_facts(postgres: Postgres, claim: Claim, sweep: Sweep) -> SweepFacts:
    """What the manifest of the current pass shows, and the digest of the pass or sweep before it."""
    async with postgres.connection(f"read the manifest of {claim.stream}") as connection:
        cursor = connection.cursor(row_factory=class_row(SweepFacts))
        await cursor.execute(_FACTS, {"sweep": sweep.sweep_id, "pass": sweep.pass_number})
        facts = await cursor.fetchone()
        assert facts is not None  # noqa: S101  # one row of aggregates
        previous = await (await connection.execute(_PREVIOUS_DIGEST, [claim.stream_id, sweep.sweep_id])).fetchone()
    return replace(facts, previous_digest=previous[0] if previous else None)


async def load_seen_keys(postgres: Postgres, sweep: Sweep) -> list[list[str]]:
    """The keys of every stored page of this pass, in page order: a resumed run seeds its loop guard."""
    async with postgres.connection("read the manifest") as connection:
        cursor = await connection.execute(
            "SELECT keys FROM sweep_page WHERE sweep_id = %s AND pass = %s ORDER BY page, committed_at",
            [sweep.sweep_id, sweep.pass_number],
        )
        return [row[0] for row in await cursor.fetchall()]


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the ledger knows before a run: where it would go on, how much it would read, what is in its way."""

    checkpoint_page: int = 0
    page_size: int = 0
    expected: int | None = None
    paused_by: str | None = None
    open_run: UUID | None = None


async def load_outlook(postgres: Postgres, stream: Stream) -> Outlook:
    """The open sweep of the stream, else the last count."""
    async with postgres.connection(f"look ahead for {stream}") as connection:
        cursor = connection.cursor(row_factory=class_row(Outlook))
        await cursor.execute(
            f"""
            SELECT coalesce(w.checkpoint_page, 0) AS checkpoint_page, coalesce(w.page_size, 0) AS page_size,
                   coalesce(w.expected, (SELECT expected FROM sweep p WHERE p.stream_id = s.stream_id
                                          AND expected IS NOT NULL ORDER BY started_at DESC LIMIT 1)) AS expected,
                   s.paused_by, (SELECT run_id FROM run r WHERE r.stream_id = s.stream_id
                                    AND r.status IN ('queued', 'running')) AS open_run
              FROM stream s JOIN account a USING (account_id)
              LEFT JOIN sweep w ON w.stream_id = s.stream_id AND w.ended_at IS NULL
                               AND w.started_at >= clock_timestamp() - interval '{SWEEP_MAX_AGE}'
             WHERE a.source = %s AND a.name = %s AND s.resource = %s
            """,
            [stream.source, stream.account, stream.resource],
        )
        outlook = await cursor.fetchone()
    if outlook is None:  # not registered yet: it would begin as paused as the others
        standing = await load_standing(postgres)
        return Outlook(paused_by=standing.by if standing else None)
    return outlook
