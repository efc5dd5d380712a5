/* A field's transformations: each is an object with one member, its name. They are checked in the order in which they
 * run, against what the value is by then, and the reading of the type is put where it belongs: before the first that
 * wants a typed value, at the latest at the end. */
#include "pipeline/definition_impl.h"

#include <math.h>
#include <stdio.h>

#include "base/clock.h"

/* What a value is on its way. */
enum stage { STAGE_TEXT, STAGE_NUMBER, STAGE_TIME };

struct steps {
	struct loader *l;
	struct pipeline_field *field;
	struct pipeline_step *list;
	int n;
	enum stage stage;
	bool typed; /* the type has been read */
};

typedef void parse_fn(struct steps *s, const struct place *at, struct json_value value, struct pipeline_step *step);

static bool wants_number(const struct pipeline_field *field)
{
	return field->type == PIPELINE_NUMBER || field->type == PIPELINE_INTEGER;
}

static bool wants_time(const struct pipeline_field *field)
{
	return field->type == PIPELINE_DATETIME || field->type == PIPELINE_DATE;
}

static void add(struct steps *s, struct pipeline_step step)
{
	s->list[s->n++] = step;
}

static const struct str ISO[] = {STR_INIT("iso")};

/* The reading of the field's type, if it was not read yet. */
static void add_type(struct steps *s)
{
	static const enum step_op ops[PIPELINE_TYPE__MAX] = {
		[PIPELINE_ANY] = STEP__MAX,         [PIPELINE_TEXT] = STEP_TO_TEXT,
		[PIPELINE_NUMBER] = STEP_TO_NUMBER, [PIPELINE_INTEGER] = STEP_TO_INTEGER,
		[PIPELINE_BOOL] = STEP_TO_BOOL,     [PIPELINE_DATETIME] = STEP_TO_DATETIME,
		[PIPELINE_DATE] = STEP_TO_DATE,
	};
	enum step_op op = ops[s->field->type];

	if (s->typed || op == STEP__MAX)
		return;
	s->typed = true;
	if (wants_number(s->field))
		s->stage = STAGE_NUMBER;
	if (wants_time(s->field))
		s->stage = STAGE_TIME;
	add(s, (struct pipeline_step){.op = op, .texts = ISO, .n = wants_time(s->field) ? 1 : 0});
}

/* --- what each takes --- */

static void parse_true(struct steps *s, const struct place *at, struct json_value value, struct pipeline_step *step)
{
	(void)step;
	if (value.type != JSON_TRUE)
		loader_problem(s->l, at, "should be true; leave it out where it is not wanted");
}

/* A value in JSON to one of a field. False: of no use here. */
static bool read_value(struct loader *l, const struct place *at, struct json_value json, struct pipeline_value *out)
{
	*out = (struct pipeline_value){0};
	switch (json.type) {
	case JSON_NULL:
		out->kind = VALUE_MISSING;
		return true;
	case JSON_FALSE:
	case JSON_TRUE:
		out->kind = VALUE_BOOL;
		out->number = json.type == JSON_TRUE;
		return true;
	case JSON_NUMBER:
		if (number_read(json.text, out))
			return true;
		loader_problem(l, at, "is larger than a double can be");
		return false;
	case JSON_STRING:
		out->kind = VALUE_TEXT;
		out->text = json_string(json, l->arena);
		l->no_memory |= !out->text.p;
		return out->text.p != NULL;
	case JSON_ARRAY:
	case JSON_OBJECT:
		break;
	}
	loader_problem(l, at, "should be a string, a number, true, false or null");
	return false;
}

