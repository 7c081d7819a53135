-- What the monitor keeps: what it found before it touched a stuck run, and what came of it.

CREATE TABLE rescue (
    run_id    uuid PRIMARY KEY REFERENCES run ON DELETE CASCADE,
    stream_id bigint NOT NULL REFERENCES stream,
    cause     text NOT NULL,
    why       text NOT NULL,
    found_by  text NOT NULL,
    found_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    forensics json NOT NULL,
    ended_at  timestamptz,
    successor uuid,
    outcome   text
);
CREATE INDEX rescue_of_stream ON rescue (stream_id, found_at DESC);
COMMENT ON TABLE rescue IS 'One row a stuck run: what it was doing, written before anything was done about it';

ALTER TABLE stream ADD COLUMN rescues int NOT NULL DEFAULT 0;
COMMENT ON COLUMN stream.rescues IS 'Rescues in a row that gained no new page; at 3 the stream is paused';

-- Pruning deletes runs: without these, each would read every page and every run to see who still points to it.
CREATE INDEX sweep_page_of_run ON sweep_page (run_id);
CREATE INDEX run_of_sweep ON run (sweep_id);
CREATE INDEX lease_of_run ON lease (run_id);
-- The last success of a stream, however many runs have failed since.
CREATE INDEX complete_run ON run (stream_id, queued_at DESC) WHERE status = 'complete';
-- The last runs of all streams, in a history of millions.
CREATE INDEX run_by_time ON run (queued_at DESC, run_id DESC);
-- Rescues that wait for their successor: a handful among all that there ever were.
CREATE INDEX unfinished_rescue ON rescue (found_at) WHERE ended_at IS NULL;
