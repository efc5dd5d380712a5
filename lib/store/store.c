/* The store of one process: a read-only connection for the event thread and a commit thread that does all writes.
 *
 * The queue is a list under one mutex. An op leaves it in one of two ways: the commit thread takes it when it has the
 * turn and an open transaction, or store_expire() takes it because it waited too long. So an op that was answered
 * "busy" was never run, however long another process kept the turn.
 *
 * There is no waiting for a batch to fill: while one batch is synced to the disk the next one gathers in the queue. */
#include "store/store.h"

#include "base/clock.h"
#include "shared/metrics.h"
#include "store/generations.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

enum {
	DEADLINE_MS = 5000,
	BATCH_MS = 5,           /* new arrivals may join for that long */
	RETRY_MS = 5,           /* between tries while another program has the database locked */
	PROBE_MS = 1000,        /* between probes while commits fail */
	CHECKPOINT_PAGES = 1000 /* of 4 KiB */
};

enum failure { FAILURE_BUSY, FAILURE_UNAVAILABLE, FAILURE_UNKNOWN, FAILURE_OTHER, FAILURE__MAX };

static const char *const FAILURE_NAMES[] = {
	[FAILURE_BUSY] = "busy",
	[FAILURE_UNAVAILABLE] = "unavailable",
	[FAILURE_UNKNOWN] = "unknown_outcome",
	[FAILURE_OTHER] = "internal",
};
_Static_assert(sizeof(FAILURE_NAMES) / sizeof(FAILURE_NAMES[0]) == FAILURE__MAX, "a name per failure");

/* Ops in the order of their arrival. */
struct op_list {
	struct store_op *first, **last;
	size_t n;
};

struct store {
	char *url;
	struct mailbox *mailbox;
	struct shm *shm;
	uint64_t deadline_ms;
	struct db *reader; /* of the mailbox's thread */
	struct db *writer; /* of the commit thread */
	pthread_t thread;

	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct op_list queue; /* under lock */
	bool closing;         /* under lock */
	struct err failure;   /* under lock: the last commit's, until one succeeds */
	_Atomic bool failing; /* failure.status is set */
	_Atomic bool broken;  /* an unknown outcome */
	bool waits_for_turn;  /* under lock */
	bool abandoned;       /* under lock: the commit thread releases the store */
	_Atomic bool ended;   /* the commit thread is through */
	metrics_series commit_duration, commit_batch, turn_wait, checkpoint_done, checkpoint_failed;
	metrics_series failures[FAILURE__MAX];
};

/* --- the queue --- */

static void list_init(struct op_list *list)
{
	list->first = NULL;
	list->last = &list->first;
	list->n = 0;
}

static void list_append(struct op_list *list, struct store_op *op)
{
	op->next = NULL;
	*list->last = op;
	list->last = &op->next;
	list->n++;
}

static struct store_op *list_pop(struct op_list *list)
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

static struct store_op *take_one(struct store *store)
{
	pthread_mutex_lock(&store->lock);
	struct store_op *op = list_pop(&store->queue);
	pthread_mutex_unlock(&store->lock);
	return op;
}

static void open_mail(struct mail *mail)
{
	struct store_op *op = (struct store_op *)((char *)mail - offsetof(struct store_op, mail));

	op->done(op);
}

/* All completions with one wake-up. The ops are their owner's from here on. */
static void complete(struct store *store, struct op_list *list)
{
	struct mail *chain = NULL, **last = &chain;

	for (struct store_op *op = list->first; op; op = op->next) {
		op->mail.open = open_mail;
		op->mail.next = NULL;
		*last = &op->mail;
		last = &op->mail.next;
	}
	list_init(list);
	if (chain)
		mailbox_send(store->mailbox, chain);
}

static void set_all(struct op_list *list, const struct err *err)
{
	for (struct store_op *op = list->first; op; op = op->next) {
		op->status = err->status;
		op->err = *err;
	}
}

/* --- failures --- */

static void count(struct store *store, metrics_series series)
{
	if (store->shm)
		metrics_add(store->shm, series, 1);
}

