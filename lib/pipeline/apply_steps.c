/* Transformations at work. */
#include "pipeline/apply_impl.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { PATTERN_TEXT_MAX = 4096, NUMBER_TEXT_MAX = 256 };

static const int64_t DAY_US = INT64_C(86400) * 1000000;

struct run {
	const struct pipeline_field *field;
	struct arena *arena;
	struct step_fault *fault;
};

/* --- sentences --- */

/* 'abc', or 5, null, an array. */
static void put_shown(struct buf *out, const struct pipeline_value *value)
{
	switch (value->kind) {
	case VALUE_MISSING:
		buf_str(out, STR("nothing"));
		return;
	case VALUE_NULL:
		buf_str(out, STR("null"));
		return;
	case VALUE_TEXT:
	case VALUE_TIME:
	case VALUE_DATE:
		text_put_repr(out, value->text);
		return;
	case VALUE_NUMBER:
		if (value->text.n > 0)
			buf_str(out, text_cut(value->text, VALUE_NUMBER_BYTES));
		else
			json_put_double(out, value->number);
		return;
	case VALUE_BOOL:
		buf_str(out, value->number != 0 ? STR("true") : STR("false"));
		return;
	case VALUE_JSON:
		buf_str(out, value->text.n > 0 && value->text.p[0] == '[' ? STR("an array") : STR("an object"));
		return;
	}
}

/* "price: should be at most 10, not 12". */
static enum status refuse(struct run *r, enum refusal refusal, const char *wanted, const struct pipeline_value *value)
{
	/* A buffer that never grows: what does not fit is cut. */
	struct buf out = {.p = r->fault->text, .cap = sizeof(r->fault->text) - 1};
	char room[VALUE_SHOWN_BYTES * 5 + 8];
	struct buf shown = {.p = room, .cap = sizeof(room)};

	r->fault->refusal = refusal;
	put_shown(&shown, value);
	struct str name = text_cut(r->field->name, 80), what = text_cut(str_of(wanted), 120);
	struct str tail = text_cut(buf_view(&shown), out.cap - name.n - what.n - sizeof(": should be , not ") - 4);
	buf_str(&out, name);
	buf_str(&out, STR(": should be "));
	buf_str(&out, what);
	buf_str(&out, STR(", not "));
	buf_str(&out, tail);
	if (tail.n < shown.n)
		buf_str(&out, STR("…"));
	out.p[out.n] = '\0';
	return STATUS_INVALID;
}

/* In the words of Python's float(). */
static enum status no_number(struct run *r, const struct pipeline_value *value)
{
	struct buf out = {.p = r->fault->text, .cap = sizeof(r->fault->text) - 1};
	char room[VALUE_SHOWN_BYTES * 5 + 8];
	struct buf shown = {.p = room, .cap = sizeof(room)};

	if (value->kind != VALUE_TEXT)
		return refuse(r, REFUSAL_TYPE, "a number", value);
	r->fault->refusal = REFUSAL_TYPE;
	text_put_repr(&shown, value->text);
	buf_str(&out, STR("could not convert string to float: "));
	struct str tail = text_cut(buf_view(&shown), out.cap - out.n - 4);
	buf_str(&out, tail);
	if (tail.n < shown.n)
		buf_str(&out, STR("…"));
	out.p[out.n] = '\0';
	return STATUS_INVALID;
}

/* --- text --- */

static enum status set_text(struct pipeline_value *value, struct str text)
{
	if (!text.p)
		return STATUS_NO_MEMORY;
	value->text = text;
	return STATUS_OK;
}

/* The pairs in their order, each over the whole text. */
static enum status replace(struct run *r, const struct pipeline_step *step, struct pipeline_value *value)
{
	for (int i = 0; i < step->n; i++) {
		struct str from = step->texts[i], to = step->values[i].text, left = value->text;
		const char *hit = left.n ? memmem(left.p, left.n, from.p, from.n) : NULL;
		if (!hit)
			continue;
		size_t hits = 0;
		for (; hit; hits++) {
			left.n -= (size_t)(hit - left.p) + from.n;
			left.p = hit + from.n;
			hit = left.n ? memmem(left.p, left.n, from.p, from.n) : NULL;
		}
		size_t size = value->text.n - hits * from.n + hits * to.n;
		if (size > VALUE_TEXT_MAX)
			return refuse(r, REFUSAL_RANGE, "shorter: replacing makes it too long", value);
		char *out = arena_alloc(r->arena, size + 1), *at = out;
		if (!out)
			return STATUS_NO_MEMORY;
		left = value->text;
		for (; hits > 0; hits--) {
			hit = memmem(left.p, left.n, from.p, from.n);
			size_t before = hit ? (size_t)(hit - left.p) : left.n;
			memcpy(at, left.p, before);
			at += before;
			if (to.n)
				memcpy(at, to.p, to.n);
			at += to.n;
			left.p += before + from.n;
			left.n -= before + from.n;
		}
		if (left.n)
			memcpy(at, left.p, left.n);
		value->text = (struct str){out, size};
	}
	return STATUS_OK;
}

