"""What is stored beside the reading: an error there ends the run at once, and nothing after it spoils the end."""

from __future__ import annotations

import psycopg

from tests.acceptance.scene import Start, outcome


async def test_a_batch_that_cannot_be_stored_ends_the_run_although_the_reader_waits(start: Start) -> None:
    """Page 3 asks for 40 s of patience while page 2 has failed to be written: nobody waits for that."""
    scene = await start(offers=900)
    key = str(list(scene.sandbox.catalogue)[150])
    with psycopg.connect(scene.program.database, options="-c search_path=sync", autocommit=True) as connection:
        connection.execute(
            f"""
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN IF NEW.key = '{key}' THEN RAISE EXCEPTION 'no room'; END IF; RETURN NEW; END $$;
            CREATE TRIGGER refuse BEFORE INSERT ON record FOR EACH ROW EXECUTE FUNCTION refuse()
            """
        )
    scene.sandbox.faults.add("429:page=3-9:times=forever:retry_after=40")
    run = await scene.sync(timeout=30)
    assert outcome(run) == (1, "failed", "database")
    assert "no room" in run["error_message"]
    assert len(scene.sandbox.log) <= 8


async def test_a_table_that_cannot_be_analysed_does_not_spoil_a_proven_run(start: Start) -> None:
    """VACUUM and CREATE INDEX CONCURRENTLY hold such a lock for hours."""
    scene = await start(offers=1200)
    with psycopg.connect(scene.program.database, options="-c search_path=sync") as holder:
        holder.execute("LOCK TABLE record IN SHARE UPDATE EXCLUSIVE MODE")
        assert outcome(await scene.sync()) == (0, "complete", "end_of_data")
    assert scene.query("SELECT status FROM run") == [("complete",)]


async def test_one_account_in_disorder_does_not_hide_the_others(start: Start) -> None:
    """Each stream has its report; the exit code is that of the worst."""
    scene = await start(offers=120)
    assert outcome(await scene.sync())[0] == 0
    run = await scene.sync(
        EMAG_API_USERNAME="somebody", EMAG_FBE_API_USERNAME="sandbox", EMAG_FBE_API_PASSWORD="sandbox"
    )
    assert (run["exit_code"], run["status"]) == (78, "refused")
    assert "--confirm-account main" in run["problems"][0]
    runs = (
        "SELECT a.name, r.status FROM run r JOIN stream USING (stream_id) JOIN account a USING (account_id) ORDER BY 1"
    )
    assert scene.query(runs) == [("fbe", "complete"), ("main", "complete")]
