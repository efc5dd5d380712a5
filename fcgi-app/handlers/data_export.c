/* GET /api/v1/data/export?pipeline=NAME&format=csv|jsonl|json, with the conditions and the order of …/records: all of
 * them, streamed. They are read page by page behind a place, so an export holds no snapshot however long it takes, and
 * memory is bounded by a row; what comes in meanwhile may be told or not.
 *
 * jsonl and json are the records' own objects (?meta=true: as …/records tells them). csv has a column for each field:
 * those of ?fields=a,b,c, or those that the definition names, then what the first records have. */
#include "handlers/data.h"
#include "handlers/handlers.h"
#include "handlers/rows.h"

#include "app.h"
#include "base/clock.h"
#include "base/json.h"
#include "http/query.h"
#include "pipeline/csv_write.h"

#include <stdlib.h>

enum { PAGE_ROWS = 2000, EXPORT_MS = 60 * 60 * 1000, COLUMNS_MAX = 1024, ROW_BYTES = 16 << 20 };

enum format { FORMAT_CSV, FORMAT_JSON_LINES, FORMAT_JSON };
static const struct {
	struct str name;
	const char *type;
} FORMATS[] = {[FORMAT_CSV] = {STR_INIT("csv"), "text/csv; charset=utf-8"},
	       [FORMAT_JSON_LINES] = {STR_INIT("jsonl"), "application/x-ndjson"},
	       [FORMAT_JSON] = {STR_INIT("json"), "application/json"}};

struct export
{
	struct rows rows;
	struct data_wish wish;
	enum format format;
	bool meta;
	struct str *columns; /* of the CSV */
	int columns_n;
	bool fixed; /* the columns are what the client says */
	struct json_value *cells;
	struct arena scratch; /* of one row */
	int page;
	int64_t last_seq;
	struct record_value last;
	struct buf last_text;
	bool broken; /* a value that can't be gone on behind */
};

/* --- columns --- */

static void add_column(struct export *export, struct request *req, struct str name)
{
	for (int i = 0; i < export->columns_n; i++)
		if (str_eq(export->columns[i], name))
			return;
	if (export->columns_n == COLUMNS_MAX)
		return;
	struct str copy = arena_dup(&req->arena, name);
	if (copy.p)
		export->columns[export->columns_n++] = copy;
}

static bool note_columns(void *arg, const struct record_row *row, const struct record_value *sort)
{
	struct export *export = arg;
	struct json_value root = {.type = JSON_OBJECT, .text = row->data}, key, value;
	struct json_iter iter;

	(void)sort;
	arena_reset(&export->scratch);
	json_iter_init(&iter, root);
	while (json_next(&iter, &key, &value))
		add_column(export, export->rows.req, json_string(key, &export->scratch));
	return true;
}

static enum status find_columns(struct db *db, struct export *export, struct err *err)
{
	const struct pipeline *definition = export->wish.definition;
	struct request *req = export->rows.req;
	struct record_query first = export->wish.query;
	struct str fields;

	export->columns = arena_alloc(&req->arena, COLUMNS_MAX * sizeof(*export->columns));
	export->cells = arena_alloc(&req->arena, COLUMNS_MAX * sizeof(*export->cells));
	if (!export->columns || !export->cells)
		return err_set(err, STATUS_NO_MEMORY, "no memory for the columns");
	if (request_query(req, STR("fields"), &fields) && fields.n > 0) {
		while (fields.n > 0)
			add_column(export, req, str_cut(&fields, ','));
		return STATUS_OK;
	}
	for (int i = 0; definition && i < definition->fields_n; i++)
		add_column(export, req, definition->fields[i].name);
	first.limit = 100;
	return export->wish.unknown ? STATUS_OK : records_query(db, &first, note_columns, export, err);
}

/* --- rows --- */

static void put_csv_head(struct buf *out, const struct export *export)
{
	if (export->meta)
		buf_str(out, STR("id,timestamp,source,status,processed_at,error,"));
	for (int i = 0; i < export->columns_n; i++) {
		if (i > 0)
			buf_char(out, ',');
		csv_put_cell(out, export->columns[i], true);
	}
	buf_str(out, STR("\r\n"));
}

static void put_csv_meta(struct buf *out, const struct record_row *row)
{
	char text[CLOCK_ISO_BYTES];

	csv_put_cell(out, row->key, true);
	buf_char(out, ',');
	clock_format_iso(row->received_us, text);
	buf_str(out, str_of(text));
	buf_char(out, ',');
	csv_put_cell(out, row->source, true);
	buf_fmt(out, ",%s,", record_status_name(row->status));
	clock_format_iso(row->processed_us, text);
	buf_str(out, row->processed_us > 0 ? str_of(text) : STR(""));
	buf_char(out, ',');
	if (row->error.n > 0)
		csv_put_cell(out, row->error, true);
	buf_char(out, ',');
}

