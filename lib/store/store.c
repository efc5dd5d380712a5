/* The store of one process: a read-only connection for the event thread (on PostgreSQL: threads that read) and a commit
 * thread that does all writes.
 *
 * The queue is a list under one mutex. An op leaves it in one of two ways: the commit thread takes it when it has the
 * turn and an open transaction, or store_expire() takes it because it waited too long. So an op that was answered
 * "busy" was never run, however long another process kept the turn. */
#include "store/store_impl.h"

#include "base/clock.h"

#include <stdlib.h>
#include <time.h>

enum { DEADLINE_MS = 5000 };

static const char *const FAILURE_NAMES[] = {
	[FAILURE_BUSY] = "busy",
	[FAILURE_UNAVAILABLE] = "unavailable",
	[FAILURE_UNKNOWN] = "unknown_outcome",
	[FAILURE_OTHER] = "internal",
};
_Static_assert(sizeof(FAILURE_NAMES) / sizeof(FAILURE_NAMES[0]) == FAILURE__MAX, "a name per failure");

const struct err STORE_UNKNOWN = {STATUS_UNKNOWN_OUTCOME, "the connection was lost while it was committed"};

/* --- the queue --- */

void op_list_init(struct op_list *list)
{
	list->first = NULL;
	list->last = &list->first;
	list->n = 0;
}

void op_list_append(struct op_list *list, struct store_op *op)
{
	op->next = NULL;
	*list->last = op;
	list->last = &op->next;
	list->n++;
}

struct store_op *op_list_pop(struct op_list *list)
{
	struct store_op *op = list->first;

	if (!op)
		return NULL;
	list->first = op->next;
	if (!list->first)
		list->last = &list->first;
	list->n--;
	op->next = NULL;
	return op;
}

void store_open_mail(struct mail *mail)
{
	struct store_op *op = (struct store_op *)((char *)mail - offsetof(struct store_op, mail));

	op->done(op);
}

/* All completions with one wake-up. The ops are their owner's from here on. */
void store_complete(struct store *store, struct op_list *list)
{
	struct mail *chain = NULL, **last = &chain;

	for (struct store_op *op = list->first; op; op = op->next) {
		op->mail.open = store_open_mail;
		op->mail.next = NULL;
		*last = &op->mail;
		last = &op->mail.next;
	}
	op_list_init(list);
	if (chain)
		mailbox_send(store->mailbox, chain);
}

/* An error of the whole transaction becomes the answer of its ops. What may have been committed says so, whatever
 * happened since. */
void store_refuse(struct op_list *list, const struct err *err)
{
	for (struct store_op *op = list->first; op; op = op->next) {
		op->err = op->uncertain ? STORE_UNKNOWN : *err;
		op->status = op->err.status;
	}
}

void store_release(struct store *store)
{
	pool_close(store->readers);
	db_close(store->reader);
	db_close(store->writer);
	pthread_cond_destroy(&store->wake);
	pthread_mutex_destroy(&store->lock);
	free(store->url);
	free(store->read_url);
	free(store);
}

/* --- life --- */

static metrics_series series(struct store *store, enum metrics_family family, const char *label, const char *value)
{
	struct metrics_label labels[] = {{label, str_of(value)}};

	return store->shm ? metrics_find(store->shm, family, labels, label ? 1 : 0) : METRICS_NONE;
}

static void find_series(struct store *store)
{
	store->commit_duration = series(store, METRICS_COMMIT_DURATION, NULL, NULL);
	store->commit_batch = series(store, METRICS_COMMIT_BATCH, NULL, NULL);
	store->turn_wait = series(store, METRICS_TURN_WAIT, NULL, NULL);
	store->checkpoint_done = series(store, METRICS_CHECKPOINTS, "outcome", "done");
	store->checkpoint_failed = series(store, METRICS_CHECKPOINTS, "outcome", "failed");
	for (int i = 0; i < FAILURE__MAX; i++)
		store->failures[i] = series(store, METRICS_COMMIT_FAILURES, "reason", FAILURE_NAMES[i]);
}

static void init_locks(struct store *store)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&store->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&store->wake, &attr);
	pthread_condattr_destroy(&attr);
}

