/* What the handlers of /api/v1/sentiment share. */
#ifndef APPCORE_HANDLERS_SENTIMENT_H
#define APPCORE_HANDLERS_SENTIMENT_H

#include "http/invalid.h"
#include "store/tasks.h"
#include "task/sentiment.h"

/* The version that SENTIMENT_MODEL's route gives this request. NULL: answered, 503. Borrows from the request's set. */
const struct model_version *sentiment_pick(struct request *req) __attribute__((nonnull, warn_unused_result));

/* Adds what is wrong with a text of the body: under `field`, at `index` of a list (-1: none). */
void sentiment_add_fault(struct invalid *invalid, struct request *req, const struct sentiment_fault *fault,
			 const char *field, int64_t index, struct json_value value) __attribute__((nonnull));

/* Appends "text":…,"sentiment":…,"confidence":… */
void sentiment_put(struct buf *out, struct str text, struct str sentiment, double confidence) __attribute__((nonnull));

#endif
