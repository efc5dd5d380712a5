-- A counter per topic, bumped by whoever changes what other processes hold in memory.
CREATE TABLE generations (
    topic TEXT COLLATE "C" PRIMARY KEY,
    value BIGINT NOT NULL
);
