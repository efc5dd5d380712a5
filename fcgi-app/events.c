/* Changes are read in their order by two walks over the table, and each is given to whoever listens to its user. The
 * live walk follows the newest changes: whenever somebody has changed a task (wake.h) it reads what came since, once
 * for all listeners. Who comes back from before its place is not its business: they wait for the other walk, which
 * starts from the earliest place of those who wait, passes all of them on its way, and hands them to the live walk,
 * taken back to where they are; who gets the same twice by that is not sent it twice, for each listener knows its own
 * place. A walk goes a page a round, so that requests pass between.
 *
 * A thread waits for the wake-ups and sends mail: at once, but no more often than every COALESCE_MS, and every WAIT_MS
 * whatever happens, should a wake-up have been lost between machines. It sleeps while nobody listens.
 *
 * Listeners stand in a list by when they are due for a comment, which keeps idle connections open and finds those that
 * are gone; by then it is also looked whether their caller still may listen. */
#include "events_impl.h"

#include "base/clock.h"
#include "base/log.h"
#include "handlers/task_json.h"
#include "shared/wake.h"
#include "store/users.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

enum { WAIT_MS = 1000, COALESCE_MS = 20, RETRY_MS = 500, DUE_A_TICK = 128 };
enum { RETRY_FROM_MS = 1000, RETRY_SPREAD_MS = 2000 }; /* not all at once when a worker ends */

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

/* --- parties and lists --- */

const char *const EVENTS_ENDED[ENDED__MAX] = {
	[ENDED_GONE] = "gone",       /* its client closed */
	[ENDED_SLOW] = "slow",       /* its client read nothing for too long */
	[ENDED_DRAINED] = "drained", /* the worker ends */
	[ENDED_OVER] = "over",       /* the one task is */
	[ENDED_REVOKED] = "revoked", /* its caller may listen no more */
};

struct party **events_party(struct events *events, int64_t user_id)
{
	struct party **link = &events->parties[(uint64_t)user_id % EVENTS_PARTIES];

	while (*link && (*link)->user_id != user_id)
		link = &(*link)->next;
	return link;
}

static struct party *make_party(struct events *events, int64_t user_id)
{
	struct party *party = *events_party(events, user_id);

	if (party)
		return party;
	party = calloc(1, sizeof(*party));
	if (!party)
		return NULL;
	party->user_id = user_id;
	party->next = events->parties[(uint64_t)user_id % EVENTS_PARTIES];
	events->parties[(uint64_t)user_id % EVENTS_PARTIES] = party;
	return party;
}

static void leave_party(struct events *events, struct party *party)
{
	if (!party || party->listeners || party->streams > 0)
		return;
	struct party **link = events_party(events, party->user_id);
	*link = party->next;
	free(party);
}

static void leave_parties(struct events *events, struct party *a, struct party *b)
{
	leave_party(events, a);
	if (b != a)
		leave_party(events, b);
}

void events_put_last(struct events *events, struct listener *listener, uint64_t due_ms)
{
	listener->due_ms = due_ms;
	listener->later = NULL;
	listener->earlier = events->last;
	if (events->last)
		events->last->later = listener;
	else
		events->first = listener;
	events->last = listener;
}

void events_take_out(struct events *events, struct listener *listener)
{
	if (events->first == listener)
		events->first = listener->later;
	else
		listener->earlier->later = listener->later;
	if (events->last == listener)
		events->last = listener->earlier;
	else
		listener->later->earlier = listener->earlier;
}

void events_set_stage(struct listener *listener, enum stage stage)
{
	listener->events->staged[listener->stage]--;
	listener->stage = stage;
	listener->events->staged[stage]++;
}

static void set_listening(struct events *events)
{
	metrics_set(events->app->shm, events->gauge, events->streams);
	pthread_mutex_lock(&events->lock);
	if (events->listening != (events->streams > 0)) {
		events->listening = events->streams > 0;
		pthread_cond_signal(&events->wake);
	}
	pthread_mutex_unlock(&events->lock);
}

