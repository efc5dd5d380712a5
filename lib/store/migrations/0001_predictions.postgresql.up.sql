-- As in 0001_predictions.up.sql. The table is cut into weeks by its key, which begins with the time (UUIDv7), so that
-- retention drops whole tables; lib/store/predictions.c makes them ahead and drops them. What falls into no week (rows of
-- before the first start) goes to predictions_rest. Text is compared byte by byte: times and keys sort as they read.
CREATE TABLE predictions (
    id            TEXT COLLATE "C" PRIMARY KEY,
    features      TEXT NOT NULL,
    result        DOUBLE PRECISION NOT NULL,
    model_version TEXT COLLATE "C" NOT NULL,
    created_at    TEXT COLLATE "C" NOT NULL,
    model_name    TEXT COLLATE "C" NOT NULL DEFAULT '',
    model_hash    TEXT COLLATE "C" NOT NULL DEFAULT '',
    key_id        TEXT COLLATE "C" NOT NULL DEFAULT '',
    request_id    TEXT COLLATE "C" NOT NULL DEFAULT '',
    trace_id      TEXT COLLATE "C" NOT NULL DEFAULT '',
    duration_us   BIGINT NOT NULL DEFAULT 0
) PARTITION BY RANGE (id);

CREATE TABLE predictions_rest PARTITION OF predictions DEFAULT;

CREATE INDEX idx_predictions_created_at ON predictions (created_at, id);
CREATE INDEX idx_predictions_key ON predictions (key_id, created_at, id);
CREATE INDEX idx_predictions_model ON predictions (model_version, created_at, id);
