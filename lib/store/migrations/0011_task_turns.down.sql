DROP INDEX idx_background_tasks_held;
DROP INDEX idx_background_tasks_running;
DROP INDEX idx_background_tasks_lease;
DROP INDEX idx_background_tasks_waiting;
DROP INDEX idx_background_tasks_later;
DROP INDEX idx_background_tasks_line;
CREATE INDEX idx_background_tasks_lease ON background_tasks (lease_us) WHERE status = 'processing';
CREATE INDEX idx_background_tasks_ready ON background_tasks (priority DESC, run_us, task_id, task_type)
    WHERE status = 'pending';
ALTER TABLE background_tasks DROP COLUMN bytes;
ALTER TABLE background_tasks DROP COLUMN turn;
ALTER TABLE background_tasks DROP COLUMN small;
