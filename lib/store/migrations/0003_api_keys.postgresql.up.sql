-- API keys: the public id and a hash, never the key. Times are microseconds since 1970 UTC, 0 is never;
-- rate_per_minute -1 is the setting's default, 0 no limit.
CREATE TABLE api_keys (
    id              TEXT COLLATE "C" PRIMARY KEY,
    name            TEXT NOT NULL,
    hash            BYTEA NOT NULL,
    rate_per_minute BIGINT NOT NULL DEFAULT -1,
    created_us      BIGINT NOT NULL,
    expires_us      BIGINT NOT NULL DEFAULT 0,
    revoked_us      BIGINT NOT NULL DEFAULT 0
);

-- A revoked key's name is free again.
CREATE UNIQUE INDEX idx_api_keys_name ON api_keys (name) WHERE revoked_us = 0;
