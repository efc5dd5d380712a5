DROP TABLE data_cursors;
DROP TABLE data_uploads;
DROP TABLE data_refusals;
DROP TABLE data_search;
DROP TABLE data_records;
DROP TABLE data_runs;
DROP TABLE pipelines;
