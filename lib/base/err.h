/* What went wrong: a status for the program, a sentence for the person. Which HTTP status it becomes is decided in
 * one table in fcgi-app/http/response.c. */
#ifndef APPCORE_BASE_ERR_H
#define APPCORE_BASE_ERR_H

enum status {
	STATUS_OK = 0,
	STATUS_INVALID,         /* well-formed, but against the rules: the text names the field */
	STATUS_UNAUTHENTICATED, /* nobody said who they are */
	STATUS_FORBIDDEN,       /* they said, and may not */
	STATUS_NOT_FOUND,
	STATUS_CONFLICT, /* the same thing is under way, or is there already */
	STATUS_TOO_LARGE,
	STATUS_LIMITED,         /* over a rate limit */
	STATUS_BUSY,            /* a queue is full or a lock did not come in time; nothing was changed; try again */
	STATUS_UNAVAILABLE,     /* the store can't be used now (disk full, read-only, gone); nothing was changed */
	STATUS_UNKNOWN_OUTCOME, /* a commit failed half-way: it may or may not be stored */
	STATUS_NO_MEMORY,       /* a bound on memory was reached; nothing was changed */
	STATUS_CANCELLED,       /* somebody asked for its end */
	STATUS_INTERNAL,        /* our fault */
	STATUS__MAX
};

struct err {
	enum status status;
	char text[240]; /* one plain sentence, never a secret */
};

/* Sets *err (when not NULL) and returns `status`, so that `return err_set(…)` reads well. */
enum status err_set(struct err *err, enum status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