/* Without a writer (a read-only disk, a standby) reads are served all the same. */
static enum status open_connections(struct store *store, struct err *err)
{
	struct err why = {0};

	enum status status = db_open(&store->writer, str_of(store->url), DB_WRITE, &why);
	if (status != STATUS_OK && status != STATUS_UNAVAILABLE)
		return err_set(err, status, "%s", why.text);
	if (status == STATUS_OK)
		(void)!db_checkpoint_aside(store->writer, false, NULL); /* without it they are made in turns */
	store->remote = status == STATUS_OK && db_is_remote(store->writer);
	if (!store->remote &&
	    db_open(&store->reader, str_of(store->url), DB_READ, status == STATUS_OK ? err : NULL) != STATUS_OK)
		return status == STATUS_OK ? STATUS_UNAVAILABLE : err_set(err, status, "%s", why.text);
	if (status != STATUS_OK) {
		store->remote = db_is_remote(store->reader);
		store->tried_ms = clock_mono_ms();
		store_note_failure(store, &why);
	}
	return store->remote ? store_open_readers(store, err) : STATUS_OK;
}

static enum status open_all(struct store *store, const struct store_options *options, struct err *err)
{
	store->url = strndup(options->url.n ? options->url.p : "", options->url.n);
	if (options->read_url.n > 0)
		store->read_url = strndup(options->read_url.p, options->read_url.n);
	if (!store->url || (options->read_url.n > 0 && !store->read_url))
		return err_set(err, STATUS_NO_MEMORY, "no memory for the store");
	enum status status = open_connections(store, err);
	if (status == STATUS_OK && pthread_create(&store->thread, NULL, store_commit_thread, store) != 0)
		status = err_set(err, STATUS_UNAVAILABLE, "the commit thread can't be started");
	return status;
}

enum status store_open(struct store **out, const struct store_options *options, struct err *err)
{
	struct store *store = calloc(1, sizeof(*store));

	*out = NULL;
	if (!store)
		return err_set(err, STATUS_NO_MEMORY, "no memory for the store");
	store->mailbox = options->mailbox;
	store->shm = options->shm;
	store->deadline_ms = options->deadline_ms ? options->deadline_ms : DEADLINE_MS;
	op_list_init(&store->queue);
	store_init_lanes(store);
	init_locks(store);
	find_series(store);
	enum status status = open_all(store, options, err);
	if (status != STATUS_OK) {
		store_release(store);
		return status;
	}
	*out = store;
	return STATUS_OK;
}

/* What still waits when its deadline comes is completed through the mailbox: this is not the place to call `done`. */
static void take_late(struct store *store, uint64_t now_ms, struct op_list *late)
{
	static const struct err busy = {STATUS_BUSY, "the store did not get to this in time"};
	struct op_list *const queues[] = {&store->queue, &store->lanes[STORE_LANE_SMALL].waiting,
					  &store->lanes[STORE_LANE_ANY].waiting};

	op_list_init(late);
	pthread_mutex_lock(&store->lock);
	for (size_t i = 0; i < sizeof(queues) / sizeof(queues[0]); i++) {
		struct store_op *first;
		while ((first = queues[i]->first) && now_ms >= first->queued_ms &&
		       now_ms - first->queued_ms >= store->deadline_ms) {
			(void)op_list_pop(queues[i]);
			op_list_append(late, first);
		}
	}
	pthread_mutex_unlock(&store->lock);
	store_refuse(late, &busy);
}

/* The commit thread waits for a turn that a stopped process keeps, and nothing is left to write. */
static bool waits_in_vain(struct store *store, bool abandon)
{
	pthread_mutex_lock(&store->lock);
	bool vain = store->waits_for_turn && store->queue.n == 0;
	if (vain && abandon) {
		store->abandoned = true;
		pthread_detach(store->thread);
	}
	pthread_mutex_unlock(&store->lock);
	return vain;
}

