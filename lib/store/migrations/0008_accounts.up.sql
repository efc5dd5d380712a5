-- People. Identifiers are counted in table generations (topic "users"), never used twice. Times are UTC without zone.
-- username and email as they are shown; the *_key columns are what must be unique (RFC 8265's case-mapped form, the
-- lower-cased address). locked_until_us: microseconds since 1970, 0 is not locked.
CREATE TABLE users (
    id              INTEGER PRIMARY KEY,
    email           VARCHAR(255) NOT NULL,
    username        VARCHAR(100) NOT NULL,
    hashed_password VARCHAR(255) NOT NULL,
    is_active       BOOLEAN NOT NULL DEFAULT 1,
    is_superuser    BOOLEAN NOT NULL DEFAULT 0,
    created_at      TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f', 'now')),
    updated_at      TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%f', 'now')),
    email_key       TEXT NOT NULL,
    username_key    TEXT NOT NULL,
    failed_logins   INTEGER NOT NULL DEFAULT 0,
    locked_until_us INTEGER NOT NULL DEFAULT 0
);

CREATE INDEX ix_users_id ON users (id);
CREATE UNIQUE INDEX ix_users_email ON users (email_key);
CREATE UNIQUE INDEX ix_users_username ON users (username_key);

-- A login: what its tokens name as "sid". It ends at logout, when the password changes, and when it has expired. The
-- refresh token is kept as a hash; each use replaces it, and what it replaced is kept to see a stolen one used again.
CREATE TABLE sessions (
    id           TEXT PRIMARY KEY,
    user_id      INTEGER NOT NULL,
    refresh_hash BLOB NOT NULL,
    former_hash  BLOB,
    created_us   INTEGER NOT NULL,
    renewed_us   INTEGER NOT NULL,
    expires_us   INTEGER NOT NULL,
    ended_us     INTEGER NOT NULL DEFAULT 0,
    client       TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;

CREATE INDEX idx_sessions_user ON sessions (user_id);
CREATE INDEX idx_sessions_expires ON sessions (expires_us);

-- Whose key it is; 0: the operator's own. Names are unique for each owner.
ALTER TABLE api_keys ADD COLUMN user_id INTEGER NOT NULL DEFAULT 0;
DROP INDEX idx_api_keys_name;
CREATE UNIQUE INDEX idx_api_keys_name ON api_keys (user_id, name) WHERE revoked_us = 0;

-- One row per analysed text. Rows of a batch name its task and their place in it; their ids are made of both, in order
-- (lib/store/sentiments.h), so that no index of its own is needed.
CREATE TABLE sentiment_requests (
    id              TEXT PRIMARY KEY,
    user_id         INTEGER NOT NULL,
    text            TEXT NOT NULL,
    sentiment       VARCHAR(50),
    confidence      FLOAT,
    processing_time FLOAT,
    created_at      TEXT NOT NULL,
    model_version   TEXT NOT NULL DEFAULT '', -- "sentiment/1"
    task_id         TEXT NOT NULL DEFAULT '',
    position        INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE INDEX ix_sentiment_requests_user_id ON sentiment_requests (user_id, id);
