/* A text classifier laid out for the cache. A hash table has eight bytes for each n-gram: 32 bits of its hash, and
 * where its record is. Records stand one after the other: length, idf, a weight for each row, and the n-gram's text, so
 * that what one lookup needs lies together, mostly in one line of the cache; an n-gram that is unknown costs the
 * table's line alone. The hash is keyed anew for each classifier: neither who writes texts nor who writes models can
 * choose what collides.
 *
 * A sentence is written as tokens (text_tokens.h), its n-grams are looked up, the known ones counted in a small table
 * of the arena, and then each distinct one adds its weights to the scores. The norm is divided out at the end. */
#include "model/text.h"

#include "model/kinds.h"
#include "model/text_hash.h"
#include "model/text_tokens.h"

#include <math.h>
#include <sodium.h>
#include <stdlib.h>

struct slot {
	uint32_t tag;    /* upper half of the hash */
	uint32_t record; /* 1 + place in words; 0: free */
};

union word {
	double number;
	struct {
		uint32_t bytes; /* of the n-gram's text */
		uint32_t unused;
	} head;
	char text[8];
};
_Static_assert(sizeof(union word) == 8, "a record is made of 8-byte words");

enum { RECORD_IDF = 1, RECORD_WEIGHTS = 2 };

struct text_classifier {
	uint64_t key[2];
	struct slot *slots;
	size_t slots_n; /* a power of two, at least twice the terms */
	union word *words;
	size_t words_n;
	size_t terms_n;
	enum text_method method;
	int ngram_min, ngram_max;
	bool sublinear, l2;
	int classes_n, rows_n;
	double intercepts[];
};

/* --- the table --- */

static inline const char *record_text(const struct text_classifier *c, const union word *record)
{
	return record[RECORD_WEIGHTS + c->rows_n].text;
}

/* The slot of this n-gram, or the free one where it would be. */
static inline struct slot *find_slot(const struct text_classifier *c, struct str ngram, uint64_t hash)
{
	size_t mask = c->slots_n - 1;

	for (size_t at = (size_t)hash & mask;; at = (at + 1) & mask) {
		struct slot *slot = &c->slots[at];
		if (slot->record == 0)
			return slot;
		if (slot->tag != (uint32_t)(hash >> 32))
			continue;
		const union word *record = c->words + slot->record - 1;
		if (record->head.bytes == ngram.n && memcmp(record_text(c, record), ngram.p, ngram.n) == 0)
			return slot;
	}
}

static size_t record_words(int rows_n, struct str term)
{
	return RECORD_WEIGHTS + (size_t)rows_n + (term.n + sizeof(union word) - 1) / sizeof(union word);
}

static enum status add_term(struct text_classifier *c, const struct text_spec *spec, size_t i, struct err *err)
{
	struct str term = spec->terms[i];
	uint64_t hash = text_hash(c->key, term);
	struct slot *slot = find_slot(c, term, hash);
	union word *record = c->words + c->words_n;

	if (slot->record != 0)
		return err_set(err, STATUS_INVALID, "\"vocabulary\" has \"%.*s\" twice (the second time at %zu).",
			       (int)(term.n < 60 ? term.n : 60), term.p, i);
	*slot = (struct slot){(uint32_t)(hash >> 32), (uint32_t)c->words_n + 1};
	record->head.bytes = (uint32_t)term.n;
	record[RECORD_IDF].number = spec->idf[i];
	for (int row = 0; row < c->rows_n; row++)
		record[RECORD_WEIGHTS + row].number = spec->weights[(size_t)row * spec->terms_n + i];
	memcpy(record[RECORD_WEIGHTS + c->rows_n].text, term.p, term.n);
	c->words_n += record_words(c->rows_n, term);
	c->terms_n++;
	return STATUS_OK;
}

enum status text_new(struct text_classifier **out, const struct text_spec *spec, struct err *err)
{
	size_t rows_n = (size_t)spec->rows_n, words = 0;
	enum status status = STATUS_NO_MEMORY;
	struct text_classifier *c = NULL;

