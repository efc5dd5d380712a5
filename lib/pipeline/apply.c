/* Records through a pipeline. Where the columns of a CSV are is found out once for each list of names; of JSON, where
 * each record has its own, a name is first looked for where it was in the record before. */
#include "pipeline/apply_impl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "pipeline/reader.h"

enum { RAW_BYTES = 2000 }; /* of the text of what is no record */

/* What becomes of a column: the number of its source, or one of these. */
enum { COLUMN_OTHER = -1, COLUMN_TAKEN = -2 };

struct pipeline_applier {
	const struct pipeline *pipeline;
	struct scorer *scorer;
	struct model_set *models;
	struct arena arena;            /* for as long as the applier */
	struct str *prefixes;          /* of fields: "name": */
	struct pipeline_value *values; /* of fields, of the record at hand */
	/* Of the list of names at hand. */
	const struct str *names;
	size_t names_n;
	int *column_source; /* of columns: a source, COLUMN_… */
	int *source_column; /* of sources: a column, or -1 */
};

struct call {
	struct pipeline_applier *applier;
	struct arena *arena;
	struct sink sink;
	struct step_fault fault;
	/* Rows that wait for the model. */
	size_t waiting_n;
	struct pipeline_row *waiting[SCORER_ROWS];
	const struct raw_record *waiting_records[SCORER_ROWS];
	char *waiting_data[SCORER_ROWS]; /* row.data, to be written on */
};

const char *refusal_name(enum refusal refusal)
{
	static const char *const names[] = {
		[REFUSAL_NONE] = "none",         [REFUSAL_MISSING] = "missing", [REFUSAL_TYPE] = "type",
		[REFUSAL_RANGE] = "range",       [REFUSAL_OTHER] = "other",     [REFUSAL_RAGGED] = "ragged",
		[REFUSAL_ENCODING] = "encoding", [REFUSAL_SYNTAX] = "syntax",   [REFUSAL_DUPLICATE] = "duplicate",
		[REFUSAL_MODEL] = "model",
	};
	_Static_assert(sizeof(names) / sizeof(names[0]) == REFUSAL__MAX, "a name for each reason");

	return names[refusal];
}

/* --- the applier --- */

static bool make_applier(struct pipeline_applier *a)
{
	const struct pipeline *p = a->pipeline;
	size_t n = (size_t)p->fields_n + 1;

	a->prefixes = arena_zalloc(&a->arena, n * sizeof(*a->prefixes));
	a->values = arena_zalloc(&a->arena, n * sizeof(*a->values));
	a->source_column = arena_alloc(&a->arena, ((size_t)p->sources_n + 1) * sizeof(int));
	a->column_source = arena_alloc(&a->arena, READER_COLUMNS_MAX * sizeof(int));
	if (!a->prefixes || !a->values || !a->source_column || !a->column_source)
		return false;
	for (int i = 0; i < READER_COLUMNS_MAX; i++)
		a->column_source[i] = COLUMN_OTHER;
	for (int i = 0; i < p->fields_n; i++) {
		struct buf out;
		buf_init(&out, &a->arena);
		json_put_string(&out, p->fields[i].name);
		buf_char(&out, ':');
		if (out.failed)
			return false;
		a->prefixes[i] = buf_view(&out);
	}
	return true;
}

struct pipeline_applier *pipeline_applier_new(const struct pipeline *pipeline, struct model_set *models)
{
	struct pipeline_applier *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->pipeline = pipeline;
	a->models = models ? model_set_hold(models) : NULL;
	arena_init(&a->arena, (size_t)8 << 20);
	if (!make_applier(a)) {
		pipeline_applier_free(a);
		return NULL;
	}
	return a;
}

void pipeline_applier_free(struct pipeline_applier *applier)
{
	if (!applier)
		return;
	scorer_free(applier->scorer);
	model_set_drop(applier->models);
	arena_release(&applier->arena);
	free(applier);
}

/* --- where columns are --- */

static int source_of(const struct pipeline *p, struct str name, int guess)
{
	if (guess >= 0 && str_eq(name, p->sources[guess]))
		return guess;
	int place = names_find(&p->places, name);
	return place < 0 ? COLUMN_OTHER : place >= p->sources_n ? COLUMN_TAKEN : place;
}