static void tell_ended(struct events *events, const struct listener *listener, enum ended why)
{
	struct buf *line = log_begin(LOG_LEVEL_INFO, STR("a listener is gone"));

	log_str(line, "request_id", str_of(listener->request_id));
	log_str(line, "reason", str_of(EVENTS_ENDED[why]));
	log_i64(line, "user_id", listener->owner->user_id);
	log_i64(line, "events", (int64_t)listener->sent);
	log_fixed2(line, "seconds", (double)(clock_mono_ms() - listener->since_ms) / 1000.0);
	log_end(line);
	metrics_add(events->app->shm, events->ended[why], 1);
}

/* The transport has forgotten it, or is about to. */
static void forget(struct listener *listener, enum ended why)
{
	struct events *events = listener->events;
	struct party *party = listener->party, *owner = listener->owner;

	tell_ended(events, listener, why);
	if (listener->check >= 0)
		events->checks.list[listener->check].listener = NULL;
	events_take_out(events, listener);
	*listener->link = listener->next;
	if (listener->next)
		listener->next->link = listener->link;
	events->staged[listener->stage]--;
	events->streams--;
	owner->streams--;
	free(listener);
	leave_parties(events, owner, party);
	set_listening(events);
}

void events_push(struct listener *listener, struct str text)
{
	listener->full |= !listener->parked.req->transport->push(&listener->parked, text);
}

void events_end(struct listener *listener, enum ended why)
{
	listener->parked.req->transport->end(&listener->parked);
	forget(listener, why);
}

static void gone(struct parked *parked, enum parked_end why)
{
	static const enum ended reasons[] = {
		[PARKED_PEER_GONE] = ENDED_GONE, [PARKED_TOO_SLOW] = ENDED_SLOW, [PARKED_DRAINED] = ENDED_DRAINED};

	forget((struct listener *)(void *)parked, reasons[why]);
}

/* --- walks --- */

static void deliver(struct walk *walk, struct party *party, const struct change *change)
{
	struct listener *next;

	for (struct listener *listener = party ? party->listeners : NULL; listener; listener = next) {
		next = listener->next;
		if (listener->stage != walk->whom || !events_is_before(&listener->at, &change->at) ||
		    (listener->one && memcmp(&listener->task, &change->at.id, sizeof(struct id)) != 0))
			continue;
		if (listener->full) {
			events_set_stage(listener, LAGGING);
			continue;
		}
		events_push(listener, (struct str){walk->text.p + change->from, change->n});
		listener->at = change->at;
		listener->sent++;
		metrics_add(walk->events->app->shm, walk->events->sent, 1);
		if (listener->one && change->over)
			events_end(listener, ENDED_OVER);
	}
}

static bool take_row(void *arg, const struct task_row *row)
{
	struct walk *walk = arg;
	size_t from = walk->text.n;

	if (walk->n == EVENTS_PAGE)
		return false;
	events_put(&walk->text, row);
	walk->page[walk->n++] = (struct change){.at = {row->change, row->id},
						.user_id = row->user_id,
						.over = task_is_over(row->status),
						.from = from,
						.n = walk->text.n - from};
	return !walk->text.failed;
}

/* A reading thread, or this one. */
static enum status read_page(struct db *db, struct store_op *op, struct err *err)
{
	struct walk *walk = (struct walk *)(void *)op;

	walk->n = 0;
	walk->text.n = 0;
	walk->text.failed = false;
	enum status status = tasks_changes(db, walk->from.change, &walk->from.id, -1, EVENTS_PAGE, take_row, walk, err);
	return status == STATUS_OK && walk->text.failed ? err_set(err, STATUS_NO_MEMORY, "no memory for events")
							: status;
}

static void open_walk(struct mail *mail)
{
	struct walk *walk = (struct walk *)(void *)((char *)mail - offsetof(struct walk, mail));

	walk->mailed = false;
	events_walk_go(walk);
}

