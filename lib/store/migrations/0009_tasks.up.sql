-- Work for the background: queue and results in one. Identifiers are UUIDv7. Times ending in _us are microseconds since
-- 1970 UTC; created_at and updated_at the same as text, UTC.
--   status    pending, processing, completed, failed, cancelled, dead
--   run_us    not before this time (delays, back-off)
--   lease_us  until when the worker that claimed it may go on without renewing; 0: nobody has it
--   claim     grows with each claim: who works on an older one has lost the task
--   change    of the last change, from generations (topic "task_changes"): in the order of commits, so whoever follows
--             the changes misses none
CREATE TABLE background_tasks (
    task_id       VARCHAR(255) PRIMARY KEY,
    user_id       INTEGER NOT NULL DEFAULT 0, -- 0: the service's own
    task_type     VARCHAR(100) NOT NULL,
    status        VARCHAR(50) NOT NULL DEFAULT 'pending',
    payload       TEXT NOT NULL DEFAULT '',
    result        TEXT,
    error_message TEXT,
    created_at    TEXT NOT NULL,
    updated_at    TEXT NOT NULL,
    priority      INTEGER NOT NULL DEFAULT 0, -- greater is sooner, -100 to 100
    run_us        INTEGER NOT NULL DEFAULT 0,
    lease_us      INTEGER NOT NULL DEFAULT 0,
    claim         INTEGER NOT NULL DEFAULT 0,
    attempts      INTEGER NOT NULL DEFAULT 0,
    worker        TEXT NOT NULL DEFAULT '',
    cancel        INTEGER NOT NULL DEFAULT 0, -- 1: asked for, while it runs
    done          INTEGER NOT NULL DEFAULT 0, -- of total, in units of the kind: progress and checkpoint
    total         INTEGER NOT NULL DEFAULT 0,
    expires_us    INTEGER NOT NULL DEFAULT 0, -- when a finished one may be deleted; 0: never
    change        INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- What may be claimed, best first; what is claimed and may have been lost; what waits for somebody to look at
-- it; what is over and may go.
CREATE INDEX idx_background_tasks_ready ON background_tasks (priority DESC, run_us, task_id, task_type)
    WHERE status = 'pending';
CREATE INDEX idx_background_tasks_lease ON background_tasks (lease_us) WHERE status = 'processing';
CREATE INDEX idx_background_tasks_dead ON background_tasks (task_type) WHERE status = 'dead';
CREATE INDEX idx_background_tasks_expires ON background_tasks (expires_us) WHERE expires_us > 0;
-- The tasks of one caller, newest first; changes in their order.
CREATE INDEX ix_background_tasks_user_id ON background_tasks (user_id, task_id);
CREATE INDEX idx_background_tasks_change ON background_tasks (change, task_id);

-- Payloads too large for a row, in pieces: stored before their task is, so a task is never without them.
CREATE TABLE task_parts (
    id         TEXT PRIMARY KEY, -- "<task_id>/<number of 8 digits>"
    data       BLOB NOT NULL,
    created_us INTEGER NOT NULL
) WITHOUT ROWID;

-- When a scheduled kind is due next: whoever moves `next_us` on, in the transaction that adds the task, is the one.
CREATE TABLE task_schedules (
    name       TEXT PRIMARY KEY,
    expression TEXT NOT NULL,
    next_us    INTEGER NOT NULL
) WITHOUT ROWID;
