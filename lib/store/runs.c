/* Tables pipelines, data_runs, data_refusals. A pipeline gets its number with its first run. */
#include "store/runs.h"

#include "base/json.h"
#include "store/generations.h"

static const char *const NAMES[] = {
	[RUN_PENDING] = "pending",     [RUN_RUNNING] = "running", [RUN_PAUSED] = "paused",
	[RUN_COMPLETED] = "completed", [RUN_FAILED] = "failed",   [RUN_CANCELLED] = "cancelled",
};
_Static_assert(sizeof(NAMES) / sizeof(NAMES[0]) == RUN_STATE__MAX, "a name for each state");

const char *run_state_name(enum run_state state)
{
	return state >= 0 && state < RUN_STATE__MAX ? NAMES[state] : "unknown";
}

bool run_state_parse(struct str name, enum run_state *out)
{
	for (int i = 0; i < RUN_STATE__MAX; i++) {
		if (!str_eq(name, str_of(NAMES[i])))
			continue;
		*out = (enum run_state)i;
		return true;
	}
	return false;
}

static void bind_id(struct stmt *stmt, int i, const struct id *id)
{
	char text[ID_TEXT_BYTES];

	id_format(id, text);
	db_bind_text(stmt, i, str_of(text));
}

/* Steps a statement of one number to its end. *there: whether it had a row. */
static enum status read_number(struct stmt *stmt, int64_t *number, bool *there, struct err *err)
{
	bool row;

	*there = false;
	enum status status = db_step(stmt, &row, err);
	if (status == STATUS_OK && row) {
		*there = true;
		*number = db_column_i64(stmt, 0);
	}
	db_reset(stmt);
	return status;
}

/* --- pipelines --- */

enum status runs_find_pipeline(struct db *db, struct str name, int64_t *id, struct err *err)
{
	static const char sql[] = "SELECT id FROM pipelines WHERE name = $1";
	struct stmt *stmt;
	bool there;

	*id = 0;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, name);
	status = read_number(stmt, id, &there, err);
	if (status == STATUS_OK && !there)
		status = err_set(err, STATUS_NOT_FOUND, "The pipeline has not run yet.");
	return status;
}

static enum status insert_pipeline(struct db *db, struct str name, int64_t id, int64_t now_us, struct err *err)
{
	static const char sql[] = "INSERT INTO pipelines (id, name, created_us) VALUES ($1, $2, $3)"
				  " ON CONFLICT DO NOTHING";
	struct stmt *stmt;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, id);
	db_bind_text(stmt, 2, name);
	db_bind_i64(stmt, 3, now_us);
	return db_run(stmt, NULL, err);
}

enum status runs_pipeline_id(struct db *db, struct str name, int64_t now_us, int64_t *id, struct err *err)
{
	int64_t next;

	enum status status = runs_find_pipeline(db, name, id, err);
	if (status != STATUS_NOT_FOUND)
		return status;
	status = generations_next(db, STR("pipelines"), &next, err);
	if (status == STATUS_OK)
		status = insert_pipeline(db, name, next, now_us, err);
	return status == STATUS_OK ? runs_find_pipeline(db, name, id, err) : status;
}

/* --- runs: writing --- */

static enum status find_other(struct db *db, const struct run_row *row, struct id *is, struct err *err)
{
	static const char sql[] =
		"SELECT id FROM data_runs WHERE id = $1 OR busy_key = $2 ORDER BY number DESC LIMIT 1";
	struct stmt *stmt;
	bool there;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	bind_id(stmt, 1, &row->id);
	db_bind_text(stmt, 2, row->busy_key);
	status = db_step(stmt, &there, err);
	if (status == STATUS_OK && (!there || !id_parse(db_column_text(stmt, 0), is)))
		status = err_set(err, STATUS_BUSY, "The run that reads this source has just ended; try again.");
	db_reset(stmt);
	return status;
}

enum status runs_insert(struct db *db, const struct run_row *row, bool *stored, struct id *is, struct err *err)
{
	static const char sql[] = "INSERT INTO data_runs (number, id, pipeline_id, user_id, source, path, origin,"
				  " busy_key, definition, retry_of, state, bytes_total, created_us)"
				  " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
				  " ON CONFLICT DO NOTHING";
	int64_t number, changed = 0;
	struct stmt *stmt;

