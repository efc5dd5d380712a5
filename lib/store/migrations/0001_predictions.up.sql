-- One row per answered prediction. The first five columns are the contract with whoever reads the file directly; the
-- rest says where the number came from. Identifiers are UUIDv7, so that new rows go to the end of the table, which is
-- kept in the order of its key (WITHOUT ROWID: one tree less to write, and the key is the last column of every index).
CREATE TABLE predictions (
    id            TEXT PRIMARY KEY,
    features      TEXT NOT NULL,
    result        REAL NOT NULL,
    model_version TEXT NOT NULL,
    created_at    TEXT NOT NULL,
    model_name    TEXT NOT NULL DEFAULT '',
    model_hash    TEXT NOT NULL DEFAULT '',
    key_id        TEXT NOT NULL DEFAULT '',
    request_id    TEXT NOT NULL DEFAULT '',
    trace_id      TEXT NOT NULL DEFAULT '',
    duration_us   INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- The newest rows, pages of rows, retention.
CREATE INDEX idx_predictions_created_at ON predictions (created_at);

-- The rows of one caller, and of one model, newest first.
CREATE INDEX idx_predictions_key ON predictions (key_id, created_at);
CREATE INDEX idx_predictions_model ON predictions (model_version, created_at);
