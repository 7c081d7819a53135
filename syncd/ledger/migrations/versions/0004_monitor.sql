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