/* The part number `count`, from the end where it is negative; missing where there is none. */
static void split(const struct pipeline_step *step, struct pipeline_value *value)
{
	struct str left = value->text;
	int64_t n = step->count;

	if (n < 0) {
		int64_t parts = 1;
		for (const char *hit; left.n && (hit = memmem(left.p, left.n, step->from.p, step->from.n)); parts++) {
			left.n -= (size_t)(hit - left.p) + step->from.n;
			left.p = hit + step->from.n;
		}
		n += parts;
		left = value->text;
	}
	for (; n >= 0; n--) {
		const char *hit = left.n ? memmem(left.p, left.n, step->from.p, step->from.n) : NULL;
		size_t length = hit ? (size_t)(hit - left.p) : left.n;
		if (n == 0) {
			value->text = (struct str){left.p, length};
			return;
		}
		if (!hit)
			break;
		left.p += length + step->from.n;
		left.n -= length + step->from.n;
	}
	*value = (struct pipeline_value){.kind = VALUE_MISSING};
}

static enum status check_length(struct run *r, const struct pipeline_step *step, const struct pipeline_value *value)
{
	int64_t n = (int64_t)text_characters(value->text);
	bool least = step->op == STEP_MIN_LENGTH;
	char wanted[80];

	if (least ? n >= step->count : n <= step->count)
		return STATUS_OK;
	snprintf(wanted, sizeof(wanted), "at %s %" PRId64 " character%s long", least ? "least" : "most", step->count,
		 step->count == 1 ? "" : "s");
	return refuse(r, REFUSAL_RANGE, wanted, value);
}

static enum status check_pattern(struct run *r, const struct pipeline_step *step, const struct pipeline_value *value)
{
	char wanted[140];

	if (value->text.n <= PATTERN_TEXT_MAX && text_matches(value->text, step->from))
		return STATUS_OK;
	snprintf(wanted, sizeof(wanted), "like %.*s", STR_ARG(text_cut(step->from, 100)));
	return refuse(r, REFUSAL_RANGE, wanted, value);
}

static enum status run_text(struct run *r, const struct pipeline_step *step, struct pipeline_value *value)
{
	switch (step->op) {
	case STEP_TRIM:
		value->text = text_trim(value->text);
		return STATUS_OK;
	case STEP_LOWER:
		return set_text(value, text_lower(value->text, r->arena));
	case STEP_UPPER:
		return set_text(value, text_upper(value->text, r->arena));
	case STEP_COLLAPSE:
		return set_text(value, text_collapse(value->text, r->arena));
	case STEP_REPLACE:
		return replace(r, step, value);
	case STEP_SPLIT:
		split(step, value);
		return STATUS_OK;
	case STEP_MIN_LENGTH:
	case STEP_MAX_LENGTH:
		return check_length(r, step, value);
	case STEP_PATTERN:
		return check_pattern(r, step, value);
	default:
		return STATUS_INTERNAL;
	}
}

/* --- numbers --- */

/* Thousands in threes only, so that "1.5" is not 15 where a point stands between thousands. */
static bool undo_grouping(struct str text, const struct pipeline_step *step, char *out, size_t *n)
{
	size_t since = 0, at = 0; /* digits since the last separator */
	bool grouped = false, fraction = false;

	for (size_t i = 0; i < text.n;) {
		struct str left = {text.p + i, text.n - i};
		if (!fraction && step->with.n > 0 && str_starts(left, step->with)) {
			if (since == 0 || since > 3 || (grouped && since != 3))
				return false;
			grouped = true;
			since = 0;
			i += step->with.n;
			continue;
		}
		if (!fraction && str_starts(left, step->from)) {
			if (grouped && since != 3)
				return false;
			fraction = true;
			out[at++] = '.';
			i += step->from.n;
			continue;
		}
		if (text.p[i] == '.')
			return false; /* neither the one nor the other */
		since += !fraction && text.p[i] >= '0' && text.p[i] <= '9';
		out[at++] = text.p[i++];
	}
	*n = at;
	return fraction || !grouped || since == 3;
}

