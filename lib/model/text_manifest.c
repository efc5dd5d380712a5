/* Writing the manifest: one member a line, for people to read. */
#include "model/text_manifest.h"

#include <sodium.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/json.h"
#include "model/manifest.h"

static void put_text(struct buf *out, const char *name, struct str value)
{
	if (value.n == 0)
		return;
	buf_fmt(out, ",\n  \"%s\": ", name);
	json_put_string(out, value);
}

static void put_figure(struct buf *out, const char *name, double value)
{
	buf_fmt(out, ", \"%s\": ", name);
	json_put_double(out, value);
}

static void put_quality(const struct text_about *about, struct buf *out)
{
	const struct text_report *report = about->report;

	buf_fmt(out, ",\n  \"quality\": {\"trained_on\": %zu", about->trained_n);
	if (report) {
		buf_fmt(out, ", \"held_out\": %zu", report->n);
		put_figure(out, "accuracy", report->accuracy);
		put_figure(out, "macro_precision", report->macro.precision);
		put_figure(out, "macro_recall", report->macro.recall);
		put_figure(out, "macro_f1", report->macro.f1);
	}
	if (report && about->report_trained_n != about->trained_n)
		buf_fmt(out,
			", \"note\": \"The figures are those of a model trained on the other %zu samples; this one was "
			"then "
			"trained in the same way on all %zu.\"",
			about->report_trained_n, about->trained_n);
	buf_char(out, '}');
}

static void put_output(const struct text_about *about, const struct str *classes, int classes_n, struct buf *out)
{
	buf_fmt(out, ",\n  \"output\": {\"type\": \"%s\", \"name\": ", classes_n == 2 ? "binary" : "multiclass");
	json_put_string(out, about->output);
	buf_str(out, STR(", \"classes\": ["));
	for (int k = 0; k < classes_n; k++) {
		if (k > 0)
			buf_str(out, STR(", "));
		json_put_string(out, classes[k]);
	}
	buf_str(out, STR("]}"));
}

static enum status put_examples(const struct text_about *about, const struct text_classifier *classifier,
				const struct str *classes, int classes_n, struct arena *arena, struct buf *out,
				struct err *err)
{
	size_t n = about->examples_n, places = (size_t)classes_n, bad;
	double *results = arena_alloc(arena, n * sizeof(double));
	double *probabilities = arena_alloc(arena, n * places * sizeof(double));
	int *labels = arena_alloc(arena, n * sizeof(int));
	struct model_batch batch = {.n = n,
				    .texts = about->examples,
				    .results = results,
				    .labels = labels,
				    .probabilities = probabilities,
				    .arena = arena};

	if (!results || !probabilities || !labels)
		return err_set(err, STATUS_NO_MEMORY, "There is not enough memory for the examples.");
	enum status status = n ? text_classify(classifier, &batch, classes_n == 2, &bad, err) : STATUS_OK;
	if (status != STATUS_OK)
		return status;
	buf_str(out, STR(",\n  \"examples\": ["));
	for (size_t i = 0; i < n; i++) {
		buf_str(out, i ? STR(",\n    {\"input\": ") : STR("\n    {\"input\": "));
		json_put_string(out, about->examples[i]);
		put_figure(out, "result", results[i]);
		buf_str(out, STR(", \"label\": "));
		json_put_string(out, classes[labels[i]]);
		for (size_t k = 0; k < places; k++) {
			buf_str(out, k ? STR(", ") : STR(", \"probabilities\": ["));
			json_put_double(out, probabilities[i * places + k]);
		}
		buf_str(out, STR("], \"tolerance\": 1e-9}"));
	}
	buf_str(out, STR("]"));
	return STATUS_OK;
}

enum status text_manifest_put(const struct text_about *about, const struct text_classifier *classifier,
			      const struct str *classes, int classes_n, struct arena *arena, struct buf *out,
			      struct err *err)
{
	char hash_text[MODEL_HASH_BYTES], created[CLOCK_ISO_BYTES];
	uint8_t hash[32];

	crypto_generichash(hash, sizeof(hash), (const uint8_t *)about->bytes.p, about->bytes.n, NULL, 0);
	hex_format(hash, sizeof(hash), hash_text);
	clock_format_iso(about->created_us, created);
	buf_fmt(out, "{\n  \"appcore\": %d,\n  \"kind\": \"text\"", MANIFEST_FORMAT);
	put_text(out, "file", about->file);
	put_text(out, "hash", str_of(hash_text));
	put_text(out, "description", about->description);
	put_text(out, "created_at", str_of(created));
	put_text(out, "source", about->source);
	put_text(out, "licence", about->licence);
	buf_str(out, STR(",\n  \"inputs\": [{\"name\": \"text\", \"type\": \"text\"}]"));
	put_output(about, classes, classes_n, out);
	put_quality(about, out);
	enum status status = put_examples(about, classifier, classes, classes_n, arena, out, err);
	buf_str(out, STR("\n}\n"));
	if (status == STATUS_OK && out->failed)
		status = err_set(err, STATUS_NO_MEMORY, "There is not enough memory for the manifest.");
	return status;
}
