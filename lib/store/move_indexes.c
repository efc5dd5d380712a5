/* The indexes of weeks that were loaded: by two threads with a connection each, since an index is a sort, which takes
 * one processor of the server's. */
#include "store/move_impl.h"

#include "store/predictions.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { BUILDERS = 2, INDEXES_MAX = 256 };

struct building {
	const struct move_options *options;
	pthread_mutex_t lock;
	char (*sql)[PREDICTIONS_INDEX_BYTES];
	int n, next, done;  /* guarded by lock, as are these: */
	enum status status; /* of the first that failed */
	struct err err;
};

/* Claims the next statement; NULL: none is left, or one has failed. `finished`: the one before has been done. */
static const char *claim(struct building *b, bool finished, enum status status, const struct err *err)
{
	pthread_mutex_lock(&b->lock);
	b->done += finished && status == STATUS_OK;
	if (status != STATUS_OK && b->status == STATUS_OK) {
		b->status = status;
		b->err = *err;
	}
	bool stopped = b->options->stop && *b->options->stop;
	const char *sql = b->status == STATUS_OK && !stopped && b->next < b->n ? b->sql[b->next++] : NULL;
	pthread_mutex_unlock(&b->lock);
	return sql;
}

/* Reads the list and writes to the target; ends when the list does, or when a statement failed. */
static void *build(void *arg)
{
	struct building *b = arg;
	struct err err = {0};
	struct db *db;

	enum status status = db_open(&db, b->options->to, DB_WRITE, &err);
	for (const char *sql = claim(b, false, status, &err); sql; sql = claim(b, true, status, &err))
		status = db_script(db, sql, &err);
	db_close(db);
	return NULL;
}

static enum status build_all(struct mover *m, struct building *b, struct err *err)
{
	struct timespec nap = {.tv_nsec = 20 * 1000000L};
	pthread_t threads[BUILDERS];
	int started = 0;

	while (started < BUILDERS && pthread_create(&threads[started], NULL, build, b) == 0)
		started++;
	if (started == 0)
		return err_set(err, STATUS_NO_MEMORY, "no thread can be started");
	for (bool ended = false; !ended;) {
		nanosleep(&nap, NULL);
		pthread_mutex_lock(&b->lock);
		ended = b->done == b->n || b->status != STATUS_OK || move_is_stopped(m);
		m->progress.rows = b->done;
		pthread_mutex_unlock(&b->lock);
		move_show(m);
	}
	for (int i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	m->steps += b->done;
	return b->status == STATUS_OK ? move_check_stop(m, err) : err_set(err, b->status, "%s", b->err.text);
}

enum status move_build_indexes(struct mover *m, const char *table, struct err *err)
{
	struct building b = {.options = m->options, .lock = PTHREAD_MUTEX_INITIALIZER};
	enum status status;

	b.sql = calloc(INDEXES_MAX, sizeof(*b.sql));
	if (!b.sql)
		return err_set(err, STATUS_NO_MEMORY, "no memory for the list of indexes");
	do {
		b.next = b.done = 0;
		status = predictions_load_indexes(m->target, b.sql, INDEXES_MAX, &b.n, err);
		if (status == STATUS_OK && b.n > 0) {
			move_note_phase(m, MOVE_INDEXING, table, b.n);
			status = build_all(m, &b, err);
		}
	} while (status == STATUS_OK && b.n == INDEXES_MAX);
	free(b.sql);
	return status;
}