/* In the next round. */
static void go_on(struct walk *walk)
{
	walk->wanted = true;
	if (walk->mailed)
		return;
	walk->mailed = true;
	walk->mail = (struct mail){.open = open_walk};
	mailbox_send(walk->events->app->mailbox, &walk->mail);
}

/* Those that were passed are at the end of what there was. */
static void hand_over(struct events *events)
{
	struct walk *live = &events->live;
	const struct events_position *at = &events->back.at;

	if (events->staged[CATCHING_UP] == 0)
		return;
	if (live->busy && (!live->goes_back || events_is_before(at, &live->back)))
		live->back = *at;
	live->goes_back |= live->busy;
	if (events->staged[LIVE] == 0 || events_is_before(at, &live->at))
		live->at = *at;
	for (struct listener *listener = events->first; listener; listener = listener->later)
		if (listener->stage == CATCHING_UP)
			events_set_stage(listener, LIVE);
	go_on(live);
}

static void page_done(struct store_op *op)
{
	struct walk *walk = (struct walk *)(void *)op;
	struct events *events = walk->events;

	walk->busy = false;
	if (op->status != STATUS_OK) {
		if (!walk->failing)
			log_event(LOG_LEVEL_ERROR, "changes of tasks can't be read now: %s", op->err.text);
		walk->failing = walk->wanted = true;
		walk->retry_ms = clock_mono_ms() + RETRY_MS;
		return;
	}
	walk->failing = false;
	for (int i = 0; i < walk->n; i++) {
		const struct change *change = &walk->page[i];
		deliver(walk, *events_party(events, change->user_id), change);
		deliver(walk, *events_party(events, -1), change);
	}
	if (walk->n > 0 && events_is_before(&walk->at, &walk->page[walk->n - 1].at))
		walk->at = walk->page[walk->n - 1].at;
	if (walk->goes_back && events_is_before(&walk->back, &walk->at))
		walk->at = walk->back;
	bool more = walk->n == EVENTS_PAGE || walk->goes_back;
	walk->goes_back = false;
	if (more || walk->wanted) {
		go_on(walk);
	} else if (walk == &events->back) {
		hand_over(events);
		events_start_catching_up(events);
	}
}

void events_walk_go(struct walk *walk)
{
	if (walk->busy || !walk->wanted || clock_mono_ms() < walk->retry_ms)
		return;
	walk->wanted = false;
	if (walk->events->staged[walk->whom] == 0) {
		if (walk == &walk->events->back)
			events_start_catching_up(walk->events);
		return;
	}
	walk->busy = true;
	walk->from = walk->at;
	walk->op = (struct store_op){.run = read_page, .done = page_done, .fresh = true};
	store_read(walk->events->app->store, &walk->op);
}

void events_start_catching_up(struct events *events)
{
	struct walk *walk = &events->back;
	bool first = true;

	if (events->staged[QUEUED] == 0 || events->staged[CATCHING_UP] > 0 || walk->busy)
		return;
	for (struct listener *listener = events->first; listener; listener = listener->later) {
		if (listener->stage != QUEUED)
			continue;
		events_set_stage(listener, CATCHING_UP);
		if (first || events_is_before(&listener->at, &walk->at))
			walk->at = listener->at;
		first = false;
	}
	go_on(walk);
}

bool events_joins_live(struct listener *listener)
{
	struct events *events = listener->events;
	struct walk *live = &events->live;

	if (events->staged[LIVE] == 0 && live->busy)
		return false;
	if (events->staged[LIVE] == 0)
		live->at = listener->at;
	else if (events_is_before(&listener->at, &live->at))
		return false;
	events_set_stage(listener, LIVE);
	go_on(live);
	return true;
}

/* --- listening --- */

static void drained(struct parked *parked)
{
	struct listener *listener = (struct listener *)(void *)parked;

	listener->full = false;
	if (listener->stage != LAGGING)
		return;
	events_set_stage(listener, QUEUED);
	events_start_catching_up(listener->events);
}

