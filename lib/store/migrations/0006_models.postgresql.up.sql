-- As in 0006_models.up.sql.
ALTER TABLE predictions ADD COLUMN label TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE predictions ADD COLUMN probabilities TEXT NOT NULL DEFAULT '';
ALTER TABLE predictions ADD COLUMN flags TEXT NOT NULL DEFAULT '';

CREATE TABLE models (
    id       TEXT COLLATE "C" PRIMARY KEY, -- "wine/2": name and version
    hash     TEXT NOT NULL,
    loaded   BIGINT NOT NULL DEFAULT 1,
    added_us BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE model_routes (
    name       TEXT COLLATE "C" PRIMARY KEY,
    shares     TEXT NOT NULL DEFAULT '',
    sticky     TEXT NOT NULL DEFAULT '',
    shadow     TEXT NOT NULL DEFAULT '',
    former     TEXT NOT NULL DEFAULT '',
    changed_us BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE shadow_predictions (
    id             TEXT COLLATE "C" PRIMARY KEY, -- "<the prediction's id>/<version>"
    model_version  TEXT COLLATE "C" NOT NULL,
    model_name     TEXT COLLATE "C" NOT NULL,
    model_hash     TEXT NOT NULL,
    result         DOUBLE PRECISION NOT NULL,
    label          TEXT COLLATE "C" NOT NULL DEFAULT '',
    probabilities  TEXT NOT NULL DEFAULT '',
    active_version TEXT COLLATE "C" NOT NULL,
    active_result  DOUBLE PRECISION NOT NULL,
    active_label   TEXT COLLATE "C" NOT NULL DEFAULT '',
    created_at     TEXT COLLATE "C" NOT NULL,
    duration_us    BIGINT NOT NULL DEFAULT 0
);