	*stored = false;
	*is = row->id;
	enum status status = generations_next(db, STR("data_runs"), &number, err);
	if (status == STATUS_OK)
		status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, number);
	bind_id(stmt, 2, &row->id);
	db_bind_i64(stmt, 3, row->pipeline_id);
	db_bind_i64(stmt, 4, row->user_id);
	db_bind_text(stmt, 5, row->source);
	db_bind_text(stmt, 6, row->path);
	db_bind_text(stmt, 7, row->origin);
	if (row->busy_key.p)
		db_bind_text(stmt, 8, row->busy_key);
	else
		db_bind_null(stmt, 8);
	db_bind_text(stmt, 9, row->definition);
	db_bind_i64(stmt, 10, row->retry_of);
	db_bind_text(stmt, 11, str_of(run_state_name(row->state)));
	db_bind_i64(stmt, 12, row->counts.bytes_total);
	db_bind_i64(stmt, 13, row->created_us);
	status = db_run(stmt, &changed, err);
	*stored = changed > 0;
	return status == STATUS_OK && !*stored ? find_other(db, row, is, err) : status;
}

enum status runs_update(struct db *db, const struct run_row *row, struct err *err)
{
	static const char sql[] =
		"UPDATE data_runs SET state = CASE WHEN state IN ('paused', 'cancelled') AND $1 = 'running' THEN state"
		" ELSE $1 END, position = $2, identity = $3, path = $4, error = $5, started_us = $6,"
		" ended_us = CASE WHEN state = 'cancelled' AND $1 = 'running' THEN ended_us ELSE $7 END,"
		" busy_key = CASE WHEN state = 'cancelled' AND $1 = 'running' THEN busy_key ELSE $8 END,"
		" rows_read = $9, stored = $10, replaced = $11, skipped = $12, refused = $13,"
		" bytes_read = $14, bytes_total = $15 WHERE id = $16";
	const struct run_counts *counts = &row->counts;
	struct stmt *stmt;
	int64_t changed;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, str_of(run_state_name(row->state)));
	db_bind_text(stmt, 2, row->position);
	db_bind_text(stmt, 3, row->identity);
	db_bind_text(stmt, 4, row->path);
	db_bind_text(stmt, 5, row->error);
	db_bind_i64(stmt, 6, row->started_us);
	db_bind_i64(stmt, 7, row->ended_us);
	if (row->busy_key.p)
		db_bind_text(stmt, 8, row->busy_key);
	else
		db_bind_null(stmt, 8);
	db_bind_i64(stmt, 9, counts->rows_read);
	db_bind_i64(stmt, 10, counts->stored);
	db_bind_i64(stmt, 11, counts->replaced);
	db_bind_i64(stmt, 12, counts->skipped);
	db_bind_i64(stmt, 13, counts->refused);
	db_bind_i64(stmt, 14, counts->bytes_read);
	db_bind_i64(stmt, 15, counts->bytes_total);
	bind_id(stmt, 16, &row->id);
	status = db_run(stmt, &changed, err);
	if (status == STATUS_OK && changed == 0)
		status = err_set(err, STATUS_NOT_FOUND, "There is no such run.");
	return status;
}

enum status runs_set_state(struct db *db, const struct id *id, enum run_state state, struct str error, int64_t ended_us,
			   struct err *err)
{
	static const char sql[] = "UPDATE data_runs SET state = $1, error = CASE WHEN $2 = '' THEN error ELSE $2 END,"
				  " ended_us = $3 WHERE id = $4";
	struct stmt *stmt;
	int64_t changed;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, str_of(run_state_name(state)));
	db_bind_text(stmt, 2, error);
	db_bind_i64(stmt, 3, ended_us);
	bind_id(stmt, 4, id);
	status = db_run(stmt, &changed, err);
	if (status == STATUS_OK && changed == 0)
		status = err_set(err, STATUS_NOT_FOUND, "There is no such run.");
	return status;
}

static enum status run_for_id(struct db *db, const char *sql, const struct id *id, int64_t *changed, struct err *err)
{
	struct stmt *stmt;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	bind_id(stmt, 1, id);
	return db_run(stmt, changed, err);
}

/* One run parks a path: the last. */
enum status runs_park(struct db *db, const struct id *id, struct err *err)
{
	static const char others[] = "UPDATE data_runs SET busy_key = NULL WHERE id <> $1 AND busy_key ="
				     " (SELECT 'parked:' || r.path FROM data_runs r WHERE r.id = $1)";
	static const char sql[] = "UPDATE data_runs SET busy_key = CASE WHEN path = '' THEN NULL"
				  " ELSE 'parked:' || path END WHERE id = $1";