static void observe(struct store *store, metrics_series series, double value)
{
	if (store->shm)
		metrics_observe(store->shm, series, value);
}

static void note_failure(struct store *store, const struct err *err)
{
	enum failure failure = err->status == STATUS_BUSY              ? FAILURE_BUSY
			       : err->status == STATUS_UNAVAILABLE     ? FAILURE_UNAVAILABLE
			       : err->status == STATUS_UNKNOWN_OUTCOME ? FAILURE_UNKNOWN
								       : FAILURE_OTHER;

	count(store, store->failures[failure]);
	if (failure == FAILURE_UNKNOWN)
		atomic_store(&store->broken, true);
	if (failure == FAILURE_BUSY)
		return; /* nothing is wrong with the store */
	pthread_mutex_lock(&store->lock);
	store->failure = *err;
	atomic_store(&store->failing, true);
	pthread_mutex_unlock(&store->lock);
}

static void note_success(struct store *store)
{
	if (!atomic_load(&store->failing))
		return;
	pthread_mutex_lock(&store->lock);
	store->failure = (struct err){0};
	atomic_store(&store->failing, false);
	pthread_mutex_unlock(&store->lock);
}

/* Completes everything that waits with `err`. */
static void refuse_queue(struct store *store, const struct err *err)
{
	struct op_list list;

	list_init(&list);
	for (struct store_op *op; (op = take_one(store));)
		list_append(&list, op);
	set_all(&list, err);
	complete(store, &list);
}

/* --- a batch --- */

static void release(struct store *store)
{
	db_close(store->reader);
	db_close(store->writer);
	pthread_cond_destroy(&store->wake);
	pthread_mutex_destroy(&store->lock);
	free(store->url);
	free(store);
}

/* What became of an op in its transaction. */
enum outcome {
	OP_SETTLED, /* it did its work, or left nothing behind */
	OP_MESS,    /* it failed and had written before */
	OP_LOST,    /* the whole transaction is lost; *err says why */
};

static enum outcome run_op(struct store *store, struct store_op *op, struct err *err)
{
	int64_t before = db_changes(store->writer);

	op->err = (struct err){0};
	if (store->shm)
		shm_working_on(op->identity);
	op->status = op->run(store->writer, op, &op->err);
	if (store->shm)
		shm_working_on(NULL);
	if (op->status == STATUS_OK)
		return OP_SETTLED;
	op->err.status = op->status;
	if (op->status == STATUS_UNAVAILABLE || !db_in_transaction(store->writer)) {
		*err = op->err;
		err->status = STATUS_UNAVAILABLE;
		return OP_LOST;
	}
	return db_changes(store->writer) == before ? OP_SETTLED : OP_MESS;
}

/* The second run of a batch in which an op made a mess: each in a part of its own. Savepoints for all of them always
 * would cost the good path 15 %: SQLite copies every page that a savepoint touches first. */
static bool run_again(struct store *store, struct op_list *batch, struct err *err)
{
	db_rollback(store->writer);
	if (db_begin(store->writer, err) != STATUS_OK)
		return false;
	for (struct store_op *op = batch->first; op; op = op->next) {
		if (db_part_begin(store->writer, err) != STATUS_OK)
			return false;
		enum outcome outcome = run_op(store, op, err);
		if (outcome == OP_LOST)
			return false;
		if ((outcome == OP_SETTLED ? db_part_keep(store->writer, err) : db_part_undo(store->writer, err)) !=
		    STATUS_OK)
			return false;
	}
	return true;
}

/* Runs what waits, and what arrives meanwhile, for a bounded time. False: the transaction is lost. */
static bool run_ops(struct store *store, struct op_list *batch, struct err *err)
{
	uint64_t end = clock_mono_ms() + BATCH_MS;
	enum outcome outcome = OP_SETTLED;

	do {
		struct store_op *op = take_one(store);
		if (!op)
			break;
		list_append(batch, op);
		outcome = run_op(store, op, err);
	} while (outcome == OP_SETTLED && batch->n < STORE_BATCH && clock_mono_ms() < end);
	if (outcome == OP_LOST || (outcome == OP_MESS && !run_again(store, batch, err)))
		return false;
	/* While failing, a write that surely reaches the disk: the ops may have found that there is nothing to change.
	 */
	return !atomic_load(&store->failing) || generations_bump(store->writer, STR("probe"), err) == STATUS_OK;
}