/* An object of texts and what each becomes. */
static bool read_pairs(struct steps *s, const struct place *at, struct json_value value, struct pipeline_step *step)
{
	struct json_iter iter;
	struct json_value key, member;
	int n = 0;

	if (value.type != JSON_OBJECT) {
		loader_problem(s->l, at, "should be an object: what is there, and what it becomes");
		return false;
	}
	json_iter_init(&iter, value);
	while (n <= STEP_PAIRS_MAX && json_next(&iter, &key, &member))
		n++;
	if (n == 0 || n > STEP_PAIRS_MAX) {
		loader_problem(s->l, at, "should have 1 to %d members", STEP_PAIRS_MAX);
		return false;
	}
	struct str *texts = loader_alloc(s->l, (size_t)n, sizeof(*texts));
	struct pipeline_value *values = loader_alloc(s->l, (size_t)n, sizeof(*values));
	if (!texts || !values)
		return false;
	json_iter_init(&iter, value);
	for (int i = 0; json_next(&iter, &key, &member); i++) {
		texts[i] = json_string(key, s->l->arena);
		s->l->no_memory |= !texts[i].p;
		if (!texts[i].p || !read_value(s->l, at, member, &values[i]))
			return false;
	}
	step->texts = texts;
	step->values = values;
	step->n = n;
	return true;
}

static void parse_map(struct steps *s, const struct place *at, struct json_value value, struct pipeline_step *step)
{
	int twice;

	if (!read_pairs(s, at, value, step))
		return;
	/* What was read by its type is not read again: what comes has to be of that type. */
	for (int i = 0; s->typed && i < step->n; i++) {
		enum value_kind kind = step->values[i].kind;
		enum value_kind fits = s->stage == STAGE_NUMBER ? VALUE_NUMBER : VALUE_TEXT;
		if (kind == fits || kind == VALUE_MISSING)
			continue;
		loader_problem(s->l, at, "should make %s or null, as the field is %s",
			       fits == VALUE_NUMBER ? "numbers" : "strings", pipeline_type_name(s->field->type));
		return;
	}
	loader_index(s->l, &step->places, step->texts, step->n, &twice);
}

static void parse_replace(struct steps *s, const struct place *at, struct json_value value, struct pipeline_step *step)
{
	if (!read_pairs(s, at, value, step))
		return;
	for (int i = 0; i < step->n; i++) {
		if (step->texts[i].n == 0 || step->texts[i].n > STEP_TEXT_MAX)
			loader_problem(s->l, at, "should look for texts of 1 to %d bytes", STEP_TEXT_MAX);
		else if (step->values[i].kind != VALUE_TEXT || step->values[i].text.n > STEP_TEXT_MAX)
			loader_problem(s->l, at, "should put texts of at most %d bytes in their place", STEP_TEXT_MAX);
		else
			continue;
		return;
	}
}

static void parse_split(struct steps *s, const struct place *at, struct json_value value, struct pipeline_step *step)
{
	static const struct loader_member members[] = {{"by", STRICT_STRING, "a string"},
						       {"take", STRICT_NUMBER, "a number"}};
	struct json_value got[2];

	if (!loader_members(s->l, at, value, members, 2, got))
		return;
	step->from = STR(" ");
	if (!got[0].text.p)
		loader_problem(s->l, PLACE_MEMBER(at, "by"), "is missing: what stands between the parts");
	else
		loader_text(s->l, PLACE_MEMBER(at, "by"), got[0], STEP_TEXT_MAX, &step->from);
	if (got[1].text.p)
		loader_integer(s->l, PLACE_MEMBER(at, "take"), got[1], -1000, 1000, &step->count);
}

static void parse_length(struct steps *s, const struct place *at, struct json_value value, struct pipeline_step *step)
{
	loader_integer(s->l, at, value, 0, VALUE_TEXT_MAX, &step->count);
}

static void parse_pattern(struct steps *s, const struct place *at, struct json_value value, struct pipeline_step *step)
{
	loader_text(s->l, at, value, STEP_TEXT_MAX, &step->from);
}

