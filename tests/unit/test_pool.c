/* The pool of threads, and the mailbox that brings work back. */
#include "unit.h"

#include "base/mailbox.h"
#include "base/pool.h"

#include <poll.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

enum { JOBS = 500 };

struct work {
	struct pool_job job; /* first: the pool hands it back */
	struct mail mail;
	int number;
	void *state;
};

static struct work works[JOBS];
static int order[JOBS];
static atomic_int done, started, stopped;
static sem_t entered, go_on;

static void note(struct pool_job *job, void *state)
{
	struct work *work = (struct work *)job;

	work->state = state;
	order[atomic_fetch_add(&done, 1)] = work->number;
}

static void wait_here(struct pool_job *job, void *state)
{
	sem_post(&entered);
	sem_wait(&go_on);
	note(job, state);
}

static void reset(void (*run)(struct pool_job *job, void *state))
{
	memset(works, 0, sizeof(works));
	for (int i = 0; i < JOBS; i++) {
		works[i].job.run = run;
		works[i].number = i;
	}
	done = started = stopped = 0;
	sem_init(&entered, 0, 0);
	sem_init(&go_on, 0, 0);
}

static void *start_thread(void *arg)
{
	atomic_fetch_add(&started, 1);
	return arg;
}

static void stop_thread(void *arg, void *state)
{
	CU_ASSERT_PTR_EQUAL(arg, state);
	atomic_fetch_add(&stopped, 1);
}

static void runs_everything(void)
{
	struct pool *pool;
	int anything;
	struct pool_options options = {.name = "test",
				       .threads = 4,
				       .queue = JOBS,
				       .thread_start = start_thread,
				       .thread_stop = stop_thread,
				       .arg = &anything};
	char seen[JOBS] = {0};

	reset(note);
	CU_ASSERT_TRUE_FATAL(pool_open(&pool, &options));
	for (int i = 0; i < JOBS; i++)
		CU_ASSERT_TRUE(pool_submit(pool, &works[i].job));
	pool_close(pool); /* after the queue is empty */
	CU_ASSERT_EQUAL(atomic_load(&done), JOBS);
	CU_ASSERT_EQUAL(atomic_load(&started), 4);
	CU_ASSERT_EQUAL(atomic_load(&stopped), 4);
	for (int i = 0; i < JOBS; i++) {
		CU_ASSERT_PTR_EQUAL(works[i].state, &anything);
		seen[order[i]]++;
	}
	for (int i = 0; i < JOBS; i++)
		CU_ASSERT_EQUAL(seen[i], 1);
}

static void one_thread_keeps_the_order(void)
{
	struct pool *pool;
	struct pool_options options = {.name = "test", .threads = 1, .queue = JOBS};

	reset(note);
	CU_ASSERT_TRUE_FATAL(pool_open(&pool, &options));
	for (int i = 0; i < JOBS; i++)
		CU_ASSERT_TRUE(pool_submit(pool, &works[i].job));
	pool_close(pool);
	for (int i = 0; i < JOBS; i++)
		CU_ASSERT_EQUAL(order[i], i);
	CU_ASSERT_PTR_NULL(works[0].state);
}

static void the_queue_is_bounded(void)
{
	struct pool *pool;
	struct pool_options options = {.name = "test", .threads = 2, .queue = 3};

	reset(wait_here);
	CU_ASSERT_TRUE_FATAL(pool_open(&pool, &options));
	CU_ASSERT_EQUAL(pool_queue_length(pool), 0);
	for (int i = 0; i < 2; i++) {
		CU_ASSERT_TRUE(pool_submit(pool, &works[i].job));
		sem_wait(&entered);
	}
	CU_ASSERT_EQUAL(pool_queue_length(pool), 0); /* what runs does not wait */
	for (int i = 2; i < 5; i++)
		CU_ASSERT_TRUE(pool_submit(pool, &works[i].job));
	CU_ASSERT_EQUAL(pool_queue_length(pool), 3);
	CU_ASSERT_FALSE(pool_submit(pool, &works[5].job));
	CU_ASSERT_EQUAL(pool_queue_length(pool), 3);
	sem_post(&go_on);
	sem_wait(&entered); /* the next one has left the queue */
	CU_ASSERT_EQUAL(pool_queue_length(pool), 2);
	CU_ASSERT_TRUE(pool_submit(pool, &works[5].job));
	for (int i = 0; i < 6; i++)
		sem_post(&go_on);
	pool_close(pool);
	CU_ASSERT_EQUAL(atomic_load(&done), 6);
}