void store_stop(struct store *store)
{
	struct timespec nap = {.tv_nsec = 10 * 1000000L};
	struct op_list late;

	if (!store || store->stopped)
		return;
	pthread_mutex_lock(&store->lock);
	store->closing = true;
	pthread_cond_signal(&store->wake);
	pthread_mutex_unlock(&store->lock);
	uint64_t give_up = clock_mono_ms() + store->deadline_ms + 1000;
	while (!atomic_load(&store->ended)) {
		nanosleep(&nap, NULL);
		take_late(store, clock_mono_ms(), &late);
		store_complete(store, &late);
		if (clock_mono_ms() >= give_up && waits_in_vain(store, false))
			break;
	}
	if (atomic_load(&store->ended)) {
		pthread_join(store->thread, NULL);
		store->joined = true;
	}
	pool_stop(store->readers);
	store->stopped = true;
}

/* A commit thread that waits in vain is left behind: it releases the store when the turn comes, or goes with the
 * process. */
void store_close(struct store *store)
{
	struct timespec nap = {.tv_nsec = 10 * 1000000L};

	if (!store)
		return;
	store_stop(store);
	while (!store->joined && !atomic_load(&store->ended)) {
		if (waits_in_vain(store, true))
			return;
		nanosleep(&nap, NULL);
	}
	if (!store->joined)
		pthread_join(store->thread, NULL);
	store_release(store);
}

/* --- submitting --- */

void store_read(struct store *store, struct store_op *op)
{
	static const struct err full = {STATUS_BUSY, "too many reads are waiting"};

	op->err = (struct err){0};
	if (store->remote) {
		op->uncertain = false;
		if (store_submit_read(store, op))
			return;
		op->err = full;
		op->status = full.status;
	} else {
		op->status = op->run(store->reader, op, &op->err);
	}
	op->done(op);
}

enum status store_write(struct store *store, struct store_op *op)
{
	enum status status = STATUS_OK;

	op->queued_ms = clock_mono_ms();
	op->uncertain = false;
	op->tries = 0;
	pthread_mutex_lock(&store->lock);
	if (store->closing)
		status = STATUS_UNAVAILABLE;
	else if (store->queue.n >= STORE_QUEUE)
		status = STATUS_BUSY;
	else
		op_list_append(&store->queue, op);
	bool first = status == STATUS_OK && store->queue.n == 1;
	pthread_mutex_unlock(&store->lock);
	if (first)
		pthread_cond_signal(&store->wake);
	return status;
}

enum status store_connect(struct store *store, struct db **out, struct err *err)
{
	return db_open(out, str_of(store->url), DB_READ, err);
}

void store_expire(struct store *store, uint64_t now_ms)
{
	struct op_list late;

	take_late(store, now_ms, &late);
	for (struct store_op *op; (op = op_list_pop(&late));)
		op->done(op);
}

enum status store_health(struct store *store, struct err *err)
{
	struct err failure = {0};

	if (atomic_load(&store->failing)) {
		pthread_mutex_lock(&store->lock);
		failure = store->failure;
		pthread_mutex_unlock(&store->lock);
	}
	if (failure.status == STATUS_OK && store->remote) {
		pthread_mutex_lock(&store->lock);
		failure = store->read_failure;
		pthread_mutex_unlock(&store->lock);
	}
	if (failure.status != STATUS_OK)
		return err_set(err, STATUS_UNAVAILABLE, "%s", failure.text);
	return store->remote ? STATUS_OK : db_ping(store->reader, err);
}

bool store_is_broken(struct store *store)
{
	return atomic_load(&store->broken);
}

bool store_is_read_only(struct store *store)
{
	return !store->writer;
}

bool store_wants_restart(struct store *store)
{
	return atomic_load(&store->restart);
}

uint64_t store_turn_wait_ms(struct store *store, uint64_t now_ms)
{
	pthread_mutex_lock(&store->lock);
	uint64_t since = store->waits_for_turn ? store->turn_since : now_ms;
	pthread_mutex_unlock(&store->lock);
	return now_ms > since ? now_ms - since : 0;
}

int store_turn_holder(struct store *store)
{
	return store->remote ? 0 : db_turn_holder(store->reader);
}

size_t store_queue_length(struct store *store)
{
	pthread_mutex_lock(&store->lock);
	size_t n = store->queue.n;
	pthread_mutex_unlock(&store->lock);
	return n;
}

void store_info(struct store *store, struct db_info *out)
{
	if (store->remote)
		*out = store->info;
	else
		db_info(store->reader, out);
}
