/* One thread offers and one takes, so the queue is a ring with two counters and no lock: the thread that offers answers
 * requests, and must not wait for one that has a lower priority.
 *
 * The taking thread reads the queue; it writes rows through the store's commit thread, and counters. It ends when
 * shadow_close asks and the queue is empty, or after its time. When rows come it naps between rounds instead of being
 * woken for each, so that an offer costs a copy and no system call; it sleeps for good when none has come for a while.
 * A round's rows share a write, and at most FLYING_MAX writes are under way, so that a store in trouble fills the
 * queue and not its own. */
#include "model/shadow.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "model/rescore.h"
#include "store/shadows.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
	QUEUE = 4096,
	NAP_MS = 50,
	STOP_MS = 2000,
	ROWS = 64,
	FLYING_MAX = 4,
	NICE = 10,
	SEND_NAP_MS = 5,
	TELL_MS = 60 * 1000
};
enum { QUEUE_BYTES = 32 << 20, ARENA_BYTES = 256 << 20 };

/* A row that waits. It holds the set, and so the models. */
struct job {
	struct model_set *set;
	const struct model_version *candidate;
	const struct model *active;
	char created_at[CLOCK_ISO_BYTES];
	char id[ID_TEXT_BYTES];
	double result;
	size_t features_n, label_n;
	char text[]; /* features, label */
};

struct shadow {
	struct store *store;
	struct shm *shm;
	int64_t nap_ms, stop_ms;
	pthread_t thread;
	atomic_int users; /* the opener, and each write that is under way */

	/* The ring: job i is at i modulo size. */
	size_t size;
	_Alignas(64) atomic_size_t head; /* offered so far */
	_Alignas(64) atomic_size_t tail; /* taken so far */
	atomic_size_t bytes;             /* of the jobs in it */
	struct job **ring;

	sem_t wake;
	atomic_bool asleep, stopping;
	uint64_t end_ms;  /* set before stopping is: when what waits is dropped */
	uint64_t told_ms; /* when a refusal was last told of; the thread's */
	bool failing;     /* the last write failed; the mailbox's thread's */
};

/* Rows on their way into the store. */
struct flight {
	struct store_op op; /* first: the store hands it back */
	struct shadow *shadow;
	struct model_set *set;
	metrics_series scored, failed;
	struct arena arena;
	size_t n;
	struct shadow_prediction rows[ROWS];
};

static void drop(struct shadow *shadow)
{
	if (atomic_fetch_sub_explicit(&shadow->users, 1, memory_order_acq_rel) != 1)
		return;
	sem_destroy(&shadow->wake);
	free(shadow->ring);
	free(shadow);
}

/* --- offering --- */

static struct job *copy_row(struct model_set *set, const struct model_version *candidate, const struct model *active,
			    const struct prediction *row)
{
	struct job *job = malloc(sizeof(*job) + row->features.n + row->label.n);

	if (!job)
		return NULL;
	*job = (struct job){.set = model_set_hold(set),
			    .candidate = candidate,
			    .active = active,
			    .result = row->result,
			    .features_n = row->features.n,
			    .label_n = row->label.n};
	size_t n = row->id.n < sizeof(job->id) ? row->id.n : sizeof(job->id) - 1;
	memcpy(job->id, row->id.p, n);
	n = row->created_at.n < sizeof(job->created_at) ? row->created_at.n : sizeof(job->created_at) - 1;
	memcpy(job->created_at, row->created_at.p, n);
	memcpy(job->text, row->features.p, row->features.n);
	if (row->label.n > 0)
		memcpy(job->text + row->features.n, row->label.p, row->label.n);
	return job;
}

static size_t bytes_of(const struct job *job)
{
	return sizeof(*job) + job->features_n + job->label_n;
}

static void free_job(struct shadow *shadow, struct job *job)
{
	atomic_fetch_sub_explicit(&shadow->bytes, bytes_of(job), memory_order_relaxed);
	model_set_drop(job->set);
	free(job);
}

void shadow_offer(struct shadow *shadow, struct model_set *set, const struct model *active,
		  const struct prediction *row)
{
	const struct model_route *route = model_set_find_route(set, str_of(active->name));
	const struct model_version *candidate = route ? route->shadow : NULL;
	struct job *job = NULL;

	if (!candidate || candidate->model == active)
		return;
	size_t head = atomic_load_explicit(&shadow->head, memory_order_relaxed);
	size_t tail = atomic_load_explicit(&shadow->tail, memory_order_acquire);
	bool room = head - tail < shadow->size &&
		    atomic_load_explicit(&shadow->bytes, memory_order_relaxed) + row->features.n < QUEUE_BYTES;
	if (room)
		job = copy_row(set, candidate, active, row);
	if (!job) {
		metrics_add(shadow->shm, candidate->shadow_dropped, 1);
		return;
	}
	atomic_fetch_add_explicit(&shadow->bytes, bytes_of(job), memory_order_relaxed);
	shadow->ring[head & (shadow->size - 1)] = job;
	/* Sequentially consistent, as the other side's: one of both sees what the other has done. */
	atomic_store(&shadow->head, head + 1);
	if (atomic_load(&shadow->asleep) && atomic_exchange(&shadow->asleep, false))
		sem_post(&shadow->wake);
}

