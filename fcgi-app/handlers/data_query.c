/* Which records are meant: the parameters of /api/v1/data/records, …/aggregates and …/export.
 *
 *   pipeline=NAME
 *   FIELD=VALUE, FIELD.OP=VALUE   OP: eq ne lt lte gt gte contains absent; several of them all hold
 *   status= source= run= id= received= processed=   are the record's own; a field of such a name, or of the name of a
 *                                 parameter, is "data.FIELD"
 *   q=WORDS                       all of them, in the fields that are searched
 *   sort=FIELD, sort=-FIELD       without it the order of storing, the newest first; sort=id
 *   limit= cursor=
 *
 * A value is what the field's type says. Where the pipeline does not know it ("any", or a field that is kept without
 * being named), a number means the number or the same as a text, and "…" in quotes means a text. */
#include "handlers/data.h"

#include "app.h"
#include "base/clock.h"
#include "base/json.h"
#include "http/query.h"

#include <math.h>
#include <sodium.h>
#include <stdio.h>

enum { VALUE_BYTES = 1000 };

static const struct {
	struct str name;
	enum record_compare compare;
} OPERATORS[] = {
	{STR_INIT(".eq"), RECORD_EQ},
	{STR_INIT(".ne"), RECORD_NE},
	{STR_INIT(".lt"), RECORD_LT},
	{STR_INIT(".lte"), RECORD_LE},
	{STR_INIT(".gt"), RECORD_GT},
	{STR_INIT(".gte"), RECORD_GE},
	{STR_INIT(".contains"), RECORD_CONTAINS},
	{STR_INIT(".absent"), RECORD_ABSENT},
};

/* Parameters that are no conditions. */
static const struct str OTHERS[] = {
	STR_INIT("pipeline"), STR_INIT("q"),         STR_INIT("sort"),    STR_INIT("limit"),
	STR_INIT("cursor"),   STR_INIT("format"),    STR_INIT("fields"),  STR_INIT("by"),
	STR_INIT("field"),    STR_INIT("quantiles"), STR_INIT("buckets"), STR_INIT("meta"),
};

/* The record's own: which column, and how its value is read. */
enum own { OWN_TEXT, OWN_TIME, OWN_STATUS, OWN_RUN };
static const struct own_field {
	struct str name, column;
	enum own kind;
} OWN[] = {
	{STR_INIT("id"), STR_INIT("@key"), OWN_TEXT},
	{STR_INIT("source"), STR_INIT("@source"), OWN_TEXT},
	{STR_INIT("received"), STR_INIT("@received"), OWN_TIME},
	{STR_INIT("processed"), STR_INIT("@processed"), OWN_TIME},
	{STR_INIT("status"), STR_INIT("@status"), OWN_STATUS},
	{STR_INIT("run"), STR_INIT("@run"), OWN_RUN},
};

struct reading {
	struct request *req;
	struct db *db;
	struct data_wish *wish;
};

static bool answer_value(struct request *req, struct str name, const char *msg, struct str value)
{
	struct str field = arena_dup(&req->arena, name), input = {value.p, value.n < 200 ? value.n : 200};
	struct buf path;

	if (!req->query_is_of_body || str_eq(name, STR("q"))) {
		query_answer(req, "value_error", msg, field.p ? field.p : "", input, (struct str){0});
		return false;
	}
	/* A condition of a body is a member of its "filters". */
	buf_init(&path, &req->arena);
	json_put_string(&path, name);
	invalid_answer_one(req, &(struct violation){.type = "value_error",
						    .msg = msg,
						    .where = "body",
						    .field = "filters",
						    .index = -1,
						    .path = buf_view(&path),
						    .input = invalid_input_text(req, input)});
	return false;
}

static bool is_other(struct str name)
{
	for (size_t i = 0; i < sizeof(OTHERS) / sizeof(OTHERS[0]); i++)
		if (str_eq(name, OTHERS[i]))
			return true;
	return false;
}

static const struct own_field *find_own(struct str name)
{
	for (size_t i = 0; i < sizeof(OWN) / sizeof(OWN[0]); i++)
		if (str_eq(name, OWN[i].name))
			return &OWN[i];
	return NULL;
}

/* Cuts the operator off a name. */
static enum record_compare cut_operator(struct str *name)
{
	for (size_t i = 0; i < sizeof(OPERATORS) / sizeof(OPERATORS[0]); i++) {
		struct str op = OPERATORS[i].name;
		if (name->n <= op.n || !str_eq((struct str){name->p + name->n - op.n, op.n}, op))
			continue;
		name->n -= op.n;
		return OPERATORS[i].compare;
	}
	return RECORD_EQ;
}