static void parse_one_of(struct steps *s, const struct place *at, struct json_value value, struct pipeline_step *step)
{
	struct json_iter iter;
	struct json_value item;
	int n = strict_count(value), twice = -1;

	if (value.type != JSON_ARRAY || n == 0 || n > STEP_PAIRS_MAX) {
		loader_problem(s->l, at, "should be an array of 1 to %d values", STEP_PAIRS_MAX);
		return;
	}
	struct pipeline_value *values = loader_alloc(s->l, (size_t)n, sizeof(*values));
	struct str *texts = loader_alloc(s->l, (size_t)n, sizeof(*texts));
	if (!values || !texts)
		return;
	step->all_texts = true;
	json_iter_init(&iter, value);
	for (int i = 0; json_next(&iter, NULL, &item); i++) {
		if (!read_value(s->l, PLACE_INDEX(at, i), item, &values[i]))
			return;
		if (values[i].kind == VALUE_MISSING) {
			loader_problem(s->l, PLACE_INDEX(at, i), "should be a string, a number, true or false");
			return;
		}
		if (wants_number(s->field) && values[i].kind != VALUE_NUMBER) {
			loader_problem(s->l, PLACE_INDEX(at, i), "should be a number as the field is");
			return;
		}
		if (s->field->type == PIPELINE_TEXT && values[i].kind != VALUE_TEXT) {
			loader_problem(s->l, PLACE_INDEX(at, i), "should be a string as the field is text");
			return;
		}
		step->all_texts = step->all_texts && values[i].kind == VALUE_TEXT;
		texts[i] = values[i].text;
	}
	step->values = values;
	step->n = n;
	if (step->all_texts)
		loader_index(s->l, &step->places, texts, n, &twice);
	if (twice >= 0)
		loader_problem(s->l, PLACE_INDEX(at, twice), "is there twice");
}

/* A default has to be of the field's type, as it is not worked on any more. */
static bool read_default(struct loader *l, const struct place *at, struct json_value json,
			 const struct pipeline_field *field, struct pipeline_value *out)
{
	const enum pipeline_type type = field->type;
	const char *wanted = NULL;

	if (!read_value(l, at, json, out))
		return false;
	if (out->kind == VALUE_MISSING) {
		loader_problem(l, at, "should be a value; leave it out where there is none");
		return false;
	}
	if (type == PIPELINE_TEXT && out->kind != VALUE_TEXT)
		wanted = "a string";
	else if (type == PIPELINE_NUMBER && out->kind != VALUE_NUMBER)
		wanted = "a number";
	else if (type == PIPELINE_INTEGER && (out->kind != VALUE_NUMBER || out->number != floor(out->number)))
		wanted = "a whole number";
	else if (type == PIPELINE_BOOL && out->kind != VALUE_BOOL)
		wanted = "true or false";
	if (wants_time(field)) {
		int64_t us = 0;
		if (out->kind != VALUE_TEXT || !time_read_iso(out->text, 0, &us)) {
			wanted = "a time as ISO 8601 has it";
		} else {
			bool date = type == PIPELINE_DATE;
			out->kind = date ? VALUE_DATE : VALUE_TIME;
			out->text = time_text(us, date, l->arena);
			out->micros = us;
			l->no_memory |= !out->text.p;
		}
	}
	if (wanted)
		loader_problem(l, at, "should be %s as the field is %s", wanted, pipeline_type_name(type));
	return !wanted;
}

static void parse_default(struct steps *s, const struct place *at, struct json_value value, struct pipeline_step *step)
{
	struct pipeline_value *out = loader_alloc(s->l, 1, sizeof(*out));

	if (out && read_default(s->l, at, value, s->field, out)) {
		step->values = out;
		step->n = 1;
		s->field->fallback = out; /* so that nothing that is missing is refused before it comes here */
	}
}

static void parse_separator(struct steps *s, const struct place *at, struct json_value value, struct str *out)
{
	if (value.text.p && loader_text(s->l, at, value, 4, out) &&
	    (strchr("0123456789+-eE", out->p[0]) || str_utf8_sequence(out->p, out->n) != out->n))
		loader_problem(s->l, at, "should be one character that no number begins with");
}

static void parse_number(struct steps *s, const struct place *at, struct json_value value, struct pipeline_step *step)
{
	static const struct loader_member members[] = {{"decimal", STRICT_STRING, "a string"},
						       {"thousands", STRICT_STRING, "a string"}};
	struct json_value got[2];

	step->from = STR(".");
	if (value.type == JSON_TRUE || !loader_members(s->l, at, value, members, 2, got))
		return;
	parse_separator(s, PLACE_MEMBER(at, "decimal"), got[0], &step->from);
	parse_separator(s, PLACE_MEMBER(at, "thousands"), got[1], &step->with);
	if (str_eq(step->from, step->with))
		loader_problem(s->l, at, "should have different signs for decimals and thousands");
}

