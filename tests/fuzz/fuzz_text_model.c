/* A text classifier from strangers: before the first NUL its file, behind it a text. What loads is written and loads
 * again as the same; it answers any text, and so does a classifier that is known to be good. */
#include "fuzz.h"

#include "model/text.h"
#include "model/text_tokens.h"

#include <math.h>
#include <sodium.h>
#include <string.h>

static const char GOOD[] =
	"{\"format\": \"appcore text 1\", \"classifier\": \"naive_bayes\", \"ngram_range\": [1, 2], \"sublinear_tf\": "
	"true,"
	" \"norm\": \"l2\", \"vocabulary\": [\"bad\", \"good\", \"not good\", \"οδυσσευς\"], \"idf\": [1.5, 2, 4, 1],"
	" \"feature_log_prob\": [[-0.5, -2, -1, -1], [-3, -0.25, -4, -2]], \"class_log_prior\": [-0.75, -0.5]}";

static const struct text_classifier *good(void)
{
	static struct text_classifier *classifier;
	struct text_spec spec;
	struct arena arena;

	if (classifier)
		return classifier;
	demand(sodium_init() >= 0, "libsodium starts");
	arena_init(&arena, 1 << 20);
	demand(text_read(&spec, STR(GOOD), 2, &arena, NULL) == STATUS_OK, "the good file is read");
	demand(text_new(&classifier, &spec, NULL) == STATUS_OK, "the good file is a model");
	arena_release(&arena);
	return classifier;
}

static void ask(const struct text_classifier *classifier, struct str text, int classes_n)
{
	struct str texts[] = {text, STR("not good"), {text.p, text.n / 2}};
	double results[3], probabilities[9];
	int labels[3];
	struct arena arena;
	struct err err;
	size_t bad = 0;

	arena_init(&arena, 1 << 24);
	struct model_batch batch = {.n = 3,
				    .texts = texts,
				    .results = results,
				    .labels = labels,
				    .probabilities = probabilities,
				    .arena = &arena};
	enum status status = text_classify(classifier, &batch, classes_n == 2, &bad, &err);
	demand(status == STATUS_OK || bad < 3, "an error names a text");
	for (int i = 0; status == STATUS_OK && i < 3; i++) {
		double sum = 0.0;
		for (int k = 0; k < classes_n; k++)
			sum += probabilities[i * classes_n + k];
		demand(fabs(sum - 1.0) < 1e-9, "probabilities sum to 1");
		demand(labels[i] >= 0 && labels[i] < classes_n, "a label is a class");
		demand(isfinite(results[i]), "a result is finite");
	}
	arena_release(&arena);
}

static void try_file(struct str file, struct str text, int classes_n)
{
	struct text_spec spec, again;
	struct text_classifier *classifier;
	struct arena arena;
	struct buf out;
	struct err err = {0};

	arena_init(&arena, 1 << 26);
	buf_init(&out, &arena);
	if (text_read(&spec, file, classes_n, &arena, &err) == STATUS_OK) {
		text_write(&spec, &out);
		demand(text_read(&again, buf_view(&out), classes_n, &arena, &err) == STATUS_OK,
		       "what is written is read");
		demand(again.terms_n == spec.terms_n && memcmp(again.idf, spec.idf, spec.terms_n * sizeof(double)) == 0,
		       "numbers read back as the same");
		if (text_new(&classifier, &spec, &err) == STATUS_OK)
			ask(classifier, text, classes_n);
		text_free(classifier);
	}
	demand(err.status == STATUS_OK || err.text[0], "an error has a sentence");
	arena_release(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text = {(const char *)data, size}, file = str_cut(&text, '\0');
	char *tokens = malloc(text_tokens_room(text.n));

	demand(tokens != NULL, "there is memory");
	size_t n = text_tokens_write(text, tokens);
	demand(n <= text_tokens_room(text.n), "tokens have room");
	demand(str_is_utf8((struct str){tokens, n}), "tokens are UTF-8");
	free(tokens);
	ask(good(), text, 2);
	try_file(file, text, 2);
	try_file(file, text, 3);
	return 0;
}