enum events_room events_room(struct events *events, const struct caller *caller)
{
	const struct party *owner = *events_party(events, caller->user_id);

	if (owner && owner->streams >= EVENTS_PER_USER)
		return EVENTS_USER_IS_FULL;
	return events->streams >= events->most ? EVENTS_WORKER_IS_FULL : EVENTS_ROOM;
}

static void copy_text(char *out, size_t size, struct str text)
{
	size_t n = text.n < size ? text.n : size - 1;

	if (n > 0)
		memcpy(out, text.p, n);
	out[n] = '\0';
}

static struct listener *make_listener(struct events *events, const struct request *req, const struct events_wish *wish)
{
	struct listener *listener = calloc(1, sizeof(*listener));

	if (!listener)
		return NULL;
	struct party *owner = make_party(events, req->caller.user_id);
	struct party *party = make_party(events, wish->user_id);
	if (!owner || !party) {
		free(listener);
		leave_parties(events, owner, party);
		return NULL;
	}
	listener->parked.gone = gone;
	listener->parked.drained = drained;
	listener->events = events;
	listener->owner = owner;
	listener->party = party;
	listener->one = wish->one;
	listener->task = wish->task;
	listener->at = wish->from;
	listener->since_ms = clock_mono_ms();
	listener->check = -1;
	memcpy(listener->session, req->caller.session, sizeof(listener->session));
	listener->until_us = req->caller.until_us;
	memcpy(listener->key_id, req->caller.key_id, sizeof(listener->key_id));
	copy_text(listener->request_id, sizeof(listener->request_id), req->request_id);
	return listener;
}

static void add_listener(struct events *events, struct listener *listener)
{
	struct party *party = listener->party;

	listener->link = &party->listeners;
	listener->next = party->listeners;
	if (listener->next)
		listener->next->link = &listener->next;
	party->listeners = listener;
	listener->owner->streams++;
	events->streams++;
	listener->stage = QUEUED;
	events->staged[QUEUED]++;
	events_put_last(events, listener, clock_mono_ms() + EVENTS_PERIOD_MS);
	set_listening(events);
}

/* The place goes out at once: who is cut off before the first event knows from where to go on. */
static void put_opening(struct buf *out, const struct events_wish *wish)
{
	buf_fmt(out, "retry: %u\n", RETRY_FROM_MS + randombytes_uniform(RETRY_SPREAD_MS));
	if (wish->first.n == 0)
		events_put_id(out, &wish->from);
	buf_char(out, '\n');
	buf_str(out, wish->first);
}

void events_listen(struct events *events, struct request *req, const struct events_wish *wish)
{
	struct listener *listener = make_listener(events, req, wish);
	struct buf opening;
	struct err err;

	buf_init_heap(&opening);
	put_opening(&opening, wish);
	if (!listener || opening.failed) {
		if (listener)
			leave_parties(events, listener->owner, listener->party);
		free(listener);
		buf_release(&opening);
		request_answer_error(req, err_set(&err, STATUS_NO_MEMORY, "Out of memory for this request."), &err);
		request_finish(req);
		return;
	}
	bool over = wish->over;
	req->response.status = 200;
	req->response.content_type = "text/event-stream";
	response_header(&req->response, "Cache-Control", STR("no-store"));
	response_header(&req->response, "X-Accel-Buffering", STR("no"));
	listener->sent = wish->first.n > 0 ? 1 : 0;
	metrics_add(events->app->shm, events->sent, listener->sent);
	app_park(req, &listener->parked); /* what the wish borrows from the request is gone now */
	add_listener(events, listener);
	events_push(listener, buf_view(&opening));
	buf_release(&opening);
	if (over)
		events_end(listener, ENDED_OVER);
	else if (!events_joins_live(listener))
		events_start_catching_up(events);
}

/* --- what is due --- */

/* As person.c. */
static enum status check_key(struct db *db, struct check *check, int64_t now_us, struct err *err)
{
	struct key_row key = {0};
	struct user_row user = {0};

