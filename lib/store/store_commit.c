/* The commit thread: takes what waits, runs it in one transaction, commits once, and lets the answers go.
 *
 * There is no waiting for a batch to fill: while one batch is synced to the disk the next one gathers in the queue. On
 * PostgreSQL the ops of a batch run side by side, and a transaction that is lost with its connection is queued again.
 */
#include "store/store_impl.h"

#include "base/clock.h"
#include "shared/wake.h"
#include "store/generations.h"

#include <errno.h>
#include <time.h>

enum {
	BATCH_MS = 5,            /* new arrivals may join for that long */
	RETRY_MS = 5,            /* between tries while another program has the database locked */
	PROBE_MS = 1000,         /* between probes while commits fail */
	CHECKPOINT_PAGES = 1000, /* of 4 KiB */
	TRIES = 3,               /* of an op whose transaction was lost with the connection */
};

static struct store_op *take_one(struct store *store)
{
	pthread_mutex_lock(&store->lock);
	struct store_op *op = op_list_pop(&store->queue);
	pthread_mutex_unlock(&store->lock);
	return op;
}

/* The next op, if it may join the batch. */
static struct store_op *take_next(struct store *store, const struct op_list *batch)
{
	struct store_op *op = NULL;

	pthread_mutex_lock(&store->lock);
	bool fits = batch->n == 0 || !store->remote ||
		    (!batch->first->alone && store->queue.first && !store->queue.first->alone);
	if (fits)
		op = op_list_pop(&store->queue);
	pthread_mutex_unlock(&store->lock);
	return op;
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

void store_note_failure(struct store *store, const struct err *err)
{
	enum failure failure = err->status == STATUS_BUSY              ? FAILURE_BUSY
			       : err->status == STATUS_UNAVAILABLE     ? FAILURE_UNAVAILABLE
			       : err->status == STATUS_UNKNOWN_OUTCOME ? FAILURE_UNKNOWN
								       : FAILURE_OTHER;

	count(store, store->failures[failure]);
	if (failure == FAILURE_UNKNOWN && !store->remote)
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

/* That it failed now says nothing about the time before. */
static void keep_uncertain(struct op_list *list)
{
	for (struct store_op *op = list->first; op; op = op->next) {
		if (!op->uncertain || op->status == STATUS_OK)
			continue;
		op->err = STORE_UNKNOWN;
		op->status = STORE_UNKNOWN.status;
	}
}

/* Completes everything that waits with `err`. */
static void refuse_queue(struct store *store, const struct err *err)
{
	struct op_list list;

	op_list_init(&list);
	for (struct store_op *op; (op = take_one(store));)
		op_list_append(&list, op);
	store_refuse(&list, err);
	store_complete(store, &list);
}

/* --- a batch --- */

/* What became of an op in its transaction. */
enum outcome {
	OP_SETTLED, /* it did its work, or left nothing behind */
	OP_MESS,    /* it failed and had written before */
	OP_LOST,    /* the whole transaction is lost; *err says why */
};

static enum outcome run_op(struct store *store, struct store_op *op, struct err *err)
{
	int64_t before = db_changes(store->writer);

	/* Of ops side by side nobody could say which of them crashed. */
	bool mark = store->shm && !store->remote;

	op->err = (struct err){0};
	if (mark)
		shm_working_on(op->identity);
	op->status = op->run(store->writer, op, &op->err);
	if (mark)
		shm_working_on(NULL);
	if (op->status == STATUS_OK)
		return OP_SETTLED;
	op->err.status = op->status;
	/* On PostgreSQL many things are unavailable to one op alone (a right, memory): savepoints tell. */
	if ((op->status == STATUS_UNAVAILABLE && !store->remote) || !db_in_transaction(store->writer)) {
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
		/* One by one they may wait for locks one by one. */
		if (store->remote && clock_mono_ms() - op->queued_ms >= store->deadline_ms) {
			op->status = err_set(&op->err, STATUS_BUSY, "the store did not get to this write in time");
			continue;
		}
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

/* Ops that run side by side; each has an outcome and a reason of its own. */
struct group {
	struct store *store;
	struct store_op *ops[STORE_WIDTH];
	enum outcome outcomes[STORE_WIDTH];
	struct err errs[STORE_WIDTH];
};

static void run_one_of(void *arg, size_t i)
{
	struct group *group = arg;

	group->outcomes[i] = run_op(group->store, group->ops[i], &group->errs[i]);
}

/* Up to `width` of what waits; the worst outcome. OP_SETTLED with nothing taken when nothing waits. */
static enum outcome run_group(struct store *store, struct op_list *batch, size_t width, size_t *n, struct err *err)
{
	struct group group = {.store = store};
	enum outcome worst = OP_SETTLED;

	for (*n = 0; *n < width && (group.ops[*n] = take_next(store, batch)); ++*n)
		op_list_append(batch, group.ops[*n]);
	db_together(store->writer, *n, run_one_of, &group);
	for (size_t i = 0; i < *n; i++) {
		if (group.outcomes[i] <= worst)
			continue;
		worst = group.outcomes[i];
		*err = group.errs[i];
	}
	return worst;
}

/* Runs what waits, and what arrives meanwhile, for a bounded time: from the first group on, which may have waited for
 * locks of others while more arrived. False: the transaction is lost. */
static bool run_ops(struct store *store, struct op_list *batch, struct err *err)
{
	uint64_t end = 0;
	enum outcome outcome;
	size_t n;

	do {
		outcome = run_group(store, batch, store->remote ? STORE_WIDTH : 1, &n, err);
		if (end == 0)
			end = clock_mono_ms() + BATCH_MS;
	} while (n > 0 && outcome == OP_SETTLED && batch->n + STORE_WIDTH <= STORE_BATCH && clock_mono_ms() < end);
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
	store->turn_since = clock_mono_ms();
	pthread_mutex_unlock(&store->lock);
	enum status status = db_turn_take(store->writer, -1, err);
	pthread_mutex_lock(&store->lock);
	store->waits_for_turn = false;
	bool abandoned = store->abandoned;
	pthread_mutex_unlock(&store->lock);
	if (!abandoned)
		return status;
	store_release(store); /* and with it the turn */
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

/* PostgreSQL: a transaction that was lost with its connection, or was in somebody's way, is worth another try. What was
 * committed after all is found then by its identifiers. Those that were tried too often stay in the batch. */
static void queue_again(struct store *store, struct op_list *batch, const struct err *err)
{
	struct op_list again, rest;

	op_list_init(&again);
	op_list_init(&rest);
	for (struct store_op *op; (op = op_list_pop(batch));) {
		op->uncertain |= err->status == STATUS_UNKNOWN_OUTCOME;
		op_list_append(++op->tries < TRIES ? &again : &rest, op);
	}
	pthread_mutex_lock(&store->lock);
	for (struct store_op *op; (op = op_list_pop(&store->queue));)
		op_list_append(&again, op);
	for (struct store_op *op; (op = op_list_pop(&again));)
		op_list_append(&store->queue, op);
	pthread_mutex_unlock(&store->lock);
	for (struct store_op *op; (op = op_list_pop(&rest));)
		op_list_append(batch, op);
}

/* PostgreSQL: each op by itself was told that nothing can be written (a full disk). NULL: some could, or it was one
 * that is known to ask for more than others. */
static const struct err *all_unavailable(const struct op_list *batch)
{
	for (const struct store_op *op = batch->first; op; op = op->next)
		if (op->status != STATUS_UNAVAILABLE || op->alone)
			return NULL;
	return batch->first ? &batch->first->err : NULL;
}

/* What was committed is there to be found now. */
static void wake_sleepers(struct store *store, const struct op_list *batch)
{
	unsigned wake = 0;

	for (const struct store_op *op = batch->first; op; op = op->next)
		wake |= op->status == STATUS_OK ? op->wake : 0;
	for (int topic = 0; store->shm && topic < WAKE__MAX; topic++)
		if (wake & 1u << topic)
			wake_all(store->shm, (enum wake_topic)topic);
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
	const struct err *nothing = ran ? all_unavailable(batch) : NULL;
	if (nothing)
		store_note_failure(store, nothing);
	else if (ran)
		note_success(store);
	if (ran) {
		observe(store, store->commit_duration, (double)(clock_mono_ns() - start) / 1e9);
		observe(store, store->commit_batch, (double)n);
	} else {
		if (store->remote)
			queue_again(store, batch, err);
		if (batch->n > 0 || !store->remote)
			store_note_failure(store, err);
		store_refuse(batch, err);
	}
	keep_uncertain(batch);
	if (ran)
		wake_sleepers(store, batch);
	store_complete(store, batch); /* before the checkpoint: they are on the disk */
	if (ran)
		checkpoint(store);
	db_turn_give(store->writer);
}

/* Without a writer. That one can be had is found out once a second, but it is of no use here: the connections of a
 * process share the log's index, and this process has it read-only until its last connection is closed. */
static void refuse_batch(struct store *store)
{
	uint64_t now_ms = clock_mono_ms();
	struct err err = store->failure;
	struct db *writer;

	if (now_ms - store->tried_ms >= PROBE_MS && !atomic_load(&store->restart)) {
		store->tried_ms = now_ms;
		if (db_open(&writer, str_of(store->url), DB_WRITE, &err) == STATUS_OK) {
			db_close(writer);
			atomic_store(&store->restart, true);
			err = store->failure;
		} else {
			err.status = STATUS_UNAVAILABLE;
			store_note_failure(store, &err);
		}
	}
	refuse_queue(store, &err);
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
	if (!store->writer) {
		refuse_batch(store);
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
		store_note_failure(store, &err);
		refuse_queue(store, &err);
		return;
	}
	op_list_init(&batch);
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
void *store_commit_thread(void *arg)
{
	struct store *store = arg;

	while (wait_for_work(store))
		write_batch(store);
	atomic_store(&store->ended, true);
	return NULL;
}
