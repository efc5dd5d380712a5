-- As in 0007_key_scopes.up.sql.
ALTER TABLE api_keys ADD COLUMN scopes TEXT NOT NULL DEFAULT '';
