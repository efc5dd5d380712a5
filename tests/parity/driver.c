/* driver FOLDER: loads FOLDER/manifest.json and the file that it names, reads instances (a line of JSON each) from the
 * standard input, and writes a line of JSON for each: {"result": …, "label": …, "probabilities": […]}, of XGBoost's
 * models with "margins". All rows go through the model twice: one by one and as one batch, which must agree. */
#include "model/instance.h"
#include "model/kinds.h"
#include "model/xgboost_impl.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

static _Noreturn void fail(const char *what, const char *why)
{
	fprintf(stderr, "driver: %s: %s\n", what, why);
	exit(1);
}

static struct buf read_all(FILE *file, const char *name)
{
	struct buf buf;
	size_t n;

	if (!file)
		fail(name, "can't be opened");
	buf_init_heap(&buf);
	do {
		if (!buf_reserve(&buf, 1 << 16))
			fail(name, "no memory");
		n = fread(buf.p + buf.n, 1, 1 << 16, file);
		buf.n += n;
	} while (n > 0);
	return buf;
}

static struct buf read_file(const char *folder, struct str name)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%.*s", folder, STR_ARG(name));
	FILE *file = fopen(path, "rb");
	struct buf buf = read_all(file, path);
	fclose(file);
	return buf;
}

static struct model *load(const char *folder)
{
	struct buf text = read_file(folder, STR("manifest.json"));
	struct manifest *manifest;
	struct model *model;
	struct err err = {0};

	if (manifest_parse(&manifest, buf_view(&text), &err) != STATUS_OK)
		fail(folder, err.text);
	struct buf file = read_file(folder, manifest->file);
	if (kind_load_model(&model, STR("parity"), STR("1"), manifest, buf_view(&file), &err) != STATUS_OK)
		fail(folder, err.text);
	buf_release(&text);
	buf_release(&file);
	return model;
}

struct rows {
	double *values;
	struct str *texts;
	size_t n, width;
};

static void read_rows(const struct model *model, struct str lines, struct rows *rows, struct arena *arena)
{
	size_t most = 1;

	for (size_t i = 0; i < lines.n; i++)
		most += lines.p[i] == '\n';
	rows->width = (size_t)model->inputs_n;
	rows->values = calloc(most * (rows->width + 1), sizeof(double));
	rows->texts = calloc(most, sizeof(*rows->texts));
	if (!rows->values || !rows->texts)
		fail("rows", "no memory");
	while (lines.n > 0) {
		struct str line = str_cut(&lines, '\n');
		struct json_value value;
		struct json_fault fault;
		struct instance_flags flags = {0};
		struct instance_fault why = {0};
		size_t width = rows->width;
		if (line.n == 0)
			continue;
		if (!json_check(line, JSON_MAX_DEPTH, &value, &fault))
			fail("rows", fault.reason);
		if (instance_read(model, value, rows->values + rows->n * rows->width, &width, &rows->texts[rows->n],
				  &flags, arena, &why) != STATUS_OK)
			fail("rows", why.msg);
		rows->n++;
	}
}

struct answers {
	double *results, *probabilities;
	int *labels;
};

static void predict(const struct model *model, const struct rows *rows, size_t first, size_t n, struct answers *answers)
{
	const size_t classes = (size_t)model->classes_n;
	bool text = model->accepts & MODEL_TEXT;
	struct arena arena;
	struct err err = {0};
	size_t bad;

	arena_init(&arena, SIZE_MAX);
	struct model_batch batch = {
		.n = n,
		.values = text ? NULL : rows->values + first * rows->width,
		.width = text ? 0 : rows->width,
		.texts = text ? rows->texts + first : NULL,
		.results = answers->results + first,
		.labels = classes > 0 ? answers->labels + first : NULL,
		.probabilities = classes > 0 ? answers->probabilities + first * classes : NULL,
		.arena = &arena,
	};
	if (model_predict(model, &batch, &bad, &err) != STATUS_OK)
		fail("predict", err.text);
	arena_release(&arena);
}

static void new_answers(struct answers *answers, const struct model *model, size_t n)
{
	answers->results = calloc(n, sizeof(double));
	answers->labels = calloc(n, sizeof(int));
	answers->probabilities = calloc(n * (size_t)(model->classes_n + 1), sizeof(double));
	if (!answers->results || !answers->labels || !answers->probabilities)
		fail("answers", "no memory");
}

static void put_numbers(struct buf *out, const char *name, const double *values, size_t n)
{
	buf_fmt(out, ", \"%s\": [", name);
	for (size_t i = 0; i < n; i++) {
		buf_str(out, i > 0 ? STR(", ") : STR(""));
		json_put_double(out, values[i]);
	}
	buf_char(out, ']');
}

static void put_margins(struct buf *out, const struct model *model, const struct rows *rows, size_t row)
{
	size_t n = model->manifest->output == MANIFEST_MULTICLASS ? (size_t)model->classes_n : 1;
	float margins[MODEL_CLASSES_MAX];
	double values[MODEL_CLASSES_MAX];
	struct arena arena;

	arena_init(&arena, SIZE_MAX);
	if (xgboost_margins(model, rows->values + row * rows->width, 1, margins, &arena) != STATUS_OK)
		fail("margins", "no memory");
	arena_release(&arena);
	for (size_t i = 0; i < n; i++)
		values[i] = (double)margins[i];
	put_numbers(out, "margins", values, n);
}

int main(int argc, char **argv)
{
	struct rows rows = {0};
	struct answers together, alone;
	struct arena arena;
	struct buf out;

	if (argc != 2 || sodium_init() < 0)
		fail("usage", "driver FOLDER < ROWS");
	struct model *model = load(argv[1]);
	struct buf lines = read_all(stdin, "standard input");
	const size_t classes = (size_t)model->classes_n;
	arena_init(&arena, SIZE_MAX);
	buf_init_heap(&out);
	read_rows(model, buf_view(&lines), &rows, &arena);
	new_answers(&together, model, rows.n + 1);
	new_answers(&alone, model, rows.n + 1);
	if (rows.n > 0)
		predict(model, &rows, 0, rows.n, &together);
	for (size_t i = 0; i < rows.n; i++) {
		predict(model, &rows, i, 1, &alone);
		if (memcmp(&together.results[i], &alone.results[i], sizeof(double)) != 0 ||
		    together.labels[i] != alone.labels[i] ||
		    memcmp(&together.probabilities[i * classes], &alone.probabilities[i * classes],
			   classes * sizeof(double)) != 0)
			fail("predict", "a row alone and the same row in a batch differ");
		buf_str(&out, STR("{\"result\": "));
		json_put_double(&out, together.results[i]);
		if (classes > 0) {
			buf_fmt(&out, ", \"label\": %d", together.labels[i]);
			put_numbers(&out, "probabilities", &together.probabilities[i * classes], classes);
		}
		if (str_eq(model->manifest->kind, STR("xgboost")))
			put_margins(&out, model, &rows, i);
		buf_str(&out, STR("}\n"));
	}
	if (out.failed || fwrite(out.p, 1, out.n, stdout) != out.n)
		fail("standard output", "can't be written");
	model_drop(model);
	return 0;
}
