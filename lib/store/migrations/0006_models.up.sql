-- What a classifier answered, and what was noticed about the input. All empty where there is nothing to say.
ALTER TABLE predictions ADD COLUMN label TEXT NOT NULL DEFAULT '';
ALTER TABLE predictions ADD COLUMN probabilities TEXT NOT NULL DEFAULT ''; -- "[0.1, 0.9]", in the order of the classes
ALTER TABLE predictions ADD COLUMN flags TEXT NOT NULL DEFAULT '';         -- "[\"alcohol\"]": outside of the allowed range

-- The versions of models that every machine has in its MODELS_DIR. The hash is that of the manifest.
CREATE TABLE models (
    id       TEXT PRIMARY KEY, -- "wine/2": name and version
    hash     TEXT NOT NULL,
    loaded   INTEGER NOT NULL DEFAULT 1, -- 0: kept, but not served
    added_us INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- Who answers for a name. shares: "1=90 2=10"; sticky: "", "key" or "header:NAME"; shadow: a version or ""; former: the
-- routes before this one, newest first, for a rollback.
CREATE TABLE model_routes (
    name       TEXT PRIMARY KEY,
    shares     TEXT NOT NULL DEFAULT '',
    sticky     TEXT NOT NULL DEFAULT '',
    shadow     TEXT NOT NULL DEFAULT '',
    former     TEXT NOT NULL DEFAULT '',
    changed_us INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- What a candidate would have answered, beside what was answered.
CREATE TABLE shadow_predictions (
    id             TEXT PRIMARY KEY, -- "<the prediction's id>/<version>"
    model_version  TEXT NOT NULL,
    model_name     TEXT NOT NULL,
    model_hash     TEXT NOT NULL,
    result         REAL NOT NULL,
    label          TEXT NOT NULL DEFAULT '',
    probabilities  TEXT NOT NULL DEFAULT '',
    active_version TEXT NOT NULL,
    active_result  REAL NOT NULL,
    active_label   TEXT NOT NULL DEFAULT '',
    created_at     TEXT NOT NULL,
    duration_us    INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
