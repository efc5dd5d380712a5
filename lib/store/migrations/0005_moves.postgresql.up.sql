-- As in 0005_moves.up.sql.
CREATE TABLE moves (
    part       TEXT COLLATE "C" NOT NULL,
    last_key   TEXT COLLATE "C" NOT NULL,
    first_key  TEXT COLLATE "C" NOT NULL DEFAULT '',
    row_count  BIGINT NOT NULL DEFAULT 0,
    hash       TEXT NOT NULL,
    checked_us BIGINT NOT NULL DEFAULT 0,
    verified   BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (part, last_key)
);

INSERT INTO moves (part, last_key, hash) VALUES ('database', '', replace(gen_random_uuid()::text, '-', ''));
