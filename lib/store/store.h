/* Work for the store is submitted and completed, not called and returned.
 *
 * An op is filled by a handler, given to store_read() or store_write(), and comes back through its `done` in the thread
 * that owns the mailbox (the event thread). `run` does the SQL with a connection of the store's choosing.
 *
 * Reads on SQLite run at once in the calling thread on its read-only connection, and `done` is called before
 * store_read() returns: an embedded read is shorter than a hand-over. On PostgreSQL they run in a few threads with
 * connections of their own, and `done` comes through the mailbox; callers must not care.
 *
 * Writes are queued for the commit thread, which takes the turn, runs all that are waiting (up to 5 ms or STORE_BATCH
 * of them) in one transaction, commits once, and then lets their `done` be called. On PostgreSQL the ops of a
 * transaction run side by side (db_together), and a transaction that was lost with its connection is run once more on a
 * new one: every op that writes must be right when it is run again after it had been committed. An op that fails by
 * itself after it wrote costs the transaction a second run, with a savepoint for each op; check first, then write. An
 * op that waits for longer than the deadline is taken out of the queue and completed with STATUS_BUSY: it was not run
 * and will not be. */
#ifndef APPCORE_STORE_STORE_H
#define APPCORE_STORE_STORE_H

#include "base/mailbox.h"
#include "base/pool.h"
#include "store/db.h"

struct store;
struct shm;

enum { STORE_QUEUE = 4096, STORE_BATCH = 512 };

struct store_op {
	/* Set by the caller. */
	/* Any thread; one at a time. A write's may be called once more after its first call was rolled back: what
	 * counts is what the last call found. On an error nothing that it wrote stays. */
	enum status (*run)(struct db *db, struct store_op *op, struct err *err);
	void (*done)(struct store_op *op); /* mailbox's thread; op->status and op->err are set */
	const uint8_t *identity;           /* 16 bytes of the request for the crash mark; may be NULL */
	bool small;    /* a read of one row or so: on PostgreSQL it shares round trips with others */
	bool alone;    /* a write that shares its transaction with no other (locks, long work) */
	unsigned wake; /* of a write: 1 << WAKE_… for each topic (wake.h) to wake after its commit; `run` may set it */
	bool fresh;    /* a read that must see what its caller has written: never from a replica */

	/* Set by the store. */
	enum status status;
	struct err err;
	uint64_t queued_ms;
	bool uncertain; /* a commit that held it was not answered */
	int tries;      /* transactions that were lost with it */
	struct store_op *next;
	struct mail mail;
};

struct store_options {
	struct str url;
	struct str read_url;     /* a replica for reads that need not be fresh; empty: none */
	struct mailbox *mailbox; /* where completions of writes go */
	struct shm *shm;         /* metrics; may be NULL */
	uint64_t deadline_ms;    /* for a write, or a read over a network, to wait for its turn; 0: 5,000 */
};

/* Opens the connections and starts the commit thread. The schema must be there (migrate.h). A database that can be read
 * and not written (its disk is read-only, or too full for what an opening writes) is opened all the same: reads are
 * answered, writes refused with STATUS_UNAVAILABLE. Caller ends with store_close. */
enum status store_open(struct store **out, const struct store_options *options, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* Finishes what is queued and stops the threads. Completions are left in the mailbox for the caller to drain: what they
 * ask of the store is refused, or read at once. NULL is allowed. */
void store_stop(struct store *store);

/* Stops it and frees it; nothing may ask it any more. NULL is allowed. */
void store_close(struct store *store);

/* Submits a read. `done` may be called before it returns. Call from the mailbox's thread only. When too many wait, or
 * it waited past the deadline, it is completed with STATUS_BUSY. */
void store_read(struct store *store, struct store_op *op) __attribute__((nonnull));

/* Submits a write from any thread. STATUS_BUSY when the queue is full, STATUS_UNAVAILABLE while closing: then `done` is
 * not called. */
enum status store_write(struct store *store, struct store_op *op) __attribute__((nonnull, warn_unused_result));

/* A read-only connection for a thread of the caller's own (slow lane); caller closes with db_close. */
enum status store_connect(struct store *store, struct db **out, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* Takes what waited past the deadline out of the queues and completes it. Call every 100 ms from the mailbox's
 * thread. */
void store_expire(struct store *store, uint64_t now_ms) __attribute__((nonnull));

/* STATUS_OK, or why the store can't be used now: the reader's ping (on PostgreSQL the last read's failure, at most half
 * a second old), and the last commit's failure until one succeeds. While failing, the commit thread tries by itself
 * every second, so it recovers without traffic. */
enum status store_health(struct store *store, struct err *err) __attribute__((nonnull(1)));

/* The commit thread met an outcome that nobody can know: the worker should drain and be restarted. */
bool store_is_broken(struct store *store) __attribute__((nonnull));

/* The store was opened without the right to write. */
bool store_is_read_only(struct store *store) __attribute__((nonnull));

/* The store was opened without the right to write and could be opened with it by now, which takes a new process. */
bool store_wants_restart(struct store *store) __attribute__((nonnull));

/* For how long the commit thread has been waiting for its turn to write (0: it is not), and the process that has it
 * (db_turn_holder). Any thread. */
uint64_t store_turn_wait_ms(struct store *store, uint64_t now_ms) __attribute__((nonnull));
int store_turn_holder(struct store *store) __attribute__((nonnull));

/* Writes that are waiting. */
size_t store_queue_length(struct store *store) __attribute__((nonnull));

/* Sizes for the metrics (from files' metadata, no SQL). */
void store_info(struct store *store, struct db_info *out) __attribute__((nonnull));

#endif
