/* Labelled texts to train on. */
#ifndef APPCORE_MODEL_TEXT_CORPUS_H
#define APPCORE_MODEL_TEXT_CORPUS_H

#include "base/arena.h"
#include "base/err.h"

enum { TEXT_SAMPLES_MAX = 100000000 };

struct text_corpus {
	struct arena arena; /* texts and classes live here */
	size_t n;
	struct str *texts;   /* UTF-8 */
	int *labels;         /* places in classes */
	struct str *classes; /* in rising order: as whole numbers when all are, else as text */
	int classes_n;
};

/* Which columns of a file: a name, which the first line then has to have, or a number from 1 on, and then no line of
 * names is expected. Empty: "text" and "label" where the first line has both (in any case); else the first two columns
 * of a file without names, which must not be CSV. */
struct text_columns {
	struct str text, label;
};

/* Reads files of samples: CSV (RFC 4180, also with bare line feeds) where the name ends in .csv, else lines of fields
 * with tabs between them, in which quotes mean nothing. A byte order mark is skipped; empty lines are. STATUS_INVALID
 * names file and line; STATUS_NOT_FOUND. Release with text_corpus_release, also after an error. */
enum status text_corpus_read(struct text_corpus *corpus, const char *const *paths, int paths_n,
			     const struct text_columns *columns, struct err *err)
	__attribute__((nonnull(1, 2, 4), warn_unused_result));

/* The 30 samples that are built in: 15 positive, then 15 negative. */
enum status text_corpus_samples(struct text_corpus *corpus, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));

void text_corpus_release(struct text_corpus *corpus) __attribute__((nonnull));

/* Splits n samples into order[0 .. *test_n) to test with and the rest to train with: ceil(share * n) of them, shuffled
 * as scikit-learn's train_test_split(test_size=share, random_state=seed) does it. 0 <= share < 1; order has n places.
 */
void text_split(size_t n, double share, uint32_t seed, size_t *order, size_t *test_n) __attribute__((nonnull));

#endif
