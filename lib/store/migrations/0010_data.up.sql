-- Records that pipelines have stored, the runs that stored them, and what was refused. Times ending in _us are
-- microseconds since 1970 UTC.
CREATE TABLE pipelines (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    created_us INTEGER NOT NULL
);

-- One run of a pipeline over one source. Its task has the same identifier.
--   number      small, for the rows that refer to it
--   busy_key    what it reads, while it does: two runs can't read the same source at a time; NULL afterwards
--   definition  the pipeline as it was when the run was made
--   position    of the source, and how long the files are that it writes: a JSON object; moves on in the transaction
--               that stores what was read up to there
CREATE TABLE data_runs (
    number      INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    pipeline_id INTEGER NOT NULL,
    user_id     INTEGER NOT NULL DEFAULT 0, -- 0: the service's own
    source      TEXT NOT NULL,              -- as shown: a file's name, a URL
    path        TEXT NOT NULL DEFAULT '',   -- of the file while it is read
    origin      TEXT NOT NULL DEFAULT '',   -- upload, raw, command, http, records
    busy_key    TEXT UNIQUE,
    definition  TEXT NOT NULL,
    retry_of    INTEGER NOT NULL DEFAULT 0, -- the number of the run of which it reads only what that one refused
    state       TEXT NOT NULL DEFAULT 'pending', -- pending, running, paused, completed, failed, cancelled
    position    TEXT NOT NULL DEFAULT '{}',
    identity    TEXT NOT NULL DEFAULT '',   -- of the source's bytes
    rows_read   INTEGER NOT NULL DEFAULT 0,
    stored      INTEGER NOT NULL DEFAULT 0,
    replaced    INTEGER NOT NULL DEFAULT 0,
    skipped     INTEGER NOT NULL DEFAULT 0, -- duplicates
    refused     INTEGER NOT NULL DEFAULT 0,
    bytes_read  INTEGER NOT NULL DEFAULT 0,
    bytes_total INTEGER NOT NULL DEFAULT 0,
    error       TEXT NOT NULL DEFAULT '',
    created_us  INTEGER NOT NULL,
    started_us  INTEGER NOT NULL DEFAULT 0,
    ended_us    INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX idx_data_runs_pipeline ON data_runs (pipeline_id, number);
CREATE INDEX idx_data_runs_user ON data_runs (user_id, number);

--   seq         in the order of storing
--   record_key  the pipeline's key, or "<run>-<line>"
--   status      0 raw, 1 processed, 2 failed
--   data        a JSON object
CREATE TABLE data_records (
    seq          INTEGER PRIMARY KEY,
    pipeline_id  INTEGER NOT NULL,
    record_key   TEXT NOT NULL,
    run          INTEGER NOT NULL,
    source       TEXT NOT NULL,
    status       INTEGER NOT NULL,
    received_us  INTEGER NOT NULL,
    processed_us INTEGER NOT NULL DEFAULT 0,
    seconds      DOUBLE PRECISION NOT NULL DEFAULT 0,
    error        TEXT NOT NULL DEFAULT '',
    data         TEXT NOT NULL
);
CREATE UNIQUE INDEX idx_data_records_key ON data_records (pipeline_id, record_key);
CREATE INDEX idx_data_records_pipeline ON data_records (pipeline_id); -- and seq, which every index ends with

-- What the fields that are searched hold; rowid is the record's seq.
CREATE VIRTUAL TABLE data_search USING fts5(text, tokenize = 'unicode61');

CREATE TABLE data_refusals (
    run        INTEGER NOT NULL,
    n          INTEGER NOT NULL, -- from 1, in the order of the source
    line       INTEGER NOT NULL,
    record_key TEXT NOT NULL DEFAULT '',
    field      TEXT NOT NULL DEFAULT '',
    value      TEXT NOT NULL DEFAULT '',
    reason     TEXT NOT NULL,
    message    TEXT NOT NULL,
    PRIMARY KEY (run, n)
) WITHOUT ROWID;

-- Files on their way in, piece by piece.
CREATE TABLE data_uploads (
    id         TEXT PRIMARY KEY,
    user_id    INTEGER NOT NULL,
    name       TEXT NOT NULL,
    pipeline   TEXT NOT NULL DEFAULT '', -- to run when it is complete; empty: none
    bytes      INTEGER NOT NULL,
    received   INTEGER NOT NULL DEFAULT 0,
    sha256     TEXT NOT NULL DEFAULT '', -- what it must be; empty: not said
    run_id     TEXT NOT NULL DEFAULT '',
    created_us INTEGER NOT NULL,
    expires_us INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX idx_data_uploads_expires ON data_uploads (expires_us);

-- How far an API has been read, so that nothing is fetched twice.
CREATE TABLE data_cursors (
    pipeline_id   INTEGER PRIMARY KEY,
    source        TEXT NOT NULL DEFAULT '', -- what since is of
    request       TEXT NOT NULL DEFAULT '', -- what etag and last_modified are of
    etag          TEXT NOT NULL DEFAULT '',
    last_modified TEXT NOT NULL DEFAULT '',
    since         TEXT NOT NULL DEFAULT '',
    failures      INTEGER NOT NULL DEFAULT 0, -- in a row
    open_until_us INTEGER NOT NULL DEFAULT 0, -- the circuit breaker
    updated_us    INTEGER NOT NULL
);
