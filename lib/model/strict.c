/* Places are chains on the stack of the readers, so that a file without faults pays nothing for them. */
#include "model/strict.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

enum {
	NAMED_BYTES = 60,     /* of a text of the file that is shown in a sentence */
	PLACE_DEPTH_MAX = 16, /* deeper than any format is */
};

static const struct {
	unsigned kinds;
	const char *words;
} KIND_WORDS[] = {
	{STRICT_STRING, "a string"},    {STRICT_NUMBER, "a number"},
	{STRICT_ARRAY, "an array"},     {STRICT_OBJECT, "an object"},
	{STRICT_BOOL, "true or false"}, {STRICT_NUMBER | STRICT_STRING, "a number or a string"},
};

struct str strict_cut(struct str s, size_t max)
{
	if (s.n <= max)
		return s;
	while (max > 0 && ((unsigned char)s.p[max] & 0xc0) == 0x80)
		max--;
	return (struct str){s.p, max};
}

void place_put(struct buf *out, const struct place *at)
{
	const struct place *chain[PLACE_DEPTH_MAX];
	int n = 0;

	for (; at && n < PLACE_DEPTH_MAX; at = at->in)
		chain[n++] = at;
	while (n-- > 0) {
		if (chain[n]->member)
			buf_fmt(out, "%s%s", out->n > 0 ? "." : "", chain[n]->member);
		if (chain[n]->index >= 0)
			buf_fmt(out, "[%" PRId64 "]", chain[n]->index);
	}
}

enum status strict_fault(const struct strict *s, const struct place *at, const char *format, ...)
{
	struct buf place;
	char text[sizeof(s->err->text)];
	va_list args;

	if (!s->err)
		return STATUS_INVALID;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	buf_init_heap(&place);
	place_put(&place, at);
	if (place.n > 0)
		err_set(s->err, STATUS_INVALID, "%.*s: %s", (int)place.n, place.p, text);
	else
		err_set(s->err, STATUS_INVALID, "%s", text);
	buf_release(&place);
	return STATUS_INVALID;
}

enum status strict_no_memory(const struct strict *s)
{
	err_set(s->err, STATUS_NO_MEMORY, "Out of memory for this model");
	return STATUS_NO_MEMORY;
}

enum status strict_check(const struct strict *s, struct str text, const char *what, struct json_value *root)
{
	struct json_fault fault;

	if (json_check(text, JSON_MAX_DEPTH, root, &fault))
		return STATUS_OK;
	return strict_fault(s, NULL, "%s is no JSON: %s at character %zu", what, fault.reason, fault.offset);
}

static enum status wrong_type(const struct strict *s, const struct place *at, unsigned kinds)
{
	for (size_t i = 0; i < sizeof(KIND_WORDS) / sizeof(KIND_WORDS[0]); i++)
		if (KIND_WORDS[i].kinds == kinds)
			return strict_fault(s, at, "should be %s", KIND_WORDS[i].words);
	return strict_fault(s, at, "is of the wrong type");
}

static int find_member(struct str name, const struct strict_member *members, int n)
{
	for (int i = 0; i < n; i++)
		if (str_eq(name, str_of(members[i].name)))
			return i;
	return -1;
}

enum status strict_members(const struct strict *s, const struct place *at, struct json_value value,
			   const struct strict_member *members, int n, struct json_value *values)
{
	struct json_iter iter;
	struct json_value key, member;

	memset(values, 0, (size_t)n * sizeof(*values));
	if (value.type != JSON_OBJECT)
		return at ? wrong_type(s, at, STRICT_OBJECT) : strict_fault(s, at, "The file should be a JSON object");
	json_iter_init(&iter, value);
	while (json_next(&iter, &key, &member)) {
		struct str name = json_string(key, s->arena);
		if (!name.p)
			return strict_no_memory(s);
		int i = find_member(name, members, n);
		if (i < 0) {
			struct str shown = strict_cut((struct str){key.text.p + 1, key.text.n - 2}, NAMED_BYTES);
			return at ? strict_fault(s, at, "has an unknown member \"%.*s\"", STR_ARG(shown))
				  : strict_fault(s, at, "%.*s: is no member that this format has", STR_ARG(shown));
		}
		if (!(members[i].kinds & 1u << member.type))
			return wrong_type(s, PLACE_MEMBER(at, members[i].name), members[i].kinds);
		values[i] = member;
	}
	for (int i = 0; i < n; i++)
		if (members[i].required && !values[i].text.p)
			return strict_fault(s, PLACE_MEMBER(at, members[i].name), "is missing");
	return STATUS_OK;
}

enum status strict_number(const struct strict *s, const struct place *at, struct json_value value, double *out)
{
	if (value.type != JSON_NUMBER)
		return wrong_type(s, at, STRICT_NUMBER);
	if (!json_number(value, out))
		return strict_fault(s, at, "is larger than a double can be");
	return STATUS_OK;
}

