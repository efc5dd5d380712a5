/* A definition, and behind a NUL a source that it reads: what is accepted keeps its promises, what is not is told why;
 * each record becomes a JSON object, or is refused with a sentence. */
#include "fuzz.h"

#include "base/json.h"
#include "pipeline/apply.h"
#include "pipeline/csv_write.h"
#include "pipeline/reader.h"

#include <string.h>

enum { RECORDS_AT_ONCE = 64 };

static void check(const struct pipeline *p)
{
	demand(str_is_name(str_of(p->name)) && strlen(p->hash) == 64, "a pipeline has a name and a hash");
	demand(p->fields_n >= 0 && p->fields_n <= PIPELINE_FIELDS_MAX, "fields are bounded");
	demand(p->key_n >= 0 && p->key_n <= PIPELINE_KEY_MAX, "keys are bounded");
	for (int i = 0; i < p->fields_n; i++) {
		const struct pipeline_field *field = &p->fields[i];
		demand(field->name.n > 0 && field->from.n > 0, "a field has a name");
		demand(field->source >= 0 && field->source < p->sources_n, "a field has a source");
		demand(str_eq(p->sources[field->source], field->from), "and it is the right one");
		demand(names_find(&p->places, field->from) == field->source, "sources are found");
		demand(field->steps_n >= 0 && field->steps_n <= PIPELINE_STEPS_MAX + 2, "steps are bounded");
		for (int k = 0; k < i; k++)
			demand(!str_eq(field->name, p->fields[k].name), "names differ");
	}
	for (int i = 0; i < p->key_n; i++)
		demand(p->key[i] >= 0 && p->key[i] < p->fields_n, "keys are fields");
	for (int i = 0; i < p->inputs_n; i++)
		demand(p->inputs[i] >= 0 && p->inputs[i] < p->fields_n, "inputs are fields");
	demand(p->to != 0, "it goes somewhere");
}

static void check_row(const struct pipeline_row *row, struct arena *arena)
{
	struct json_value root, value;
	struct json_fault fault;
	struct json_iter iter;
	struct buf cell;

	demand(json_check(row->data, JSON_MAX_DEPTH, &root, &fault) && root.type == JSON_OBJECT,
	       "what became of a record is a JSON object");
	demand(row->seconds >= 0, "it took its time");
	demand(row->key.n < PIPELINE_KEY_BYTES && row->value.n <= 200, "keys and values are bounded");
	demand((row->refusal == REFUSAL_NONE) == (row->message.n == 0), "a refusal says why");
	demand(str_is_utf8(row->message) && row->message.n < 1000, "and so that it can be shown");
	buf_init(&cell, arena);
	json_iter_init(&iter, root);
	while (json_next(&iter, NULL, &value)) {
		cell.n = 0;
		csv_put_json(&cell, value, arena);
		bool quoted = cell.n > 0 && cell.p[0] == '"';
		demand(value.type != JSON_STRING || cell.n == 0 || !memchr("=+-@\t\r", cell.p[quoted], 6),
		       "no text is a formula");
	}
}

static void apply(const struct pipeline *p, struct model_set *models, struct source *source)
{
	struct pipeline_applier *applier = pipeline_applier_new(p, models);
	static struct raw_record records[RECORDS_AT_ONCE];
	static struct pipeline_row rows[RECORDS_AT_ONCE];
	struct source_block block = {0};
	struct err err = {0};
	enum status status = STATUS_OK;
	bool failed = false;

	demand(applier != NULL, "there is memory");
	while (status == STATUS_OK && source_next(source, &block, &err) == STATUS_OK && block.n > 0) {
		struct arena arena;
		struct reader reader;
		size_t n;
		arena_init(&arena, (size_t)256 << 20);
		reader_init(&reader, source_shape(source), &block, &arena);
		do {
			for (n = 0; n < RECORDS_AT_ONCE && reader_next(&reader, &records[n], &failed);)
				n++;
			status = pipeline_apply(applier, records, n, &arena, rows, &err);
			for (size_t i = 0; status == STATUS_OK && i < n; i++)
				check_row(&rows[i], &arena);
		} while (status == STATUS_OK && n > 0);
		arena_release(&arena);
	}
	demand(status == STATUS_OK || err.text[0], "an error says why");
	source_block_release(&block);
	pipeline_applier_free(applier);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pipeline *p = NULL;
	struct source *source = NULL;
	struct arena arena;
	struct buf problems;
	struct err err = {0};
	struct str rest = {(const char *)data, size};
	struct str text = str_cut(&rest, '\0');

	arena_init(&arena, (size_t)64 << 20);
	buf_init_heap(&problems);
	enum status status = pipeline_parse(text, (struct str){0}, &arena, &p, &problems, &err);
	if (status == STATUS_OK) {
		struct model_set *models = model_set_new();
		demand(models != NULL, "there is memory");
		check(p);
		if (rest.p && source_open_bytes(&source, rest, &p->source, &err) == STATUS_OK)
			apply(p, models, source);
		source_close(source);
		model_set_drop(models);
	} else {
		demand(!p && status == STATUS_INVALID && err.text[0] && problems.n > 0, "a refusal says why");
		demand(str_is_utf8(buf_view(&problems)), "and so that it can be shown");
	}
	buf_release(&problems);
	arena_release(&arena);
	return 0;
}
