/* Private to events*.c: listeners, the two walks over the changes, the checks, and the thread that waits.
 *
 * events.c opens, ends, and waits for wake-ups; events_listen.c keeps the listeners; events_walk.c reads changes and
 * delivers them; events_check.c does what is due from time to time. All but the thread is the event thread's. */
#ifndef APPCORE_EVENTS_IMPL_H
#define APPCORE_EVENTS_IMPL_H

#include "events.h"

#include "store/keys.h"

#include <pthread.h>

enum { EVENTS_PAGE = 256, EVENTS_PARTIES = 1024, EVENTS_CHECKS = 64, EVENTS_REQUEST_ID_BYTES = 129 };

enum ended { ENDED_GONE, ENDED_SLOW, ENDED_DRAINED, ENDED_OVER, ENDED_REVOKED, ENDED_UNCHECKED, ENDED__MAX };

extern const char *const EVENTS_ENDED[ENDED__MAX];

/* One who takes less than comes is sent nothing for a while, and then goes on from where it was: it is slow and not
 * lost, and what has changed twice meanwhile it is told once. */
enum stage { QUEUED, CATCHING_UP, LIVE, LAGGING, STAGE__MAX };

struct listener {
	struct parked parked; /* first: the transport hands it back */
	struct events *events;
	struct listener *next, **link;    /* of its party */
	struct listener *later, *earlier; /* by when they are due */
	struct party *party, *owner;      /* whose tasks, and who is listening */
	enum stage stage;
	bool full; /* enough waits for it */
	bool one;
	struct id task;
	struct events_position at;
	uint64_t due_ms, since_ms;
	uint64_t sent;
	int check;             /* its place among those that are checked now; -1 */
	uint64_t unchecked_ms; /* since when its checks have failed; 0: the last did not */
	char session[ID_TEXT_BYTES], key_id[KEY_ID_BYTES];
	int64_t until_us; /* when the token ends; 0: there is none */
	char request_id[EVENTS_REQUEST_ID_BYTES];
};

/* A user, as one whose tasks are listened to and as one who listens. */
struct party {
	struct party *next;
	int64_t user_id; /* -1: everybody */
	struct listener *listeners;
	int streams;
};

/* A change as it was read: its event is in the walk's text. */
struct change {
	struct events_position at;
	int64_t user_id;
	bool over;
	size_t from, n;
};

struct walk {
	struct store_op op; /* first: the store hands it back */
	struct mail mail;   /* to itself */
	struct events *events;
	enum stage whom;
	struct events_position at, back; /* where it is, and where it is to go back to while it is busy */
	bool busy, wanted, mailed, goes_back, failing;
	uint64_t retry_ms;
	struct events_position from; /* of the page */
	struct change page[EVENTS_PAGE];
	struct buf text; /* heap */
	int n;
};

struct check {
	struct listener *listener; /* NULL: gone meanwhile */
	int64_t user_id;
	char session[ID_TEXT_BYTES], key_id[KEY_ID_BYTES];
	bool foreign; /* others' tasks, which is for superusers */
	bool good;
};

struct checks {
	struct store_op op; /* first */
	struct events *events;
	struct check list[EVENTS_CHECKS];
	int n;
	bool busy;
	uint64_t asked_ms; /* when those in the list were asked for */
};

struct events {
	struct app *app;
	struct party *parties[EVENTS_PARTIES];
	struct listener *first, *last; /* by when they are due */
	int streams, most, staged[STAGE__MAX];
	struct walk live, back;
	struct checks checks;
	metrics_series gauge, sent, ended[ENDED__MAX];

	/* The thread that waits for wake-ups. */
	pthread_t thread;
	bool has_thread;
	struct mail mail;
	atomic_bool mailed; /* on its way */
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool listening, stopping; /* guarded by lock */
};

/* --- events.c --- */

/* Appends the line of an event that says its place. */
void events_put_id(struct buf *out, const struct events_position *at) __attribute__((nonnull));

/* --- events_listen.c --- */

/* Where the party of that user is, or would be. */
struct party **events_party(struct events *events, int64_t user_id) __attribute__((nonnull));
/* Takes the listener out of the list by when they are due, and puts it at its end. */
void events_take_out(struct events *events, struct listener *listener) __attribute__((nonnull));
void events_put_last(struct events *events, struct listener *listener, uint64_t due_ms) __attribute__((nonnull));
void events_set_stage(struct listener *listener, enum stage stage) __attribute__((nonnull));
void events_push(struct listener *listener, struct str text) __attribute__((nonnull));
/* Frees the listener. */
void events_end(struct listener *listener, enum ended why) __attribute__((nonnull));

/* --- events_walk.c --- */

void events_walk_init(struct walk *walk, struct events *events, enum stage whom) __attribute__((nonnull));
/* Reads the next page, if one is wanted and none is being read. */
void events_walk_go(struct walk *walk) __attribute__((nonnull));
/* All that wait go together. */
void events_start_catching_up(struct events *events) __attribute__((nonnull));
/* Who is not behind the live walk need not wait for the other, which may come from far. */
bool events_joins_live(struct listener *listener) __attribute__((nonnull));

/* --- events_check.c --- */

void events_treat_due(struct events *events, uint64_t now_ms) __attribute__((nonnull));

#endif