enum status strict_integer(const struct strict *s, const struct place *at, struct json_value value, int64_t minimum,
			   int64_t maximum, int64_t *out)
{
	double number = 0;
	enum status status = strict_number(s, at, value, &number);

	if (status != STATUS_OK)
		return status;
	if (number != floor(number) || number < (double)minimum || number > (double)maximum)
		return strict_fault(s, at, "should be a whole number from %" PRId64 " to %" PRId64, minimum, maximum);
	*out = (int64_t)number;
	return STATUS_OK;
}

enum status strict_string(const struct strict *s, const struct place *at, struct json_value value, struct str *out)
{
	if (value.type != JSON_STRING)
		return wrong_type(s, at, STRICT_STRING);
	*out = json_string(value, s->arena);
	if (!out->p)
		return strict_no_memory(s);
	for (size_t i = 0; i < out->n; i++)
		if ((unsigned char)out->p[i] < 0x20 || out->p[i] == 0x7f)
			return strict_fault(s, at, "has a control character");
	return STATUS_OK;
}

int strict_count(struct json_value array)
{
	struct json_iter iter;
	struct json_value item;
	int n = 0;

	json_iter_init(&iter, array);
	while (n < INT32_MAX && json_next(&iter, NULL, &item))
		n++;
	return n;
}

static enum status wrong_count(const struct strict *s, const struct place *at, int wanted, int n)
{
	return strict_fault(s, at, "should have %d element%s, not %d", wanted, wanted == 1 ? "" : "s", n);
}

enum status strict_numbers(const struct strict *s, const struct place *at, struct json_value value, int n, double *out)
{
	struct json_iter iter;
	struct json_value item;
	int i = 0;

	if (value.type != JSON_ARRAY)
		return wrong_type(s, at, STRICT_ARRAY);
	json_iter_init(&iter, value);
	for (; i < n && json_next(&iter, NULL, &item); i++) {
		enum status status = strict_number(s, PLACE_INDEX(at, i), item, &out[i]);
		if (status != STATUS_OK)
			return status;
	}
	if (i < n || json_next(&iter, NULL, &item))
		return wrong_count(s, at, n, strict_count(value));
	return STATUS_OK;
}

enum status strict_integers(const struct strict *s, const struct place *at, struct json_value value, int n,
			    int32_t minimum, int32_t maximum, int32_t *out)
{
	struct json_iter iter;
	struct json_value item;
	int i = 0;

	if (value.type != JSON_ARRAY)
		return wrong_type(s, at, STRICT_ARRAY);
	json_iter_init(&iter, value);
	for (; i < n && json_next(&iter, NULL, &item); i++) {
		int64_t number = 0;
		enum status status = strict_integer(s, PLACE_INDEX(at, i), item, minimum, maximum, &number);
		if (status != STATUS_OK)
			return status;
		out[i] = (int32_t)number;
	}
	if (i < n || json_next(&iter, NULL, &item))
		return wrong_count(s, at, n, strict_count(value));
	return STATUS_OK;
}

/* Room for the elements of an array and how many there are; NULL: *status says why there is none. */
static void *make_room(const struct strict *s, const struct place *at, struct json_value value, int max, size_t size,
		       int *n, enum status *status)
{
	void *room;

	if (value.type != JSON_ARRAY) {
		*status = wrong_type(s, at, STRICT_ARRAY);
		return NULL;
	}
	*n = strict_count(value);
	if (*n > max) {
		*status = strict_fault(s, at, "has %d elements, %d are allowed", *n, max);
		return NULL;
	}
	room = arena_zalloc(s->arena, (size_t)*n * size + 1);
	if (!room)
		*status = strict_no_memory(s);
	return room;
}

enum status strict_any_numbers(const struct strict *s, const struct place *at, struct json_value value, int max,
			       double **out, int *n)
{
	enum status status = STATUS_OK;

	*out = make_room(s, at, value, max, sizeof(double), n, &status);
	return *out ? strict_numbers(s, at, value, *n, *out) : status;
}

enum status strict_strings(const struct strict *s, const struct place *at, struct json_value value, int max,
			   struct str **out, int *n)
{
	struct json_iter iter;
	struct json_value item;
	enum status status = STATUS_OK;
	struct str *room = make_room(s, at, value, max, sizeof(*room), n, &status);

	if (!room)
		return status;
	*out = room;
	json_iter_init(&iter, value);
	for (int i = 0; status == STATUS_OK && json_next(&iter, NULL, &item); i++)
		status = strict_string(s, PLACE_INDEX(at, i), item, &room[i]);
	return status;
}

enum status strict_choice(const struct strict *s, const struct place *at, struct json_value value,
			  const char *const *names, int n, int *out)
{
	char list[160] = "";
	size_t used = 0;
	struct str text = {0};
	enum status status = strict_string(s, at, value, &text);

	if (status != STATUS_OK)
		return status;
	for (int i = 0; i < n; i++) {
		if (str_eq(text, str_of(names[i]))) {
			*out = i;
			return STATUS_OK;
		}
		int more = snprintf(list + used, sizeof(list) - used, "%s\"%s\"",
				    i == 0       ? ""
				    : i == n - 1 ? " or "
						 : ", ",
				    names[i]);
		used += more > 0 && used + (size_t)more < sizeof(list) ? (size_t)more : 0;
	}
	return strict_fault(s, at, "should be %s", list);
}
