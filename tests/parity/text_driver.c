/* What appcore makes of texts, for comparison with scikit-learn (text.py).
 *   text_driver tokens                        the tokens of each text, joined with blanks
 *   text_driver argsort                       the argsort of each text's numbers (integers with blanks between them)
 *   text_driver classify MODEL_FILE CLASSES   the probabilities of each text, all in one batch
 *   text_driver bench MODEL_FILE CLASSES      nanoseconds a text: one at a time, and all in one batch; best of many
 * Texts come on standard input, each ended by a NUL byte; answers go to standard output, a line each. */
#include "base/clock.h"
#include "model/text.h"
#include "model/text_tokens.h"
#include "model/text_train_impl.h"

#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 25 };

struct texts {
	struct str *all;
	size_t n;
};

static void die(const char *what)
{
	fprintf(stderr, "text_driver: %s\n", what);
	exit(1);
}

static struct str read_all(FILE *file)
{
	struct buf buf;
	size_t n = 1;

	buf_init_heap(&buf);
	while (n > 0) {
		if (!buf_reserve(&buf, 1 << 16))
			die("out of memory");
		n = fread(buf.p + buf.n, 1, buf.cap - buf.n, file);
		buf.n += n;
	}
	return buf_view(&buf);
}

static struct texts split(struct str input)
{
	struct texts texts = {.all = malloc((input.n + 1) * sizeof(struct str))};

	if (!texts.all)
		die("out of memory");
	while (input.n > 0)
		texts.all[texts.n++] = str_cut(&input, '\0');
	return texts;
}

static void print_tokens(const struct texts *texts)
{
	for (size_t i = 0; i < texts->n; i++) {
		char *out = malloc(text_tokens_room(texts->all[i].n));
		if (!out)
			die("out of memory");
		fwrite(out, 1, text_tokens_write(texts->all[i], out), stdout);
		putchar('\n');
		free(out);
	}
}

static void print_argsort(const struct texts *texts)
{
	for (size_t i = 0; i < texts->n; i++) {
		struct str rest = texts->all[i];
		double *keys = malloc((rest.n + 1) * sizeof(*keys));
		uint32_t *order = malloc((rest.n + 1) * sizeof(*order));
		size_t n = 0;
		if (!keys || !order)
			die("out of memory");
		for (; rest.n > 0; n++) {
			keys[n] = strtod(str_cut(&rest, ' ').p, NULL);
			order[n] = (uint32_t)n;
		}
		text_argsort(keys, order, n);
		for (size_t k = 0; k < n; k++)
			printf("%u%c", order[k], k + 1 < n ? ' ' : '\n');
		free(keys);
		free(order);
	}
}

static struct text_classifier *load(const char *path, int classes_n)
{
	struct text_classifier *classifier;
	struct text_spec spec;
	struct arena arena;
	struct err err = {0};
	FILE *file = fopen(path, "rb");

	if (!file)
		die("the model can't be opened");
	struct str bytes = read_all(file);
	fclose(file);
	arena_init(&arena, SIZE_MAX / 4);
	uint64_t start = clock_mono_ns();
	if (text_read(&spec, bytes, classes_n, &arena, &err) != STATUS_OK ||
	    text_new(&classifier, &spec, &err) != STATUS_OK)
		die(err.text);
	fprintf(stderr, "loaded %zu bytes in %.2f ms, %zu bytes of memory\n", bytes.n,
		(double)(clock_mono_ns() - start) / 1e6, text_bytes(classifier));
	arena_release(&arena);
	free((char *)(uintptr_t)bytes.p);
	return classifier;
}

static void ask(const struct text_classifier *classifier, const struct model_batch *batch)
{
	struct err err = {0};
	size_t bad = 0;

	if (text_classify(classifier, batch, true, &bad, &err) != STATUS_OK)
		die(err.text);
}

static void print_probabilities(const struct model_batch *batch, size_t classes_n)
{
	for (size_t i = 0; i < batch->n; i++)
		for (size_t k = 0; k < classes_n; k++)
			printf("%.17g%c", batch->probabilities[i * classes_n + k], k + 1 < classes_n ? ' ' : '\n');
}

static void bench(const struct text_classifier *classifier, const struct model_batch *all)
{
	double one = 1e300, batch = 1e300, n = (double)all->n;

	for (int round = 0; round < ROUNDS; round++) {
		uint64_t start = clock_mono_ns();
		for (size_t i = 0; i < all->n; i++) {
			struct model_batch single = *all;
			single.n = 1;
			single.texts = all->texts + i;
			ask(classifier, &single);
			arena_reset(all->arena);
		}
		uint64_t middle = clock_mono_ns();
		ask(classifier, all);
		arena_reset(all->arena);
		double a = (double)(middle - start) / n, b = (double)(clock_mono_ns() - middle) / n;
		one = a < one ? a : one;
		batch = b < batch ? b : batch;
	}
	printf("%.1f %.1f\n", one, batch);
}

int main(int argc, char **argv)
{
	struct texts texts = split(read_all(stdin));
	struct arena arena;

	if (argc == 2 && strcmp(argv[1], "tokens") == 0) {
		print_tokens(&texts);
		return 0;
	}
	if (argc == 2 && strcmp(argv[1], "argsort") == 0) {
		print_argsort(&texts);
		return 0;
	}
	if (argc != 4)
		die("see the top of text_driver.c");
	size_t classes_n = (size_t)atoi(argv[3]);
	struct text_classifier *classifier = load(argv[2], (int)classes_n);
	arena_init(&arena, SIZE_MAX / 4);
	struct model_batch batch = {.n = texts.n, .texts = texts.all, .arena = &arena};
	batch.results = calloc(texts.n + 1, sizeof(double));
	batch.labels = calloc(texts.n + 1, sizeof(int));
	batch.probabilities = calloc(texts.n * classes_n + 1, sizeof(double));
	if (!batch.results || !batch.labels || !batch.probabilities)
		die("out of memory");
	if (strcmp(argv[1], "bench") == 0) {
		bench(classifier, &batch);
		return 0;
	}
	ask(classifier, &batch);
	print_probabilities(&batch, classes_n);
	return 0;
}
