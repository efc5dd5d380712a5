/* Limits in Redis: gathering requests, calling the script (limit_redis_script.c), handing out its answers.
 *
 * Requests with the same limits in one round are one group: so many ask, so many pass, in the order in which they came.
 * A batch is a call of the script with up to GROUPS of them; a full one does not wait for the last one's answer. */
#include "shared/limit_redis.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>

enum { GROUPS = 32, KEY_BYTES = 80, GROUP_BYTES = 12, ARGS = 2 + LIMIT_REDIS_IDS * GROUPS + GROUPS };

_Static_assert((int)ARGS <= (int)REDIS_ARGS, "a batch is one command");

struct group {
	struct limit_redis_take *first, **last; /* who waits; those that could no longer are not here any more */
	struct limit_wanted wanted[LIMIT_REDIS_IDS];
	int wanted_n;
	uint32_t n;    /* how many ask */
	uint32_t gone; /* of them, the first: completed as unknown while the call was under way */
	char keys[LIMIT_REDIS_IDS][KEY_BYTES];
	uint8_t numbers[GROUP_BYTES];
};

/* A call under way, or being gathered. */
struct batch {
	struct redis_op op; /* first */
	struct limit_redis *limits;
	struct batch *next, **link; /* all that there are */
	struct str args[ARGS];
	char keys_n[12];
	int n;
	uint64_t asked_ms; /* since when the first waits; UINT64_MAX: nobody does */
	struct group groups[GROUPS];
};

struct limit_redis {
	struct redis *redis;
	uint32_t window_ms;
	char window[12];
	struct batch *batches; /* under way or gathering */
	struct batch *gathering;
	struct batch *spare; /* one that was used: a call under way and one that gathers are the rule */
	int under_way;
};

static struct batch *new_batch(struct limit_redis *limits)
{
	struct batch *batch = limits->spare ? limits->spare : malloc(sizeof(*batch));

	if (!batch)
		return NULL;
	limits->spare = NULL;
	batch->limits = limits;
	batch->n = 0;
	batch->asked_ms = UINT64_MAX;
	batch->link = &limits->batches;
	batch->next = limits->batches;
	if (batch->next)
		batch->next->link = &batch->next;
	limits->batches = batch;
	return batch;
}

static void free_batch(struct batch *batch)
{
	*batch->link = batch->next;
	if (batch->next)
		batch->next->link = batch->link;
	if (batch->limits->spare)
		free(batch);
	else
		batch->limits->spare = batch;
}

/* --- answers --- */