/* What was queued is run; then it refuses, for as long as it is not closed. */
static void a_stopped_pool_refuses(void)
{
	struct pool *pool;
	struct pool_options options = {.name = "test", .threads = 2, .queue = JOBS};

	reset(note);
	CU_ASSERT_TRUE_FATAL(pool_open(&pool, &options));
	for (int i = 0; i < JOBS - 1; i++)
		CU_ASSERT_TRUE(pool_submit(pool, &works[i].job));
	pool_stop(pool);
	CU_ASSERT_EQUAL(atomic_load(&done), JOBS - 1);
	CU_ASSERT_FALSE(pool_submit(pool, &works[JOBS - 1].job));
	CU_ASSERT_EQUAL(pool_queue_length(pool), 0);
	pool_stop(pool);
	pool_close(pool);
	CU_ASSERT_EQUAL(atomic_load(&done), JOBS - 1);
	pool_stop(NULL);
}

static void an_idle_pool_closes(void)
{
	struct pool *pool;
	struct pool_options options = {.name = "test", .threads = 3, .queue = 1};

	for (int i = 0; i < 50; i++) {
		CU_ASSERT_TRUE_FATAL(pool_open(&pool, &options));
		pool_close(pool);
	}
	pool_close(NULL);
}

/* --- mailbox --- */

static struct mailbox box;
static int opened;

static void open_in_order(struct mail *mail)
{
	struct work *work = (struct work *)(void *)((char *)mail - offsetof(struct work, mail));

	order[opened++] = work->number;
}

static void post(struct pool_job *job, void *state)
{
	struct work *work = (struct work *)job;

	(void)state;
	work->mail.open = open_in_order;
	mailbox_send(&box, &work->mail);
}

static bool has_mail(int ms)
{
	struct pollfd p = {.fd = box.fd, .events = POLLIN};

	return poll(&p, 1, ms) == 1;
}

static void mail_comes_back(void)
{
	struct pool *pool;
	struct pool_options options = {.name = "test", .threads = 3, .queue = JOBS};
	char seen[JOBS] = {0};

	reset(post);
	opened = 0;
	CU_ASSERT_TRUE_FATAL(mailbox_init(&box));
	CU_ASSERT_FALSE(has_mail(0));
	CU_ASSERT_EQUAL(mailbox_drain(&box), 0);
	CU_ASSERT_TRUE_FATAL(pool_open(&pool, &options));
	for (int i = 0; i < JOBS; i++)
		CU_ASSERT_TRUE(pool_submit(pool, &works[i].job));
	while (opened < JOBS && has_mail(20 * 1000))
		mailbox_drain(&box);
	CU_ASSERT_EQUAL(opened, JOBS);
	CU_ASSERT_FALSE(has_mail(0));
	for (int i = 0; i < JOBS; i++)
		seen[order[i]]++;
	for (int i = 0; i < JOBS; i++)
		CU_ASSERT_EQUAL(seen[i], 1);
	pool_close(pool);
	mailbox_release(&box);
}

static void chains_keep_their_order(void)
{
	reset(post);
	opened = 0;
	CU_ASSERT_TRUE_FATAL(mailbox_init(&box));
	for (int i = 0; i < 6; i++) {
		works[i].mail.open = open_in_order;
		works[i].mail.next = i == 2 || i == 5 ? NULL : &works[i + 1].mail;
	}
	mailbox_send(&box, &works[0].mail);
	mailbox_send(&box, &works[3].mail);
	CU_ASSERT_TRUE(has_mail(0));
	CU_ASSERT_EQUAL(mailbox_drain(&box), 6);
	for (int i = 0; i < 6; i++)
		CU_ASSERT_EQUAL(order[i], i);
	CU_ASSERT_FALSE(has_mail(0));
	mailbox_release(&box);
}

/* Mail that is sent while mail is opened waits for the next round, and wakes the owner. */
static void send_again(struct mail *mail)
{
	mail->open = open_in_order;
	mailbox_send(&box, mail);
}

static void mail_from_within(void)
{
	reset(post);
	opened = 0;
	CU_ASSERT_TRUE_FATAL(mailbox_init(&box));
	works[0].mail.open = send_again;
	mailbox_send(&box, &works[0].mail);
	CU_ASSERT_EQUAL(mailbox_drain(&box), 1);
	CU_ASSERT_EQUAL(opened, 0);
	CU_ASSERT_TRUE(has_mail(0));
	CU_ASSERT_EQUAL(mailbox_drain(&box), 1);
	CU_ASSERT_EQUAL(opened, 1);
	mailbox_release(&box);
}

static const struct unit_case CASES[] = {
	{"runs everything", runs_everything},
	{"one thread keeps the order", one_thread_keeps_the_order},
	{"the queue is bounded", the_queue_is_bounded},
	{"an idle pool closes", an_idle_pool_closes},
	{"a stopped pool refuses", a_stopped_pool_refuses},
	{"mail comes back", mail_comes_back},
	{"chains keep their order", chains_keep_their_order},
	{"mail from within", mail_from_within},
};

int main(void)
{
	return UNIT_RUN("pool", CASES);
}
