-- As in 0011_task_turns.up.sql.
ALTER TABLE background_tasks ADD COLUMN small BIGINT NOT NULL DEFAULT 0;
ALTER TABLE background_tasks ADD COLUMN turn BIGINT NOT NULL DEFAULT 0;
ALTER TABLE background_tasks ADD COLUMN bytes BIGINT NOT NULL DEFAULT 0;

UPDATE background_tasks SET bytes = octet_length(payload), small = CASE WHEN task_type = 'echo' THEN 1 ELSE 0 END
    WHERE status = 'pending';

DROP INDEX idx_background_tasks_ready;
DROP INDEX idx_background_tasks_lease;
CREATE INDEX idx_background_tasks_line ON background_tasks (small, priority DESC, turn, task_id)
    WHERE status = 'pending' AND turn > 0;
CREATE INDEX idx_background_tasks_later ON background_tasks (run_us, task_id)
    WHERE status = 'pending' AND turn = 0;
CREATE INDEX idx_background_tasks_waiting ON background_tasks (small, user_id, priority DESC, turn, bytes)
    WHERE status = 'pending' AND user_id <> 0;
CREATE INDEX idx_background_tasks_lease ON background_tasks (small, lease_us) WHERE status = 'processing';
CREATE INDEX idx_background_tasks_running ON background_tasks (small, priority, turn, user_id)
    WHERE status = 'processing' AND small = 0;
CREATE INDEX idx_background_tasks_held ON background_tasks (user_id, bytes DESC)
    WHERE status = 'cancelled' AND bytes > 0;
