DROP TABLE sentiment_requests;
DELETE FROM api_keys WHERE user_id <> 0;
DROP INDEX idx_api_keys_name;
ALTER TABLE api_keys DROP COLUMN user_id;
CREATE UNIQUE INDEX idx_api_keys_name ON api_keys (name) WHERE revoked_us = 0;
DROP TABLE sessions;
DROP TABLE users;