	enum status status = keys_find(db, str_of(check->key_id), &key, err);
	if (status == STATUS_OK)
		status = users_find(db, check->user_id, &user, err);
	check->good = status == STATUS_OK && (key.expires_us == 0 || key.expires_us > now_us) && user.active &&
		      (!check->foreign || user.superuser);
	return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

static enum status check_session(struct db *db, struct check *check, int64_t now_us, struct err *err)
{
	struct user_session session = {0};
	enum status status = users_find_session(db, check->user_id, str_of(check->session), now_us, &session, err);

	check->good = session.known && session.active && (!check->foreign || session.superuser);
	return status;
}

static enum status run_checks(struct db *db, struct store_op *op, struct err *err)
{
	struct checks *checks = (struct checks *)(void *)op;
	int64_t now_us = clock_wall_us();
	enum status status = STATUS_OK;

	for (int i = 0; i < checks->n && status == STATUS_OK; i++) {
		struct check *check = &checks->list[i];
		status = check->session[0] ? check_session(db, check, now_us, err) : check_key(db, check, now_us, err);
	}
	return status;
}

static void checks_done(struct store_op *op)
{
	struct checks *checks = (struct checks *)(void *)op;

	checks->busy = false;
	for (int i = 0; i < checks->n; i++) {
		struct listener *listener = checks->list[i].listener;
		if (!listener)
			continue;
		listener->check = -1;
		if (op->status == STATUS_OK && !checks->list[i].good)
			events_end(listener, ENDED_REVOKED);
	}
	checks->n = 0;
}

static void add_check(struct checks *checks, struct listener *listener)
{
	struct check *check = &checks->list[checks->n];

	listener->check = checks->n++;
	check->listener = listener;
	check->user_id = listener->owner->user_id;
	check->foreign = listener->party != listener->owner;
	memcpy(check->session, listener->session, sizeof(check->session));
	memcpy(check->key_id, listener->key_id, sizeof(check->key_id));
	check->good = true;
}

/* A comment, and for who is up to date the place to come back to: or one to whom nothing happens would come back to a
 * place of long ago. */
static void push_comment(struct events *events, struct listener *listener)
{
	char bytes[128];
	struct buf text = {.p = bytes, .cap = sizeof(bytes)};

	buf_str(&text, STR(": keep-alive\n"));
	if (listener->stage == LIVE && !listener->full && events_is_before(&listener->at, &events->live.at)) {
		listener->at = events->live.at;
		events_put_id(&text, &listener->at);
	}
	buf_char(&text, '\n');
	if (!listener->full)
		events_push(listener, buf_view(&text));
}

void events_treat_due(struct events *events, uint64_t now_ms)
{
	struct checks *checks = &events->checks;
	bool checking = !checks->busy;
	int64_t now_us = clock_wall_us();

	struct listener *listener = events->first, *next;
	for (int i = 0; i < DUE_A_TICK && listener && listener->due_ms <= now_ms; i++, listener = next) {
		next = listener->later;
		if (checking && checks->n == EVENTS_CHECKS)
			break;
		if (listener->until_us != 0 && listener->until_us <= now_us) {
			events_end(listener, ENDED_REVOKED);
			continue;
		}
		events_take_out(events, listener);
		events_put_last(events, listener, now_ms + EVENTS_PERIOD_MS);
		push_comment(events, listener);
		if (checking)
			add_check(checks, listener);
	}
	if (!checking || checks->n == 0)
		return;
	checks->busy = true;
	checks->op = (struct store_op){.run = run_checks, .done = checks_done, .fresh = true};
	store_read(events->app->store, &checks->op);
}

void events_tick(struct events *events, uint64_t now_ms)
{
	events_treat_due(events, now_ms);
	if (events->live.failing)
		events_walk_go(&events->live);
	if (events->back.failing)
		events_walk_go(&events->back);
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

void events_walk_init(struct walk *walk, struct events *events, enum stage whom)
{
	walk->events = events;
	walk->whom = whom;
	buf_init_heap(&walk->text);
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
