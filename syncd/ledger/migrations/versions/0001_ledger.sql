-- The ledger: who may write, who did, and how far they came. Times are the database's own.

CREATE FUNCTION uuid_v7() RETURNS uuid LANGUAGE sql VOLATILE AS $$
    SELECT encode(
        set_bit(set_bit(
            overlay(uuid_send(gen_random_uuid())
                    PLACING substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
                    FROM 1 FOR 6),
            52, 1), 53, 1),
        'hex')::uuid
$$;

CREATE TABLE account (
    account_id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source             text NOT NULL CHECK (source ~ '^[a-z0-9_-]{1,40}$'),
    name               text NOT NULL CHECK (name ~ '^[a-z0-9_-]{1,40}$'),
    host               text,
    username_hash      bytea,
    breaker_failures   int NOT NULL DEFAULT 0,
    breaker_open_until timestamptz,
    UNIQUE (source, name)
);
COMMENT ON COLUMN account.host IS 'Identity pin: host name and hash of the user name that filled this account';

CREATE TABLE stream (
    stream_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id      bigint NOT NULL REFERENCES account,
    resource        text NOT NULL CHECK (resource ~ '^[a-z0-9_-]{1,40}$'),
    paused_at       timestamptz,
    paused_by       text,
    pause_reason    text,
    next_attempt_at timestamptz,
    UNIQUE (account_id, resource)
);

CREATE TABLE sweep (
    sweep_id        uuid PRIMARY KEY DEFAULT uuid_v7(),
    stream_id       bigint NOT NULL REFERENCES stream,
    page_size       int NOT NULL,
    pass            smallint NOT NULL DEFAULT 1 CHECK (pass IN (1, 2)),
    expected        bigint,
    checkpoint_page int NOT NULL DEFAULT 0,
    checkpoint_at   timestamptz,
    started_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at        timestamptz,
    ended_by        text,
    distinct_keys   bigint,
    keys_digest     text
);
CREATE UNIQUE INDEX one_open_sweep ON sweep (stream_id) WHERE ended_at IS NULL;
CREATE INDEX sweep_of_stream ON sweep (stream_id, started_at DESC);
COMMENT ON COLUMN sweep.expected IS 'Count at the start of the current pass; NULL where the source has none';

CREATE TABLE run (
    run_id              uuid PRIMARY KEY DEFAULT uuid_v7(),
    stream_id           bigint NOT NULL REFERENCES stream,
    sweep_id            uuid REFERENCES sweep,
    status              text NOT NULL DEFAULT 'queued'
                        CHECK (status IN ('queued', 'running', 'complete', 'partial', 'failed', 'cancelled')),
    cause               text,
    phase               text NOT NULL DEFAULT 'idle',
    fence               bigint,
    initiated_by        text NOT NULL,
    queued_at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at          timestamptz,
    heartbeat_at        timestamptz,
    progress_at         timestamptz,
    progress_seq        bigint NOT NULL DEFAULT 0,
    wait_until          timestamptz,
    wait_reason         text,
    deadline_at         timestamptz,
    completed_at        timestamptz,
    next_attempt_at     timestamptz,
    cancel_requested_at timestamptz,
    cancel_requested_by text,
    max_pages           int,
    max_requests        int,
    max_records         bigint,
    timeout_seconds     double precision,
    start_page          int,
    last_page           int,
    expected            bigint,
    pages               int NOT NULL DEFAULT 0,
    requests            int NOT NULL DEFAULT 0,
    errors              int NOT NULL DEFAULT 0,
    fetched             bigint NOT NULL DEFAULT 0,
    inserted            bigint NOT NULL DEFAULT 0,
    updated             bigint NOT NULL DEFAULT 0,
    unchanged           bigint NOT NULL DEFAULT 0,
    revived             bigint NOT NULL DEFAULT 0,
    tombstoned          bigint NOT NULL DEFAULT 0,
    quarantined         bigint NOT NULL DEFAULT 0,
    duplicates          bigint NOT NULL DEFAULT 0,
    field_faults        bigint NOT NULL DEFAULT 0,
    error_message       text,
    CHECK ((cause IS NULL) = (status IN ('queued', 'running'))),
    CHECK ((completed_at IS NULL) = (status IN ('queued', 'running')))
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX one_open_run ON run (stream_id) WHERE status IN ('queued', 'running');
CREATE INDEX run_of_stream ON run (stream_id, queued_at DESC);

CREATE FUNCTION keep_terminal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'run % is %, and terminal states never change', OLD.run_id, OLD.status
        USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER terminal_states_never_change BEFORE UPDATE OF status, cause, completed_at ON run
    FOR EACH ROW WHEN (OLD.completed_at IS NOT NULL) EXECUTE FUNCTION keep_terminal();

CREATE TABLE lease (
    stream_id     bigint PRIMARY KEY REFERENCES stream,
    fence         bigint NOT NULL DEFAULT 0,
    run_id        uuid REFERENCES run,
    expires_at    timestamptz,
    owner_host    text,
    owner_boot    text,
    owner_pid     int,
    owner_started text
) WITH (fillfactor = 50);
COMMENT ON COLUMN lease.owner_boot IS 'Boot id and process namespace: only within these a pid names one process';

CREATE TABLE sweep_page (
    sweep_id     uuid NOT NULL REFERENCES sweep ON DELETE CASCADE,
    pass         smallint NOT NULL,
    page         int NOT NULL,
    run_id       uuid NOT NULL REFERENCES run,
    fence        bigint NOT NULL,
    received     int NOT NULL,
    keyless      int NOT NULL,
    keys         text[] COLLATE "C" NOT NULL,
    committed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (sweep_id, pass, page, run_id)
);
COMMENT ON TABLE sweep_page IS 'The manifest: which keys each page of a sweep showed, one row a reading';

CREATE TABLE api_budget (
    login       text NOT NULL,
    limit_class text NOT NULL,
    next_at     timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (login, limit_class)
) WITH (fillfactor = 50);

CREATE TABLE accumulator (
    stream_id bigint NOT NULL REFERENCES stream,
    metric    text NOT NULL,
    endpoint  text NOT NULL DEFAULT '',
    detail    text NOT NULL DEFAULT '',
    value     double precision NOT NULL DEFAULT 0,
    since     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (stream_id, metric, endpoint, detail)
) WITH (fillfactor = 50);
COMMENT ON TABLE accumulator IS 'Counters that only grow; the monitor shows them as metrics';

CREATE TABLE consent (
    run_id      uuid PRIMARY KEY REFERENCES run ON DELETE CASCADE,
    stream_id   bigint NOT NULL REFERENCES stream,
    keys        text[] COLLATE "C" NOT NULL,
    live        bigint NOT NULL,
    asked_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    approved_at timestamptz,
    approved_by text,
    used_at     timestamptz
);
COMMENT ON TABLE consent IS 'Blast radius: the keys that a run found missing and did not dare to tombstone';
