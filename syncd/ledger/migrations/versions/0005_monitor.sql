-- What the monitor keeps: what it found before it touched a stuck run, and what came of it.

CREATE TABLE rescue (
    run_id    uuid PRIMARY KEY REFERENCES run ON DELETE CASCADE,
    stream_id bigint NOT NULL REFERENCES stream,
    cause     text NOT NULL,
    why       text NOT NULL,
    found_by  text NOT NULL,
    found_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    forensics jsonb NOT NULL,
    ended_at  timestamptz,
    successor uuid,
    outcome   text
);
CREATE INDEX rescue_of_stream ON rescue (stream_id, found_at DESC);
-- Those that wait for their successor: a handful among all that there ever were.
CREATE INDEX open_rescue ON rescue (found_at) WHERE ended_at IS NULL;
COMMENT ON TABLE rescue IS 'One row a stuck run: what it was doing, written before anything was done about it';

ALTER TABLE stream ADD COLUMN rescues int NOT NULL DEFAULT 0;
COMMENT ON COLUMN stream.rescues IS 'Rescues in a row that gained no new page; at 3 the stream is paused';
ALTER TABLE stream ADD COLUMN resumed_at timestamptz;
COMMENT ON COLUMN stream.resumed_at IS 'End of its last pause: a run that was queued in it waits from here';

ALTER TABLE run ADD COLUMN call_seconds double precision;
COMMENT ON COLUMN run.call_seconds IS 'The longest that one of its calls may take';

-- One row a stream, beside the run: written every few seconds, and by nobody who holds a lock that matters.
CREATE TABLE activity (
    stream_id bigint PRIMARY KEY REFERENCES stream,
    run_id    uuid NOT NULL,
    doing     jsonb NOT NULL,
    noted_at  timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);
COMMENT ON TABLE activity IS 'What the worker of a stream does: its last calls, the present ones, where its tasks stand';

-- Pruning deletes runs: without these, each would read every page and every run to see who still points to it.
CREATE INDEX sweep_page_of_run ON sweep_page (run_id);
CREATE INDEX run_of_sweep ON run (sweep_id);
CREATE INDEX lease_of_run ON lease (run_id);
-- Whether a record that cannot be stored is there already.
CREATE INDEX quarantine_of_record ON quarantine (stream_id, sha256(raw));
-- The last success of a stream, however many runs have failed since.
CREATE INDEX complete_run ON run (stream_id, queued_at DESC) WHERE status = 'complete';
-- The last runs of all streams, in a history of millions.
CREATE INDEX run_by_time ON run (queued_at DESC, run_id DESC);

-- The days of the status page, counted as runs end: reading a month of runs for it would take longer each day.
CREATE TABLE run_day (
    stream_id bigint NOT NULL REFERENCES stream,
    day       date NOT NULL,
    status    text NOT NULL,
    runs      bigint NOT NULL,
    PRIMARY KEY (stream_id, day, status)
) WITH (fillfactor = 50);
COMMENT ON TABLE run_day IS 'How many runs of a stream ended in a status, by day of their end in UTC; plans do not count';

INSERT INTO run_day (stream_id, day, status, runs)
SELECT stream_id, (completed_at AT TIME ZONE 'UTC')::date, status, count(*) FROM run
 WHERE completed_at > clock_timestamp() - interval '31 days' AND NOT dry_run GROUP BY 1, 2, 3;

CREATE FUNCTION count_run_day() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO run_day AS d (stream_id, day, status, runs)
    VALUES (NEW.stream_id, (NEW.completed_at AT TIME ZONE 'UTC')::date, NEW.status, 1)
        ON CONFLICT (stream_id, day, status) DO UPDATE SET runs = d.runs + 1;
    RETURN NULL;
END
$$;
CREATE TRIGGER ended_runs_are_counted AFTER UPDATE OF completed_at ON run
    FOR EACH ROW WHEN (OLD.completed_at IS NULL AND NEW.completed_at IS NOT NULL AND NOT NEW.dry_run)
    EXECUTE FUNCTION count_run_day();

-- What was told to whom: one row a notice, so that a restart, or a second monitor, says nothing twice.
CREATE TABLE notice (
    key        text PRIMARY KEY,
    subject    text NOT NULL,
    event      text NOT NULL,
    body       json NOT NULL,
    made_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    claimed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    sent_at    timestamptz
);
CREATE INDEX notice_of_subject ON notice (subject, made_at DESC);
CREATE INDEX notice_not_sent ON notice (claimed_at) WHERE sent_at IS NULL;
CREATE INDEX notice_age ON notice (made_at);
