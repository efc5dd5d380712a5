/* How fast tasks go through: tasks N [USERS], the service's own or those of so many users. Each task is added by a
 * write of its own, as a request would do it (store.h), up to 2,000 of them under way; who works on them runs elsewhere
 * (`appcore work`, DATABASE_URL and RUN_DIR in the environment). Prints the tasks per second from the first added to
 * the last that is completed, then the time that single ones take on an idle queue. */
#include "base/clock.h"
#include "base/config.h"
#include "shared/wake.h"
#include "store/store.h"
#include "store/tasks.h"

#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { UNDER_WAY = 2000, SINGLES = 200 };

struct add {
	struct store_op op; /* first */
	struct task_row row;
};

static int under_way, failed, owners, serial;

static enum status add_task(struct db *db, struct store_op *op, struct err *err)
{
	struct add *add = (struct add *)(void *)op;
	bool stored;

	enum status status = tasks_begin_change(db, &add->row.change, err);
	return status == STATUS_OK ? tasks_insert(db, &add->row, &stored, err) : status;
}

static void added(struct store_op *op)
{
	failed += op->status != STATUS_OK;
	under_way--;
}

static void submit(struct store *store, struct add *add)
{
	struct edge_identity edge;

	edge_generate(&edge);
	add->row = (struct task_row){.id = id_of_edge(&edge),
				     .user_id = owners > 0 ? 1 + serial++ % owners : 0,
				     .kind = "echo",
				     .small = true,
				     .payload = STR("{\"n\":12345}")};
	add->op = (struct store_op){.run = add_task, .done = added, .wake = 1u << WAKE_TASKS | 1u << WAKE_EVENTS};
	under_way++;
	if (store_write(store, &add->op) != STATUS_OK) {
		failed++;
		under_way--;
	}
}

static void drain(struct mailbox *box, int most)
{
	struct pollfd p = {.fd = box->fd, .events = POLLIN};

	while (under_way > most) {
		(void)poll(&p, 1, 100);
		mailbox_drain(box);
	}
}

static bool count_waiting(void *arg, struct str kind, enum task_status status, int64_t n, int64_t oldest_us)
{
	(void)kind;
	(void)oldest_us;
	*(int64_t *)arg += status == TASK_DEAD ? 0 : n;
	return true;
}

static void wait_for_all(struct db *db)
{
	static const struct timespec nap = {.tv_nsec = 5 * 1000000L};
	int64_t waiting, next_us;
	bool due;

	do {
		nanosleep(&nap, NULL);
		waiting = 1;
		const struct tasks_wish wish = {.now_us = clock_wall_us()};
		if (tasks_peek(db, &wish, &due, &next_us, NULL) != STATUS_OK)
			exit(1);
		if (due)
			continue; /* counting a long queue would slow down what is measured */
		waiting = 0;
		if (tasks_count(db, count_waiting, &waiting, NULL) != STATUS_OK)
			exit(1);
	} while (waiting > 0);
}

static int by_time(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* From the request to the commit of the result, and of that until it was begun. */
static void singles(struct store *store, struct mailbox *box, struct db *db, struct add *adds)
{
	static double ms[SINGLES];
	static const struct timespec nap = {.tv_nsec = 100 * 1000L}, rest = {.tv_nsec = 20 * 1000000L};
	struct arena arena;
	struct task_row row;

	arena_init(&arena, 1 << 20);
	for (int i = 0; i < SINGLES; i++) {
		nanosleep(&rest, NULL);
		uint64_t start = clock_mono_ns();
		submit(store, &adds[i]);
		drain(box, 0);
		do {
			nanosleep(&nap, NULL);
			arena_reset(&arena);
			if (tasks_find(db, &adds[i].row.id, -1, &arena, &row, NULL) != STATUS_OK)
				exit(1);
		} while (row.status != TASK_COMPLETED);
		ms[i] = (double)(clock_mono_ns() - start) / 1e6;
	}
	arena_release(&arena);
	qsort(ms, SINGLES, sizeof(*ms), by_time);
	printf("single_ms_median %.2f\nsingle_ms_p99 %.2f\n", ms[SINGLES / 2], ms[SINGLES * 99 / 100]);
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 100000;
	const char *url = getenv("DATABASE_URL"), *run_dir = getenv("RUN_DIR");
	struct store_options options = {.url = str_of(url)};
	struct mailbox box;
	struct err err = {0};
	struct db *db;

	owners = argc > 2 ? atoi(argv[2]) : 0;
	if (n < SINGLES || !url || !run_dir || sodium_init() < 0 || !mailbox_init(&box)) {
		fprintf(stderr, "usage: DATABASE_URL=… RUN_DIR=… tasks N [USERS]\n");
		return 100;
	}
	struct add *adds = calloc((size_t)n, sizeof(*adds));
	struct store *store;
	options.mailbox = &box;
	if (!adds || shm_open_dir(&options.shm, run_dir, &err) != STATUS_OK ||
	    shm_claim_slot(options.shm, "bench", &err) != STATUS_OK ||
	    store_open(&store, &options, &err) != STATUS_OK || db_open(&db, options.url, DB_READ, &err) != STATUS_OK) {
		fprintf(stderr, "%s\n", err.text);
		return 111;
	}
	uint64_t start = clock_mono_ns();
	for (int i = 0; i < n; i++) {
		submit(store, &adds[i]);
		if (i % 64 == 0)
			drain(&box, UNDER_WAY);
	}
	drain(&box, 0);
	double add_s = (double)(clock_mono_ns() - start) / 1e9;
	wait_for_all(db);
	double all_s = (double)(clock_mono_ns() - start) / 1e9;
	printf("added_per_s %.0f\ncompleted_per_s %.0f\n", n / add_s, n / all_s);
	singles(store, &box, db, adds);
	store_close(store);
	db_close(db);
	mailbox_release(&box);
	shm_close(options.shm);
	free(adds);
	return failed ? 1 : 0;
}
