-- The warehouse: records as the API sent them, what changed, and what could not be stored.

CREATE TABLE record (
    stream_id         bigint NOT NULL,
    key               text COLLATE "C" NOT NULL CHECK (length(key) BETWEEN 1 AND 200),
    hash              bytea NOT NULL,
    document          json NOT NULL,
    part_number_key   text,
    part_number       text,
    name              text,
    brand             text,
    category_id       bigint,
    currency          text,
    sale_price        numeric,
    recommended_price numeric,
    min_sale_price    numeric,
    max_sale_price    numeric,
    stock             bigint,
    status            bigint,
    vat_id            bigint,
    updated_run       uuid NOT NULL,
    first_seen_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    missing_since     timestamptz,
    absent_sweep      uuid,
    PRIMARY KEY (stream_id, key)
) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02);
-- No foreign keys here: a check a row would cost a tenth of the load, and only fenced writes come in.
COMMENT ON COLUMN record.hash IS 'The first 16 bytes of the SHA-256 of the document''s bytes';
COMMENT ON COLUMN record.missing_since IS 'Tombstone: gone from the source since; marked, never deleted';
COMMENT ON COLUMN record.absent_sweep IS 'A complete sweep that did not show this record; a second one proves it gone';

CREATE TABLE change (
    change_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream_id  bigint NOT NULL,
    key        text COLLATE "C" NOT NULL,
    run_id     uuid NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('updated', 'tombstoned', 'revived')),
    field      text,
    old        json,
    new        json,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((kind = 'updated') = (field IS NOT NULL))
);
CREATE INDEX change_of_record ON change (stream_id, key, changed_at DESC);
CREATE INDEX change_of_run ON change (run_id);
COMMENT ON TABLE change IS 'One row a changed top-level key; old and new are exact JSON text, NULL where the key was not there';

CREATE TABLE quarantine (
    quarantine_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream_id     bigint NOT NULL,
    run_id        uuid NOT NULL,
    page          int NOT NULL,
    ordinal       int NOT NULL,
    key           text COLLATE "C",
    reason        text NOT NULL,
    raw           bytea NOT NULL,
    caught_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX quarantine_of_run ON quarantine (run_id);

-- lz4 keeps the exact text four times cheaper than pglz; some builds do not have it.
DO $$
BEGIN
    ALTER TABLE record ALTER COLUMN document SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported OR invalid_parameter_value THEN
    RAISE NOTICE 'this PostgreSQL has no lz4: documents are compressed with pglz, more slowly';
END
$$;

CREATE VIEW emag_product_offers AS
SELECT a.name AS account_type, r.key AS emag_offer_id, r.part_number_key, r.part_number, r.name, r.brand,
       r.category_id, r.sale_price, r.recommended_price, r.min_sale_price, r.max_sale_price, r.currency,
       r.stock, r.status, r.vat_id, r.document::jsonb AS raw_data, r.first_seen_at, r.updated_at, r.missing_since
  FROM record r JOIN stream s USING (stream_id) JOIN account a USING (account_id)
 WHERE a.source = 'emag' AND s.resource = 'offers';

CREATE VIEW emag_offer_syncs AS
SELECT r.run_id AS sync_id, a.name AS account_type, 'sync'::text AS operation_type,
       CASE r.status WHEN 'queued' THEN 'running' WHEN 'running' THEN 'running'
                     WHEN 'complete' THEN 'completed' ELSE 'failed' END AS status,
       r.status AS run_status, r.cause, r.started_at, r.completed_at,
       extract(epoch FROM coalesce(r.completed_at, clock_timestamp()) - r.started_at) AS duration_seconds,
       r.fetched AS total_offers_processed, r.inserted AS offers_created, r.updated AS offers_updated,
       r.quarantined AS offers_failed, r.unchanged AS offers_skipped, r.errors AS error_count,
       CASE WHEN r.error_message IS NULL THEN '[]'::jsonb
            ELSE jsonb_build_array(jsonb_build_object('cause', r.cause, 'message', r.error_message)) END AS errors,
       r.initiated_by
  FROM run r JOIN stream s USING (stream_id) JOIN account a USING (account_id)
 WHERE a.source = 'emag' AND s.resource = 'offers';
