/* A thread waits for the wake-ups and sends mail: at once, but no more often than every COALESCE_MS, and every WAIT_MS
 * whatever happens, should a wake-up have been lost between machines. It sleeps while nobody listens. */
#include "events_impl.h"

#include "handlers/task_json.h"
#include "shared/wake.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

enum { WAIT_MS = 1000, COALESCE_MS = 20 };

/* --- places --- */

bool events_is_before(const struct events_position *a, const struct events_position *b)
{
	return a->change != b->change ? a->change < b->change : memcmp(&a->id, &b->id, sizeof(a->id)) < 0;
}

struct events_position events_after(int64_t change)
{
	struct events_position at = {.change = change};

	memset(&at.id, 0xff, sizeof(at.id));
	return at;
}

bool events_parse_id(struct str text, struct events_position *out)
{
	uint64_t change;
	struct str rest = text;
	struct str number = str_cut(&rest, '-');

	if (number.n > 19 || !str_to_u64(number, INT64_MAX, &change) || rest.n != ID_TEXT_BYTES - 1 ||
	    !id_parse(rest, &out->id))
		return false;
	out->change = (int64_t)change;
	return true;
}

void events_put_id(struct buf *out, const struct events_position *at)
{
	char id[ID_TEXT_BYTES];

	id_format(&at->id, id);
	buf_str(out, STR("id: "));
	buf_u64(out, (uint64_t)at->change);
	buf_char(out, '-');
	buf_str(out, str_of(id));
	buf_char(out, '\n');
}

/* JSON has no line breaks of its own, so one line of data is enough. */
void events_put(struct buf *out, const struct task_row *row)
{
	const struct events_position at = {row->change, row->id};

	events_put_id(out, &at);
	buf_str(out, STR("event: task\ndata: "));
	task_json_put(out, row);
	buf_str(out, STR("\n\n"));
}

void events_put_reset(struct buf *out, const struct events_position *at)
{
	events_put_id(out, at);
	buf_str(out, STR("event: reset\ndata: {}\n\n"));
}

/* --- the thread --- */

static void open_wake(struct mail *mail)
{
	struct events *events = (struct events *)(void *)((char *)mail - offsetof(struct events, mail));

	atomic_store(&events->mailed, false);
	events->live.wanted = true;
	events_walk_go(&events->live);
}

static bool wait_for_listeners(struct events *events)
{
	pthread_mutex_lock(&events->lock);
	while (!events->listening && !events->stopping)
		pthread_cond_wait(&events->wake, &events->lock);
	bool stopping = events->stopping;
	pthread_mutex_unlock(&events->lock);
	return !stopping;
}

/* Reads the counter in shared memory, writes mail; ends when events_close asks. */
static void *thread_main(void *arg)
{
	static const struct timespec pause = {.tv_nsec = COALESCE_MS * 1000000L};
	struct events *events = arg;

	while (wait_for_listeners(events)) {
		uint32_t seen = wake_seen(events->app->shm, WAKE_EVENTS);
		if (!atomic_exchange(&events->mailed, true)) {
			events->mail = (struct mail){.open = open_wake};
			mailbox_send(events->app->mailbox, &events->mail);
		}
		nanosleep(&pause, NULL);
		(void)wake_wait(events->app->shm, WAKE_EVENTS, seen, WAIT_MS);
	}
	return NULL;
}

/* A listener is a descriptor: half of them are for others. */
static int most_streams(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur / 2 < PARKED_MAX)
		return (int)(limit.rlim_cur / 2);
	return PARKED_MAX;
}

static void find_series(struct events *events)
{
	struct shm *shm = events->app->shm;
	struct metrics_label instance = {"instance", str_of(events->app->config->instance_id)};

	events->gauge = metrics_find(shm, METRICS_EVENT_STREAMS, &instance, 1);
	events->sent = metrics_find(shm, METRICS_EVENTS_SENT, NULL, 0);
	for (int i = 0; i < ENDED__MAX; i++) {
		struct metrics_label reason = {"reason", str_of(EVENTS_ENDED[i])};
		events->ended[i] = metrics_find(shm, METRICS_STREAMS_ENDED, &reason, 1);
	}
	metrics_set(shm, events->gauge, 0.0);
}

bool events_open(struct events **out, struct app *app)
{
	struct events *events = calloc(1, sizeof(*events));

	if (!events)
		return false;
	events->app = app;
	events->most = most_streams();
	events->checks.events = events;
	events_walk_init(&events->live, events, LIVE);
	events_walk_init(&events->back, events, CATCHING_UP);
	find_series(events);
	pthread_mutex_init(&events->lock, NULL);
	pthread_cond_init(&events->wake, NULL);
	*out = events;
	events->has_thread = pthread_create(&events->thread, NULL, thread_main, events) == 0;
	if (events->has_thread)
		pthread_setname_np(events->thread, "events");
	return events->has_thread;
}

void events_tick(struct events *events, uint64_t now_ms)
{
	events_treat_due(events, now_ms);
	if (events->live.failing)
		events_walk_go(&events->live);
	if (events->back.failing)
		events_walk_go(&events->back);
}

/* Nobody opens mail any more. */
void events_close(struct events *events)
{
	if (!events)
		return;
	pthread_mutex_lock(&events->lock);
	events->stopping = true;
	pthread_cond_signal(&events->wake);
	pthread_mutex_unlock(&events->lock);
	if (events->has_thread) {
		wake_all(events->app->shm, WAKE_EVENTS);
		pthread_join(events->thread, NULL);
	}
	buf_release(&events->live.text);
	buf_release(&events->back.text);
	pthread_mutex_destroy(&events->lock);
	pthread_cond_destroy(&events->wake);
	free(events);
}