/* --- values --- */

/* In a query string a "+" is a blank: "2026-01-01T00:00:00 00:00" means "+00:00". */
static bool read_time(struct request *req, struct str text, double *us)
{
	int64_t value;

	if (text.n > 6 && text.p[text.n - 6] == ' ') {
		char *writable = arena_alloc(&req->arena, text.n);
		if (!writable)
			return false;
		memcpy(writable, text.p, text.n);
		writable[text.n - 6] = '+';
		text.p = writable;
	}
	if (!clock_parse_iso(text, &value))
		return false;
	*us = (double)value;
	return true;
}

/* A run's number, or its id. */
static bool read_run(struct reading *reading, struct str text, double *number)
{
	struct run_row run;
	struct id id;
	uint64_t value;

	if (str_to_u64(text, INT64_MAX, &value)) {
		*number = (double)value;
		return true;
	}
	if (!id_parse(text, &id))
		return false;
	/* One that is not there has no records. */
	*number = runs_find(reading->db, &id, &reading->req->arena, &run, NULL) == STATUS_OK ? (double)run.number
											     : -1.0;
	return true;
}

static bool read_own(struct reading *reading, struct str name, const struct own_field *own, struct str value,
		     struct record_filter *filter)
{
	struct request *req = reading->req;
	enum record_status status;

	filter->field = own->column;
	filter->is_number = own->kind != OWN_TEXT;
	filter->is_text = own->kind == OWN_TEXT;
	filter->text = value;
	if (filter->compare == RECORD_ABSENT || (filter->compare == RECORD_CONTAINS && own->kind != OWN_TEXT))
		return answer_value(req, name, "This is not asked of a record's own fields", value);
	switch (own->kind) {
	case OWN_TEXT:
		return true;
	case OWN_TIME:
		return read_time(req, value, &filter->number) ||
		       answer_value(req, name, "Input should be a valid datetime (RFC 3339)", value);
	case OWN_STATUS:
		if (!record_status_parse(value, &status))
			return answer_value(req, name, "Input should be 'raw', 'processed' or 'failed'", value);
		filter->number = status;
		return true;
	case OWN_RUN:
		return read_run(reading, value, &filter->number) ||
		       answer_value(req, name, "Input should be a run's number or identifier", value);
	}
	return false;
}

static const struct pipeline_field *find_field(const struct pipeline *definition, struct str name)
{
	for (int i = 0; definition && i < definition->fields_n; i++)
		if (str_eq(definition->fields[i].name, name))
			return &definition->fields[i];
	return NULL;
}

static bool read_number(struct str text, double *out)
{
	return json_number_of_text(text, out) && isfinite(*out);
}

/* Of a field whose type nobody knows. */
static void read_any(struct str value, struct record_filter *filter)
{
	bool quoted = value.n >= 2 && value.p[0] == '"' && value.p[value.n - 1] == '"';

	filter->is_text = true;
	filter->text = quoted ? (struct str){value.p + 1, value.n - 2} : value;
	if (quoted || !read_number(value, &filter->number))
		return;
	filter->is_number = true;
	filter->is_text = filter->compare == RECORD_EQ || filter->compare == RECORD_NE;
}

static bool read_field(struct reading *reading, struct str name, struct str field, struct str value,
		       struct record_filter *filter)
{
	const struct pipeline *definition = reading->wish->definition;
	const struct pipeline_field *found = find_field(definition, field);
	bool scored = definition && definition->into.n > 0 && str_eq(field, definition->into);

	if (!record_field_is_good(field))
		return answer_value(reading->req, name, "A field's name has no quotation marks and backslashes", value);
	if (definition && !found && !scored && definition->others != PIPELINE_KEEP)
		return answer_value(reading->req, name, "The pipeline has no such field", value);
	filter->field = field;
	filter->text = value;
	filter->is_text = true;
	if (filter->compare == RECORD_ABSENT || filter->compare == RECORD_CONTAINS)
		return true;
	switch (found ? found->type : scored ? PIPELINE_NUMBER : PIPELINE_ANY) {
	case PIPELINE_NUMBER:
	case PIPELINE_INTEGER:
		filter->is_number = true;
		filter->is_text = false;
		return read_number(value, &filter->number) ||
		       answer_value(reading->req, name, "Input should be a valid number", value);
	case PIPELINE_BOOL:
		filter->is_number = true;
		filter->is_text = false;
		filter->number = str_eq(value, STR("true")) || str_eq(value, STR("1"));
		return filter->number > 0 || str_eq(value, STR("false")) || str_eq(value, STR("0")) ||
		       answer_value(reading->req, name, "Input should be 'true' or 'false'", value);
	case PIPELINE_TEXT:
	case PIPELINE_DATETIME:
	case PIPELINE_DATE:
		return true;
	case PIPELINE_ANY:
	case PIPELINE_TYPE__MAX:
		break;
	}
	read_any(value, filter);
	return true;
}

