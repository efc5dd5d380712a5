/* From texts to the vocabulary and the matrix of TF-IDF weights. N-grams are numbered as they are met, with a hash
 * table over all of them; what is chosen is renumbered in the order of the terms. */
#include "model/text_train_impl.h"

#include "model/text_hash.h"
#include "model/text_tokens.h"

#include <math.h>
#include <sodium.h>
#include <stdlib.h>

struct term {
	struct str text;
	uint64_t count;     /* in all texts */
	uint32_t documents; /* that have it */
	uint32_t last;      /* 1 + the last row that has it */
	size_t cell;        /* where that row counts it */
};

struct cell {
	uint32_t term;
	uint32_t count;
};

struct counter {
	uint64_t key[2];
	struct arena *arena; /* of the terms' texts */
	struct term *terms;
	size_t terms_n, terms_room;
	uint32_t *slots; /* 1 + the number of a term */
	size_t slots_n;
	struct cell *cells; /* row after row */
	size_t cells_n, cells_room;
	size_t *starts; /* rows + 1 */
};

enum { FIRST_ROOM = 1024 };

static bool grow_terms(struct counter *c)
{
	size_t room = c->terms_room ? 2 * c->terms_room : FIRST_ROOM, slots_n = 4 * room;
	struct term *terms = room < UINT32_MAX ? reallocarray(c->terms, room, sizeof(*terms)) : NULL;

	if (terms)
		c->terms = terms;
	uint32_t *slots = calloc(slots_n, sizeof(*slots));
	if (!terms || !slots) {
		free(slots);
		return false;
	}
	for (size_t i = 0; i < c->terms_n; i++) {
		size_t at = (size_t)text_hash(c->key, terms[i].text) & (slots_n - 1);
		while (slots[at])
			at = (at + 1) & (slots_n - 1);
		slots[at] = (uint32_t)i + 1;
	}
	free(c->slots);
	c->slots = slots;
	c->slots_n = slots_n;
	c->terms_room = room;
	return true;
}

/* The number of an n-gram, a new one if need be. */
static bool number_of(struct counter *c, struct str ngram, uint32_t *number)
{
	if (c->terms_n == c->terms_room && !grow_terms(c))
		return false;
	size_t at = (size_t)text_hash(c->key, ngram) & (c->slots_n - 1);
	while (c->slots[at]) {
		*number = c->slots[at] - 1;
		if (str_eq(c->terms[*number].text, ngram))
			return true;
		at = (at + 1) & (c->slots_n - 1);
	}
	struct str text = arena_dup(c->arena, ngram);
	if (!text.p)
		return false;
	*number = (uint32_t)c->terms_n;
	c->terms[c->terms_n++] = (struct term){.text = text};
	c->slots[at] = *number + 1;
	return true;
}

static bool count_one(struct counter *c, uint32_t row, uint32_t number)
{
	struct term *term = &c->terms[number];

	term->count++;
	if (term->last == row + 1) {
		c->cells[term->cell].count++;
		return true;
	}
	if (c->cells_n == c->cells_room) {
		size_t room = c->cells_room ? 2 * c->cells_room : FIRST_ROOM;
		struct cell *cells = reallocarray(c->cells, room, sizeof(*cells));
		if (!cells)
			return false;
		c->cells = cells;
		c->cells_room = room;
	}
	term->last = row + 1;
	term->documents++;
	term->cell = c->cells_n;
	c->cells[c->cells_n++] = (struct cell){number, 1};
	return true;
}

static bool count_text(struct counter *c, struct str text, uint32_t row, const struct text_options *options)
{
	struct text_ngrams walk;
	struct str tokens, ngram;
	uint32_t number;
	char *room = malloc(text_tokens_room(text.n));
	bool good = room != NULL;

	if (!room)
		return false;
	tokens = (struct str){room, text_tokens_write(text, room)};
	text_ngrams_init(&walk, tokens, options->ngram_min, options->ngram_max);
	while (good && text_ngrams_next(&walk, &ngram))
		good = number_of(c, ngram, &number) && count_one(c, row, number);
	free(room);
	return good;
}

static bool count_all(struct counter *c, const struct text_corpus *corpus, const size_t *rows, size_t rows_n,
		      const struct text_options *options)
{
	c->starts = calloc(rows_n + 1, sizeof(*c->starts));
	if (!c->starts)
		return false;
	for (size_t i = 0; i < rows_n; i++) {
		if (!count_text(c, corpus->texts[rows[i]], (uint32_t)i, options))
			return false;
		c->starts[i + 1] = c->cells_n;
		if (i % 1024 == 0)
			text_tell(options, "counting n-grams", i, rows_n);
	}
	return true;
}