static enum status to_number(struct run *r, struct pipeline_value *value)
{
	struct pipeline_value number = {.kind = VALUE_MISSING};

	switch (value->kind) {
	case VALUE_MISSING:
		return STATUS_OK;
	case VALUE_TEXT:
		if (!number_read(value->text, &number))
			return no_number(r, value);
		break;
	case VALUE_NUMBER:
		return isfinite(value->number) ? STATUS_OK : refuse(r, REFUSAL_TYPE, "a smaller number", value);
	case VALUE_BOOL:
		number = (struct pipeline_value){.kind = VALUE_NUMBER, .number = value->number};
		break;
	case VALUE_NULL:
		if (!r->field->required)
			return STATUS_OK;
		return refuse(r, REFUSAL_TYPE, "a number", value);
	case VALUE_JSON:
	case VALUE_TIME:
	case VALUE_DATE:
		return refuse(r, REFUSAL_TYPE, "a number", value);
	}
	*value = number;
	return STATUS_OK;
}

static enum status step_number(struct run *r, const struct pipeline_step *step, struct pipeline_value *value)
{
	char room[NUMBER_TEXT_MAX];
	struct pipeline_value number;
	size_t n = 0;

	if (value->kind != VALUE_TEXT || (step->with.n == 0 && str_eq(step->from, STR("."))))
		return to_number(r, value);
	struct str text = text_trim(value->text);
	if (text.n >= sizeof(room) || !undo_grouping(text, step, room, &n) ||
	    !number_read((struct str){room, n}, &number))
		return no_number(r, value);
	number.form = VALUE_COMPUTED;
	number.text = (struct str){0};
	*value = number;
	return STATUS_OK;
}

static enum status to_integer(struct run *r, struct pipeline_value *value)
{
	struct pipeline_value was = *value;

	enum status status = to_number(r, value);
	if (value->kind != VALUE_NUMBER && status == STATUS_OK)
		return STATUS_OK;
	if (status != STATUS_OK || value->number != floor(value->number) || fabs(value->number) > 9007199254740992.0)
		return refuse(r, REFUSAL_TYPE, "a whole number", &was);
	if (value->form == VALUE_WHOLE)
		return STATUS_OK;
	char *text = arena_alloc(r->arena, VALUE_NUMBER_BYTES);
	if (!text)
		return STATUS_NO_MEMORY;
	value->form = VALUE_WHOLE;
	value->text = (struct str){text, number_put_i64(text, (int64_t)value->number)};
	return STATUS_OK;
}

static enum status round_to(const struct pipeline_step *step, struct pipeline_value *value)
{
	char text[400];

	if (fabs(value->number) >= 1e15)
		return STATUS_OK;
	snprintf(text, sizeof(text), "%.*f", (int)step->count, value->number);
	double rounded = strtod(text, NULL);
	*value = (struct pipeline_value){.kind = VALUE_NUMBER, .number = rounded};
	return STATUS_OK;
}

/* --- bool --- */

static enum status to_bool(struct run *r, struct pipeline_value *value)
{
	static const char *const yes[] = {"true", "yes", "y", "t", "1", "on"};
	static const char *const no[] = {"false", "no", "n", "f", "0", "off"};

	if (value->kind == VALUE_MISSING || value->kind == VALUE_BOOL ||
	    (value->kind == VALUE_NULL && !r->field->required))
		return STATUS_OK;
	if (value->kind == VALUE_NUMBER && (value->number == 0 || value->number == 1)) {
		*value = (struct pipeline_value){.kind = VALUE_BOOL, .number = value->number};
		return STATUS_OK;
	}
	struct str text = value->kind == VALUE_TEXT ? text_trim(value->text) : (struct str){0};
	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
		bool is = str_eq_nocase(text, str_of(yes[i]));
		if (!is && !str_eq_nocase(text, str_of(no[i])))
			continue;
		*value = (struct pipeline_value){.kind = VALUE_BOOL, .number = is};
		return STATUS_OK;
	}
	return refuse(r, REFUSAL_TYPE, "true or false", value);
}

