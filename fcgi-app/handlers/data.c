/* What all of /api/v1/data tells in the same way, and reads in the same way. */
#include "handlers/data.h"

#include "app.h"
#include "base/clock.h"
#include "base/json.h"
#include "http/query.h"

#include <math.h>

void data_put_time(struct buf *out, int64_t wall_us)
{
	char text[CLOCK_ISO_BYTES];

	if (wall_us == 0) {
		buf_str(out, STR("null"));
		return;
	}
	clock_format_iso(wall_us, text);
	json_put_string(out, str_of(text));
}

static void put_text(struct buf *out, struct str name, struct str text)
{
	buf_str(out, name);
	if (text.n > 0)
		json_put_string(out, text);
	else
		buf_str(out, STR("null"));
}

static void put_number(struct buf *out, struct str name, int64_t value)
{
	buf_str(out, name);
	json_put_i64(out, value);
}

void data_put_record(struct buf *out, const struct record_row *row, bool v1)
{
	buf_str(out, STR("{\"id\":"));
	json_put_string(out, row->key);
	buf_str(out, STR(",\"timestamp\":"));
	data_put_time(out, row->received_us);
	buf_str(out, STR(",\"source\":"));
	json_put_string(out, row->source);
	buf_str(out, STR(",\"data\":"));
	buf_str(out, row->data);
	buf_str(out, STR(",\"processed_at\":"));
	data_put_time(out, row->processed_us);
	buf_str(out, STR(",\"status\":"));
	json_put_string(out, str_of(record_status_name(row->status)));
	if (v1) {
		put_number(out, STR(",\"run\":"), row->run);
		put_text(out, STR(",\"error\":"), row->error);
		buf_str(out, STR(",\"processing_time\":"));
		json_put_double(out, row->seconds);
	}
	buf_char(out, '}');
}

/* Of one that runs; null when nobody knows. */
static void put_progress(struct buf *out, const struct run_row *row)
{
	const struct run_counts *counts = &row->counts;
	int64_t until_us = row->ended_us > 0 ? row->ended_us : clock_wall_us();
	double seconds = row->started_us > 0 ? (double)(until_us - row->started_us) / 1e6 : 0.0;
	double part = counts->bytes_total > 0 ? (double)counts->bytes_read / (double)counts->bytes_total : 0.0;
	bool known = counts->bytes_total > 0;

	if (row->state == RUN_COMPLETED) {
		part = 1.0;
		known = true;
	}
	buf_str(out, STR(",\"progress\":"));
	json_put_double(out, known ? round(fmin(part, 1.0) * 1e4) / 1e4 : (double)NAN);
	buf_str(out, STR(",\"seconds\":"));
	json_put_double(out, round(fmax(seconds, 0.0) * 1e3) / 1e3);
	buf_str(out, STR(",\"rows_per_second\":"));
	json_put_double(out, seconds > 0 ? round((double)counts->rows_read / seconds) : (double)NAN);
	buf_str(out, STR(",\"seconds_left\":"));
	json_put_double(out, row->state == RUN_RUNNING && known && part > 0
				     ? round(seconds * (1.0 - fmin(part, 1.0)) / part * 10) / 10
				     : (double)NAN);
}

void data_put_run(struct buf *out, const struct run_row *row)
{
	char id[ID_TEXT_BYTES];

	id_format(&row->id, id);
	put_text(out, STR("{\"run_id\":"), str_of(id));
	put_number(out, STR(",\"number\":"), row->number);
	put_text(out, STR(",\"pipeline\":"), row->pipeline);
	put_text(out, STR(",\"source\":"), row->source);
	put_text(out, STR(",\"origin\":"), row->origin);
	put_text(out, STR(",\"state\":"), str_of(run_state_name(row->state)));
	put_number(out, STR(",\"rows_read\":"), row->counts.rows_read);
	put_number(out, STR(",\"stored\":"), row->counts.stored);
	put_number(out, STR(",\"replaced\":"), row->counts.replaced);
	put_number(out, STR(",\"skipped\":"), row->counts.skipped);
	put_number(out, STR(",\"refused\":"), row->counts.refused);
	put_number(out, STR(",\"bytes_read\":"), row->counts.bytes_read);
	put_number(out, STR(",\"bytes_total\":"), row->counts.bytes_total);
	put_progress(out, row);
	put_text(out, STR(",\"error\":"), row->error);
	if (row->retry_of > 0)
		put_number(out, STR(",\"retry_of\":"), row->retry_of);
	else
		buf_str(out, STR(",\"retry_of\":null"));
	put_number(out, STR(",\"user_id\":"), row->user_id);
	buf_str(out, STR(",\"created_at\":"));
	data_put_time(out, row->created_us);
	buf_str(out, STR(",\"started_at\":"));
	data_put_time(out, row->started_us);
	buf_str(out, STR(",\"ended_at\":"));
	data_put_time(out, row->ended_us);
	buf_char(out, '}');
}

void data_answer_no_pipeline(struct request *req, struct str name)
{
	struct buf text;

	buf_init(&text, &req->arena);
	buf_fmt(&text, "There is no pipeline \"%.*s\".", (int)(name.n < 100 ? name.n : 100), name.p ? name.p : "");
	request_answer_detail(req, 404, buf_view(&text));
}

bool data_read_text(struct request *req, const char *name, struct str *out)
{
	enum { TEXT_MAX = 200 };
	struct str text = {0};

	*out = (struct str){0};
	if (!request_query(req, str_of(name), &text))
		return true;
	if (text.n == 0 || text.n > TEXT_MAX || !str_is_utf8(text) || memchr(text.p, '\0', text.n)) {
		query_answer(req, "string_type", "Input should be a string of 1 to 200 bytes", name,
			     (struct str){text.p, text.n < TEXT_MAX ? text.n : TEXT_MAX}, (struct str){0});
		return false;
	}
	*out = text;
	return true;
}

enum status data_load_pipeline(struct request *req, struct str name, struct pipeline **out, struct buf *problems,
			       struct err *err)
{
	struct buf ignored;

	buf_init(&ignored, &req->arena);
	*out = NULL;
	if (!str_is_name(name))
		return err_set(err, STATUS_NOT_FOUND, "there is no such pipeline");
	return pipeline_load(req->app->config->pipelines_dir, name, &req->arena, out, problems ? problems : &ignored,
			     err);
}

static const struct pipeline_field *find_field(const struct pipeline *definition, struct str name)
{
	for (int i = 0; definition && i < definition->fields_n; i++)
		if (str_eq(definition->fields[i].name, name))
			return &definition->fields[i];
	return NULL;
}

bool data_is_number(const struct pipeline *definition, struct str field)
{
	const struct pipeline_field *found = find_field(definition, field);

	if (definition && definition->into.n > 0 && str_eq(field, definition->into))
		return true;
	return found && pipeline_type_is_number(found->type);
}

static void close_own(void *arg)
{
	db_close(arg);
}

/* A thread that could not connect when it started may be able to now. */
struct db *data_connect(struct request *req, struct db *db)
{
	struct db *own = NULL;
	struct err err = {0};

	if (db)
		return db;
	enum status status = store_connect(req->app->store, &own, &err);
	if (status == STATUS_OK && arena_on_reset(&req->arena, close_own, own))
		return own;
	db_close(own);
	request_answer_error(req, status == STATUS_OK ? STATUS_NO_MEMORY : status, &err);
	return NULL;
}
