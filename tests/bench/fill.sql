-- Fills predictions with :rows rows as the service writes them, spread evenly over the 30 days before now: ids are UUIDv7,
-- created_at is the id's time, one in eight rows belongs to another key. Run by scale.py on a database that nobody else
-- has open; a power cut would cost it, hence no journal.
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -262144;
BEGIN;
WITH RECURSIVE
    n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i < :rows - 1),
    -- r: 64 random bits, of which each column takes its own
    t(i, ms, r) AS (
        SELECT i, (unixepoch() - 30 * 86400) * 1000 + i * (30 * 86400 * 1000) / :rows, random() FROM n
    )
INSERT INTO predictions (id, features, result, model_version, created_at,
                         model_name, model_hash, key_id, request_id, trace_id, duration_us)
SELECT printf('%08x-%04x-7%03x-%04x-%012x', ms >> 16, ms & 65535, r & 4095, 32768 | ((r >> 12) & 16383),
              (r >> 16) & 281474976710655),
       printf('[%.1f, %.2f, %.1f]', (r & 1023) / 10.25, ((r >> 10) & 1023) / 102.5, (r >> 20) & 1023),
       (r & 1048575) / 3e3,
       'v1.0',
       strftime('%Y-%m-%dT%H:%M:%S', ms / 1000, 'unixepoch') || printf('.%03d000+00:00', ms % 1000),
       'mean',
       '6d65616e206f66207468652066656174757265732c2076312e30202d2d2d2d2d',
       CASE WHEN r & 7 = 0 THEN printf('%016x', 4096 + ((r >> 3) & 3)) ELSE 'env' END,
       printf('%016x%016x', r, r * 31),
       '',
       r & 15
FROM t;
COMMIT;