	enum status status = run_for_id(db, others, id, NULL, err);
	return status == STATUS_OK ? run_for_id(db, sql, id, NULL, err) : status;
}

enum status runs_find_parked(struct db *db, struct str path, int64_t *ended_us, struct err *err)
{
	static const char sql[] = "SELECT ended_us FROM data_runs WHERE busy_key = 'parked:' || CAST($1 AS TEXT)";
	struct stmt *stmt;
	bool there;

	*ended_us = 0;
	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_text(stmt, 1, path);
	return read_number(stmt, ended_us, &there, err);
}

enum status runs_take_source(struct db *db, const struct id *id, struct err *err)
{
	static const char sql[] = "UPDATE data_runs SET busy_key = CASE WHEN path = '' THEN busy_key ELSE path END"
				  " WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM data_runs o WHERE o.id <> $1"
				  " AND o.busy_key = data_runs.path)";
	int64_t changed = 0;

	enum status status = run_for_id(db, sql, id, &changed, err);
	if (status == STATUS_OK && changed == 0)
		status = err_set(err, STATUS_CONFLICT, "Another run reads this source.");
	return status;
}

/* As runs_park does, for all of them. */
enum status runs_end_strays(struct db *db, int64_t now_us, int64_t *changed, struct err *err)
{
#define STRAY(r)                                                                                                       \
	r ".state IN ('pending', 'running') AND NOT EXISTS (SELECT 1 FROM background_tasks t WHERE t.task_id = " r     \
	  ".id AND t.status IN ('pending', 'processing'))"
	static const char others[] = "UPDATE data_runs SET busy_key = NULL WHERE busy_key IN"
				     " (SELECT 'parked:' || s.path FROM data_runs s WHERE " STRAY("s") ")";
	static const char sql[] =
		"UPDATE data_runs SET ended_us = $1,"
		" busy_key = CASE WHEN path <> '' AND busy_key = path THEN 'parked:' || path END,"
		" state = CASE WHEN EXISTS (SELECT 1 FROM background_tasks t WHERE t.task_id = data_runs.id"
		" AND t.status IN ('failed', 'dead')) THEN 'failed' ELSE 'cancelled' END,"
		" error = COALESCE((SELECT t.error_message FROM background_tasks t WHERE t.task_id = data_runs.id"
		" AND t.status IN ('failed', 'dead')), 'Its task was cancelled.')"
		" WHERE " STRAY("data_runs");
#undef STRAY
	struct stmt *stmt;

	*changed = 0;
	enum status status = db_prepare(db, others, &stmt, err);
	if (status == STATUS_OK)
		status = db_run(stmt, NULL, err);
	if (status == STATUS_OK)
		status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, now_us);
	return db_run(stmt, changed, err);
}

/* --- runs: reading --- */

/* In the order of read_run(). */
#define RUN_COLUMNS                                                                                                    \
	"r.number, r.id, r.pipeline_id, r.user_id, p.name, r.source, r.path, r.origin, r.definition, r.position,"      \
	" r.identity, r.error, r.busy_key, r.state, r.rows_read, r.stored, r.replaced, r.skipped, r.refused,"          \
	" r.bytes_read, r.bytes_total, r.created_us, r.started_us, r.ended_us, r.retry_of"
#define RUN_TABLES " FROM data_runs r JOIN pipelines p ON p.id = r.pipeline_id"

static bool read_run(struct stmt *stmt, struct run_row *out)
{
	*out = (struct run_row){
		.number = db_column_i64(stmt, 0),
		.pipeline_id = db_column_i64(stmt, 2),
		.user_id = db_column_i64(stmt, 3),
		.pipeline = db_column_text(stmt, 4),
		.source = db_column_text(stmt, 5),
		.path = db_column_text(stmt, 6),
		.origin = db_column_text(stmt, 7),
		.definition = db_column_text(stmt, 8),
		.position = db_column_text(stmt, 9),
		.identity = db_column_text(stmt, 10),
		.error = db_column_text(stmt, 11),
		.busy_key = db_column_text(stmt, 12),
		.counts = {.rows_read = db_column_i64(stmt, 14),
			   .stored = db_column_i64(stmt, 15),
			   .replaced = db_column_i64(stmt, 16),
			   .skipped = db_column_i64(stmt, 17),
			   .refused = db_column_i64(stmt, 18),
			   .bytes_read = db_column_i64(stmt, 19),
			   .bytes_total = db_column_i64(stmt, 20)},
		.created_us = db_column_i64(stmt, 21),
		.started_us = db_column_i64(stmt, 22),
		.ended_us = db_column_i64(stmt, 23),
		.retry_of = db_column_i64(stmt, 24),
	};
	return id_parse(db_column_text(stmt, 1), &out->id) && run_state_parse(db_column_text(stmt, 13), &out->state);
}

