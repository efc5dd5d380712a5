/* Reading over a network: a few threads with connections of their own. Reads of one row or so are gathered and share
 * round trips; what a replica does not have, or what went wrong with a group, is asked of the primary by itself.
 *
 * A replica can be done without, so nothing waits for it: threads connect to it when they have answered a read, it has
 * a second for a statement, and after a failure all of them leave it alone for a while; then one tries it. */
#include "store/store_impl.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdlib.h>

enum {
	READ_QUEUE = 4096,
	RECONNECT_MS = 500,
	REPLICA_MS = 1000,       /* for a statement */
	REPLICA_RETRY_MS = 5000, /* after a failure */
};

/* A reading thread's connections: each is opened when it is first wanted, and again after it could not be. */
struct reader {
	struct db *primary, *replica;
	unsigned losses; /* the replica's when it was connected to: what is older is not used any more */
};

static void *start_reader(void *arg)
{
	(void)arg;
	return calloc(1, sizeof(struct reader));
}

static void stop_reader(void *arg, void *thread_state)
{
	struct reader *reader = thread_state;

	(void)arg;
	if (!reader)
		return;
	db_close(reader->primary);
	db_close(reader->replica);
	free(reader);
}

/* --- connections --- */

/* Whether this thread may try to connect: nobody may until the time for it has come, and then one at a time. Whoever
 * may ends with end_try. */
static bool may_try(struct store_server *server)
{
	return clock_mono_ms() >= atomic_load(&server->retry_ms) && !atomic_exchange(&server->trying, true);
}

static void end_try(struct store_server *server, bool good, uint64_t pause_ms)
{
	/* From the end of the try on: it may have taken longer than the pause. */
	atomic_store(&server->retry_ms, good ? 0 : clock_mono_ms() + pause_ms);
	atomic_store(&server->trying, false);
}

static enum status connect_primary(struct store *store, struct reader *reader, struct err *err)
{
	if (reader->primary)
		return STATUS_OK;
	/* As long as it went well any may: somebody waits. */
	if (atomic_load(&store->primary.retry_ms) != 0 && !may_try(&store->primary))
		return err_set(err, STATUS_UNAVAILABLE, "PostgreSQL can't be reached; the next try comes soon");
	enum status status = db_open(&reader->primary, str_of(store->url), DB_READ, err);
	end_try(&store->primary, status == STATUS_OK, RECONNECT_MS);
	return status;
}

/* The replica if it can be read now; NULL: the primary has to. */
static struct db *usable_replica(struct store *store, struct reader *reader)
{
	if (reader->replica && reader->losses != atomic_load(&store->replica_losses)) {
		db_close(reader->replica);
		reader->replica = NULL;
	}
	return atomic_load(&store->replica.retry_ms) == 0 ? reader->replica : NULL;
}

static void lose_replica(struct store *store, const char *why)
{
	atomic_fetch_add(&store->replica_losses, 1);
	if (atomic_exchange(&store->replica.retry_ms, clock_mono_ms() + REPLICA_RETRY_MS) == 0)
		log_event(LOG_LEVEL_WARNING, "the replica can't be read now, reads go to the primary: %s", why);
}

/* Nobody waits for this thread while it connects. */
static void connect_replica(struct store *store, struct reader *reader)
{
	struct err err = {0};
	bool was_lost = atomic_load(&store->replica.retry_ms) != 0;

	reader->losses = atomic_load(&store->replica_losses);
	if (db_open(&reader->replica, str_of(store->read_url), DB_READ, &err) == STATUS_OK) {
		db_be_quick(reader->replica, REPLICA_MS);
		end_try(&store->replica, true, 0);
		if (was_lost)
			log_event(LOG_LEVEL_INFO, "the replica can be read again");
		return;
	}
	lose_replica(store, err.text);
	end_try(&store->replica, false, REPLICA_RETRY_MS);
}

static bool wants_replica(struct store *store, struct reader *reader)
{
	return store->read_url && !usable_replica(store, reader) && !reader->replica && may_try(&store->replica);
}

/* --- reading --- */

static void note_read(struct store *store, struct store_op *op)
{
	op->err.status = op->status;
	pthread_mutex_lock(&store->lock);
	if (op->status == STATUS_UNAVAILABLE)
		store->read_failure = op->err;
	else if (store->read_failure.status != STATUS_OK)
		store->read_failure = (struct err){0};
	pthread_mutex_unlock(&store->lock);
}

static void read_primary(struct store *store, struct reader *reader, struct store_op *op)
{
	op->err = (struct err){0};
	op->status = connect_primary(store, reader, &op->err);
	if (op->status == STATUS_OK)
		op->status = op->run(reader->primary, op, &op->err);
}

/* A replica may be behind, or gone: what it does not have is looked for where it was written. */
static void read_one(struct store *store, struct reader *reader, struct op_list *list)
{
	struct store_op *op = list->first;
	struct db *replica = op->fresh ? NULL : usable_replica(store, reader);

	op->err = (struct err){0};
	op->status = replica ? op->run(replica, op, &op->err) : STATUS_NOT_FOUND;
	if (replica && op->status == STATUS_UNAVAILABLE)
		lose_replica(store, op->err.text);
	if (op->status != STATUS_OK)
		read_primary(store, reader, op);
	note_read(store, op);
}

/* Small reads in groups. What was not found where it may not have arrived yet, or went wrong with the group, is read by
 * itself. */
struct read_group {
	struct db *db;
	struct store_op *ops[STORE_WIDTH];
};

