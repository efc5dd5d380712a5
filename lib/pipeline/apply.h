/* What a pipeline makes of records: names are looked up, types read, transformations run, the model asked, and the
 * result written as JSON; or a refusal that says which field, which value and why. Without side effects, from any
 * thread: each has an applier of its own. */
#ifndef APPCORE_PIPELINE_APPLY_H
#define APPCORE_PIPELINE_APPLY_H

#include "base/buf.h"
#include "model/set.h"
#include "pipeline/cell.h"
#include "pipeline/definition.h"

/* What became of a record; lives in the arena of the call. */
struct pipeline_row {
	int64_t line;
	struct str key;    /* empty: the pipeline has none, or the record lacks it */
	struct str data;   /* a JSON object: the processed record; of a refused one what it was */
	struct str search; /* what the full-text index gets, with blanks between; empty: nothing */
	double seconds;    /* that it took */
	enum refusal refusal;
	struct str field, value, message; /* of a refusal; value is cut to 200 bytes at a character's border */
};

struct pipeline_applier; /* caches where columns are; memory of a thread */

struct pipeline_applier *pipeline_applier_new(const struct pipeline *pipeline, struct model_set *models)
	__attribute__((nonnull(1), warn_unused_result));      /* NULL: no memory */
void pipeline_applier_free(struct pipeline_applier *applier); /* NULL is allowed */

/* rows[i] is what became of records[i]. Texts live in the arena, or borrow from the records. Errors: STATUS_NO_MEMORY;
 * STATUS_UNAVAILABLE (the model is not loaded); STATUS_INVALID (it takes other inputs than the pipeline gives it). */
enum status pipeline_apply(struct pipeline_applier *applier, const struct raw_record *records, size_t n,
			   struct arena *arena, struct pipeline_row *rows, struct err *err)
	__attribute__((nonnull(1, 2, 4, 5), warn_unused_result));

#endif