	*out = NULL;
	if (spec->terms_n > TEXT_TERMS_MAX)
		return err_set(err, STATUS_INVALID, "A vocabulary has up to %d terms, not %zu.", TEXT_TERMS_MAX,
			       spec->terms_n);
	for (size_t i = 0; i < spec->terms_n; i++)
		words += record_words(spec->rows_n, spec->terms[i]);
	if (words >= UINT32_MAX)
		return err_set(err, STATUS_INVALID, "A model of %zu terms and %d classes is too large.", spec->terms_n,
			       spec->classes_n);
	c = calloc(1, sizeof(*c) + rows_n * sizeof(double));
	if (!c)
		goto out;
	for (c->slots_n = 16; c->slots_n < 2 * spec->terms_n;)
		c->slots_n *= 2;
	c->slots = calloc(c->slots_n, sizeof(*c->slots));
	c->words = calloc(words ? words : 1, sizeof(*c->words));
	if (!c->slots || !c->words)
		goto out;
	randombytes_buf(c->key, sizeof(c->key));
	c->key[1] |= 1;
	c->method = spec->method;
	c->ngram_min = spec->ngram_min;
	c->ngram_max = spec->ngram_max;
	c->sublinear = spec->sublinear;
	c->l2 = spec->l2;
	c->classes_n = spec->classes_n;
	c->rows_n = spec->rows_n;
	memcpy(c->intercepts, spec->intercepts, rows_n * sizeof(double));
	status = STATUS_OK;
	for (size_t i = 0; status == STATUS_OK && i < spec->terms_n; i++)
		status = add_term(c, spec, i, err);
out:
	if (status == STATUS_NO_MEMORY)
		err_set(err, status, "There is not enough memory for a vocabulary of %zu terms.", spec->terms_n);
	if (status == STATUS_OK)
		*out = c;
	else
		text_free(c);
	return status;
}

void text_free(struct text_classifier *classifier)
{
	if (!classifier)
		return;
	free(classifier->slots);
	free(classifier->words);
	free(classifier);
}

size_t text_bytes(const struct text_classifier *classifier)
{
	return sizeof(*classifier) + (size_t)classifier->rows_n * sizeof(double) +
	       classifier->slots_n * sizeof(*classifier->slots) + classifier->words_n * sizeof(*classifier->words);
}

/* --- asking --- */

/* A term of the text, and how often it is there. */
struct found {
	uint32_t record, count;
};

/* What the texts of a batch use one after the other. */
struct scratch {
	char *tokens;
	struct found *found; /* distinct terms in order of their first occurrence */
	uint32_t *table;     /* 1 + place in found, by record; a power of two of them */
	double *scores;      /* classes_n */
};

static size_t table_size(const struct text_classifier *c, size_t tokens_bytes)
{
	/* A word takes two bytes and a blank at least. */
	size_t ngrams = (tokens_bytes + 1) / 3 * (size_t)(c->ngram_max - c->ngram_min + 1);
	size_t distinct = ngrams < c->terms_n ? ngrams : c->terms_n, size = 16;

	while (size < 2 * distinct)
		size *= 2;
	return size;
}

static bool scratch_init(struct scratch *scratch, const struct text_classifier *c, const struct model_batch *batch)
{
	size_t longest = 0;

	for (size_t i = 0; i < batch->n; i++)
		if (batch->texts[i].n > longest)
			longest = batch->texts[i].n;
	size_t room = text_tokens_room(longest), size = table_size(c, room);
	scratch->tokens = arena_alloc(batch->arena, room);
	scratch->found = arena_alloc(batch->arena, size / 2 * sizeof(*scratch->found));
	scratch->table = arena_alloc(batch->arena, size * sizeof(*scratch->table));
	scratch->scores = arena_alloc(batch->arena, (size_t)c->classes_n * sizeof(double));
	return scratch->tokens && scratch->found && scratch->table && scratch->scores;
}

/* Counts one more of this record. Returns the number of distinct ones. */
static inline size_t count_record(struct scratch *scratch, size_t size, size_t n, uint32_t record)
{
	size_t mask = size - 1;

	for (size_t at = (record * UINT32_C(0x9E3779B1) >> 8) & mask;; at = (at + 1) & mask) {
		uint32_t place = scratch->table[at];
		if (place == 0) {
			scratch->table[at] = (uint32_t)n + 1;
			scratch->found[n] = (struct found){record, 1};
			return n + 1;
		}
		if (scratch->found[place - 1].record == record) {
			scratch->found[place - 1].count++;
			return n;
		}
	}
}

/* Fills scratch->found with the text's terms; returns how many. */
static size_t find_terms(const struct text_classifier *c, struct str text, struct scratch *scratch)
{
	struct text_ngrams walk;
	struct str tokens = {scratch->tokens, text_tokens_write(text, scratch->tokens)}, ngram;
	size_t n = 0, size = table_size(c, tokens.n);

	memset(scratch->table, 0, size * sizeof(*scratch->table));
	text_ngrams_init(&walk, tokens, c->ngram_min, c->ngram_max);
	while (text_ngrams_next(&walk, &ngram)) {
		uint32_t record = find_slot(c, ngram, text_hash(c->key, ngram))->record;
		if (record)
			n = count_record(scratch, size, n, record);
	}
	return n;
}