static bool keep_text(struct arena *arena, struct str *text)
{
	if (!text->p)
		return true;
	*text = arena_dup(arena, *text);
	return text->p != NULL;
}

static bool keep_run(struct arena *arena, struct run_row *row)
{
	return keep_text(arena, &row->pipeline) && keep_text(arena, &row->source) && keep_text(arena, &row->path) &&
	       keep_text(arena, &row->origin) && keep_text(arena, &row->definition) &&
	       keep_text(arena, &row->position) && keep_text(arena, &row->identity) && keep_text(arena, &row->error) &&
	       keep_text(arena, &row->busy_key);
}

enum status runs_find(struct db *db, const struct id *id, struct arena *arena, struct run_row *out, struct err *err)
{
	static const char sql[] = "SELECT " RUN_COLUMNS RUN_TABLES " WHERE r.id = $1";
	struct stmt *stmt;
	bool there;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	bind_id(stmt, 1, id);
	status = db_step(stmt, &there, err);
	if (status == STATUS_OK && !there)
		status = err_set(err, STATUS_NOT_FOUND, "There is no such run.");
	if (status == STATUS_OK && !read_run(stmt, out))
		status = err_set(err, STATUS_INTERNAL, "a row of data_runs is damaged");
	if (status == STATUS_OK && !keep_run(arena, out))
		status = err_set(err, STATUS_NO_MEMORY, "no memory for a run");
	db_reset(stmt);
	return status;
}

static const char LIST[] = "SELECT " RUN_COLUMNS RUN_TABLES " WHERE r.number < $1 AND ($2 = '' OR r.state = $2)"
			   " ORDER BY r.number DESC LIMIT $3";
static const char LIST_PIPELINE[] = "SELECT " RUN_COLUMNS RUN_TABLES
				    " WHERE r.number < $1 AND ($2 = '' OR r.state = $2) AND r.pipeline_id = $3"
				    " ORDER BY r.number DESC LIMIT $4";
static const char LIST_USER[] = "SELECT " RUN_COLUMNS RUN_TABLES
				" WHERE r.number < $1 AND ($2 = '' OR r.state = $2) AND r.user_id = $3"
				" ORDER BY r.number DESC LIMIT $4";
static const char LIST_BOTH[] = "SELECT " RUN_COLUMNS RUN_TABLES
				" WHERE r.number < $1 AND ($2 = '' OR r.state = $2) AND r.pipeline_id = $3"
				" AND r.user_id = $4 ORDER BY r.number DESC LIMIT $5";

enum status runs_list(struct db *db, int64_t pipeline_id, int64_t user_id, int state, int64_t before, int limit,
		      run_row_fn *fn, void *arg, struct err *err)
{
	const char *sql = pipeline_id > 0 ? (user_id >= 0 ? LIST_BOTH : LIST_PIPELINE)
			  : user_id >= 0  ? LIST_USER
					  : LIST;
	struct run_row run;
	struct stmt *stmt;
	bool there;
	int i = 3;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, before > 0 ? before : INT64_MAX);
	db_bind_text(stmt, 2, state < 0 ? STR("") : str_of(run_state_name((enum run_state)state)));
	if (pipeline_id > 0)
		db_bind_i64(stmt, i++, pipeline_id);
	if (user_id >= 0)
		db_bind_i64(stmt, i++, user_id);
	db_bind_i64(stmt, i, limit);
	while ((status = db_step(stmt, &there, err)) == STATUS_OK && there) {
		if (!read_run(stmt, &run)) {
			status = err_set(err, STATUS_INTERNAL, "a row of data_runs is damaged");
			break;
		}
		if (!fn(arg, &run))
			break;
	}
	db_reset(stmt);
	return status;
}

/* --- refusals --- */

static enum status insert_each(struct db *db, const struct refusal_row *rows, size_t n, struct err *err)
{
	static const char sql[] = "INSERT INTO data_refusals (run, n, line, record_key, field, value, reason, message)"
				  " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
	enum status status = STATUS_OK;
	struct stmt *stmt;

