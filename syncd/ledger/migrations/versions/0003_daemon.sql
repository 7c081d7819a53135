-- What the daemon keeps: the caps asked for a queued run, failures in a row, the keys of repeated requests.

ALTER TABLE run ADD COLUMN dry_run boolean NOT NULL DEFAULT false;
ALTER TABLE run ADD COLUMN wanted_pages int;
ALTER TABLE run ADD COLUMN wanted_requests int;
ALTER TABLE run ADD COLUMN wanted_records bigint;
COMMENT ON COLUMN run.wanted_pages IS 'Cap asked for when the run was queued; NULL = the settings'' own';

ALTER TABLE stream ADD COLUMN failures int NOT NULL DEFAULT 0;
COMMENT ON COLUMN stream.failures IS 'Failed runs in a row: the schedule backs off by them, across restarts';

CREATE TABLE idempotency (
    key          text PRIMARY KEY CHECK (length(key) BETWEEN 1 AND 200),
    body_hash    bytea NOT NULL,
    answer       json,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX idempotency_age ON idempotency (requested_at);