static void find_columns(struct pipeline_applier *a, const struct raw_record *record)
{
	const struct pipeline *p = a->pipeline;

	if (a->names == record->names && a->names_n == record->n)
		return;
	for (int i = 0; i < p->sources_n; i++)
		a->source_column[i] = -1;
	for (size_t i = 0; i < record->n; i++) {
		int source = source_of(p, record->names[i], a->column_source[i]);
		a->column_source[i] = source;
		if (source >= 0 && a->source_column[source] < 0)
			a->source_column[source] = (int)i;
	}
	a->names = record->names;
	a->names_n = record->n;
}

/* --- values --- */

static void take_cell(const struct cell *cell, struct pipeline_value *out)
{
	*out = (struct pipeline_value){.text = cell->text};
	switch (cell->kind) {
	case CELL_MISSING:
		out->kind = VALUE_MISSING;
		return;
	case CELL_NULL:
		out->kind = VALUE_NULL;
		return;
	case CELL_TEXT:
		out->kind = VALUE_TEXT;
		return;
	case CELL_NUMBER:
		if (!number_read(cell->text, out))
			*out = (struct pipeline_value){
				.kind = VALUE_NUMBER, .text = cell->text, .number = cell->number};
		return;
	case CELL_BOOL:
		out->kind = VALUE_BOOL;
		out->number = cell->number;
		return;
	case CELL_JSON:
		out->kind = VALUE_JSON;
		return;
	}
}

/* Of a field that no transformation is asked for: a CSV has text alone, in which a number is one. */
static void type_freely(const struct raw_record *record, struct pipeline_value *value)
{
	if (value->kind == VALUE_TEXT && !record->is_json)
		(void)!number_read_strict(value->text, value);
}

static void put_other(struct call *c, const struct raw_record *record, size_t i, bool *first)
{
	const struct cell *cell = &record->cells[i];
	struct sink *sink = &c->sink;
	struct pipeline_value value;

	if (cell->kind == CELL_MISSING)
		return;
	if (!*first)
		sink_char(sink, ',');
	*first = false;
	sink_string(sink, record->names[i]);
	sink_char(sink, ':');
	if (cell->kind == CELL_NUMBER && cell->text.n > 0) {
		sink_put(sink, cell->text); /* as written: nothing is lost */
		return;
	}
	take_cell(cell, &value);
	type_freely(record, &value);
	sink_value(sink, &value, false);
}

/* --- refusals --- */

static struct str keep(struct call *c, struct str text)
{
	struct str kept = arena_dup(c->arena, text);

	c->sink.failed |= !kept.p;
	return kept;
}

/* The record as it was, for whoever looks at it later. */
static void put_raw(struct call *c, const struct raw_record *record, struct pipeline_row *row)
{
	bool first = true;

	sink_begin(&c->sink);
	sink_char(&c->sink, '{');
	for (size_t i = 0; i < record->n && record->names && record->cells; i++)
		put_other(c, record, i, &first);
	if (first && record->text.n > 0) {
		sink_put(&c->sink, STR("\"text\":"));
		sink_string(&c->sink, text_cut(record->text, RAW_BYTES));
	}
	sink_char(&c->sink, '}');
	row->data = sink_row(&c->sink);
}

static struct str shown_cell(const struct cell *cell)
{
	if (cell->kind == CELL_NULL)
		return STR("null");
	if (cell->kind == CELL_BOOL)
		return cell->number != 0 ? STR("true") : STR("false");
	return text_cut(cell->text, VALUE_SHOWN_BYTES);
}

/* `cell` is what it was about; NULL: the record as a whole. */
static void refuse(struct call *c, const struct raw_record *record, struct pipeline_row *row, enum refusal refusal,
		   struct str field, const struct cell *cell, struct str message)
{
	struct str own = c->applier->pipeline->messages[refusal];

	row->refusal = refusal;
	row->field = field;
	row->value = cell ? shown_cell(cell) : (struct str){0};
	row->message = own.p ? own : keep(c, message);
	row->search = (struct str){0};
	put_raw(c, record, row);
}

static void refuse_fault(struct call *c, const struct raw_record *record, struct pipeline_row *row)
{
	static const enum refusal known[] = {REFUSAL_RAGGED, REFUSAL_ENCODING, REFUSAL_SYNTAX};
	enum refusal refusal = REFUSAL_SYNTAX;

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(record->fault, refusal_name(known[i])) == 0)
			refusal = known[i];
	refuse(c, record, row, refusal, (struct str){0}, NULL,
	       record->detail.n > 0 ? text_cut(record->detail, 400) : STR("This is no record"));
	row->value = text_cut(record->text, VALUE_SHOWN_BYTES);
}