/* The scores of a text's rows. */
static void score(const struct text_classifier *c, struct scratch *scratch, size_t found_n, double *scores)
{
	double squares = 0.0;

	for (int row = 0; row < c->rows_n; row++)
		scores[row] = 0.0;
	for (size_t i = 0; i < found_n; i++) {
		const union word *record = c->words + scratch->found[i].record - 1;
		double count = scratch->found[i].count;
		double x = (c->sublinear ? 1.0 + log(count) : count) * record[RECORD_IDF].number;
		squares += x * x;
		for (int row = 0; row < c->rows_n; row++)
			scores[row] += x * record[RECORD_WEIGHTS + row].number;
	}
	double norm = c->l2 && squares > 0.0 ? sqrt(squares) : 1.0;
	for (int row = 0; row < c->rows_n; row++)
		scores[row] = scores[row] / norm + c->intercepts[row];
}

static bool all_finite(const double *values, int n)
{
	for (int i = 0; i < n; i++)
		if (!isfinite(values[i]))
			return false;
	return true;
}

/* Turns finite scores into probabilities, in place; returns the likeliest class, the first of equals. Exponentials are
 * taken of differences to the largest, so that none overflows. */
static int decide(const struct text_classifier *c, double *scores)
{
	int best = 0;
	double sum = 0.0;

	if (c->rows_n == 1) {
		double d = scores[0], e = exp(-fabs(d)); /* of the less likely of two, over the other's */
		scores[d > 0.0] = 1.0 / (1.0 + e);
		scores[!(d > 0.0)] = e / (1.0 + e);
		return d > 0.0;
	}
	for (int k = 1; k < c->classes_n; k++)
		if (scores[k] > scores[best])
			best = k;
	double most = scores[best];
	for (int k = 0; k < c->classes_n; k++)
		sum += scores[k] = exp(scores[k] - most);
	for (int k = 0; k < c->classes_n; k++)
		scores[k] /= sum;
	return best;
}

enum status text_classify(const struct text_classifier *classifier, const struct model_batch *batch, bool binary,
			  size_t *bad, struct err *err)
{
	size_t classes_n = (size_t)classifier->classes_n;
	struct scratch scratch;

	if (!scratch_init(&scratch, classifier, batch))
		return err_set(err, STATUS_NO_MEMORY, "The text is too long");
	for (size_t i = 0; i < batch->n; i++) {
		double *scores = batch->probabilities ? batch->probabilities + i * classes_n : scratch.scores;
		score(classifier, &scratch, find_terms(classifier, batch->texts[i], &scratch), scores);
		if (!all_finite(scores, classifier->rows_n)) {
			*bad = i;
			return err_set(err, STATUS_INVALID, "The scores of the text are not finite");
		}
		int label = decide(classifier, scores);
		if (batch->labels)
			batch->labels[i] = label;
		batch->results[i] = binary ? scores[1] : label;
	}
	return STATUS_OK;
}

/* --- as a model --- */

static enum status predict(const struct model *model, const struct model_batch *batch, size_t *bad, struct err *err)
{
	return text_classify(model->state, batch, model->manifest->output == MANIFEST_BINARY, bad, err);
}

static void release(struct model *model)
{
	text_free(model->state);
}

static const struct model_ops TEXT_OPS = {.predict = predict, .release = release};

enum status text_load(struct model *model, struct str file, struct err *err)
{
	const struct manifest *manifest = model->manifest;
	struct text_classifier *classifier = NULL;
	struct text_spec spec;
	struct arena arena;

	if (manifest->output != MANIFEST_BINARY && manifest->output != MANIFEST_MULTICLASS)
		return err_set(err, STATUS_INVALID,
			       "A model of kind text is a classifier: output has to be binary or "
			       "multiclass.");
	arena_init(&arena, SIZE_MAX / 4);
	enum status status = text_read(&spec, file, manifest->classes_n, &arena, err);
	if (status == STATUS_OK)
		status = text_new(&classifier, &spec, err);
	arena_release(&arena);
	if (status != STATUS_OK || !classifier)
		return status;
	model->state = classifier;
	model->bytes = text_bytes(classifier);
	model->ops = &TEXT_OPS;
	return STATUS_OK;
}
