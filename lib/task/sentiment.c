/* From a JSON value to a text that may be analysed, and from texts to what the model says of them. */
#include "task/sentiment.h"

#include <stdio.h>

bool sentiment_can(const struct model *model)
{
	return (model->accepts & MODEL_TEXT) && model->classes_n > 0;
}

static size_t count_characters(struct str text)
{
	size_t n = 0;

	for (size_t i = 0; i < text.n; i++)
		n += ((unsigned char)text.p[i] & 0xc0) != 0x80;
	return n;
}

/* PostgreSQL has no text with a NUL, and what one engine refuses the other does not take either. */
bool sentiment_read_text(struct json_value value, struct arena *arena, struct str *text, struct sentiment_fault *fault)
{
	*text = (struct str){0};
	*fault = (struct sentiment_fault){0};
	if (value.type != JSON_STRING) {
		*fault = (struct sentiment_fault){.type = "string_type", .msg = "Input should be a valid string"};
		return false;
	}
	/* Twelve bytes are the longest that stand for one character: two escapes. */
	bool too_long = value.text.n > (size_t)12 * SENTIMENT_TEXT_MAX + 2;
	if (!too_long)
		*text = json_string(value, arena);
	if (!too_long && !text->p)
		return false;
	if (too_long || (text->n > SENTIMENT_TEXT_MAX && count_characters(*text) > SENTIMENT_TEXT_MAX))
		*fault = (struct sentiment_fault){.type = "string_too_long",
						  .msg = "String should have at most 40000 characters",
						  .ctx = "{\"max_length\":40000}"};
	else if (memchr(text->p, '\0', text->n))
		*fault = (struct sentiment_fault){.type = "value_error",
						  .msg = "Value error, a text can't hold the character U+0000",
						  .ctx = "{\"error\":{}}"};
	return !fault->type;
}
_Static_assert(SENTIMENT_TEXT_MAX == 40000, "the sentences above");

enum status sentiment_classify(const struct model *model, const struct str *texts, size_t n, struct arena *arena,
			       struct sentiment_says *says, struct err *err)
{
	size_t classes = (size_t)model->classes_n, bad;
	struct model_batch batch = {.n = n, .texts = texts, .arena = arena};

	batch.results = arena_alloc(arena, n * sizeof(double));
	batch.labels = arena_alloc(arena, n * sizeof(int));
	batch.probabilities = arena_alloc(arena, n * classes * sizeof(double));
	if (!batch.results || !batch.labels || !batch.probabilities)
		return err_set(err, STATUS_NO_MEMORY, "Out of memory for the analysis.");
	enum status status = model_predict(model, &batch, &bad, err);
	for (size_t i = 0; status == STATUS_OK && i < n; i++) {
		int label = batch.labels[i];
		says[i].sentiment = model_class(model, label);
		says[i].confidence = batch.probabilities[i * classes + (size_t)label];
	}
	return status;
}

void sentiment_format_version(const struct model *model, char out[static SENTIMENT_VERSION_BYTES])
{
	snprintf(out, SENTIMENT_VERSION_BYTES, "%s/%s", model->name, model->version);
}