static uint32_t read_u32(const char *p)
{
	const uint8_t *b = (const uint8_t *)p;

	return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static void write_u32(uint8_t *b, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		b[i] = (uint8_t)(value >> 8 * i);
}

/* The i-th of a group of which `passed` have passed, as if it had asked alone. */
static void set_results(struct limit_redis_take *take, uint32_t i, uint32_t passed, const char *answer, uint32_t window)
{
	for (int k = 0; k < take->n; k++) {
		const char *own = answer + (size_t)k * 8;
		uint32_t remaining = read_u32(own), limit = take->wanted[k].limit;
		bool passes = i < passed;
		take->results[k] = (struct limit_result){
			.allowed = passes || remaining > 0,
			.limit = limit,
			.remaining = passes ? remaining + (passed - 1 - i) : remaining,
			.retry_ms = passes ? window : read_u32(own + 4),
		};
	}
	take->known = true;
}

static void finish(struct limit_redis_take *take)
{
	uint64_t now_ms = clock_mono_ms();

	take->waited_ms = now_ms > take->asked_ms ? now_ms - take->asked_ms : 0;
	take->done(take);
}

/* What the script can't have said is no answer: more passed than asked, more remains than the limit. */
static bool is_sane(const struct group *group, const char *answer)
{
	bool sane = read_u32(answer) <= group->n;

	for (int k = 0; k < group->wanted_n; k++)
		sane = sane && read_u32(answer + 4 + (size_t)k * 8) <= group->wanted[k].limit;
	return sane;
}

/* Gives a group its answer; `text` goes on to the next. Without one, nothing is known. */
static void answer_group(struct group *group, uint32_t window, struct str *text)
{
	size_t bytes = 4 + 8 * (size_t)group->wanted_n;
	bool known = text->p && text->n >= bytes && is_sane(group, text->p);
	struct limit_redis_take *next;
	uint32_t i = group->gone;

	for (struct limit_redis_take *take = group->first; take; take = next, i++) {
		next = take->next; /* it goes with its request */
		if (known)
			set_results(take, i, read_u32(text->p), text->p + 4, window);
		finish(take);
	}
	*text = known ? (struct str){text->p + bytes, text->n - bytes} : (struct str){0};
}

static void answered(struct redis_op *op)
{
	struct batch *batch = (struct batch *)(void *)op;
	struct str text = op->status == STATUS_OK ? op->reply : (struct str){0};

	batch->limits->under_way--;
	for (int i = 0; i < batch->n; i++)
		answer_group(&batch->groups[i], batch->limits->window_ms, &text);
	/* Who waited behind a call that failed has waited long enough. */
	struct batch *next = batch->limits->gathering;
	if (op->status != STATUS_OK && next) {
		batch->limits->gathering = NULL;
		for (int i = 0; i < next->n; i++)
			answer_group(&next->groups[i], 0, &(struct str){0});
		free_batch(next);
	}
	free_batch(batch);
}

/* --- asking --- */

/* The id without the zeros that fill it up: all ids have one length, so that this is no other's. */
static void write_key(const struct redis *redis, const struct limit_id *id, char out[static KEY_BYTES])
{
	static const char digits[] = "0123456789abcdef";
	struct str installation = redis_installation(redis);
	size_t n = sizeof(id->b), at = 6 + installation.n;

	memcpy(out, "limit:", 6);
	memcpy(out + 6, installation.p, installation.n);
	out[at++] = ':';
	while (n > 0 && id->b[n - 1] == 0)
		n--;
	for (size_t i = 0; i < n; i++) {
		out[at++] = digits[id->b[i] >> 4];
		out[at++] = digits[id->b[i] & 15];
	}
	out[at] = '\0';
}

_Static_assert(6 + 16 + 1 + 2 * sizeof(struct limit_id) < KEY_BYTES, "a key has room");

static void write_args(struct batch *batch)
{
	struct limit_redis *limits = batch->limits;
	int at = 1;

	for (int i = 0; i < batch->n; i++) {
		struct group *group = &batch->groups[i];
		for (int k = 0; k < group->wanted_n; k++) {
			write_key(limits->redis, &group->wanted[k].id, group->keys[k]);
			batch->args[at++] = str_of(group->keys[k]);
		}
	}
	snprintf(batch->keys_n, sizeof(batch->keys_n), "%d", at - 1);
	batch->args[0] = str_of(batch->keys_n);
	batch->args[at++] = str_of(limits->window);
	for (int i = 0; i < batch->n; i++) {
		struct group *group = &batch->groups[i];
		write_u32(group->numbers, group->n);
		write_u32(group->numbers + 4, group->wanted[0].limit);
		write_u32(group->numbers + 8, group->wanted_n > 1 ? group->wanted[1].limit : 0);
		batch->args[at++] = (struct str){(const char *)group->numbers, GROUP_BYTES};
	}
	batch->op = (struct redis_op){.script = true, .use = REDIS_LIMIT, .done = answered};
	batch->op.args = batch->args;
	batch->op.args_n = at;
	for (int i = 0; i < batch->n; i++)
		batch->op.requests += (int)batch->groups[i].n;
}

static void submit(struct limit_redis *limits)
{
	struct batch *batch = limits->gathering;

	limits->gathering = NULL;
	limits->under_way++;
	write_args(batch);
	if (redis_submit(limits->redis, &batch->op))
		return;
	batch->op.status = STATUS_UNAVAILABLE;
	answered(&batch->op);
}

/* --- gathering --- */

static bool is_same(const struct group *a, const struct limit_redis_take *b)
{
	if (a->wanted_n != b->n)
		return false;
	for (int i = 0; i < b->n; i++)
		if (a->wanted[i].limit != b->wanted[i].limit ||
		    memcmp(&a->wanted[i].id, &b->wanted[i].id, sizeof(a->wanted[i].id)) != 0)
			return false;
	return true;
}

static struct group *find_group(struct limit_redis *limits, const struct limit_redis_take *take)
{
	struct batch *batch = limits->gathering;

	for (int i = 0; batch && i < batch->n; i++)
		if (is_same(&batch->groups[i], take))
			return &batch->groups[i];
	/* What can't be submitted is answered at once, and who hears so may ask anew. */
	while (limits->gathering && limits->gathering->n == GROUPS)
		submit(limits);
	if (!limits->gathering)
		limits->gathering = new_batch(limits);
	if (!limits->gathering)
		return NULL;
	struct group *group = &limits->gathering->groups[limits->gathering->n++];
	*group = (struct group){.last = &group->first, .wanted_n = take->n};
	memcpy(group->wanted, take->wanted, sizeof(group->wanted));
	return group;
}

bool limit_redis_ask(struct limit_redis *limits, struct limit_redis_take *take)
{
	struct group *group = redis_state(limits->redis) == REDIS_CLOSED ? find_group(limits, take) : NULL;

	if (!group)
		return false;
	take->known = false;
	take->next = NULL;
	take->asked_ms = clock_mono_ms();
	if (limits->gathering->asked_ms > take->asked_ms)
		limits->gathering->asked_ms = take->asked_ms;
	*group->last = take;
	group->last = &take->next;
	group->n++;
	return true;
}

static bool has_to_flush(const struct limit_redis *limits)
{
	return limits->gathering && limits->gathering->n > 0 && limits->under_way == 0;
}

void limit_redis_flush(struct limit_redis *limits)
{
	if (has_to_flush(limits))
		submit(limits);
}

/* --- what is late --- */

/* A moment after the deadline: a call that was sent when it was asked for is late first, and the breaker hears of it.
 */
static uint64_t patience_ms(const struct limit_redis *limits)
{
	enum { MOMENT_MS = 2 };

	return redis_deadline_ms(limits->redis) + MOMENT_MS;
}

static bool is_late(const struct limit_redis *limits, uint64_t asked_ms, uint64_t now_ms)
{
	return asked_ms < now_ms && now_ms - asked_ms >= patience_ms(limits);
}

/* Takes those who can't wait any longer out of a batch. */
static void take_late(struct batch *batch, uint64_t now_ms, struct limit_redis_take ***last)
{
	batch->asked_ms = UINT64_MAX;
	for (int i = 0; i < batch->n; i++) {
		struct group *group = &batch->groups[i];
		struct limit_redis_take *take;
		while ((take = group->first) && is_late(batch->limits, take->asked_ms, now_ms)) {
			group->first = take->next;
			take->next = NULL;
			**last = take;
			*last = &take->next;
			if (batch == batch->limits->gathering)
				group->n--; /* Redis need not hear of it */
			else
				group->gone++;
		}
		if (!group->first)
			group->last = &group->first;
		else if (group->first->asked_ms < batch->asked_ms)
			batch->asked_ms = group->first->asked_ms;
	}
}

static bool has_late(const struct limit_redis *limits, uint64_t now_ms)
{
	bool late = false;

	for (const struct batch *batch = limits->batches; batch; batch = batch->next)
		late = late || is_late(limits, batch->asked_ms, now_ms);
	return late;
}

void limit_redis_expire(struct limit_redis *limits, uint64_t now_ms)
{
	struct limit_redis_take *first = NULL, **last = &first, *next;

	if (!has_late(limits, now_ms))
		return;
	redis_read(limits->redis); /* before anything is called late: the event thread itself may have been */
	/* All are taken out before the first hears of it: it may ask anew. */
	for (struct batch *batch = limits->batches; batch; batch = batch->next)
		if (is_late(limits, batch->asked_ms, now_ms))
			take_late(batch, now_ms, &last);
	if (limits->gathering && limits->gathering->asked_ms == UINT64_MAX)
		limits->gathering->n = 0; /* nobody is left to ask for */
	for (struct limit_redis_take *take = first; take; take = next) {
		next = take->next;
		finish(take);
	}
}

int limit_redis_wait_ms(const struct limit_redis *limits, uint64_t now_ms, int most_ms)
{
	uint64_t wait_ms = (uint64_t)most_ms;

	if (has_to_flush(limits))
		return 0;
	for (const struct batch *batch = limits->batches; batch; batch = batch->next) {
		if (batch->asked_ms == UINT64_MAX)
			continue;
		uint64_t due_ms = batch->asked_ms + patience_ms(limits);
		uint64_t left_ms = due_ms > now_ms ? due_ms - now_ms : 0;
		wait_ms = left_ms < wait_ms ? left_ms : wait_ms;
	}
	return (int)wait_ms;
}

/* --- life --- */

bool limit_redis_open(struct limit_redis **out, struct redis *redis, uint32_t window_ms)
{
	struct limit_redis *limits = calloc(1, sizeof(*limits));

	*out = limits;
	if (!limits)
		return false;
	limits->redis = redis;
	limits->window_ms = window_ms;
	snprintf(limits->window, sizeof(limits->window), "%u", window_ms);
	return true;
}

void limit_redis_close(struct limit_redis *limits)
{
	struct batch *next;

	if (!limits)
		return;
	for (struct batch *batch = limits->batches; batch; batch = next) {
		next = batch->next;
		free(batch);
	}
	free(limits->spare);
	free(limits);
}