static int by_text(const void *a, const void *b, void *arg)
{
	const struct term *terms = arg;
	struct str x = terms[*(const uint32_t *)a].text, y = terms[*(const uint32_t *)b].text;
	int order = memcmp(x.p, y.p, x.n < y.n ? x.n : y.n);

	return order ? order : (x.n > y.n) - (x.n < y.n);
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Chooses the max_features most frequent of the n terms that `sorted` lists; keeps their order. Returns how many. */
static bool limit(const struct counter *c, uint32_t *sorted, size_t *n, size_t max_features)
{
	if (max_features == 0 || *n <= max_features)
		return true;
	double *keys = malloc(*n * sizeof(*keys));
	uint32_t *order = malloc(*n * sizeof(*order));
	if (keys && order) {
		for (size_t i = 0; i < *n; i++) {
			keys[i] = -(double)c->terms[sorted[i]].count;
			order[i] = (uint32_t)i;
		}
		text_argsort(keys, order, *n);
		qsort(order, max_features, sizeof(*order), by_number);
		for (size_t i = 0; i < max_features; i++)
			sorted[i] = sorted[order[i]]; /* order[i] >= i: nothing is read after it was written */
		*n = max_features;
	}
	free(keys);
	free(order);
	return keys && order;
}

/* Lists the terms of the vocabulary in order: spec->terms and idf, and `places`: of a term's number, 1 + its place. */
static bool choose(struct counter *c, struct text_spec *spec, size_t rows_n, uint32_t *places,
		   const struct text_options *options, struct arena *arena)
{
	uint32_t *sorted = malloc(c->terms_n * sizeof(*sorted));
	size_t n = c->terms_n;
	bool good = false;

	if (!sorted)
		return false;
	for (size_t i = 0; i < n; i++)
		sorted[i] = (uint32_t)i;
	text_tell(options, "choosing the vocabulary", 0, 1);
	qsort_r(sorted, n, sizeof(*sorted), by_text, c->terms);
	if (!limit(c, sorted, &n, options->max_features))
		goto out;
	struct str *terms = arena_alloc(arena, n * sizeof(*terms));
	double *idf = arena_alloc(arena, n * sizeof(*idf));
	if (!terms || !idf)
		goto out;
	for (size_t i = 0; i < n; i++) {
		const struct term *term = &c->terms[sorted[i]];
		terms[i] = term->text;
		idf[i] = log((1.0 + (double)rows_n) / (1.0 + (double)term->documents)) + 1.0;
		places[sorted[i]] = (uint32_t)i + 1;
	}
	spec->terms = terms;
	spec->idf = idf;
	spec->terms_n = n;
	good = true;
out:
	free(sorted);
	return good;
}

static int by_term(const void *a, const void *b)
{
	return by_number(&((const struct cell *)a)->term, &((const struct cell *)b)->term);
}

/* Row i of the matrix: the chosen terms in order, weighed, of length 1. */
static void fill_row(struct text_matrix *matrix, const struct text_spec *spec, struct cell *cells, size_t n, size_t i)
{
	size_t at = matrix->starts[i];
	double squares = 0.0;

	qsort(cells, n, sizeof(*cells), by_term);
	for (size_t k = 0; k < n; k++, at++) {
		matrix->terms[at] = cells[k].term;
		matrix->values[at] = cells[k].count * spec->idf[cells[k].term];
		squares += matrix->values[at] * matrix->values[at];
	}
	for (size_t k = matrix->starts[i]; k < at; k++)
		matrix->values[k] /= sqrt(squares);
	matrix->starts[i + 1] = at;
}

static bool fill(struct text_matrix *matrix, const struct text_spec *spec, struct counter *c, const uint32_t *places,
		 struct arena *arena)
{
	matrix->terms_n = spec->terms_n;
	matrix->starts = arena_zalloc(arena, (matrix->rows_n + 1) * sizeof(*matrix->starts));
	matrix->terms = arena_alloc(arena, c->cells_n * sizeof(*matrix->terms));
	matrix->values = arena_alloc(arena, c->cells_n * sizeof(*matrix->values));
	if (!matrix->starts || !matrix->terms || !matrix->values)
		return false;
	for (size_t i = 0; i < matrix->rows_n; i++) {
		struct cell *cells = c->cells + c->starts[i];
		size_t n = 0, all = c->starts[i + 1] - c->starts[i];
		for (size_t k = 0; k < all; k++)
			if (places[cells[k].term])
				cells[n++] = (struct cell){places[cells[k].term] - 1, cells[k].count};
		fill_row(matrix, spec, cells, n, i);
	}
	return true;
}

enum status text_vectorise(struct text_matrix *matrix, struct text_spec *spec, const struct text_corpus *corpus,
			   const size_t *rows, const struct text_options *options, struct arena *arena, struct err *err)
{
	struct counter c = {.arena = arena};
	uint32_t *places = NULL;
	enum status status = STATUS_NO_MEMORY;

	randombytes_buf(c.key, sizeof(c.key));
	c.key[1] |= 1;
	if (!count_all(&c, corpus, rows, matrix->rows_n, options))
		goto out;
	if (c.terms_n == 0) {
		status = err_set(err, STATUS_INVALID,
				 "No text to train on has an n-gram of at least %d words (of at least two letters or "
				 "digits each).",
				 options->ngram_min);
		goto out;
	}
	places = calloc(c.terms_n, sizeof(*places));
	if (places && choose(&c, spec, matrix->rows_n, places, options, arena) && fill(matrix, spec, &c, places, arena))
		status = STATUS_OK;
out:
	if (status == STATUS_NO_MEMORY)
		err_set(err, status, "There is not enough memory to count the n-grams.");
	free(places);
	free(c.terms);
	free(c.slots);
	free(c.cells);
	free(c.starts);
	return status;
}
