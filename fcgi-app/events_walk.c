/* Changes are read in their order by two walks over the table, and each is given to whoever listens to its user. The
 * live walk follows the newest changes: whenever somebody has changed a task (wake.h) it reads what came since, once
 * for all listeners. Who comes back from before its place is not its business: they wait for the other walk, which
 * starts from the earliest place of those who wait, passes all of them on its way, and hands them to the live walk,
 * taken back to where they are; who gets the same twice by that is not sent it twice, for each listener knows its own
 * place. A walk goes a page a round, so that requests pass between. */
#include "events_impl.h"

#include "base/clock.h"
#include "base/log.h"

enum { RETRY_MS = 500 };

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

void events_walk_init(struct walk *walk, struct events *events, enum stage whom)
{
	walk->events = events;
	walk->whom = whom;
	buf_init_heap(&walk->text);
}
