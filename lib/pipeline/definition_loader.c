/* Reading members of a definition, and saying what is wrong with them. */
#include "pipeline/definition_impl.h"

#include <inttypes.h>
#include <math.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>

enum {
	PROBLEMS_MAX = 100,
	WORD_MAX = 40, /* of a name that another one is looked for */
	SHOWN_BYTES = 60,
};

void loader_problem(struct loader *l, const struct place *at, const char *format, ...)
{
	char text[400];
	va_list args;

	if (++l->problems_n > PROBLEMS_MAX)
		return;
	if (l->problems->n > 0)
		buf_char(l->problems, '\n');
	if (l->problems_n == PROBLEMS_MAX) {
		buf_str(l->problems, STR("There are more problems than these."));
		return;
	}
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (at) {
		struct buf place;
		buf_init(&place, l->arena);
		place_put(&place, at);
		buf_str(&place, STR(": "));
		l->no_memory |= place.failed;
		buf_str(l->problems, buf_view(&place));
	}
	buf_str(l->problems, str_of(text));
}

/* Levenshtein's distance without regard to case; more than WORD_MAX: far. */
static int distance(struct str a, struct str b)
{
	int row[WORD_MAX + 1];

	if (a.n > WORD_MAX || b.n > WORD_MAX)
		return WORD_MAX;
	for (size_t k = 0; k <= b.n; k++)
		row[k] = (int)k;
	for (size_t i = 1; i <= a.n; i++) {
		int diagonal = row[0];
		row[0] = (int)i;
		for (size_t k = 1; k <= b.n; k++) {
			int above = row[k];
			bool same = str_eq_nocase((struct str){a.p + i - 1, 1}, (struct str){b.p + k - 1, 1});
			int best = diagonal + !same;
			best = above + 1 < best ? above + 1 : best;
			row[k] = row[k - 1] + 1 < best ? row[k - 1] + 1 : best;
			diagonal = above;
		}
	}
	return row[b.n];
}

const char *loader_nearest(struct str word, const char *const *names, int n)
{
	const char *best = NULL;
	int least = word.n < 4 ? 2 : 3; /* not as far as this */

	for (int i = 0; i < n; i++) {
		int d = distance(word, str_of(names[i]));
		if (d < least) {
			least = d;
			best = names[i];
		}
	}
	return best;
}

static void unknown_member(struct loader *l, const struct place *at, struct str name,
			   const struct loader_member *members, int n)
{
	const char *names[32];
	int names_n = 0;

	for (; names_n < n && names_n < 32; names_n++)
		names[names_n] = members[names_n].name;
	const char *nearest = loader_nearest(name, names, names_n);
	struct str shown = strict_cut(name, SHOWN_BYTES);
	if (nearest)
		loader_problem(l, at, "has no member \"%.*s\"; did you mean \"%s\"?", STR_ARG(shown), nearest);
	else
		loader_problem(l, at, "has no member \"%.*s\"", STR_ARG(shown));
}

bool loader_members(struct loader *l, const struct place *at, struct json_value value,
		    const struct loader_member *members, int n, struct json_value *values)
{
	struct json_iter iter;
	struct json_value key, member;

	memset(values, 0, (size_t)n * sizeof(*values));
	if (value.type != JSON_OBJECT) {
		loader_problem(l, at, at ? "should be an object" : "The file should be a JSON object");
		return false;
	}
	json_iter_init(&iter, value);
	while (json_next(&iter, &key, &member)) {
		struct str name = json_string(key, l->arena);
		int i = 0;
		if (!name.p) {
			l->no_memory = true;
			return false;
		}
		while (i < n && !str_eq(name, str_of(members[i].name)))
			i++;
		if (i == n)
			unknown_member(l, at ? at : PLACE_MEMBER(NULL, "pipeline"), name, members, n);
		else if (!(members[i].kinds & 1u << member.type))
			loader_problem(l, PLACE_MEMBER(at, members[i].name), "should be %s", members[i].wanted);
		else
			values[i] = member;
	}
	return true;
}

bool loader_text(struct loader *l, const struct place *at, struct json_value value, size_t max, struct str *out)
{
	if (value.type != JSON_STRING) {
		loader_problem(l, at, "should be a string");
		return false;
	}
	*out = json_string(value, l->arena);
	l->no_memory |= !out->p;
	if (!out->p)
		return false;
	if (out->n == 0 || out->n > max) {
		loader_problem(l, at, out->n == 0 ? "should not be empty" : "should have at most %zu bytes", max);
		return false;
	}
	for (size_t i = 0; i < out->n; i++)
		if ((unsigned char)out->p[i] < 0x20 || out->p[i] == 0x7f) {
			loader_problem(l, at, "should have no control characters");
			return false;
		}
	return true;
}

bool loader_number(struct loader *l, const struct place *at, struct json_value value, double *out)
{
	if (value.type == JSON_NUMBER && json_number(value, out))
		return true;
	loader_problem(l, at, value.type == JSON_NUMBER ? "is larger than a double can be" : "should be a number");
	return false;
}

bool loader_integer(struct loader *l, const struct place *at, struct json_value value, int64_t least, int64_t most,
		    int64_t *out)
{
	double number;

	if (!loader_number(l, at, value, &number))
		return false;
	if (number != floor(number) || number < (double)least || number > (double)most) {
		loader_problem(l, at, "should be a whole number from %" PRId64 " to %" PRId64, least, most);
		return false;
	}
	*out = (int64_t)number;
	return true;
}

bool loader_choice(struct loader *l, const struct place *at, struct json_value value, const char *const *names, int n,
		   int *out)
{
	char list[200] = "";
	size_t used = 0;
	struct str text = {0};

	if (value.type == JSON_STRING) {
		text = json_string(value, l->arena);
		l->no_memory |= !text.p;
	}
	for (int i = 0; i < n; i++) {
		if (text.p && str_eq(text, str_of(names[i]))) {
			*out = i;
			return true;
		}
		const char *before = i == 0 ? "" : i == n - 1 ? " or " : ", ";
		int more = snprintf(list + used, sizeof(list) - used, "%s%s", before, names[i]);
		used += more > 0 && used + (size_t)more < sizeof(list) ? (size_t)more : 0;
	}
	const char *nearest = text.p ? loader_nearest(text, names, n) : NULL;
	if (nearest)
		loader_problem(l, at, "should be %s; did you mean \"%s\"?", list, nearest);
	else
		loader_problem(l, at, "should be %s", list);
	return false;
}

void *loader_alloc(struct loader *l, size_t n, size_t size)
{
	void *room = n < SIZE_MAX / 1024 ? arena_zalloc(l->arena, (n + 1) * size) : NULL;

	l->no_memory |= !room;
	return room;
}

bool loader_index(struct loader *l, struct names *index, const struct str *names, int n, int *twice)
{
	uint8_t key[NAMES_KEY_BYTES];

	randombytes_buf(key, sizeof(key));
	*twice = -1;
	if (names_init(index, names, n, key, l->arena, twice))
		return true;
	l->no_memory |= *twice < 0;
	return *twice >= 0;
}
