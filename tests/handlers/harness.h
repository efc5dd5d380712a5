/* Handlers in process: a request goes in as a web server's variables, a response comes out as the bytes that would be
 * sent. Everything between is the real thing (store, shared memory, slow threads, commit thread); only FastCGI is not
 * there. The thread that calls is the event thread. */
#ifndef APPCORE_TESTS_HARNESS_H
#define APPCORE_TESTS_HARNESS_H

#include "../unit/database.h"
#include "../unit/unit.h"

#include "app.h"
#include "store/predictions.h"

#include <semaphore.h>

/* The key that a new harness has as API_KEY. */
#define HARNESS_KEY "harness-key-0123456789"
/* The time that requests have unless they say another: 2023-11-14T22:13:20.123Z. */
#define HARNESS_MSEC "1700000000.123"
/* What signs tokens, and the password of everybody that harness_add_user makes. */
#define HARNESS_SECRET   "harness-secret-0123456789-0123456789"
#define HARNESS_PASSWORD "testpass123"

/* A request. What is left out is what a web server sends for a plain one. */
struct ask {
	const char *method;  /* NULL: POST when there is a body, else GET */
	const char *path;    /* decoded, as nginx gives it */
	const char *query;   /* as sent */
	const char *body;    /* NULL: none */
	size_t body_n;       /* 0: the body ends at its NUL */
	const char *type;    /* Content-Type; NULL: application/json when there is a body */
	const char *key;     /* X-API-Key; NULL: not sent */
	const char *token;   /* "Authorization: Bearer …"; NULL: not sent */
	const char *client;  /* address; NULL: 203.0.113.1 */
	const char *edge_id; /* 32 hex digits; NULL: new ones; "": not sent */
	const char *msec;    /* NULL: HARNESS_MSEC */
	const char *idem;    /* Idempotency-Key */
	/* Further variables: name, value, …; they come last and so win. */
	const char *params[14];
	bool cut_body;  /* the peer is gone behind the bytes of a body that is streamed */
	bool late_body; /* the body is read by a slow thread */
	int gone_after; /* the peer is gone after that many streamed pieces; 0: it stays */
};

/* A person that harness_add_user made, logged in. */
struct harness_user {
	int64_t id;
	char name[64], email[96];
	char session[ID_TEXT_BYTES];
	char token[1024];
};

/* A request under way or answered. Lives until its harness is closed. */
struct exchange {
	struct request req; /* first: the transport gets it back */
	struct harness *harness;
	struct exchange *next;
	bool done;
	int status;
	struct buf head, body; /* heap; what was sent, each with a NUL behind */
	int pieces, gone_after;
	struct parked *parked; /* who pushes pieces into `body`; NULL: it isn't parked, or no more */
	bool full;             /* by the test: it takes no more for now */
	struct str late_body;  /* what app_run gets, now or from a slow thread */
	bool has_body, late, cut_body;
	char edge_id[40];
};

struct harness {
	/* To be changed between harness_init and harness_start; some members are read at each request. */
	struct config config;
	struct model *model;     /* answers by default; NULL: the mean */
	struct model *models[8]; /* served beside it, the first of each name is active; dropped by harness_start */
	uint64_t deadline_ms; /* for writes to wait; 0: 25 s, so that a busy machine's disk is not taken for a stuck one
			       */
	int slow_threads;
	size_t slow_queue;
	bool slow_without_db;  /* the slow threads have no connection */
	const char *log_file;  /* NULL: "log" in its directory */
	const char *redis_url; /* NULL: none. harness_start waits for it, unless `redis_late` */
	bool redis_late;
	uint64_t redis_deadline_ms; /* 0: 10 s, so that a sanitizer's slowness is not taken for Redis's */

	struct app app;
	struct mailbox mailbox;
	struct exchange *exchanges;
	struct db *db; /* the test's own connection */
	uint64_t ticks_ms;
	char dir[400], database[32], url[1024], log[512];
};

/* Settings as they are by default (whatever the environment holds), in a new directory. No limits, reading is open. */
void harness_init(struct harness *h);
void harness_start(struct harness *h);
/* init and start. */
void harness_open(struct harness *h);
/* Ends everything and removes the directory. */
void harness_close(struct harness *h);