/* This may take as long as a stopped process is stopped, and the store may be closed and abandoned meanwhile: then
 * nothing may be touched any more that is not the store's own. */
static enum status take_turn(struct store *store, struct err *err)
{
	pthread_mutex_lock(&store->lock);
	store->waits_for_turn = true;
	pthread_mutex_unlock(&store->lock);
	enum status status = db_turn_take(store->writer, -1, err);
	pthread_mutex_lock(&store->lock);
	store->waits_for_turn = false;
	bool abandoned = store->abandoned;
	pthread_mutex_unlock(&store->lock);
	if (!abandoned)
		return status;
	release(store); /* and with it the turn */
	pthread_exit(NULL);
}

/* Takes the turn and begins. STATUS_BUSY: another program has the database; the ops stay where they are. */
static enum status begin(struct store *store, struct err *err)
{
	uint64_t start = clock_mono_ns();

	enum status status = take_turn(store, err);
	if (status != STATUS_OK)
		return status;
	observe(store, store->turn_wait, (double)(clock_mono_ns() - start) / 1e9);
	status = db_begin(store->writer, err);
	if (status != STATUS_OK)
		db_turn_give(store->writer);
	return status;
}

static void checkpoint(struct store *store)
{
	bool done;

	if (db_checkpoint(store->writer, CHECKPOINT_PAGES, &done, NULL) != STATUS_OK)
		count(store, store->checkpoint_failed);
	else if (done)
		count(store, store->checkpoint_done);
}

/* Ops that failed by themselves keep their own answer only if the transaction they saw was committed. */
static void end_batch(struct store *store, struct op_list *batch, bool ran, struct err *err)
{
	uint64_t start = clock_mono_ns();
	size_t n = batch->n;

	if (ran)
		ran = db_commit(store->writer, err) == STATUS_OK;
	else
		db_rollback(store->writer);
	if (ran) {
		note_success(store);
		observe(store, store->commit_duration, (double)(clock_mono_ns() - start) / 1e9);
		observe(store, store->commit_batch, (double)n);
	} else {
		note_failure(store, err);
		set_all(batch, err);
	}
	complete(store, batch); /* before the checkpoint: they are on the disk */
	if (ran)
		checkpoint(store);
	db_turn_give(store->writer);
}

static void write_batch(struct store *store)
{
	static const struct err gone = {STATUS_UNAVAILABLE, "the store met an error and waits for its restart"};
	struct timespec nap = {.tv_nsec = RETRY_MS * 1000000L};
	struct op_list batch;
	struct err err = {0};

	if (atomic_load(&store->broken)) {
		refuse_queue(store, &gone);
		return;
	}
	enum status status = begin(store, &err);
	if (status == STATUS_BUSY) {
		count(store, store->failures[FAILURE_BUSY]);
		nanosleep(&nap, NULL);
		return;
	}
	if (status != STATUS_OK) {
		err.status = STATUS_UNAVAILABLE;
		note_failure(store, &err);
		refuse_queue(store, &err);
		return;
	}
	list_init(&batch);
	end_batch(store, &batch, run_ops(store, &batch, &err), &err);
}

/* Waits for work. False when there is none and the store is closing. */
static bool wait_for_work(struct store *store)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += PROBE_MS / 1000;
	pthread_mutex_lock(&store->lock);
	while (store->queue.n == 0 && !store->closing) {
		if (!atomic_load(&store->failing) || atomic_load(&store->broken))
			pthread_cond_wait(&store->wake, &store->lock);
		else if (pthread_cond_timedwait(&store->wake, &store->lock, &until) == ETIMEDOUT)
			break; /* time for a probe: a batch without ops */
	}
	bool work = store->queue.n > 0 || !store->closing;
	pthread_mutex_unlock(&store->lock);
	return work;
}

/* The commit thread: reads the queue, writes the database, sends completions to the mailbox. Ends when the store is
 * closing and the queue is empty. */