/* --- storing --- */

static enum status store_rows(struct db *db, struct store_op *op, struct err *err)
{
	struct flight *flight = (struct flight *)(void *)op;

	return shadows_save_all(db, flight->rows, flight->n, err);
}

static void free_flight(struct flight *flight)
{
	model_set_drop(flight->set);
	arena_release(&flight->arena);
	drop(flight->shadow);
	free(flight);
}

/* The mailbox's thread. */
static void rows_stored(struct store_op *op)
{
	struct flight *flight = (struct flight *)(void *)op;
	struct shadow *shadow = flight->shadow;
	bool failed = op->status != STATUS_OK;

	metrics_add(shadow->shm, failed ? flight->failed : flight->scored, flight->n);
	if (failed && !shadow->failing)
		log_event(LOG_LEVEL_WARNING, "what the shadow said could not be stored: %s", op->err.text);
	shadow->failing = failed;
	free_flight(flight);
}

static void nap(struct shadow *shadow, int64_t ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += (long)(ms % 1000) * 1000000L;
	until.tv_sec += ms / 1000 + until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	while (sem_clockwait(&shadow->wake, CLOCK_MONOTONIC, &until) != 0 && errno == EINTR)
		;
}

/* Waits for its place. At the end it does not: the mailbox, which tells of writes that are done, is not opened then. */
static void send(struct shadow *shadow, struct flight *flight)
{
	enum status status = STATUS_BUSY;

	while (status == STATUS_BUSY) {
		bool stopping = atomic_load(&shadow->stopping);
		if (stopping || atomic_load(&shadow->users) <= 1 + FLYING_MAX)
			status = store_write(shadow->store, &flight->op);
		if (status != STATUS_BUSY || (stopping && clock_mono_ms() > shadow->end_ms))
			break;
		nap(shadow, SEND_NAP_MS);
	}
	if (status == STATUS_OK)
		return;
	metrics_add(shadow->shm, flight->failed, flight->n);
	free_flight(flight);
}

/* --- scoring --- */

static struct str put_probabilities(const double *values, int n, struct arena *arena)
{
	struct buf out;

	buf_init(&out, arena);
	buf_char(&out, '[');
	for (int i = 0; i < n; i++) {
		if (i > 0)
			buf_str(&out, STR(", "));
		json_put_double(&out, values[i]);
	}
	buf_char(&out, ']');
	return out.failed ? (struct str){0} : buf_view(&out);
}

static void fill_row(struct shadow_prediction *row, const struct job *job, const struct rescore_row *answer,
		     uint64_t ns, struct arena *arena)
{
	const struct model *model = job->candidate->model;

	*row = (struct shadow_prediction){
		.prediction_id = arena_dup(arena, str_of(job->id)),
		.model_version = str_of(model->version),
		.model_name = str_of(model->name),
		.model_hash = str_of(model->hash),
		.result = answer->result,
		.active_version = str_of(job->active->version),
		.active_result = job->result,
		.active_label = arena_dup(arena, (struct str){job->text + job->features_n, job->label_n}),
		.created_at = arena_dup(arena, str_of(job->created_at)),
		.duration_us = (int64_t)(ns / 1000),
	};
	if (model->classes_n == 0)
		return;
	row->label = model_class(model, answer->label);
	row->probabilities = put_probabilities(answer->probabilities, model->classes_n, arena);
}

static void tell_refusal(struct shadow *shadow, const struct model *model, struct str why)
{
	uint64_t now_ms = clock_mono_ms();

	if (shadow->told_ms != 0 && now_ms - shadow->told_ms < TELL_MS)
		return;
	shadow->told_ms = now_ms;
	log_event(LOG_LEVEL_WARNING, "the shadow of model %s, version %s, does not answer: %.*s", model->name,
		  model->version, STR_ARG(why));
}

static enum status ask(struct shadow *shadow, struct job *const *jobs, size_t n, struct rescore_row *answers,
		       struct flight *flight, struct err *err)
{
	const struct model *model = jobs[0]->candidate->model;
	struct rescore *rescore = rescore_new(jobs[0]->active, model);
	uint64_t start_ns = clock_mono_ns();