static void run_small(void *arg, size_t i)
{
	struct read_group *group = arg;
	struct store_op *op = group->ops[i];

	op->err = (struct err){0};
	op->status = op->run(group->db, op, &op->err);
}

static void read_group(struct store *store, struct reader *reader, struct op_list *list)
{
	struct db *replica = usable_replica(store, reader);
	struct read_group group = {0};
	const struct err *lost = NULL;
	struct err err = {0};
	size_t n = 0;

	if (!replica && connect_primary(store, reader, &err) != STATUS_OK) {
		store_refuse(list, &err);
		for (struct store_op *op = list->first; op; op = op->next)
			note_read(store, op);
		return;
	}
	for (struct store_op *op = list->first; op; op = op->next)
		group.ops[n++] = op;
	group.db = replica ? replica : reader->primary;
	db_together(group.db, n, run_small, &group);
	for (struct store_op *op = list->first; op; op = op->next)
		if (replica && op->status == STATUS_UNAVAILABLE)
			lost = &op->err;
	if (lost)
		lose_replica(store, lost->text);
	for (struct store_op *op = list->first; op; op = op->next) {
		if (op->status != STATUS_OK && (replica || op->status != STATUS_NOT_FOUND))
			read_primary(store, reader, op);
		note_read(store, op);
	}
}

/* --- lanes --- */

/* A job for the lane, if one is free; under lock. */
static struct read_job *free_job(struct read_lane *lane)
{
	for (int i = 0; i < lane->jobs_n; i++) {
		if (lane->jobs[i].busy)
			continue;
		lane->jobs[i].busy = true;
		return &lane->jobs[i];
	}
	return NULL;
}

static void run_lane(struct pool_job *job, void *thread_state);

static void wake(struct store *store, struct read_lane *lane, struct read_job *job)
{
	if (!job)
		return;
	job->store = store;
	job->lane = lane;
	job->job.run = run_lane;
	if (pool_submit(store->readers, &job->job))
		return;
	pthread_mutex_lock(&store->lock);
	job->busy = false; /* the pool is closing: a thread that still reads takes the rest along */
	pthread_mutex_unlock(&store->lock);
}

/* What waits, up to the lane's width; the job is free again when there is nothing. */
static void take_waiting(struct read_job *job, struct op_list *list)
{
	struct read_lane *lane = job->lane;
	struct store *store = job->store;

	op_list_init(list);
	pthread_mutex_lock(&store->lock);
	for (struct store_op *op; list->n < lane->width && (op = op_list_pop(&lane->waiting));)
		op_list_append(list, op);
	job->busy = list->n > 0;
	pthread_mutex_unlock(&store->lock);
}

/* A thread of the pool of readers: goes on until nothing waits in the lane, or gives way to another lane's job. */
static void run_lane(struct pool_job *base, void *thread_state)
{
	static const struct err none = {STATUS_NO_MEMORY, "no memory for a reading thread"};
	struct read_job *job = (struct read_job *)(void *)base;
	struct read_lane *lane = job->lane;
	struct store *store = job->store;
	struct op_list list;

	for (;;) {
		take_waiting(job, &list);
		if (list.n == 0)
			return;
		if (thread_state)
			(lane->width > 1 ? read_group : read_one)(store, thread_state, &list);
		else
			store_refuse(&list, &none);
		store_complete(store, &list);
		if (thread_state && wants_replica(store, thread_state)) {
			pthread_mutex_lock(&store->lock);
			struct read_job *other = lane->waiting.n > 0 ? free_job(lane) : NULL;
			pthread_mutex_unlock(&store->lock);
			wake(store, lane, other);
			connect_replica(store, thread_state);
		}
		if (pool_queue_length(store->readers) > 0 && pool_submit(store->readers, base))
			return;
	}
}

bool store_submit_read(struct store *store, struct store_op *op)
{
	struct read_lane *lane = &store->lanes[op->small && !op->fresh ? STORE_LANE_SMALL : STORE_LANE_ANY];

	op->queued_ms = clock_mono_ms();
	pthread_mutex_lock(&store->lock);
	bool room = lane->waiting.n < READ_QUEUE && !store->closing;
	if (room)
		op_list_append(&lane->waiting, op);
	struct read_job *job = room ? free_job(lane) : NULL;
	pthread_mutex_unlock(&store->lock);
	wake(store, lane, job);
	return room;
}

void store_init_lanes(struct store *store)
{
	static const struct {
		int jobs_n;
		size_t width;
	} LANES[STORE_LANE__MAX] = {[STORE_LANE_SMALL] = {2, STORE_WIDTH}, [STORE_LANE_ANY] = {STORE_READERS, 1}};

	for (int i = 0; i < STORE_LANE__MAX; i++) {
		op_list_init(&store->lanes[i].waiting);
		store->lanes[i].jobs_n = LANES[i].jobs_n;
		store->lanes[i].width = LANES[i].width;
	}
}

enum status store_open_readers(struct store *store, struct err *err)
{
	const struct pool_options options = {
		.name = "read",
		.threads = STORE_READERS,
		.queue = (size_t)STORE_LANE__MAX * STORE_READERS,
		.thread_start = start_reader,
		.thread_stop = stop_reader,
		.arg = store,
	};

	db_info(store->writer ? store->writer : store->reader, &store->info);
	store->info.database_bytes = 0; /* of this moment: nothing to show for days */
	return pool_open(&store->readers, &options) ? STATUS_OK
						    : err_set(err, STATUS_UNAVAILABLE, "no threads to read with");
}