static void *commit_thread(void *arg)
{
	struct store *store = arg;

	while (wait_for_work(store))
		write_batch(store);
	atomic_store(&store->ended, true);
	return NULL;
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

enum status store_open(struct store **out, const struct store_options *options, struct err *err)
{
	struct store *store = calloc(1, sizeof(*store));
	char *url = strndup(options->url.n ? options->url.p : "", options->url.n);

	*out = NULL;
	if (!store || !url) {
		free(store);
		free(url);
		return err_set(err, STATUS_NO_MEMORY, "no memory for the store");
	}
	store->url = url;
	store->mailbox = options->mailbox;
	store->shm = options->shm;
	store->deadline_ms = options->deadline_ms ? options->deadline_ms : DEADLINE_MS;
	list_init(&store->queue);
	init_locks(store);
	find_series(store);
	enum status status = db_open(&store->writer, options->url, DB_WRITE, err);
	if (status == STATUS_OK)
		status = db_open(&store->reader, options->url, DB_READ, err);
	if (status == STATUS_OK && pthread_create(&store->thread, NULL, commit_thread, store) != 0)
		status = err_set(err, STATUS_UNAVAILABLE, "the commit thread can't be started");
	if (status != STATUS_OK) {
		release(store);
		return status;
	}
	*out = store;
	return STATUS_OK;
}

/* What still waits when its deadline comes is completed through the mailbox: this is not the place to call `done`. */
static void take_late(struct store *store, uint64_t now_ms, struct op_list *late)
{
	static const struct err busy = {STATUS_BUSY, "the store did not get to this write in time"};

	list_init(late);
	pthread_mutex_lock(&store->lock);
	while (store->queue.first && now_ms - store->queue.first->queued_ms >= store->deadline_ms &&
	       now_ms >= store->queue.first->queued_ms)
		list_append(late, list_pop(&store->queue));
	pthread_mutex_unlock(&store->lock);
	set_all(late, &busy);
}

/* When the commit thread waits for a turn that a stopped process keeps, and nothing is left to write, it is left
 * behind: it releases the store when the turn comes, or goes with the process. False when it does something else. */
static bool abandon(struct store *store)
{
	pthread_mutex_lock(&store->lock);
	bool abandoned = store->waits_for_turn && store->queue.n == 0;
	if (abandoned) {
		store->abandoned = true;
		pthread_detach(store->thread);
	}
	pthread_mutex_unlock(&store->lock);
	return abandoned;
}

void store_close(struct store *store)
{
	struct timespec nap = {.tv_nsec = 10 * 1000000L};
	struct op_list late;

	if (!store)
		return;
	pthread_mutex_lock(&store->lock);
	store->closing = true;
	pthread_cond_signal(&store->wake);
	pthread_mutex_unlock(&store->lock);
	uint64_t give_up = clock_mono_ms() + store->deadline_ms + 1000;
	while (!atomic_load(&store->ended)) {
		nanosleep(&nap, NULL);
		take_late(store, clock_mono_ms(), &late);
		complete(store, &late);
		if (clock_mono_ms() >= give_up && abandon(store))
			return;
	}
	pthread_join(store->thread, NULL);
	release(store);
}

/* --- submitting --- */

void store_read(struct store *store, struct store_op *op)
{
	op->err = (struct err){0};
	op->status = op->run(store->reader, op, &op->err);
	op->done(op);
}

enum status store_write(struct store *store, struct store_op *op)
{
	enum status status = STATUS_OK;

	op->queued_ms = clock_mono_ms();
	pthread_mutex_lock(&store->lock);
	if (store->closing)
		status = STATUS_UNAVAILABLE;
	else if (store->queue.n >= STORE_QUEUE)
		status = STATUS_BUSY;
	else
		list_append(&store->queue, op);
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
	for (struct store_op *op; (op = list_pop(&late));)
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
	if (failure.status != STATUS_OK)
		return err_set(err, STATUS_UNAVAILABLE, "%s", failure.text);
	return db_ping(store->reader, err);
}

bool store_is_broken(struct store *store)
{
	return atomic_load(&store->broken);
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
	db_info(store->reader, out);
}
