/* Carries a live service's data from one database to another of the other engine, as often as one likes: each run
 * carries what the last one has not, compares both, and ends with the same rows on both sides when nobody writes
 * meanwhile. */
#ifndef APPCORE_STORE_MOVE_H
#define APPCORE_STORE_MOVE_H

#include "store/tables.h"

#include <signal.h>

enum { MOVE_TABLES_MAX = 32 };

enum move_phase {
	MOVE_RECHECKING, /* ranges carried before, whose rows may still have changed in the source */
	MOVE_COPYING,
	MOVE_INDEXING,
	MOVE_VERIFYING, /* reading the target back */
	MOVE_WAITING,   /* a database can't be used now: it is tried again */
};

struct move_progress {
	enum move_phase phase;
	const char *table;
	int64_t rows, total; /* of this phase; total 0: not known */
	const char *why;     /* of waiting */
};

/* Called often; must be quick. */
typedef void move_note(void *arg, const struct move_progress *progress);

struct move_options {
	struct str from, to; /* URLs */
	bool full;           /* compare everything again, not only what may have changed */
	move_note *note;     /* may be NULL */
	void *arg;
	const volatile sig_atomic_t *stop; /* set: end soon, so that another run goes on from there; may be NULL */
};

struct move_table {
	const char *name;
	struct table_sum source, target; /* of all that was carried */
	bool equal;                      /* sums and counts */
	int64_t since;                   /* rows that came to the source after it was read */
};

struct move_result {
	struct move_table tables[MOVE_TABLES_MAX];
	int n;
	int64_t copied;   /* rows written by this run */
	int64_t replaced; /* rows taken out of the target, because the source has changed or they were damaged */
	bool equal;       /* all tables */
	bool resumed;     /* a run before this one had begun */
};

/* Errors, each one sentence without a word of the URLs: STATUS_INVALID (URLs; both of one engine; a schema that is not
 * this program's), STATUS_CONFLICT (a target that holds something else, or has taken writes of its own; another move),
 * STATUS_UNAVAILABLE (a database that can't be used for a minute), STATUS_BUSY (stopped). */
enum status move_run(const struct move_options *options, struct move_result *result, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

#endif
