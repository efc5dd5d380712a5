/* What the files of the store share: store.c (its life, submitting, what waits), store_commit.c (the commit thread) and
 * store_read.c (threads that read over a network). */
#ifndef APPCORE_STORE_STORE_IMPL_H
#define APPCORE_STORE_STORE_IMPL_H

#include "shared/metrics.h"
#include "store/store.h"

#include <stdatomic.h>

enum {
	STORE_WIDTH = 64,  /* ops side by side */
	STORE_READERS = 4, /* threads: each has a connection, two with a replica */
};

/* Remote reads wait by kind: small ones for few threads that take many at once, others one by one. */
enum store_lane { STORE_LANE_SMALL, STORE_LANE_ANY, STORE_LANE__MAX };

enum failure { FAILURE_BUSY, FAILURE_UNAVAILABLE, FAILURE_UNKNOWN, FAILURE_OTHER, FAILURE__MAX };

/* Ops in the order of their arrival. */
struct op_list {
	struct store_op *first, **last;
	size_t n;
};

/* What one reading thread learns of a server, all know. */
struct store_server {
	_Atomic uint64_t retry_ms; /* it failed: no try before; 0: it did not */
	_Atomic bool trying;       /* one is at it */
};

struct store {
	char *url, *read_url;
	bool remote;
	struct pool *readers; /* when remote */
	struct store_server primary, replica;
	_Atomic unsigned replica_losses; /* what was connected before the last one is not used */
	struct read_lane {
		struct op_list waiting; /* under lock */
		size_t width;           /* of them at a time */
		int jobs_n;             /* so many threads at the most */
		struct read_job {
			struct pool_job job; /* first */
			struct store *store;
			struct read_lane *lane;
			bool busy; /* under lock */
		} jobs[STORE_READERS];
	} lanes[STORE_LANE__MAX];
	struct db_info info; /* when remote: of its first connection */
	struct mailbox *mailbox;
	struct shm *shm;
	uint64_t deadline_ms;
	struct db *reader; /* of the mailbox's thread */
	struct db *writer; /* of the commit thread; NULL: the database can only be read */
	uint64_t tried_ms; /* of the commit thread: when it last tried to get a writer */
	pthread_t thread;

	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct op_list queue;    /* under lock */
	bool closing;            /* under lock */
	struct err failure;      /* under lock: the last commit's, until one succeeds */
	_Atomic bool failing;    /* failure.status is set */
	_Atomic bool broken;     /* an unknown outcome */
	_Atomic bool restart;    /* there could be a writer now */
	struct err read_failure; /* under lock: the last remote read's */
	bool waits_for_turn;     /* under lock */
	uint64_t turn_since;     /* under lock: clock_mono_ms() at the start of that */
	bool abandoned;          /* under lock: the commit thread releases the store */
	bool stopped, joined;    /* store_stop was through; the commit thread is gone */
	_Atomic bool ended;      /* the commit thread is through */
	metrics_series commit_duration, commit_batch, turn_wait, checkpoint_done, checkpoint_failed;
	metrics_series failures[FAILURE__MAX];
};

/* --- store.c --- */

void op_list_init(struct op_list *list);
void op_list_append(struct op_list *list, struct store_op *op);
struct store_op *op_list_pop(struct op_list *list); /* NULL: it is empty */

/* What becomes of an op's mail: its `done`. */
void store_open_mail(struct mail *mail);

/* All completions with one wake-up. The ops are their owner's from here on. */
void store_complete(struct store *store, struct op_list *list);

/* Gives all of them this error, or, where a commit was not answered, that nobody knows. */
extern const struct err STORE_UNKNOWN;
void store_refuse(struct op_list *list, const struct err *err);

/* Closes and frees everything; no thread may be left. */
void store_release(struct store *store);

/* --- store_commit.c --- */

/* Counts it, and remembers it for the store's health. */
void store_note_failure(struct store *store, const struct err *err);
void *store_commit_thread(void *arg);

/* --- store_read.c --- */

void store_init_lanes(struct store *store);
enum status store_open_readers(struct store *store, struct err *err);
/* False: too many wait, or the store is closing. */
bool store_submit_read(struct store *store, struct store_op *op);

#endif