/* "+02:00", "UTC". */
static bool read_zone(struct loader *l, const struct place *at, struct json_value value, int64_t *minutes)
{
	struct str text;
	char iso[64];
	int64_t us;

	if (!loader_text(l, at, value, 10, &text))
		return false;
	if (str_eq(text, STR("UTC")))
		return true;
	int n = snprintf(iso, sizeof(iso), "1970-01-02T00:00:00%.*s", STR_ARG(text));
	if ((text.p[0] == '+' || text.p[0] == '-') && clock_parse_iso((struct str){iso, (size_t)n}, &us)) {
		*minutes = (INT64_C(86400) * 1000000 - us) / 60000000;
		return true;
	}
	loader_problem(l, at, "should be UTC or an offset like +02:00");
	return false;
}

static void read_formats(struct loader *l, const struct place *at, struct json_value value, struct pipeline_step *step)
{
	struct json_iter iter;
	struct json_value item = value;
	char why[120];
	int n = value.type == JSON_ARRAY ? strict_count(value) : 1;

	if (n == 0 || n > STEP_FORMATS_MAX) {
		loader_problem(l, at, "should be 1 to %d formats", STEP_FORMATS_MAX);
		return;
	}
	struct str *texts = loader_alloc(l, (size_t)n, sizeof(*texts));
	if (!texts)
		return;
	json_iter_init(&iter, value);
	for (int i = 0; i < n; i++) {
		const struct place *here = value.type == JSON_ARRAY ? PLACE_INDEX(at, i) : at;
		if (value.type == JSON_ARRAY && !json_next(&iter, NULL, &item))
			break;
		if (!loader_text(l, here, item, STEP_TEXT_MAX, &texts[i]))
			return;
		if (!time_format_check(texts[i], why)) {
			loader_problem(l, here, "%s", why);
			return;
		}
	}
	step->texts = texts;
	step->n = n;
}

/* true, "%d.%m.%Y", ["…", "iso"], {"formats": …, "zone": "+02:00"}. */
static void parse_time(struct steps *s, const struct place *at, struct json_value value, struct pipeline_step *step)
{
	static const struct loader_member members[] = {
		{"formats", STRICT_STRING | STRICT_ARRAY, "a format or an array of formats"},
		{"zone", STRICT_STRING, "a string"}};
	struct json_value got[2] = {{.type = JSON_NULL}};

	step->texts = ISO;
	step->n = 1;
	if (value.type == JSON_TRUE)
		return;
	if (value.type == JSON_STRING || value.type == JSON_ARRAY) {
		read_formats(s->l, at, value, step);
		return;
	}
	if (value.type != JSON_OBJECT) {
		loader_problem(s->l, at, "should be true, a format, an array of formats, or an object");
		return;
	}
	loader_members(s->l, at, value, members, 2, got);
	if (got[0].text.p)
		read_formats(s->l, PLACE_MEMBER(at, "formats"), got[0], step);
	if (got[1].text.p)
		read_zone(s->l, PLACE_MEMBER(at, "zone"), got[1], &step->count);
}

static void parse_bound(struct steps *s, const struct place *at, struct json_value value, bool low,
			struct pipeline_step *step, struct str *text)
{
	int64_t *us = low ? &step->low_us : &step->high_us;

	*us = low ? INT64_MIN : INT64_MAX;
	if (low)
		step->low = -INFINITY;
	else
		step->high = INFINITY;
	if (value.type == JSON_NULL)
		return;
	if (s->stage == STAGE_NUMBER) {
		loader_number(s->l, at, value, low ? &step->low : &step->high);
		return;
	}
	if (!loader_text(s->l, at, value, 40, text))
		return;
	if (!time_read_iso(*text, 0, us))
		loader_problem(s->l, at, "should be a time as ISO 8601 has it");
	else if (!low && text->n == 10 && s->field->type == PIPELINE_DATETIME)
		*us += INT64_C(86400) * 1000000 - 1; /* the whole day */
}

