/* Instances of a body: from JSON to the rows of a batch, and what is wrong with them in the form of a 422. */
#ifndef APPCORE_HANDLERS_INSTANCES_H
#define APPCORE_HANDLERS_INSTANCES_H

#include "handlers/batch.h"
#include "http/invalid.h"

/* The body as a JSON object. False: answered (missing, no JSON, no object). */
bool instances_read_root(struct request *req, struct json_value *root) __attribute__((nonnull, warn_unused_result));

/* Reads row i of the batch from a value (instance.h) that stands in the body under `field`, with `path` behind it
 * (JSON texts, "3"; may be empty). STATUS_INVALID: what is wrong was added. STATUS_NO_MEMORY. */
enum status instances_read(struct batch *batch, size_t i, struct json_value value, const char *field, struct str path,
			   struct invalid *invalid) __attribute__((nonnull, warn_unused_result));

/* How many elements a checked array has; of anything else 0. */
size_t instances_count(struct json_value list);

#endif
