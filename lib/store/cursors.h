/* Table data_cursors: how far the APIs of pipelines have been read, and which of them are not asked for a while. All
 * that writes wants a write transaction. */
#ifndef APPCORE_STORE_CURSORS_H
#define APPCORE_STORE_CURSORS_H

#include "base/arena.h"
#include "store/db.h"

struct cursor_row {
	int64_t pipeline_id;
	struct str source;              /* what `since` is of: another one begins anew */
	struct str request;             /* what etag and last_modified are of */
	struct str etag, last_modified; /* empty: none */
	struct str since;               /* the greatest one that is stored; empty: none */
	int64_t failures;               /* in a row */
	int64_t open_until_us;
};

/* Texts in the arena. Without a row all but the pipeline's number is empty. */
enum status cursors_find(struct db *db, int64_t pipeline_id, struct arena *arena, struct cursor_row *out,
			 struct err *err) __attribute__((nonnull(1, 3, 4), warn_unused_result));
enum status cursors_save(struct db *db, const struct cursor_row *row, int64_t now_us, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* The circuit breaker: after CURSORS_FAILURES failures in a row nobody is asked for CURSORS_OPEN_US; then one may try,
 * whose success closes it and whose failure opens it again. */
enum { CURSORS_FAILURES = 5, CURSORS_OPEN_US = 30 * 1000000 };
enum cursor_circuit { CURSOR_CLOSED, CURSOR_OPEN, CURSOR_HALF_OPEN };

enum cursor_circuit cursors_circuit(const struct cursor_row *row, int64_t now_us) __attribute__((nonnull));
/* Changes the row only. */
void cursors_note_failure(struct cursor_row *row, int64_t now_us) __attribute__((nonnull));
void cursors_note_success(struct cursor_row *row) __attribute__((nonnull));

#endif