static void parse_range(struct steps *s, const struct place *at, struct json_value value, struct pipeline_step *step)
{
	struct json_iter iter;
	struct json_value low, high, more;
	struct str *texts = loader_alloc(s->l, 2, sizeof(*texts));

	if (!texts)
		return;
	json_iter_init(&iter, value);
	if (value.type != JSON_ARRAY || !json_next(&iter, NULL, &low) || !json_next(&iter, NULL, &high) ||
	    json_next(&iter, NULL, &more)) {
		loader_problem(s->l, at, "should be [least, most]; null for none");
		return;
	}
	parse_bound(s, PLACE_INDEX(at, 0), low, true, step, &texts[0]);
	parse_bound(s, PLACE_INDEX(at, 1), high, false, step, &texts[1]);
	step->texts = texts;
	if (step->low > step->high || step->low_us > step->high_us)
		loader_problem(s->l, at, "should have the lower bound first");
}

static void parse_round(struct steps *s, const struct place *at, struct json_value value, struct pipeline_step *step)
{
	loader_integer(s->l, at, value, 0, 15, &step->count);
}

/* --- the table --- */

enum needs {
	NEEDS_NOTHING,
	NEEDS_TEXT,   /* not after the value became a number or a time */
	NEEDS_TYPED,  /* a number or a time: the type is read before it */
	NEEDS_NUMBER, /* the same, but no time */
	READS_NUMBER, /* is the reading itself */
	READS_TIME,
};

static const struct {
	const char *name;
	enum step_op op;
	enum needs needs;
	parse_fn *parse;
} KINDS[] = {
	{"trim", STEP_TRIM, NEEDS_TEXT, parse_true},
	{"lower", STEP_LOWER, NEEDS_TEXT, parse_true},
	{"upper", STEP_UPPER, NEEDS_TEXT, parse_true},
	{"collapse", STEP_COLLAPSE, NEEDS_TEXT, parse_true},
	{"map", STEP_MAP, NEEDS_NOTHING, parse_map},
	{"replace", STEP_REPLACE, NEEDS_TEXT, parse_replace},
	{"split", STEP_SPLIT, NEEDS_TEXT, parse_split},
	{"min_length", STEP_MIN_LENGTH, NEEDS_TEXT, parse_length},
	{"max_length", STEP_MAX_LENGTH, NEEDS_TEXT, parse_length},
	{"pattern", STEP_PATTERN, NEEDS_TEXT, parse_pattern},
	{"one_of", STEP_ONE_OF, NEEDS_NOTHING, parse_one_of},
	{"default", STEP_DEFAULT, NEEDS_NOTHING, parse_default},
	{"number", STEP_NUMBER, READS_NUMBER, parse_number},
	{"datetime", STEP_DATETIME, READS_TIME, parse_time},
	{"date", STEP_DATE, READS_TIME, parse_time},
	{"range", STEP_RANGE, NEEDS_TYPED, parse_range},
	{"round", STEP_ROUND, NEEDS_NUMBER, parse_round},
};
enum { KINDS_N = sizeof(KINDS) / sizeof(KINDS[0]) };

static int find_kind(struct loader *l, const struct place *at, struct str name)
{
	const char *names[KINDS_N];

	for (int i = 0; i < KINDS_N; i++) {
		names[i] = KINDS[i].name;
		if (str_eq(name, str_of(names[i])))
			return i;
	}
	const char *nearest = loader_nearest(name, names, KINDS_N);
	struct str shown = strict_cut(name, 40);
	if (nearest)
		loader_problem(l, at, "there is no transformation \"%.*s\"; did you mean \"%s\"?", STR_ARG(shown),
			       nearest);
	else
		loader_problem(l, at,
			       "there is no transformation \"%.*s\"; there are trim, lower, upper, collapse, map, "
			       "replace, split, min_length, max_length, pattern, one_of, default, number, datetime, "
			       "date, range and round",
			       STR_ARG(shown));
	return -1;
}