static const struct cell *cell_of(const struct call *c, const struct raw_record *record, int field)
{
	int column = c->applier->source_column[c->applier->pipeline->fields[field].source];

	return column < 0 ? NULL : &record->cells[column];
}

/* --- a record --- */

/* Fields that must be there; seen to before any value is looked at. */
static bool has_required(struct call *c, const struct raw_record *record, struct pipeline_row *row)
{
	const struct pipeline *p = c->applier->pipeline;
	char text[400];

	for (int i = 0; i < p->fields_n; i++) {
		const struct pipeline_field *field = &p->fields[i];
		if (!field->required || field->fallback)
			continue;
		const struct cell *cell = cell_of(c, record, i);
		if (cell && cell->kind != CELL_MISSING)
			continue;
		int n = snprintf(text, sizeof(text), "%.*s: is missing", STR_ARG(field->name));
		refuse(c, record, row, REFUSAL_MISSING, field->name, NULL, (struct str){text, (size_t)n});
		return false;
	}
	return true;
}

static bool has_no_others(struct call *c, const struct raw_record *record, struct pipeline_row *row)
{
	const struct pipeline_applier *a = c->applier;
	char text[400];

	if (a->pipeline->others != PIPELINE_REFUSE_OTHERS)
		return true;
	for (size_t i = 0; i < record->n; i++) {
		if (a->column_source[i] >= 0 || record->cells[i].kind == CELL_MISSING)
			continue;
		struct str name = text_cut(record->names[i], VALUE_SHOWN_BYTES);
		int n = snprintf(text, sizeof(text), "%.*s: the pipeline has no such field", STR_ARG(name));
		refuse(c, record, row, REFUSAL_OTHER, name, &record->cells[i], (struct str){text, (size_t)n});
		return false;
	}
	return true;
}

/* Fills values[i]. STATUS_INVALID: refused. */
static enum status run_field(struct call *c, const struct raw_record *record, int i, struct pipeline_row *row)
{
	const struct pipeline_field *field = &c->applier->pipeline->fields[i];
	struct pipeline_value *value = &c->applier->values[i];
	const struct cell *cell = cell_of(c, record, i);

	if (cell && !(cell->kind == CELL_NULL && field->fallback))
		take_cell(cell, value);
	else
		*value = (struct pipeline_value){.kind = VALUE_MISSING};
	if (field->type == PIPELINE_ANY && field->steps_n == 0)
		type_freely(record, value);
	enum status status = steps_run(field, value, c->arena, &c->fault);
	if ((value->kind == VALUE_MISSING || value->kind == VALUE_NULL) && field->fallback && status == STATUS_OK)
		*value = *field->fallback;
	if (status == STATUS_OK && value->kind == VALUE_MISSING && field->required) {
		c->fault.refusal = REFUSAL_MISSING;
		snprintf(c->fault.text, sizeof(c->fault.text), "%.*s: is missing", STR_ARG(field->name));
		status = STATUS_INVALID;
	}
	if (status == STATUS_INVALID)
		refuse(c, record, row, c->fault.refusal, field->name, cell, str_of(c->fault.text));
	return status;
}

/* A value as text: part of a key, words to search. Numbers without ".0". */
static struct str plain_text(const struct pipeline_value *value, char room[static VALUE_NUMBER_BYTES])
{
	size_t n;

	switch (value->kind) {
	case VALUE_MISSING:
	case VALUE_NULL:
		return (struct str){0};
	case VALUE_BOOL:
		return value->number != 0 ? STR("true") : STR("false");
	case VALUE_NUMBER:
		if (value->form == VALUE_WHOLE)
			return value->text;
		n = number_put(room, value->number);
		if (n > 2 && room[n - 1] == '0' && room[n - 2] == '.')
			n -= 2;
		return (struct str){room, n};
	case VALUE_TEXT:
	case VALUE_JSON:
	case VALUE_TIME:
	case VALUE_DATE:
		break;
	}
	return value->text;
}

struct key {
	size_t n;
	char text[PIPELINE_KEY_BYTES];
};

