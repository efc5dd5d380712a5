/* Reading samples. A file is read whole into the corpus's arena and cut in place; texts are views into it. */
#include "model/text_corpus.h"

#include "base/buf.h"
#include "model/model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum { FIELDS_MAX = 1000, LABEL_BYTES_MAX = 200 };
static const size_t FILE_BYTES_MAX = (size_t)4 << 30;

struct label {
	struct str text;
	int number; /* in order of arrival */
};

struct reader {
	struct text_corpus *corpus;
	const struct text_columns *columns;
	struct err *err;
	size_t capacity;     /* of corpus->texts and labels */
	struct label *known; /* in order of their text; corpus->classes_n of them */

	const char *path;
	bool csv;
	char *at, *end;
	size_t line;   /* that `at` is in, from 1 */
	size_t record; /* the line where the fields began */
	struct str fields[FIELDS_MAX];
	size_t fields_n;
	size_t expected; /* fields, as in the file's first line */
	size_t text_field, label_field;
};

static enum status no_memory(struct reader *r)
{
	return err_set(r->err, STATUS_NO_MEMORY, "There is not enough memory for the samples.");
}

/* --- fields --- */

/* A quoted field; `at` is behind its opening quote. Doubled quotes are undone in place. */
static enum status read_quoted(struct reader *r, struct str *field)
{
	char *out = r->at, *start = out;
	size_t line = r->line;
	bool closed = false;

	for (; r->at < r->end && !closed; r->at++) {
		if (*r->at == '"') {
			closed = r->at + 1 == r->end || r->at[1] != '"';
			if (closed)
				continue;
			r->at++;
		} else if (*r->at == '\n') {
			r->line++;
		}
		*out++ = *r->at;
	}
	*field = (struct str){start, (size_t)(out - start)};
	const char *p = r->at;
	if (p < r->end && *p == '\r')
		p++;
	return closed && (p == r->end || *p == '\n' || *r->at == ',')
		       ? STATUS_OK
		       : err_set(r->err, STATUS_INVALID,
				 "%s, line %zu: the quotes of a field are not closed, or text "
				 "follows them.",
				 r->path, line);
}

/* Reads the fields of a line (of a record, where quotes hold line feeds). False at the end of the file. */
static bool read_fields(struct reader *r, enum status *status)
{
	char separator = r->csv ? ',' : '\t';

	r->fields_n = 0;
	r->record = r->line;
	if (r->at == r->end)
		return false;
	for (;;) {
		struct str *field = &r->fields[r->fields_n < FIELDS_MAX ? r->fields_n : FIELDS_MAX - 1];
		r->fields_n++;
		if (r->csv && r->at < r->end && *r->at == '"') {
			r->at++;
			*status = read_quoted(r, field);
			if (*status != STATUS_OK)
				return false;
		} else {
			char *start = r->at;
			while (r->at < r->end && *r->at != separator && *r->at != '\n')
				r->at++;
			*field = (struct str){start, (size_t)(r->at - start)};
			if (field->n > 0 && r->at[-1] == '\r' && (r->at == r->end || *r->at == '\n'))
				field->n--;
		}
		if (r->at < r->end && *r->at == '\r')
			r->at++;
		if (r->at == r->end)
			return true;
		if (*r->at++ == '\n') {
			r->line++;
			return true;
		}
	}
}

/* --- columns --- */

static bool find_field(const struct reader *r, struct str name, size_t *place)
{
	for (size_t i = 0; i < r->fields_n && i < FIELDS_MAX; i++)
		if (str_eq_nocase(str_trim(r->fields[i]), name)) {
			*place = i;
			return true;
		}
	return false;
}

/* Decides from the first line which fields are meant; *names: it is a line of names. */
static enum status find_columns(struct reader *r, bool *names)
{
	struct str text = r->columns->text, label = r->columns->label;
	bool asked = text.n > 0 || label.n > 0;
	uint64_t a = 0, b = 0;

	if (text.n == 0)
		text = STR("text");
	if (label.n == 0)
		label = STR("label");
	*names = find_field(r, text, &r->text_field) && find_field(r, label, &r->label_field);
	if (*names)
		return STATUS_OK;
	if (str_to_u64(text, FIELDS_MAX, &a) && str_to_u64(label, FIELDS_MAX, &b) && a > 0 && b > 0) {
		r->text_field = a - 1;
		r->label_field = b - 1;
		return STATUS_OK;
	}
	if (!asked && !r->csv && r->fields_n == 2) {
		r->text_field = 0;
		r->label_field = 1;
		return STATUS_OK;
	}
	return err_set(
		r->err, STATUS_INVALID,
		"%s, line %zu: there are no columns \"%.*s\" and \"%.*s\"; say which with --text and --label, by name, "
		"or by number in a file without names.",
		r->path, r->record, (int)(text.n < 40 ? text.n : 40), text.p, (int)(label.n < 40 ? label.n : 40),
		label.p);
}