static bool read_condition(struct reading *reading, struct str name, struct str value)
{
	struct record_query *query = &reading->wish->query;
	struct record_filter filter = {0};
	struct str field = name;

	if (value.n > VALUE_BYTES || !str_is_utf8(value) || !str_is_utf8(name) || memchr(name.p, '\0', name.n) ||
	    (value.n > 0 && memchr(value.p, '\0', value.n)))
		return answer_value(reading->req, (struct str){name.p, name.n < 100 && str_is_utf8(name) ? name.n : 0},
				    "Input should be UTF-8 of at most 1000 bytes", (struct str){0});
	if (query->filters_n == RECORD_FILTERS_MAX)
		return answer_value(reading->req, name, "There are too many conditions (12 at the most)", value);
	filter.compare = cut_operator(&field);
	const struct own_field *own = find_own(field);
	bool good = own ? read_own(reading, name, own, value, &filter) : false;
	if (!own) {
		if (str_starts(field, STR("data.")))
			field = (struct str){field.p + 5, field.n - 5};
		good = read_field(reading, name, field, value, &filter);
	}
	if (good)
		query->filters[query->filters_n++] = filter;
	return good;
}

static bool read_conditions(struct reading *reading)
{
	struct str rest = reading->req->query;

	while (rest.n > 0) {
		struct str raw = str_cut(&rest, '&');
		struct str name = request_url_decode(reading->req, str_cut(&raw, '='));
		struct str value = request_url_decode(reading->req, raw);
		if (name.n > 0 && !is_other(name) && !read_condition(reading, name, value))
			return false;
	}
	return true;
}

/* --- order and place --- */

static bool read_sort(struct reading *reading)
{
	struct record_query *query = &reading->wish->query;
	struct str text;

	query->descending = true;
	if (!data_read_text(reading->req, "sort", &text))
		return false;
	if (text.n == 0)
		return true;
	query->descending = text.p[0] == '-';
	if (query->descending)
		text = (struct str){text.p + 1, text.n - 1};
	/* Records are numbered as they come in. */
	if (str_eq(text, STR("received")) || str_eq(text, STR("timestamp")))
		return true;
	if (str_eq(text, STR("id"))) {
		query->sort = STR("@key");
		return true;
	}
	if (str_starts(text, STR("data.")))
		text = (struct str){text.p + 5, text.n - 5};
	if (!record_field_is_good(text))
		return answer_value(reading->req, STR("sort"), "Input should be a field's name, or received, or id",
				    text);
	query->sort = text;
	query->sort_is_number = data_is_number(reading->wish->definition, text);
	return true;
}

static void note_shape(struct data_wish *wish)
{
	const struct record_query *query = &wish->query;
	uint32_t hash = 2166136261u; /* FNV-1a */
	const struct str parts[] = {wish->name, query->descending ? STR("-") : STR("+"), query->sort};

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		for (size_t k = 0; k < parts[i].n; k++)
			hash = (hash ^ (unsigned char)parts[i].p[k]) * 16777619u;
	wish->shape = hash;
}