static bool put_key(struct key *key, struct str part, bool escaped)
{
	for (size_t i = 0; i < part.n; i++) {
		char c = part.p[i];
		if (key->n + 2 > sizeof(key->text))
			return false;
		if (escaped && (c == '|' || c == '\\'))
			key->text[key->n++] = '\\';
		key->text[key->n++] = c;
	}
	return true;
}

/* Parts with | between them; | and \ in a part have \ before them. Empty where all of it is missing. */
static enum status make_key(struct call *c, const struct raw_record *record, struct pipeline_row *row)
{
	const struct pipeline *p = c->applier->pipeline;
	char room[VALUE_NUMBER_BYTES], text[80];
	struct key key;
	bool any = false;

	key.n = 0;
	for (int k = 0; k < p->key_n; k++) {
		struct str part = plain_text(&c->applier->values[p->key[k]], room);
		any |= part.n > 0;
		if ((k == 0 || put_key(&key, STR("|"), false)) && put_key(&key, part, p->key_n > 1))
			continue;
		int n = snprintf(text, sizeof(text), "The key is longer than %d bytes", PIPELINE_KEY_BYTES - 1);
		refuse(c, record, row, REFUSAL_RANGE, p->fields[p->key[k]].name, cell_of(c, record, p->key[k]),
		       (struct str){text, (size_t)n});
		return STATUS_INVALID;
	}
	if (any)
		row->key = keep(c, (struct str){key.text, key.n});
	return STATUS_OK;
}

static void make_search(struct call *c, struct pipeline_row *row)
{
	const struct pipeline *p = c->applier->pipeline;
	char room[VALUE_NUMBER_BYTES];
	struct str only = {0};
	struct buf out;
	int n = 0;

	buf_init(&out, c->arena);
	for (int i = 0; i < p->fields_n; i++) {
		if (!p->fields[i].search)
			continue;
		struct str text = plain_text(&c->applier->values[i], room);
		if (text.n == 0)
			continue;
		if (n++ == 0) {
			only = text.p == room ? keep(c, text) : text;
			continue;
		}
		if (n == 2)
			buf_str(&out, only);
		buf_char(&out, ' ');
		buf_str(&out, text);
	}
	c->sink.failed |= out.failed;
	row->search = n > 1 ? buf_view(&out) : only;
}

/* Inputs of the row that will wait as number waiting_n. STATUS_INVALID: refused. */
static enum status take_inputs(struct call *c, const struct raw_record *record, struct pipeline_row *row)
{
	const struct pipeline *p = c->applier->pipeline;

	for (int i = 0; i < p->inputs_n; i++) {
		int field = p->inputs[i];
		enum status status = scorer_take(c->applier->scorer, c->waiting_n, i, &c->applier->values[field],
						 &c->fault);
		if (status == STATUS_OK)
			continue;
		refuse(c, record, row, c->fault.refusal, p->fields[field].name, cell_of(c, record, field),
		       str_of(c->fault.text));
		return status;
	}
	return STATUS_OK;
}

/* The JSON of the record; with a model, open at its end and with room for what the model says. */
static void put_record(struct call *c, const struct raw_record *record, struct pipeline_row *row)
{
	const struct pipeline_applier *a = c->applier;
	const struct pipeline *p = a->pipeline;
	struct sink *sink = &c->sink;
	bool first = true;

	sink_begin(sink);
	sink_char(sink, '{');
	for (int i = 0; i < p->fields_n; i++) {
		if (a->values[i].kind == VALUE_MISSING)
			continue;
		if (!first)
			sink_char(sink, ',');
		first = false;
		sink_put(sink, a->prefixes[i]);
		sink_value(sink, &a->values[i], p->fields[i].type == PIPELINE_NUMBER);
	}
	for (size_t i = 0; p->others == PIPELINE_KEEP && i < record->n; i++)
		if (a->column_source[i] == COLUMN_OTHER)
			put_other(c, record, i, &first);
	if (a->scorer) {
		size_t room = scorer_room(a->scorer) + 1;
		row->data = sink_need(sink, room) ? sink_row(sink) : (struct str){0};
		sink->at += sink->failed ? 0 : room;
	} else {
		sink_char(sink, '}');
		row->data = sink_row(sink);
	}
}

/* A refused record that is kept is kept by its key, where that can be read. */
static void key_refused(struct call *c, const struct raw_record *record, struct pipeline_row *row)
{
	const struct pipeline *p = c->applier->pipeline;
	struct pipeline_row other = {.line = row->line};

	if (!p->keep_failed || row->key.n > 0)
		return;
	for (int k = 0; k < p->key_n; k++)
		if (run_field(c, record, p->key[k], &other) != STATUS_OK)
			return;
	if (p->key_n > 0 && make_key(c, record, &other) == STATUS_OK)
		row->key = other.key;
}