/* --- times --- */

static enum status set_time(struct run *r, struct pipeline_value *value, int64_t us, bool date)
{
	if (date)
		us -= ((us % DAY_US) + DAY_US) % DAY_US;
	*value = (struct pipeline_value){
		.kind = date ? VALUE_DATE : VALUE_TIME, .text = time_text(us, date, r->arena), .micros = us};
	return value->text.p ? STATUS_OK : STATUS_NO_MEMORY;
}

/* The formats in their order; the first that fits. */
static enum status step_time(struct run *r, const struct pipeline_step *step, struct pipeline_value *value, bool date)
{
	char room[VALUE_NUMBER_BYTES];
	struct str text = value->text;
	int64_t us;

	switch (value->kind) {
	case VALUE_MISSING:
		return STATUS_OK;
	case VALUE_NULL:
		if (!r->field->required)
			return STATUS_OK;
		break;
	case VALUE_TIME:
	case VALUE_DATE:
		return set_time(r, value, value->micros, date);
	case VALUE_NUMBER:
		text = (struct str){room, number_put(room, value->number)};
		break;
	case VALUE_TEXT:
		break;
	case VALUE_BOOL:
	case VALUE_JSON:
		text = (struct str){0};
		break;
	}
	for (int i = 0; text.n > 0 && i < step->n; i++)
		if (time_read(text, step->texts[i], date ? 0 : step->count, &us))
			return set_time(r, value, us, date);
	if (step->n == 1 && str_eq(step->texts[0], STR("iso")))
		return refuse(r, REFUSAL_TYPE, date ? "a date like 2026-11-21" : "a time like 2026-11-21T10:00:00Z",
			      value);
	if (step->n == 1) {
		char wanted[140];
		snprintf(wanted, sizeof(wanted), "a %s as %.*s", date ? "date" : "time",
			 STR_ARG(text_cut(step->texts[0], 100)));
		return refuse(r, REFUSAL_TYPE, wanted, value);
	}
	return refuse(r, REFUSAL_TYPE, date ? "a date in one of the formats" : "a time in one of the formats", value);
}

/* --- any value --- */

static bool same_value(const struct pipeline_value *a, const struct pipeline_value *b)
{
	bool a_is_text = a->kind == VALUE_TEXT || a->kind == VALUE_TIME || a->kind == VALUE_DATE;

	if (a_is_text && b->kind == VALUE_TEXT)
		return str_eq(a->text, b->text);
	return a->kind == b->kind && (a->kind == VALUE_NUMBER || a->kind == VALUE_BOOL) && a->number == b->number;
}

static enum status one_of(struct run *r, const struct pipeline_step *step, const struct pipeline_value *value)
{
	char list[120];
	struct buf out = {.p = list, .cap = sizeof(list) - 1};

	if (value->kind == VALUE_MISSING || (value->kind == VALUE_NULL && !r->field->required))
		return STATUS_OK;
	if (step->all_texts && (value->kind == VALUE_TEXT || value->kind == VALUE_TIME || value->kind == VALUE_DATE)) {
		if (names_find(&step->places, value->text) >= 0)
			return STATUS_OK;
	} else {
		for (int i = 0; i < step->n; i++)
			if (same_value(value, &step->values[i]))
				return STATUS_OK;
	}
	buf_str(&out, STR("one of "));
	for (int i = 0; i < step->n; i++) {
		char room[VALUE_SHOWN_BYTES * 5 + 8];
		struct buf shown = {.p = room, .cap = sizeof(room)};
		put_shown(&shown, &step->values[i]);
		if (out.n + shown.n + sizeof(", …") > out.cap) {
			buf_str(&out, i > 0 ? STR(", …") : STR("a list"));
			break;
		}
		if (i > 0)
			buf_str(&out, STR(", "));
		buf_str(&out, buf_view(&shown));
	}
	list[out.n] = '\0';
	return refuse(r, REFUSAL_RANGE, list, value);
}

