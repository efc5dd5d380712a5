-- The stored answer to a request that carried an Idempotency-Key. key_hash covers caller, route and key, fingerprint
-- the request's body.
CREATE TABLE idempotency_keys (
    key_hash    BYTEA PRIMARY KEY,
    fingerprint BYTEA NOT NULL,
    expires_us  BIGINT NOT NULL,
    http_status BIGINT NOT NULL,
    body        BYTEA NOT NULL
);

-- Expiry deletes the oldest first.
CREATE INDEX idx_idempotency_keys_expires ON idempotency_keys (expires_us);
