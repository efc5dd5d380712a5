DROP TABLE task_schedules;
DROP TABLE task_parts;
DROP TABLE background_tasks;
