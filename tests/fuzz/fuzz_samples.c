/* Files of samples from strangers: the first byte says how they are read, the rest is the file. What is read can be
 * split and trained on. */
#include "fuzz.h"

#include "model/text_train.h"

#include <sodium.h>
#include <string.h>

enum { NAMES = 1, NUMBERS = 2, CSV = 4, LOGISTIC = 8, SAMPLES = 200 };

static void try_training(const struct text_corpus *corpus, bool logistic)
{
	struct text_options options = {.method = logistic ? TEXT_LOGISTIC : TEXT_NAIVE_BAYES,
				       .ngram_min = 1,
				       .ngram_max = 2,
				       .max_features = 20};
	size_t order[SAMPLES], test_n;
	struct text_classifier *classifier;
	struct text_spec spec;
	struct arena arena;

	arena_init(&arena, 1 << 26);
	text_split(corpus->n, 0.2, 42, order, &test_n);
	if (text_train(&spec, corpus, order + test_n, corpus->n - test_n, &options, &arena, NULL) == STATUS_OK) {
		demand(spec.terms_n > 0 && spec.terms_n <= 20, "the vocabulary is bounded");
		demand(text_new(&classifier, &spec, NULL) == STATUS_OK, "what was trained is a model");
		text_free(classifier);
	}
	arena_release(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char path[2][256];
	unsigned how = size ? data[0] : 0;
	struct text_columns columns = {0};
	struct text_corpus corpus;
	struct err err = {0};

	if (!path[0][0]) {
		const char *base = getenv("TMPDIR");
		demand(sodium_init() >= 0, "libsodium starts");
		for (int i = 0; i < 2; i++)
			snprintf(path[i], sizeof(path[i]), "%s/samples.%s", base ? base : "/dev/shm",
				 i ? "csv" : "txt");
	}
	const char *const paths[] = {path[how & CSV ? 1 : 0]};
	FILE *file = fopen(paths[0], "wb");
	demand(file != NULL, "a file can be written");
	if (size > 1)
		demand(fwrite(data + 1, 1, size - 1, file) == size - 1, "it takes the input");
	fclose(file);
	if (how & NAMES)
		columns = (struct text_columns){STR("b"), STR("a")};
	else if (how & NUMBERS)
		columns = (struct text_columns){STR("2"), STR("1")};
	enum status status = text_corpus_read(&corpus, paths, 1, &columns, &err);
	demand(status == STATUS_OK || err.text[0], "an error has a sentence");
	for (size_t i = 0; status == STATUS_OK && i < corpus.n; i++)
		demand(corpus.labels[i] >= 0 && corpus.labels[i] < corpus.classes_n && str_is_utf8(corpus.texts[i]),
		       "samples have a class and are UTF-8");
	if (status == STATUS_OK && corpus.n <= SAMPLES)
		try_training(&corpus, how & LOGISTIC);
	text_corpus_release(&corpus);
	return 0;
}
