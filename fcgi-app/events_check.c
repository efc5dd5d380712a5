/* What is due from time to time: a comment, which keeps idle connections open and finds those that are gone, and a look
 * whether the listener's caller still may listen. While the database can't be asked nobody knows; who may listen no
 * more must not go on for that, so one whose checks have failed for a while is ended. Who comes back is told 503. */
#include "events_impl.h"

#include "base/clock.h"
#include "store/users.h"

enum { DUE_A_TICK = 128 };

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

static void check_failed(struct listener *listener, uint64_t asked_ms)
{
	if (listener->unchecked_ms == 0)
		listener->unchecked_ms = asked_ms;
	else if (asked_ms - listener->unchecked_ms >= EVENTS_UNCHECKED_MS)
		events_end(listener, ENDED_UNCHECKED);
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
		if (op->status != STATUS_OK)
			check_failed(listener, checks->asked_ms);
		else if (checks->list[i].good)
			listener->unchecked_ms = 0;
		else
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
	bool unanswered = checks->busy && now_ms - checks->asked_ms >= EVENTS_UNCHECKED_MS;
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
		if (unanswered) {
			events_end(listener, ENDED_UNCHECKED);
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
	checks->asked_ms = now_ms;
	checks->op = (struct store_op){.run = run_checks, .done = checks_done, .fresh = true};
	store_read(events->app->store, &checks->op);
}