/* --- samples --- */

static enum status number_of_label(struct reader *r, struct str text, int *number)
{
	int low = 0, high = r->corpus->classes_n, n = high;

	while (low < high) {
		int middle = (low + high) / 2;
		struct str known = r->known[middle].text;
		int order = memcmp(known.p, text.p, known.n < text.n ? known.n : text.n);
		if (order == 0)
			order = known.n < text.n ? -1 : known.n > text.n;
		if (order == 0) {
			*number = r->known[middle].number;
			return STATUS_OK;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (n == MODEL_CLASSES_MAX)
		return err_set(r->err, STATUS_INVALID,
			       "%s, line %zu: more than %d different labels; is it the right column?", r->path,
			       r->record, MODEL_CLASSES_MAX);
	memmove(r->known + low + 1, r->known + low, (size_t)(n - low) * sizeof(*r->known));
	r->known[low] = (struct label){text, n};
	r->corpus->classes_n++;
	*number = n;
	return STATUS_OK;
}

static enum status grow(struct reader *r)
{
	struct text_corpus *corpus = r->corpus;
	size_t capacity = r->capacity ? 2 * r->capacity : 1024;
	struct str *texts = arena_alloc(&corpus->arena, capacity * sizeof(*texts));
	int *labels = arena_alloc(&corpus->arena, capacity * sizeof(*labels));

	if (!texts || !labels)
		return no_memory(r);
	if (corpus->n > 0) {
		memcpy(texts, corpus->texts, corpus->n * sizeof(*texts));
		memcpy(labels, corpus->labels, corpus->n * sizeof(*labels));
	}
	corpus->texts = texts;
	corpus->labels = labels;
	r->capacity = capacity;
	return STATUS_OK;
}

static enum status add_sample(struct reader *r)
{
	struct text_corpus *corpus = r->corpus;
	size_t most = r->text_field > r->label_field ? r->text_field : r->label_field;

	if (r->fields_n != r->expected)
		return err_set(r->err, STATUS_INVALID, "%s, line %zu has %zu fields, not %zu as the first line.",
			       r->path, r->record, r->fields_n, r->expected);
	if (r->fields_n > FIELDS_MAX || most >= r->fields_n)
		return err_set(r->err, STATUS_INVALID,
			       "%s, line %zu has %zu fields; wanted is number %zu, of %d at most.", r->path, r->record,
			       r->fields_n, most + 1, FIELDS_MAX);
	struct str text = r->fields[r->text_field], label = str_trim(r->fields[r->label_field]);
	if (!str_is_utf8(text) || !str_is_utf8(label))
		return err_set(r->err, STATUS_INVALID, "%s, line %zu is not UTF-8.", r->path, r->record);
	if (label.n == 0 || label.n > LABEL_BYTES_MAX)
		return err_set(r->err, STATUS_INVALID, "%s, line %zu: the label is not 1 to %d bytes long.", r->path,
			       r->record, LABEL_BYTES_MAX);
	if (corpus->n == TEXT_SAMPLES_MAX)
		return err_set(r->err, STATUS_TOO_LARGE, "There are more than %d samples.", TEXT_SAMPLES_MAX);
	enum status status = corpus->n == r->capacity ? grow(r) : STATUS_OK;
	if (status == STATUS_OK)
		status = number_of_label(r, label, &corpus->labels[corpus->n]);
	if (status == STATUS_OK)
		corpus->texts[corpus->n++] = text;
	return status;
}

static enum status read_samples(struct reader *r)
{
	enum status status = STATUS_OK;
	bool first = true, names = false;

	r->line = 1;
	if (r->end - r->at >= 3 && memcmp(r->at, "\xEF\xBB\xBF", 3) == 0)
		r->at += 3;
	while (status == STATUS_OK && read_fields(r, &status)) {
		if (r->fields_n == 1 && r->fields[0].n == 0)
			continue;
		if (first) {
			r->expected = r->fields_n;
			status = find_columns(r, &names);
		}
		if (status == STATUS_OK && !(first && names))
			status = add_sample(r);
		first = false;
	}
	return status;
}

static enum status read_file(struct reader *r)
{
	enum status status = STATUS_UNAVAILABLE;
	FILE *file = fopen(r->path, "rbe");
	struct buf buf;

	buf_init(&buf, &r->corpus->arena);
	if (!file) {
		int code = errno;
		return err_set(r->err, code == ENOENT ? STATUS_NOT_FOUND : STATUS_UNAVAILABLE, "%s can't be read: %s.",
			       r->path, strerror(code));
	}
	for (;;) {
		if (!buf_reserve(&buf, 1 << 16)) {
			status = no_memory(r);
			break;
		}
		size_t n = fread(buf.p + buf.n, 1, buf.cap - buf.n, file);
		buf.n += n;
		if (n == 0) {
			status = ferror(file) ? err_set(r->err, STATUS_UNAVAILABLE, "%s can't be read: %s.", r->path,
							strerror(errno))
					      : STATUS_OK;
			break;
		}
		if (buf.n > FILE_BYTES_MAX) {
			status = err_set(r->err, STATUS_TOO_LARGE, "%s is larger than 4 GiB.", r->path);
			break;
		}
	}
	fclose(file);
	r->at = buf.p;
	r->end = buf.p + buf.n;
	return status;
}

/* --- classes --- */

/* A whole number of at most nine digits. */
static bool is_whole(struct str text)
{
	uint64_t value;

	if (str_starts(text, STR("-")))
		text = (struct str){text.p + 1, text.n - 1};
	return text.n <= 9 && str_to_u64(text, UINT64_MAX, &value);
}

static int by_number(const void *a, const void *b)
{
	const struct label *x = a, *y = b;
	long left = strtol(x->text.p, NULL, 10), right = strtol(y->text.p, NULL, 10);

	if (left != right)
		return left < right ? -1 : 1;
	return x->number < y->number ? -1 : x->number > y->number;
}

/* Gives the classes their order, and the samples the places in it. */
static enum status order_classes(struct reader *r)
{
	struct text_corpus *corpus = r->corpus;
	int places[MODEL_CLASSES_MAX];
	bool whole = true;

	for (int i = 0; i < corpus->classes_n; i++)
		whole = whole && is_whole(r->known[i].text);
	/* strtol wants a NUL behind the digits. */
	for (int i = 0; whole && i < corpus->classes_n; i++) {
		r->known[i].text = arena_dup(&corpus->arena, r->known[i].text);
		if (!r->known[i].text.p)
			return no_memory(r);
	}
	if (whole)
		qsort(r->known, (size_t)corpus->classes_n, sizeof(*r->known), by_number);
	corpus->classes = arena_alloc(&corpus->arena, sizeof(struct str) * MODEL_CLASSES_MAX);
	if (!corpus->classes)
		return no_memory(r);
	for (int i = 0; i < corpus->classes_n; i++) {
		corpus->classes[i] = r->known[i].text;
		places[r->known[i].number] = i;
	}
	for (size_t i = 0; i < corpus->n; i++)
		corpus->labels[i] = places[corpus->labels[i]];
	return STATUS_OK;
}

enum status text_corpus_read(struct text_corpus *corpus, const char *const *paths, int paths_n,
			     const struct text_columns *columns, struct err *err)
{
	enum status status = STATUS_OK;

	*corpus = (struct text_corpus){0};
	arena_init(&corpus->arena, SIZE_MAX / 4);
	struct reader *r = arena_zalloc(&corpus->arena, sizeof(*r));
	if (r)
		*r = (struct reader){.corpus = corpus, .columns = columns, .err = err};
	if (!r || !(r->known = arena_alloc(&corpus->arena, MODEL_CLASSES_MAX * sizeof(*r->known))))
		return err_set(err, STATUS_NO_MEMORY, "There is not enough memory for the samples.");
	for (int i = 0; status == STATUS_OK && i < paths_n; i++) {
		size_t n = strlen(paths[i]);
		r->path = paths[i];
		r->csv = n > 4 && strcasecmp(paths[i] + n - 4, ".csv") == 0;
		status = read_file(r);
		if (status == STATUS_OK)
			status = read_samples(r);
	}
	return status == STATUS_OK ? order_classes(r) : status;
}

void text_corpus_release(struct text_corpus *corpus)
{
	arena_release(&corpus->arena);
}