	for (size_t i = 0; status == STATUS_OK && i < n; i++) {
		const struct refusal_row *row = &rows[i];
		status = db_prepare(db, sql, &stmt, err);
		if (status != STATUS_OK)
			return status;
		db_bind_i64(stmt, 1, row->run);
		db_bind_i64(stmt, 2, row->n);
		db_bind_i64(stmt, 3, row->line);
		db_bind_text(stmt, 4, row->key);
		db_bind_text(stmt, 5, row->field);
		db_bind_text(stmt, 6, row->value);
		db_bind_text(stmt, 7, row->reason);
		db_bind_text(stmt, 8, row->message);
		status = db_run(stmt, NULL, err);
	}
	return status;
}

static void put_member(struct buf *out, struct str before, struct str text)
{
	buf_str(out, before);
	json_put_string(out, text);
}

static void put_refusal(struct buf *out, const struct refusal_row *row)
{
	buf_str(out, STR("{\"run\":"));
	json_put_i64(out, row->run);
	buf_str(out, STR(",\"n\":"));
	json_put_i64(out, row->n);
	buf_str(out, STR(",\"line\":"));
	json_put_i64(out, row->line);
	put_member(out, STR(",\"record_key\":"), row->key);
	put_member(out, STR(",\"field\":"), row->field);
	put_member(out, STR(",\"value\":"), row->value);
	put_member(out, STR(",\"reason\":"), row->reason);
	put_member(out, STR(",\"message\":"), row->message);
	buf_char(out, '}');
}

/* One round trip for all. */
static enum status insert_together(struct db *db, const struct refusal_row *rows, size_t n, struct err *err)
{
	static const char sql[] =
		"INSERT INTO data_refusals (run, n, line, record_key, field, value, reason, message)"
		" SELECT r.run, r.n, r.line, r.record_key, r.field, r.value, r.reason, r.message"
		" FROM json_to_recordset(CAST($1 AS JSON)) AS r (run BIGINT, n BIGINT, line BIGINT, record_key TEXT,"
		" field TEXT, value TEXT, reason TEXT, message TEXT)";
	enum status status = STATUS_OK;
	struct stmt *stmt;
	struct buf text;

	buf_init_heap(&text);
	for (size_t i = 0; i < n; i++) {
		buf_char(&text, i == 0 ? '[' : ',');
		put_refusal(&text, &rows[i]);
	}
	buf_char(&text, ']');
	if (text.failed)
		status = err_set(err, STATUS_NO_MEMORY, "no memory for refusals");
	if (status == STATUS_OK)
		status = db_prepare(db, sql, &stmt, err);
	if (status == STATUS_OK) {
		db_bind_text(stmt, 1, buf_view(&text));
		status = db_run(stmt, NULL, err);
	}
	buf_release(&text);
	return status;
}

enum status runs_insert_refusals(struct db *db, const struct refusal_row *rows, size_t n, struct err *err)
{
	if (n > 1 && db_dialect(db) == DB_DIALECT_POSTGRESQL)
		return insert_together(db, rows, n, err);
	return insert_each(db, rows, n, err);
}

enum status runs_list_refusals(struct db *db, int64_t run, int64_t after, int limit, refusal_row_fn *fn, void *arg,
			       struct err *err)
{
	static const char sql[] = "SELECT n, line, record_key, field, value, reason, message FROM data_refusals"
				  " WHERE run = $1 AND n > $2 ORDER BY n LIMIT $3";
	struct stmt *stmt;
	bool there;

	enum status status = db_prepare(db, sql, &stmt, err);
	if (status != STATUS_OK)
		return status;
	db_bind_i64(stmt, 1, run);
	db_bind_i64(stmt, 2, after);
	db_bind_i64(stmt, 3, limit);
	while ((status = db_step(stmt, &there, err)) == STATUS_OK && there) {
		struct refusal_row row = {
			.run = run,
			.n = db_column_i64(stmt, 0),
			.line = db_column_i64(stmt, 1),
			.key = db_column_text(stmt, 2),
			.field = db_column_text(stmt, 3),
			.value = db_column_text(stmt, 4),
			.reason = db_column_text(stmt, 5),
			.message = db_column_text(stmt, 6),
		};
		if (!fn(arg, &row))
			break;
	}
	db_reset(stmt);
	return status;
}