/* Sends and waits for the answer. */
struct exchange *harness_ask(struct harness *h, const struct ask *ask);
/* Sends; the answer may come later. */
struct exchange *harness_send(struct harness *h, const struct ask *ask);
/* Sends, and waits until the answer goes on (x->parked) or is there. */
struct exchange *harness_listen(struct harness *h, const struct ask *ask);
/* Waits until the body of an answer that goes on has the text; false when it ends without, or half a minute does. */
bool harness_hears(struct exchange *x, const char *text);
/* It takes more again, after x->full was set. */
void harness_drain(struct exchange *x);
/* Its peer goes. */
void harness_leave(struct exchange *x, enum parked_end why);
/* Opens mail and expires writes until the answer is there; aborts after half a minute. */
struct exchange *harness_wait(struct exchange *x);
/* Waits until the breaker is in that state; false when it does not get there. */
bool harness_redis_is(struct harness *h, enum redis_state state);
/* The same for a fixed time, whatever comes. */
void harness_pump(struct harness *h, int ms);
/* Frees the answered exchanges. */
void harness_forget(struct harness *h);

#define ASK(h, ...) harness_ask(h, &(struct ask){__VA_ARGS__})
#define GET(h, p)   harness_ask(h, &(struct ask){.path = (p)})
/* With the key. */
#define PREDICT(h, json) harness_ask(h, &(struct ask){.path = "/predict", .body = (json), .key = HARNESS_KEY})

/* A header's value, or "" when it was not sent, or "(twice)". Valid for eight calls. */
const char *answer_header(const struct exchange *x, const char *name);
const char *answer_body(const struct exchange *x);

/* Asserts status and, unless `body` is NULL, the whole body; shows what came instead. */
void answer_is(const struct exchange *x, int status, const char *body, const char *file, int line);
#define ANSWERS(x, status, body) answer_is(x, status, body, __FILE__, __LINE__)
/* Asserts that two texts are equal and shows both when not. */
void text_is(const char *got, const char *wanted, const char *file, int line);
#define SAME(got, wanted)          text_is(got, wanted, __FILE__, __LINE__)
#define HEADER_IS(x, name, wanted) text_is(answer_header(x, name), wanted, __FILE__, __LINE__)
#define DETAIL(text)               "{\"detail\":\"" text "\"}"

/* The value of a sample ("name{labels}") in the exposition; -1 when it is not there. */
double harness_metric(struct harness *h, const char *series);
/* Opens mail until it has that value; false when it has not after half a minute. */
bool harness_metric_is(struct harness *h, const char *series, double wanted);

/* The number that a query gives (static text), -1 when it fails. */
int64_t harness_number(struct harness *h, const char *sql);
/* Runs SQL in a turn of the test's own connection. */
void harness_sql(struct harness *h, const char *sql);
/* Keeps all workers from writing, from now until the next call with false. */
void harness_hold_turn(struct harness *h, bool hold);
/* Stores a prediction past the service. */
void harness_store(struct harness *h, const struct prediction *row);

/* Makes an API key; `text` gets it. Workers do not know of it before harness_tick. */
void harness_add_key(struct harness *h, const char *name, int64_t rate, int64_t expires_us, char text[KEY_TEXT_BYTES]);
void harness_add_row(struct harness *h, const struct key_row *row);
/* Makes a user "<name>" with the address "<name>@example.com", a session of theirs and its token. */
void harness_add_user(struct harness *h, const char *name, struct harness_user *user);
/* app_tick as if a second had passed. */
void harness_tick(struct harness *h);

/* Whether the log gets a line that holds `text` (waits for it, for half a minute at the most). */
bool harness_logged(struct harness *h, const char *text);

/* Fills the slow lane, threads and queue, until the next call with false. */
void harness_jam_slow_lane(struct harness *h, bool jam);

/* A model from a file, as MODELS_DIR would have it: `members` are those of the manifest but appcore, kind, file, hash.
 * The caller's to drop. */
struct model *harness_load(const char *name, const char *version, const char *kind, const char *members,
			   const char *file);

/* Models for tests: always 42; always STATUS_INVALID ("No model today"); never finite; not healthy. */
struct model *harness_model_42(void);
struct model *harness_model_refuses(void);
struct model *harness_model_nan(void);
struct model *harness_model_sick(void);

#endif
