-- As in 0008_accounts.up.sql. Text is compared byte by byte: times and keys sort as they read.
CREATE TABLE users (
    id              BIGINT PRIMARY KEY,
    email           VARCHAR(255) NOT NULL,
    username        VARCHAR(100) NOT NULL,
    hashed_password VARCHAR(255) NOT NULL,
    is_active       SMALLINT NOT NULL DEFAULT 1,
    is_superuser    SMALLINT NOT NULL DEFAULT 0,
    created_at      TEXT COLLATE "C" NOT NULL DEFAULT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS'),
    updated_at      TEXT COLLATE "C" NOT NULL DEFAULT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS'),
    email_key       TEXT COLLATE "C" NOT NULL,
    username_key    TEXT COLLATE "C" NOT NULL,
    failed_logins   BIGINT NOT NULL DEFAULT 0,
    locked_until_us BIGINT NOT NULL DEFAULT 0
);

CREATE INDEX ix_users_id ON users (id);
CREATE UNIQUE INDEX ix_users_email ON users (email_key);
CREATE UNIQUE INDEX ix_users_username ON users (username_key);

CREATE TABLE sessions (
    id           TEXT COLLATE "C" PRIMARY KEY,
    user_id      BIGINT NOT NULL,
    refresh_hash BYTEA NOT NULL,
    former_hash  BYTEA,
    created_us   BIGINT NOT NULL,
    renewed_us   BIGINT NOT NULL,
    expires_us   BIGINT NOT NULL,
    ended_us     BIGINT NOT NULL DEFAULT 0,
    client       TEXT NOT NULL DEFAULT ''
);

CREATE INDEX idx_sessions_user ON sessions (user_id);
CREATE INDEX idx_sessions_expires ON sessions (expires_us);

ALTER TABLE api_keys ADD COLUMN user_id BIGINT NOT NULL DEFAULT 0;
DROP INDEX idx_api_keys_name;
CREATE UNIQUE INDEX idx_api_keys_name ON api_keys (user_id, name) WHERE revoked_us = 0;

CREATE TABLE sentiment_requests (
    id              TEXT COLLATE "C" PRIMARY KEY,
    user_id         BIGINT NOT NULL,
    text            TEXT NOT NULL,
    sentiment       VARCHAR(50),
    confidence      DOUBLE PRECISION,
    processing_time DOUBLE PRECISION,
    created_at      TEXT COLLATE "C" NOT NULL,
    model_version   TEXT COLLATE "C" NOT NULL DEFAULT '',
    task_id         TEXT COLLATE "C" NOT NULL DEFAULT '',
    position        BIGINT NOT NULL DEFAULT 0
);

CREATE INDEX ix_sentiment_requests_user_id ON sentiment_requests (user_id, id);
