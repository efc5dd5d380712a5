-- What a key may do beyond predicting, comma separated: "models" (load and unload versions). Keys that were there have none.
ALTER TABLE api_keys ADD COLUMN scopes TEXT NOT NULL DEFAULT '';