	if (!rescore)
		return err_set(err, STATUS_NO_MEMORY, "no memory");
	for (size_t i = 0; i < n; i++)
		answers[i].features = (struct str){jobs[i]->text, jobs[i]->features_n};
	enum status status = rescore_run(rescore, answers, n, &flight->arena, err);
	uint64_t ns = (clock_mono_ns() - start_ns) / n;
	for (size_t i = 0; status == STATUS_OK && i < n; i++) {
		if (answers[i].status == STATUS_OK)
			fill_row(&flight->rows[flight->n++], jobs[i], &answers[i], ns, &flight->arena);
		else
			tell_refusal(shadow, model, answers[i].why);
	}
	rescore_free(rescore);
	return status;
}

static void score(struct shadow *shadow, struct job *const *jobs, size_t n)
{
	const struct model_version *candidate = jobs[0]->candidate;
	struct flight *flight = calloc(1, sizeof(*flight));
	struct rescore_row answers[ROWS] = {0};
	struct err err = {0};

	if (!flight) {
		metrics_add(shadow->shm, candidate->shadow_failed, n);
		return;
	}
	atomic_fetch_add(&shadow->users, 1);
	flight->shadow = shadow;
	flight->set = model_set_hold(jobs[0]->set);
	flight->op.run = store_rows;
	flight->op.done = rows_stored;
	flight->scored = candidate->shadow_scored;
	flight->failed = candidate->shadow_failed;
	arena_init(&flight->arena, ARENA_BYTES);
	if (ask(shadow, jobs, n, answers, flight, &err) != STATUS_OK) {
		tell_refusal(shadow, candidate->model, str_of(err.text));
		flight->n = 0;
	}
	metrics_add(shadow->shm, candidate->shadow_failed, n - flight->n);
	if (flight->n > 0)
		send(shadow, flight);
	else
		free_flight(flight);
}

/* --- the thread --- */

/* Rows that can be asked for together; in `jobs`, which has room for ROWS. */
static size_t take(struct shadow *shadow, struct job **jobs)
{
	size_t tail = atomic_load_explicit(&shadow->tail, memory_order_relaxed);
	size_t head = atomic_load(&shadow->head), n = 0;

	for (; n < ROWS && tail + n != head; n++) {
		struct job *job = shadow->ring[(tail + n) & (shadow->size - 1)];
		if (n > 0 && (job->candidate != jobs[0]->candidate || job->active != jobs[0]->active))
			break;
		jobs[n] = job;
	}
	atomic_store_explicit(&shadow->tail, tail + n, memory_order_release);
	return n;
}

static void sleep_until_offered(struct shadow *shadow)
{
	atomic_store(&shadow->asleep, true);
	if (atomic_load(&shadow->head) != atomic_load(&shadow->tail) || atomic_load(&shadow->stopping)) {
		atomic_store(&shadow->asleep, false);
		return;
	}
	while (sem_wait(&shadow->wake) != 0 && errno == EINTR)
		;
	atomic_store(&shadow->asleep, false);
}

static void *shadow_main(void *arg)
{
	struct shadow *shadow = arg;
	struct job *jobs[ROWS];
	bool quiet = false; /* nothing came during the last nap */

	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
	for (;;) {
		bool stopping = atomic_load(&shadow->stopping);
		size_t n = take(shadow, jobs);
		if (n > 0 && stopping && clock_mono_ms() > shadow->end_ms)
			metrics_add(shadow->shm, jobs[0]->candidate->shadow_dropped, n);
		else if (n > 0)
			score(shadow, jobs, n);
		for (size_t i = 0; i < n; i++)
			free_job(shadow, jobs[i]);
		if (n == 0 && stopping)
			return NULL;
		if (n == 0 && quiet)
			sleep_until_offered(shadow);
		if (n < ROWS && !stopping)
			nap(shadow, shadow->nap_ms);
		quiet = n == 0;
	}
}

bool shadow_open(struct shadow **out, const struct shadow_options *options)
{
	struct shadow *shadow = aligned_alloc(64, (sizeof(*shadow) + 63) / 64 * 64);

	if (!shadow)
		return false;
	memset(shadow, 0, sizeof(*shadow));
	shadow->store = options->store;
	shadow->shm = options->shm;
	shadow->size = options->queue ? options->queue : QUEUE;
	shadow->nap_ms = options->nap_ms ? options->nap_ms : NAP_MS;
	shadow->stop_ms = options->stop_ms ? options->stop_ms : STOP_MS;
	shadow->ring = calloc(shadow->size, sizeof(struct job *));
	atomic_init(&shadow->users, 1);
	sem_init(&shadow->wake, 0, 0);
	if (!shadow->ring || pthread_create(&shadow->thread, NULL, shadow_main, shadow) != 0) {
		drop(shadow);
		return false;
	}
	pthread_setname_np(shadow->thread, "shadow");
	*out = shadow;
	return true;
}

void shadow_close(struct shadow *shadow)
{
	if (!shadow)
		return;
	shadow->end_ms = clock_mono_ms() + (uint64_t)shadow->stop_ms;
	atomic_store(&shadow->stopping, true);
	sem_post(&shadow->wake);
	pthread_join(shadow->thread, NULL);
	drop(shadow);
}