/* "SHAPE SEQ KIND VALUE", in base64. */
bool data_put_cursor(struct buf *out, const struct data_wish *wish, int64_t seq, const struct record_value *sort)
{
	char plain[DATA_CURSOR_BYTES / 2], text[DATA_CURSOR_BYTES];
	int n = 0;

	if (sort->kind == RECORD_NUMBER)
		n = snprintf(plain, sizeof(plain), "%08x %lld n %.17g", wish->shape, (long long)seq, sort->number);
	else if (sort->kind == RECORD_TEXT)
		n = snprintf(plain, sizeof(plain), "%08x %lld t %.*s", wish->shape, (long long)seq,
			     STR_ARG(sort->text));
	else
		n = snprintf(plain, sizeof(plain), "%08x %lld - ", wish->shape, (long long)seq);
	if (n <= 0 || (size_t)n >= sizeof(plain))
		return false;
	sodium_bin2base64(text, sizeof(text), (const uint8_t *)plain, (size_t)n,
			  sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	json_put_string(out, str_of(text));
	return true;
}

static bool parse_cursor(struct str plain, struct data_wish *wish)
{
	struct record_query *query = &wish->query;
	struct str rest = plain;
	struct str shape = str_cut(&rest, ' '), seq = str_cut(&rest, ' '), kind = str_cut(&rest, ' ');
	char wanted[16];
	uint64_t number;

	snprintf(wanted, sizeof(wanted), "%08x", wish->shape);
	if (!str_eq(shape, str_of(wanted)) || !str_to_u64(seq, INT64_MAX, &number) || kind.n != 1)
		return false;
	query->has_after = true;
	query->after_seq = (int64_t)number;
	query->after = (struct record_value){.text = rest};
	if (kind.p[0] == 'n') {
		query->after.kind = RECORD_NUMBER;
		return read_number(rest, &query->after.number);
	}
	query->after.kind = kind.p[0] == 't' ? RECORD_TEXT : RECORD_NOTHING;
	return (kind.p[0] == '-' || kind.p[0] == 't') && str_is_utf8(rest) &&
	       (rest.n == 0 || !memchr(rest.p, '\0', rest.n));
}

static bool read_cursor(struct reading *reading)
{
	struct request *req = reading->req;
	char *plain = arena_alloc(&req->arena, DATA_CURSOR_BYTES);
	struct str text;
	size_t n = 0;

	if (!request_query(req, STR("cursor"), &text))
		return true;
	if (plain && text.n < DATA_CURSOR_BYTES &&
	    sodium_base642bin((uint8_t *)plain, DATA_CURSOR_BYTES, text.p, text.n, NULL, &n, NULL,
			      sodium_base64_VARIANT_URLSAFE_NO_PADDING) == 0 &&
	    parse_cursor((struct str){plain, n}, reading->wish))
		return true;
	query_answer(req, "cursor_invalid", "Input should be a next_cursor of an earlier page of the same list",
		     "cursor", (struct str){text.p, text.n < 200 ? text.n : 200}, (struct str){0});
	return false;
}

/* --- all of it --- */

static bool read_pipeline(struct reading *reading)
{
	struct request *req = reading->req;
	struct data_wish *wish = reading->wish;
	struct pipeline *definition = NULL;
	struct err err = {0};

	if (!data_read_text(req, "pipeline", &wish->name))
		return false;
	if (wish->name.n == 0) {
		query_answer(req, "missing", "Field required", "pipeline", (struct str){0}, (struct str){0});
		return false;
	}
	if (data_load_pipeline(req, wish->name, &definition, NULL, NULL) == STATUS_OK)
		wish->definition = definition;
	enum status status = runs_find_pipeline(reading->db, wish->name, &wish->query.pipeline_id, &err);
	wish->unknown = status == STATUS_NOT_FOUND;
	if (status == STATUS_OK || (wish->unknown && wish->definition))
		return true;
	if (wish->unknown)
		data_answer_no_pipeline(req, wish->name);
	else
		request_answer_error(req, status, &err);
	return false;
}

static bool read_words(struct reading *reading)
{
	struct str text;

	if (!request_query(reading->req, STR("q"), &text))
		return true;
	if (text.n == 0 || text.n > RECORD_SEARCH_BYTES || !str_is_utf8(text) || memchr(text.p, '\0', text.n))
		return answer_value(reading->req, STR("q"), "Input should be 1 to 1000 bytes of UTF-8",
				    (struct str){text.p, text.n < 200 && str_is_utf8(text) ? text.n : 0});
	reading->wish->query.search = text;
	return true;
}

bool data_read_wish(struct request *req, struct db *db, int fallback, int most, struct data_wish *wish)
{
	struct reading reading = {.req = req, .db = db, .wish = wish};
	int64_t limit = fallback;

	*wish = (struct data_wish){.query = {.within_ms = DATA_PAGE_MS}};
	if (most > 0 && !query_read_int(req, "limit", fallback, 1, most, &limit))
		return false;
	wish->query.limit = (int)limit;
	if (!read_pipeline(&reading) || !read_conditions(&reading) || !read_words(&reading) || !read_sort(&reading))
		return false;
	note_shape(wish);
	return read_cursor(&reading);
}
