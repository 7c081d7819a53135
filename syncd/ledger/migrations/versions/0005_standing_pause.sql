-- Whether everything is paused: streams that are registered later begin as paused as the others.

CREATE TABLE standing_pause (
    only_one     boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    paused_at    timestamptz,
    paused_by    text,
    pause_reason text
);
INSERT INTO standing_pause DEFAULT VALUES;
COMMENT ON TABLE standing_pause IS 'One row, always there: it is what a pause and a registration lock. NULLs: no pause';