static void put_csv_row(struct buf *out, struct export *export, const struct record_row *row)
{
	if (export->meta)
		put_csv_meta(out, row);
	csv_put_members(out, row->data, export->columns, (size_t) export->columns_n, export->cells, &export->scratch);
}

static bool note_place(struct export *export, const struct record_row *row, const struct record_value *sort)
{
	export->page++;
	export->last_seq = row->seq;
	export->last = *sort;
	export->last_text.n = 0;
	buf_str(&export->last_text, sort->text);
	export->last.text = buf_view(&export->last_text);
	return !export->last_text.failed;
}

static bool take_row(void *arg, const struct record_row *row, const struct record_value *sort)
{
	struct export *export = arg;
	struct buf *body = &export->rows.req->response.body;

	if (export->format == FORMAT_CSV) {
		put_csv_row(body, export, row);
	} else {
		if (export->format == FORMAT_JSON && export->rows.n++ > 0)
			buf_str(body, STR(",\n"));
		if (export->meta)
			data_put_record(body, row, true);
		else
			buf_str(body, row->data);
		if (export->format == FORMAT_JSON_LINES)
			buf_char(body, '\n');
	}
	if (!note_place(export, row, sort))
		export->rows.gone = true;
	return !export->rows.gone && rows_sent(&export->rows);
}

static enum status read_export(struct db *db, void *arg, struct err *err)
{
	struct export *export = arg;
	struct buf *body = &export->rows.req->response.body;
	struct record_query *query = &export->wish.query;
	enum status status = STATUS_OK;

	if (export->format == FORMAT_CSV)
		put_csv_head(body, export);
	else if (export->format == FORMAT_JSON)
		buf_char(body, '[');
	while (status == STATUS_OK && !export->wish.unknown && !export->rows.gone) {
		export->page = 0;
		status = records_query(db, query, take_row, export, err);
		if (export->page < query->limit)
			break;
		query->has_after = true;
		query->after_seq = export->last_seq;
		query->after = export->last;
	}
	if (export->format == FORMAT_JSON)
		buf_str(body, STR("]\n"));
	return status;
}

/* --- the request --- */

static bool read_format(struct request *req, struct export *export)
{
	struct str text = STR("csv"), meta = {0};

	(void)!request_query(req, STR("format"), &text);
	(void)!request_query(req, STR("meta"), &meta);
	export->meta = str_eq(meta, STR("true")) || str_eq(meta, STR("1"));
	for (size_t i = 0; i < sizeof(FORMATS) / sizeof(FORMATS[0]); i++) {
		if (!str_eq(text, FORMATS[i].name))
			continue;
		export->format = (enum format)i;
		return true;
	}
	query_answer(req, "enum", "Input should be 'csv', 'jsonl' or 'json'", "format",
		     (struct str){text.p, text.n < 100 ? text.n : 100},
		     STR("{\"expected\":\"'csv', 'jsonl' or 'json'\"}"));
	return false;
}

static void release(void *arg)
{
	struct export *export = arg;

	arena_release(&export->scratch);
	buf_release(&export->last_text);
}

static void name_file(struct request *req, const struct export *export)
{
	struct buf name;

	buf_init(&name, &req->arena);
	buf_fmt(&name, "attachment; filename=\"%.*s.%.*s\"", STR_ARG(export->wish.name),
		STR_ARG(FORMATS[export->format].name));
	if (!name.failed && str_is_name(export->wish.name))
		response_header(&req->response, "Content-Disposition", buf_view(&name));
}

static void export_slowly(struct request *req, struct db *thread_db)
{
	struct export *export = arena_zalloc(&req->arena, sizeof(*export));
	struct db *db = data_connect(req, thread_db);
	struct err err = {0};

	if (!export || !db || !read_format(req, export) || !data_read_wish(req, db, PAGE_ROWS, 0, &export->wish)) {
		request_finish(req);
		return;
	}
	arena_init(&export->scratch, ROW_BYTES);
	buf_init_heap(&export->last_text);
	if (!arena_on_reset(&req->arena, release, export)) {
		release(export);
		request_finish(req);
		return;
	}
	rows_stream(&export->rows, req);
	enum status status = export->format == FORMAT_CSV ? find_columns(db, export, &err) : STATUS_OK;
	if (status != STATUS_OK) {
		request_answer_error(req, status, &err);
		request_finish(req);
		return;
	}
	export->rows.end_ms = clock_mono_ms() + EXPORT_MS;
	req->response.content_type = FORMATS[export->format].type;
	name_file(req, export);
	rows_finish(&export->rows, db, read_export, export);
}

void data_get_export(struct request *req)
{
	request_go_slow(req, req->app->lists, export_slowly);
}