/* Puts the reading of the type where this transformation wants it. False: it can't stand here. */
static bool prepare(struct steps *s, const struct place *at, int kind)
{
	const struct pipeline_field *field = s->field;

	switch (KINDS[kind].needs) {
	case NEEDS_NOTHING:
		if (KINDS[kind].op == STEP_ONE_OF && (wants_number(field) || field->type == PIPELINE_BOOL))
			add_type(s);
		return true;
	case NEEDS_TEXT:
		if (s->stage == STAGE_TEXT)
			return true;
		loader_problem(s->l, at, "is of text, but here the value is a %s already: put it before",
			       s->stage == STAGE_NUMBER ? "number" : "time");
		return false;
	case NEEDS_TYPED:
	case NEEDS_NUMBER:
		add_type(s);
		if (s->stage == STAGE_NUMBER || (s->stage == STAGE_TIME && KINDS[kind].needs == NEEDS_TYPED))
			return true;
		loader_problem(s->l, at,
			       "is of numbers%s, and the field is %s: give it another type, or put "
			       "{\"number\": true} before",
			       KINDS[kind].needs == NEEDS_TYPED ? " and times" : "", pipeline_type_name(field->type));
		return false;
	case READS_NUMBER:
		if (!wants_number(field) && field->type != PIPELINE_ANY) {
			loader_problem(s->l, at, "makes a number, but the field is %s",
				       pipeline_type_name(field->type));
			return false;
		}
		if (s->stage == STAGE_TEXT)
			return true;
		loader_problem(s->l, at, "comes too late: the value was read before");
		return false;
	case READS_TIME:
		if (wants_time(field) ? KINDS[kind].op != (field->type == PIPELINE_DATE ? STEP_DATE : STEP_DATETIME)
				      : field->type != PIPELINE_ANY) {
			loader_problem(s->l, at, "makes a time, but the field is %s", pipeline_type_name(field->type));
			return false;
		}
		if (s->stage == STAGE_TEXT)
			return true;
		loader_problem(s->l, at, "comes too late: the value was read before");
		return false;
	}
	return false;
}

static void parse_one(struct steps *s, const struct place *at, struct json_value item)
{
	struct json_iter iter;
	struct json_value key, value, more;

	json_iter_init(&iter, item);
	if (item.type != JSON_OBJECT || !json_next(&iter, &key, &value) || json_next(&iter, NULL, &more)) {
		loader_problem(s->l, at, "should be an object with one member, like {\"trim\": true}");
		return;
	}
	struct str name = json_string(key, s->l->arena);
	if (!name.p) {
		s->l->no_memory = true;
		return;
	}
	int kind = find_kind(s->l, at, name);
	if (kind < 0)
		return;
	const struct place *here = PLACE_MEMBER(at, KINDS[kind].name);
	if (!prepare(s, here, kind))
		return;
	struct pipeline_step step = {.op = KINDS[kind].op};
	KINDS[kind].parse(s, here, value, &step);
	add(s, step);
	if (KINDS[kind].needs == READS_NUMBER) {
		s->stage = STAGE_NUMBER;
		s->typed = s->field->type != PIPELINE_INTEGER; /* which also looks whether it is whole */
	} else if (KINDS[kind].needs == READS_TIME) {
		s->stage = STAGE_TIME;
		s->typed = true;
	}
}

void loader_steps(struct loader *l, const struct place *at, struct json_value transform, struct json_value fallback,
		  struct pipeline_field *field)
{
	struct steps s = {.l = l, .field = field};
	struct json_iter iter;
	struct json_value item;
	int n = transform.text.p ? strict_count(transform) : 0;

	if (n > PIPELINE_STEPS_MAX) {
		loader_problem(l, PLACE_MEMBER(at, "transform"), "should have at most %d members", PIPELINE_STEPS_MAX);
		return;
	}
	s.list = loader_alloc(l, (size_t)n + 2, sizeof(*s.list));
	if (!s.list)
		return;
	if (field->type == PIPELINE_TEXT)
		add_type(&s);
	if (transform.text.p) {
		json_iter_init(&iter, transform);
		for (int i = 0; json_next(&iter, NULL, &item); i++)
			parse_one(&s, PLACE_INDEX(PLACE_MEMBER(at, "transform"), i), item);
	}
	add_type(&s);
	field->steps = s.list;
	field->steps_n = s.n;
	if (!fallback.text.p)
		return;
	struct pipeline_value *value = loader_alloc(l, 1, sizeof(*value));
	if (value && read_default(l, PLACE_MEMBER(at, "default"), fallback, field, value))
		field->fallback = value;
}
