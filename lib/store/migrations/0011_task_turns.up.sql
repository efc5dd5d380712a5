-- Users take turns. A task that may run now is in line: its `turn` is behind all others of its user, and not before
-- what is at the head of its line, so that whoever comes with a first task stands beside everybody's next one; the
-- service's own stand at the end. One that waits for a time has turn 0; it gets one when the time has come. There is a line for small kinds and one for large
-- ones of each priority, so that nobody looks at what they don't want.
ALTER TABLE background_tasks ADD COLUMN small INTEGER NOT NULL DEFAULT 0; -- 1: of a kind that is claimed together
ALTER TABLE background_tasks ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;
ALTER TABLE background_tasks ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0; -- of what its user sent

UPDATE background_tasks SET bytes = length(CAST(payload AS BLOB)), small = CASE WHEN task_type = 'echo' THEN 1 ELSE 0 END
    WHERE status = 'pending';

DROP INDEX idx_background_tasks_ready;
DROP INDEX idx_background_tasks_lease;
-- What may be claimed, best first; what waits for its time; what a user has waiting; what is claimed and may have been
-- lost; whose large ones run. SQLite looks up no row where the index has all columns, `status` too.
CREATE INDEX idx_background_tasks_line ON background_tasks (small, priority DESC, turn, task_id, status)
    WHERE status = 'pending' AND turn > 0;
CREATE INDEX idx_background_tasks_later ON background_tasks (run_us, task_id, turn, status)
    WHERE status = 'pending' AND turn = 0;
CREATE INDEX idx_background_tasks_waiting ON background_tasks (small, user_id, priority DESC, turn, bytes, status)
    WHERE status = 'pending' AND user_id <> 0;
CREATE INDEX idx_background_tasks_lease ON background_tasks (small, lease_us, status) WHERE status = 'processing';
CREATE INDEX idx_background_tasks_running ON background_tasks (small, priority, turn, user_id, status)
    WHERE status = 'processing' AND small = 0;
-- What was cancelled and has yet to be emptied: it takes its user's room until then.
CREATE INDEX idx_background_tasks_held ON background_tasks (user_id, bytes DESC, status)
    WHERE status = 'cancelled' AND bytes > 0;
