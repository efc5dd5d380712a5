-- What appcore move knows about this database (lib/store/moves.h): its own identity, which no other database has; the one
-- that it is filled from; and of each table the ranges of keys, first exclusive, that have been carried, with their sum.
CREATE TABLE moves (
    part       TEXT NOT NULL,
    last_key   TEXT NOT NULL,
    first_key  TEXT NOT NULL DEFAULT '',
    row_count  INTEGER NOT NULL DEFAULT 0,
    hash       TEXT NOT NULL,
    checked_us INTEGER NOT NULL DEFAULT 0,
    verified   INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (part, last_key)
) WITHOUT ROWID;

INSERT INTO moves (part, last_key, hash) VALUES ('database', '', lower(hex(randomblob(16))));