static enum status apply_one(struct call *c, const struct raw_record *record, struct pipeline_row *row)
{
	const struct pipeline *p = c->applier->pipeline;

	*row = (struct pipeline_row){.line = record->line};
	if (record->fault) {
		refuse_fault(c, record, row);
		return STATUS_OK;
	}
	if (record->n > READER_COLUMNS_MAX) {
		refuse(c, record, row, REFUSAL_SYNTAX, (struct str){0}, NULL, STR("The record has too many fields"));
		return STATUS_OK;
	}
	find_columns(c->applier, record);
	if (!has_required(c, record, row) || !has_no_others(c, record, row)) {
		key_refused(c, record, row);
		return STATUS_OK;
	}
	for (int i = 0; i < p->fields_n; i++) {
		enum status status = run_field(c, record, i, row);
		if (status == STATUS_INVALID)
			key_refused(c, record, row);
		if (status != STATUS_OK)
			return status == STATUS_INVALID ? STATUS_OK : status;
	}
	if (make_key(c, record, row) != STATUS_OK)
		return STATUS_OK;
	if (c->applier->scorer && take_inputs(c, record, row) != STATUS_OK)
		return STATUS_OK;
	make_search(c, row);
	put_record(c, record, row);
	if (c->applier->scorer && !c->sink.failed) {
		c->waiting[c->waiting_n] = row;
		c->waiting_data[c->waiting_n] = c->sink.row;
		c->waiting_records[c->waiting_n++] = record;
	}
	return STATUS_OK;
}

/* --- the model --- */

static enum status score(struct call *c, struct err *err)
{
	const struct scorer *scorer = c->applier->scorer;
	size_t n = c->waiting_n;

	c->waiting_n = 0;
	if (n == 0)
		return STATUS_OK;
	uint64_t began = clock_mono_ns();
	enum status status = scorer_run(c->applier->scorer, n, err);
	if (status != STATUS_OK)
		return status;
	double each = (double)(clock_mono_ns() - began) * 1e-9 / (double)n;
	for (size_t i = 0; i < n; i++) {
		struct pipeline_row *row = c->waiting[i];
		char *data = c->waiting_data[i];
		const char *why = NULL;
		char *stop = scorer_put(scorer, i, row->data.n == 1, data + row->data.n, &why);
		row->seconds += each;
		if (!stop) {
			refuse(c, c->waiting_records[i], row, REFUSAL_MODEL, c->applier->pipeline->into, NULL,
			       str_of(why));
			continue;
		}
		*stop++ = '}';
		row->data.n = (size_t)(stop - data);
	}
	return STATUS_OK;
}

static bool wants_scorer(const struct pipeline_applier *a)
{
	return a->pipeline->model.n > 0 && !a->scorer;
}

enum status pipeline_apply(struct pipeline_applier *applier, const struct raw_record *records, size_t n,
			   struct arena *arena, struct pipeline_row *rows, struct err *err)
{
	struct call c = {.applier = applier, .arena = arena};
	enum status status = STATUS_OK;

	if (wants_scorer(applier))
		status = scorer_new(&applier->scorer, applier->pipeline, applier->models, err);
	if (status != STATUS_OK)
		return status;
	sink_init(&c.sink, arena);
	applier->names = NULL; /* the memory of names may be other names' by now */
	applier->names_n = SIZE_MAX;
	uint64_t before = clock_mono_ns();
	for (size_t i = 0; i < n && status == STATUS_OK && !c.sink.failed; i++) {
		status = apply_one(&c, &records[i], &rows[i]);
		uint64_t now = clock_mono_ns();
		rows[i].seconds = (double)(now - before) * 1e-9;
		before = now;
		if (c.waiting_n < SCORER_ROWS || status != STATUS_OK)
			continue;
		status = score(&c, err);
		before = clock_mono_ns();
	}
	if (status == STATUS_OK && !c.sink.failed)
		status = score(&c, err);
	if (status == STATUS_NO_MEMORY || (status == STATUS_OK && c.sink.failed))
		return err_set(err, STATUS_NO_MEMORY, "Out of memory for these records");
	return status;
}
