/* Who listens. Listeners stand in a list of their party's, and in one by when they are due for a comment. */
#include "events_impl.h"

#include "base/clock.h"
#include "base/log.h"

#include <sodium.h>
#include <stdlib.h>

enum { RETRY_FROM_MS = 1000, RETRY_SPREAD_MS = 2000 }; /* not all at once when a worker ends */

/* --- parties and lists --- */

const char *const EVENTS_ENDED[ENDED__MAX] = {
	[ENDED_GONE] = "gone",           /* its client closed */
	[ENDED_SLOW] = "slow",           /* its client read nothing for too long */
	[ENDED_DRAINED] = "drained",     /* the worker ends */
	[ENDED_OVER] = "over",           /* the one task is */
	[ENDED_REVOKED] = "revoked",     /* its caller may listen no more */
	[ENDED_UNCHECKED] = "unchecked", /* nobody can say whether its caller still may */
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
