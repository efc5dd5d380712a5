-- The stored answer to a request that carried an Idempotency-Key. key_hash covers caller, route and key, fingerprint
-- the request's body.
CREATE TABLE idempotency_keys (
    key_hash    BLOB PRIMARY KEY,
    fingerprint BLOB NOT NULL,
    expires_us  INTEGER NOT NULL,
    http_status INTEGER NOT NULL,
    body        BLOB NOT NULL
);

-- Expiry deletes the oldest first.
CREATE INDEX idx_idempotency_keys_expires ON idempotency_keys (expires_us);