static void map(const struct pipeline_step *step, struct pipeline_value *value)
{
	char room[VALUE_NUMBER_BYTES];
	struct str text = value->text;

	switch (value->kind) {
	case VALUE_TEXT:
		break;
	case VALUE_NUMBER:
		if (text.n == 0)
			text = (struct str){room, number_put(room, value->number)};
		break;
	case VALUE_BOOL:
		text = value->number != 0 ? STR("true") : STR("false");
		break;
	case VALUE_MISSING:
	case VALUE_NULL:
	case VALUE_JSON:
	case VALUE_TIME:
	case VALUE_DATE:
		return;
	}
	int at = names_find(&step->places, text);
	if (at >= 0)
		*value = step->values[at];
}

static void put_bound(char *out, size_t size, const struct pipeline_step *step, bool low)
{
	char room[VALUE_NUMBER_BYTES];
	double bound = low ? step->low : step->high;
	size_t n = number_put(room, bound);

	if (n > 2 && room[n - 1] == '0' && room[n - 2] == '.')
		n -= 2; /* 10, not 10.0 */
	snprintf(out, size, "at %s %.*s", low ? "least" : "most", (int)n, room);
}

static enum status range(struct run *r, const struct pipeline_step *step, const struct pipeline_value *value)
{
	char wanted[80];
	bool low;

	if (value->kind == VALUE_NUMBER) {
		low = value->number < step->low;
		if (!low && !(value->number > step->high))
			return STATUS_OK;
		put_bound(wanted, sizeof(wanted), step, low);
		return refuse(r, REFUSAL_RANGE, wanted, value);
	}
	if (value->kind != VALUE_TIME && value->kind != VALUE_DATE)
		return STATUS_OK; /* missing, null */
	low = value->micros < step->low_us;
	if (!low && value->micros <= step->high_us)
		return STATUS_OK;
	struct str bound = step->texts[low ? 0 : 1];
	snprintf(wanted, sizeof(wanted), "on %.*s or %s", STR_ARG(text_cut(bound, 40)), low ? "later" : "earlier");
	return refuse(r, REFUSAL_RANGE, wanted, value);
}

static enum status to_text(struct run *r, const struct pipeline_value *value)
{
	if (value->kind == VALUE_TEXT || value->kind == VALUE_MISSING || value->kind == VALUE_TIME ||
	    value->kind == VALUE_DATE || (value->kind == VALUE_NULL && !r->field->required))
		return STATUS_OK;
	return refuse(r, REFUSAL_TYPE, "text", value);
}

static enum status run_step(struct run *r, const struct pipeline_step *step, struct pipeline_value *value)
{
	switch (step->op) {
	case STEP_TRIM:
	case STEP_LOWER:
	case STEP_UPPER:
	case STEP_COLLAPSE:
	case STEP_REPLACE:
	case STEP_SPLIT:
	case STEP_MIN_LENGTH:
	case STEP_MAX_LENGTH:
	case STEP_PATTERN:
		return value->kind == VALUE_TEXT ? run_text(r, step, value) : STATUS_OK;
	case STEP_MAP:
		map(step, value);
		return STATUS_OK;
	case STEP_ONE_OF:
		return one_of(r, step, value);
	case STEP_DEFAULT:
		if (value->kind == VALUE_MISSING || value->kind == VALUE_NULL)
			*value = step->values[0];
		return STATUS_OK;
	case STEP_NUMBER:
		return step_number(r, step, value);
	case STEP_DATETIME:
	case STEP_TO_DATETIME:
		return step_time(r, step, value, false);
	case STEP_DATE:
	case STEP_TO_DATE:
		return step_time(r, step, value, true);
	case STEP_RANGE:
		return range(r, step, value);
	case STEP_ROUND:
		return value->kind == VALUE_NUMBER ? round_to(step, value) : STATUS_OK;
	case STEP_TO_TEXT:
		return to_text(r, value);
	case STEP_TO_NUMBER:
		return to_number(r, value);
	case STEP_TO_INTEGER:
		return to_integer(r, value);
	case STEP_TO_BOOL:
		return to_bool(r, value);
	case STEP_AUTO:
	case STEP__MAX:
		break;
	}
	return STATUS_INTERNAL;
}

enum status steps_run(const struct pipeline_field *field, struct pipeline_value *value, struct arena *arena,
		      struct step_fault *fault)
{
	struct run run = {.field = field, .arena = arena, .fault = fault};

	for (int i = 0; i < field->steps_n; i++) {
		enum status status = run_step(&run, &field->steps[i], value);
		if (status != STATUS_OK)
			return status;
	}
	return STATUS_OK;
}
