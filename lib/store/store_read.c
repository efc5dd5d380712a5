/* Reading over a network: a few threads with connections of their own. Reads of one row or so are gathered and share
 * round trips; what a replica does not have, or what went wrong with a group, is asked of the primary by itself. */
#include "store/store_impl.h"

#include "base/clock.h"

#include <stdlib.h>

enum {
	READ_THREADS = 4, /* each has a connection, two with a replica */
	READ_QUEUE = 4096,
	RECONNECT_MS = 500,
};

/* A reading thread's connections: each is opened when it is first wanted, and again after it could not be. */
struct reader {
	struct db *primary, *replica;
	uint64_t tried_ms[2];
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

static enum status connect_reader(const char *url, struct db **db, uint64_t *tried_ms, struct err *err)
{
	uint64_t now_ms = clock_mono_ms();

	if (*db)
		return STATUS_OK;
	if (*tried_ms != 0 && now_ms - *tried_ms < RECONNECT_MS)
		return err_set(err, STATUS_UNAVAILABLE, "PostgreSQL can't be reached; the next try comes soon");
	*tried_ms = now_ms;
	return db_open(db, str_of(url), DB_READ, err);
}

/* A replica may be behind, or gone: what it does not have is looked for where it was written. */
static enum status read_remote(struct store *store, struct reader *reader, struct store_op *op)
{
	enum status status;

	if (store->read_url && !op->fresh &&
	    connect_reader(store->read_url, &reader->replica, &reader->tried_ms[1], NULL) == STATUS_OK) {
		status = op->run(reader->replica, op, &op->err);
		if (status == STATUS_OK)
			return status;
	}
	status = connect_reader(store->url, &reader->primary, &reader->tried_ms[0], &op->err);
	return status == STATUS_OK ? op->run(reader->primary, op, &op->err) : status;
}

static void note_read(struct store *store, const struct store_op *op)
{
	pthread_mutex_lock(&store->lock);
	if (op->status == STATUS_UNAVAILABLE)
		store->read_failure = op->err;
	else if (store->read_failure.status != STATUS_OK)
		store->read_failure = (struct err){0};
	pthread_mutex_unlock(&store->lock);
}

/* A thread of the pool of readers. */
void store_run_read(struct pool_job *job, void *thread_state)
{
	struct store_op *op = (struct store_op *)(void *)((char *)job - offsetof(struct store_op, job));
	struct store *store = op->store;

	op->err = (struct err){0};
	if (thread_state)
		op->status = read_remote(store, thread_state, op);
	else
		op->status = err_set(&op->err, STATUS_NO_MEMORY, "no memory for a reading thread");
	op->err.status = op->status;
	note_read(store, op);
	op->mail = (struct mail){.open = store_open_mail};
	mailbox_send(store->mailbox, &op->mail);
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

static void read_group(struct store *store, struct reader *reader, const struct op_list *list)
{
	struct read_group group = {0};
	size_t n = 0;
	struct err err = {0};
	bool replica = store->read_url &&
		       connect_reader(store->read_url, &reader->replica, &reader->tried_ms[1], NULL) == STATUS_OK;
	bool grouped = replica || connect_reader(store->url, &reader->primary, &reader->tried_ms[0], &err) == STATUS_OK;

	for (struct store_op *op = list->first; op; op = op->next)
		group.ops[n++] = op;
	group.db = replica ? reader->replica : reader->primary;
	if (grouped)
		db_together(group.db, n, run_small, &group);
	for (struct store_op *op = list->first; op; op = op->next) {
		if (!grouped) {
			op->err = err;
			op->status = err.status;
		} else if (op->status != STATUS_OK && (replica || op->status != STATUS_NOT_FOUND)) {
			op->err = (struct err){0};
			op->status = connect_reader(store->url, &reader->primary, &reader->tried_ms[0], &op->err);
			if (op->status == STATUS_OK)
				op->status = op->run(reader->primary, op, &op->err);
		}
		op->err.status = op->status;
		note_read(store, op);
	}
}

/* A thread of the pool of readers: goes on until no small read waits. */
static void read_small(struct pool_job *job, void *thread_state)
{
	struct small_reader *small = (struct small_reader *)(void *)job;
	struct store *store = small->store;
	struct op_list list;

	for (;;) {
		op_list_init(&list);
		pthread_mutex_lock(&store->lock);
		for (struct store_op *op; list.n < STORE_WIDTH && (op = op_list_pop(&store->small));)
			op_list_append(&list, op);
		small->busy = list.n > 0;
		pthread_mutex_unlock(&store->lock);
		if (list.n == 0)
			return;
		if (thread_state) {
			read_group(store, thread_state, &list);
		} else {
			static const struct err none = {STATUS_NO_MEMORY, "no memory for a reading thread"};
			store_refuse(&list, &none);
		}
		store_complete(store, &list);
	}
}

/* False: too many wait. */
bool store_submit_small(struct store *store, struct store_op *op)
{
	struct small_reader *wake = NULL;

	pthread_mutex_lock(&store->lock);
	bool room = store->small.n < READ_QUEUE;
	if (room)
		op_list_append(&store->small, op);
	for (int i = 0; room && !wake && i < STORE_SMALL_READERS; i++)
		if (!store->small_readers[i].busy)
			wake = &store->small_readers[i];
	if (wake)
		wake->busy = true;
	pthread_mutex_unlock(&store->lock);
	if (wake) {
		wake->store = store;
		wake->job.run = read_small;
		if (!pool_submit(store->readers, &wake->job)) {
			pthread_mutex_lock(&store->lock);
			wake->busy = false; /* the pool is full: the other one, or the next read, takes it along */
			pthread_mutex_unlock(&store->lock);
		}
	}
	return room;
}

enum status store_open_readers(struct store *store, struct err *err)
{
	const struct pool_options options = {
		.name = "read",
		.threads = READ_THREADS,
		.queue = READ_QUEUE,
		.thread_start = start_reader,
		.thread_stop = stop_reader,
		.arg = store,
	};

	db_info(store->writer ? store->writer : store->reader, &store->info);
	store->info.database_bytes = 0; /* of this moment: nothing to show for days */
	return pool_open(&store->readers, &options) ? STATUS_OK
						    : err_set(err, STATUS_UNAVAILABLE, "no threads to read with");
}
