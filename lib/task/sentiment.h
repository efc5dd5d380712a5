/* Sentiment analysis: what the answer to one text and the batches of the background share. The model is a classifier of
 * texts; its classes are the sentiments ("negative", "positive").
 *
 * A batch is a task of the kind "sentiment_batch". Its texts lie in task_parts as JSON arrays of strings; its payload
 * says how many texts each part holds and which version was chosen when it came:
 *
 *   {"version":"1","counts":[1810,1795,340]} */
#ifndef APPCORE_TASK_SENTIMENT_H
#define APPCORE_TASK_SENTIMENT_H

#include "base/json.h"
#include "model/set.h"
#include "store/sentiments.h"

/* A text has at most so many characters: as JSON, each takes six bytes at the most, so any text fits a part. */
enum { SENTIMENT_TEXT_MAX = 40000, SENTIMENT_BATCH_MAX = 10000000 };

#define SENTIMENT_KIND_BATCH "sentiment_batch"
#define SENTIMENT_KIND_ONE   "sentiment"

/* Whether a model can say it: it takes texts and has classes. */
bool sentiment_can(const struct model *model) __attribute__((nonnull));

/* Why a value is no text for an analysis, or NULL; *text is the text then (in the arena, or borrowed). */
struct sentiment_fault {
	const char *type, *msg, *ctx; /* of a 422; ctx is JSON or NULL; type NULL: out of memory */
};
bool sentiment_read_text(struct json_value value, struct arena *arena, struct str *text, struct sentiment_fault *fault)
	__attribute__((nonnull, warn_unused_result));

/* Of n texts: the likeliest class and its probability. What the call needs meanwhile lies in the arena. */
struct sentiment_says {
	struct str sentiment; /* borrows from the model */
	double confidence;
};
enum status sentiment_classify(const struct model *model, const struct str *texts, size_t n, struct arena *arena,
			       struct sentiment_says *says, struct err *err)
	__attribute__((nonnull(1, 2, 4, 5), warn_unused_result));

/* "sentiment/1" */
void sentiment_format_version(const struct model *model, char out[static SENTIMENT_VERSION_BYTES])
	__attribute__((nonnull));

#endif
