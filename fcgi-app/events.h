/* Who listens to tasks: server-sent events (WHATWG HTML, section 9.2) of this worker's parked requests.
 *
 * An event is a task as it is now, not what happened to it: of changes that follow each other closely a listener gets
 * the last. Its id is "<change>-<task id>", the place of the task's last change in the order of all; who comes back
 * with the last id that it got is sent every task that has changed since, and nothing that is lost in between can be
 * missed.
 *
 * All functions belong to the event thread. */
#ifndef APPCORE_EVENTS_H
#define APPCORE_EVENTS_H

#include "app.h"
#include "store/tasks.h"

enum {
	EVENTS_PER_USER = 16,
	EVENTS_TOLD_AGAIN = 50000,       /* changed tasks, of whomever; after more than that a client reads anew */
	EVENTS_PERIOD_MS = 15 * 1000,    /* between two comments, and two looks whether the caller still may listen */
	EVENTS_UNCHECKED_MS = 15 * 1000, /* so long a listener goes on after a look that failed */
};

/* A place in the order of all changes. */
struct events_position {
	int64_t change;
	struct id id;
};

/* False: no memory or thread. Caller ends with events_close, after all listeners are gone. */
bool events_open(struct events **out, struct app *app) __attribute__((nonnull, warn_unused_result));
void events_close(struct events *events); /* NULL is allowed */

/* Comments and checks that are due. Call about ten times a second. */
void events_tick(struct events *events, uint64_t now_ms) __attribute__((nonnull));

/* Reads "<change>-<task id>". */
bool events_parse_id(struct str text, struct events_position *out) __attribute__((nonnull, warn_unused_result));
/* Behind everything of this change. */
struct events_position events_after(int64_t change);
bool events_is_before(const struct events_position *a, const struct events_position *b) __attribute__((nonnull));

/* Appends an event; one that says that those before it are not told. */
void events_put(struct buf *out, const struct task_row *row) __attribute__((nonnull));
void events_put_reset(struct buf *out, const struct events_position *at) __attribute__((nonnull));

enum events_room { EVENTS_ROOM, EVENTS_USER_IS_FULL, EVENTS_WORKER_IS_FULL };
/* Whether the caller may have one more listener. */
enum events_room events_room(struct events *events, const struct caller *caller) __attribute__((nonnull));

struct events_wish {
	int64_t user_id; /* whose tasks; -1: everybody's */
	bool one;        /* only this task, until it is over: */
	struct id task;
	struct events_position from; /* what comes after it */
	struct str first;            /* an event that is sent at once; empty: none */
	bool over;                   /* nothing comes after it */
};
/* Makes the request a listener of its caller's, or answers it when there is no memory. */
void events_listen(struct events *events, struct request *req, const struct events_wish *wish) __attribute__((nonnull));

#endif
