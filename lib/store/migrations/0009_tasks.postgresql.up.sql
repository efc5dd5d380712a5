-- As in 0009_tasks.up.sql. Text is compared byte by byte: times and keys sort as they read.
CREATE TABLE background_tasks (
    task_id       VARCHAR(255) COLLATE "C" PRIMARY KEY,
    user_id       BIGINT NOT NULL DEFAULT 0,
    task_type     VARCHAR(100) COLLATE "C" NOT NULL,
    status        VARCHAR(50) COLLATE "C" NOT NULL DEFAULT 'pending',
    payload       TEXT NOT NULL DEFAULT '',
    result        TEXT,
    error_message TEXT,
    created_at    TEXT COLLATE "C" NOT NULL,
    updated_at    TEXT COLLATE "C" NOT NULL,
    priority      BIGINT NOT NULL DEFAULT 0,
    run_us        BIGINT NOT NULL DEFAULT 0,
    lease_us      BIGINT NOT NULL DEFAULT 0,
    claim         BIGINT NOT NULL DEFAULT 0,
    attempts      BIGINT NOT NULL DEFAULT 0,
    worker        TEXT COLLATE "C" NOT NULL DEFAULT '',
    cancel        BIGINT NOT NULL DEFAULT 0,
    done          BIGINT NOT NULL DEFAULT 0,
    total         BIGINT NOT NULL DEFAULT 0,
    expires_us    BIGINT NOT NULL DEFAULT 0,
    change        BIGINT NOT NULL DEFAULT 0
);

CREATE INDEX idx_background_tasks_ready ON background_tasks (priority DESC, run_us, task_id, task_type)
    WHERE status = 'pending';
CREATE INDEX idx_background_tasks_lease ON background_tasks (lease_us) WHERE status = 'processing';
CREATE INDEX idx_background_tasks_dead ON background_tasks (task_type) WHERE status = 'dead';
CREATE INDEX idx_background_tasks_expires ON background_tasks (expires_us) WHERE expires_us > 0;
CREATE INDEX ix_background_tasks_user_id ON background_tasks (user_id, task_id);
CREATE INDEX idx_background_tasks_change ON background_tasks (change, task_id);

CREATE TABLE task_parts (
    id         TEXT COLLATE "C" PRIMARY KEY,
    data       BYTEA NOT NULL,
    created_us BIGINT NOT NULL
);

CREATE TABLE task_schedules (
    name       TEXT COLLATE "C" PRIMARY KEY,
    expression TEXT NOT NULL,
    next_us    BIGINT NOT NULL
);
