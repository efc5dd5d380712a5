/* What the parts of the move share: move.c (a run), move_target.c (whether the target may be written),
 * move_predictions.c (the tables that grow), move_indexes.c (their indexes), move_tables.c (the others), move_rows.c
 * (what all of them do). */
#ifndef APPCORE_STORE_MOVE_IMPL_H
#define APPCORE_STORE_MOVE_IMPL_H

#include "store/move.h"
#include "store/moves.h"

enum { MOVE_TURN_WAIT_MS = 10 * 1000 };

/* The SQL of a table, made of its columns; the connections know it by its address. */
struct move_texts {
	char page[1024], all[1024], clear[64], count[64], count_after[96], delete_range[128], last_key[96];
	const char *columns[TABLES_COLUMNS_MAX];
};

struct mover {
	const struct move_options *options;
	struct move_result *result;
	struct db *source, *target;
	char run[MOVES_ID_BYTES];
	struct move_texts *texts; /* one per table */
	int growing;              /* the table that grows which is being carried */
	struct move_progress progress;
	int64_t steps; /* grows with everything that was got done and lasts: what was only read has to be read again */
	bool deep;     /* read everything again */
	int page_rows;
};

/* --- move_rows.c --- */

bool move_is_stopped(const struct mover *m);
enum status move_check_stop(const struct mover *m, struct err *err);

void move_show(struct mover *m);
void move_note_phase(struct mover *m, enum move_phase phase, const char *table, int64_t total);
/* One row more was read or written. */
enum status move_note_row(struct mover *m, struct err *err);

/* The table that grows which is being carried. */
const struct table *move_growing(const struct mover *m, const struct move_texts **texts);
void move_write_texts(struct move_texts *texts, const struct table *table, int page_rows);

/* The number that a query gives; `after` (may be NULL) is its parameter. */
enum status move_count(struct db *db, const char *sql, const char *after, int64_t *n, struct err *err);

/* A write transaction in the target, in a turn, while this is the newest run. `status` is what became of it. */
enum status move_begin(struct mover *m, struct err *err);
enum status move_end(struct mover *m, enum status status, struct err *err);

/* Called for each row; false in *go_on ends the reading before that row. */
typedef enum status move_row(void *arg, const struct db_value *values, bool *go_on, struct err *err);

struct move_page {
	int rows;
	bool go_on;
	char last[MOVES_KEY_BYTES]; /* the last key that was taken; where nothing was, untouched */
};

/* The rows that a statement gives, those between `first` (exclusive) and `last` when it is one of pages. */
enum status move_read_rows(struct db *db, const struct table *table, const char *sql, const char *first,
			   const char *last, move_row *fn, void *arg, struct move_page *page, struct err *err);

/* The largest key of table number i; empty when it has no row. */
enum status move_last_key(struct mover *m, struct db *db, int i, char key[static MOVES_KEY_BYTES], struct err *err);

/* The sum of a range of the table that grows, and of all of table number i. */
enum status move_sum_range(struct mover *m, struct db *db, const char *first, const char *last, struct table_sum *out,
			   struct err *err);
enum status move_sum_table(struct mover *m, struct db *db, int i, struct table_sum *out, struct err *err);

/* --- the other files --- */

/* Opens both databases, and makes sure that the target may be written: *first, nothing has been carried yet. `id` is
 * the source's. */
enum status move_open(struct mover *m, bool *first, char id[static MOVES_ID_BYTES], struct err *err);

enum status move_growing_table(struct mover *m, int i, struct move_table *out, struct err *err);
enum status move_build_indexes(struct mover *m, const char *table, struct err *err);
enum status move_small_table(struct mover *m, int i, struct move_table *out, struct err *err);

#endif
