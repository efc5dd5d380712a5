/* The shadow: what it stores, what it drops, and that nothing waits for it. */
#include "store_helpers.h"

#include "base/log.h"
#include "model/shadow.h"
#include "store/shadows.h"

#include <poll.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/stat.h>

/* --- models --- */

static sem_t gate; /* a candidate that is held waits here */
static atomic_bool held;
static atomic_int asked, released;

static enum status answer(const struct model *model, const struct model_batch *batch, size_t *bad, struct err *err)
{
	double factor = model->version[0] == '2' ? 10 : 1;

	if (factor > 1) {
		atomic_fetch_add(&asked, 1);
		if (atomic_load(&held))
			sem_wait(&gate);
	}
	for (size_t i = 0; i < batch->n; i++) {
		*bad = i;
		if (factor > 1 && batch->values[i * batch->width] < 0)
			return err_set(err, STATUS_INVALID, "below zero");
		batch->results[i] = factor * batch->values[i * batch->width];
	}
	return STATUS_OK;
}

static void count_release(struct model *model)
{
	(void)model;
	atomic_fetch_add(&released, 1);
}

static const struct model_ops OPS = {.predict = answer, .release = count_release};

static struct model *make_model(const char *version)
{
	struct model *model = model_new();

	CU_ASSERT_PTR_NOT_NULL_FATAL(model);
	snprintf(model->name, sizeof(model->name), "wine");
	snprintf(model->version, sizeof(model->version), "%s", version);
	snprintf(model->hash, sizeof(model->hash), "hash-%s", version);
	model->accepts = MODEL_VECTOR;
	model->ops = &OPS;
	return model;
}

/* --- the process around it --- */

static struct world {
	struct db *db;
	struct shm *shm;
	struct mailbox mailbox;
	struct store *store;
	struct model_set *set;
	struct shadow *shadow;
	const struct model *active;
	int offered;
} world;

static struct model_set *make_set(const char *shadow)
{
	static const struct model_share whole = {STR_INIT("1"), 100};
	struct model *one = make_model("1"), *two = make_model("2");
	struct model_set *set = model_set_new();

	CU_ASSERT_PTR_NOT_NULL_FATAL(set);
	OK(model_set_add(set, one, NULL));
	OK(model_set_add(set, two, NULL));
	OK(model_set_route(set, STR("wine"), &whole, 1, str_of(shadow), MODEL_STICKY_NONE, (struct str){0}, NULL));
	model_drop(one);
	model_drop(two);
	model_set_count_in(set, world.shm);
	return set;
}

static void begin(const char *database, struct shadow_options options)
{
	static int serial;
	char run[32];
	struct err err = {0};

	world = (struct world){.db = test_database(database)};
	snprintf(run, sizeof(run), "run-%d", ++serial);
	CU_ASSERT_EQUAL_FATAL(mkdir(test_path(run), 0700), 0);
	if (shm_open_dir(&world.shm, test_path(run), &err) != STATUS_OK ||
	    shm_claim_slot(world.shm, "t", &err) != STATUS_OK)
		test_give_up("shm", &err);
	CU_ASSERT_TRUE_FATAL(mailbox_init(&world.mailbox));
	const struct store_options store = {.url = database_url(database), .mailbox = &world.mailbox, .shm = world.shm};
	if (store_open(&world.store, &store, &err) != STATUS_OK)
		test_give_up("store", &err);
	world.set = make_set("2");
	world.active = model_set_find(world.set, STR("wine"), STR("1"))->model;
	options.store = world.store;
	options.shm = world.shm;
	if (options.nap_ms == 0)
		options.nap_ms = 2;
	CU_ASSERT_TRUE_FATAL(shadow_open(&world.shadow, &options));
	sem_init(&gate, 0, 0);
	atomic_store(&held, false);
	atomic_store(&asked, 0);
	atomic_store(&released, 0);
}

static void finish(void)
{
	shadow_close(world.shadow);
	store_close(world.store);
	mailbox_drain(&world.mailbox);
	model_set_drop(world.set);
	mailbox_release(&world.mailbox);
	shm_close(world.shm);
	db_close(world.db);
}

/* The i-th prediction: of [i], answered with i. */
static void offer(double value)
{
	struct edge_identity edge;
	char id[ID_TEXT_BYTES], features[40];

	edge_generate(&edge);
	edge.ms = INT64_C(1700000000000) + world.offered++;
	struct id made = id_of_edge(&edge);
	id_format(&made, id);
	snprintf(features, sizeof(features), "[%.1f]", value);
	const struct prediction row = {.id = str_of(id),
				       .features = str_of(features),
				       .result = value,
				       .label = STR("old"),
				       .created_at = STR("2023-11-14T22:13:20.000000+00:00")};
	shadow_offer(world.shadow, world.set, world.active, &row);
	memset(features, 'x', sizeof(features)); /* the request is gone */
	memset(id, 'x', sizeof(id));
}

static int count_of(const char *outcome)
{
	char name[100];
	struct buf text;
	int value = -1;

	snprintf(name, sizeof(name), "appcore_shadow_total{model=\"wine\",version=\"2\",outcome=\"%s\"} ", outcome);
	buf_init_heap(&text);
	metrics_render(world.shm, &text);
	buf_char(&text, '\0');
	const char *at = strstr(text.p, name);
	if (at)
		value = (int)strtod(at + strlen(name), NULL);
	buf_release(&text);
	return value;
}

/* Opens mail until that many rows have an outcome; false after TEST_PATIENCE_MS. */
static bool settled(int rows)
{
	struct pollfd p = {.fd = world.mailbox.fd, .events = POLLIN};

	for (uint64_t end_ms = clock_mono_ms() + TEST_PATIENCE_MS; clock_mono_ms() < end_ms;) {
		poll(&p, 1, 10);
		mailbox_drain(&world.mailbox);
		int scored = count_of("scored"), dropped = count_of("dropped"), failed = count_of("failed");
		if ((scored > 0 ? scored : 0) + (dropped > 0 ? dropped : 0) + (failed > 0 ? failed : 0) >= rows)
			return true;
	}
	return false;
}

static void wait_until_asked(int times)
{
	for (int i = 0; i < TEST_PATIENCE_MS && atomic_load(&asked) < times; i++)
		test_sleep_ms(1);
	CU_ASSERT(atomic_load(&asked) >= times);
}

/* --- cases --- */

struct seen {
	int n, right;
};

static bool look(void *arg, const struct shadow_prediction *row)
{
	struct seen *seen = arg;

	seen->right += row->prediction_id.n == 36 && str_eq(row->model_version, STR("2")) &&
		       str_eq(row->model_name, STR("wine")) && str_eq(row->model_hash, STR("hash-2")) &&
		       str_eq(row->active_version, STR("1")) && str_eq(row->active_label, STR("old")) &&
		       row->active_result == seen->n && row->result == 10 * seen->n && row->label.n == 0 &&
		       str_eq(row->created_at, STR("2023-11-14T22:13:20.000000+00:00")) && row->features.n == 0;
	seen->n++;
	return true;
}

static void stores_what_it_says(void)
{
	char position[SHADOWS_POSITION_BYTES];
	struct seen seen = {0};
	int read;

	begin("stores.db", (struct shadow_options){0});
	for (int i = 0; i < 150; i++)
		offer(i);
	CU_ASSERT_TRUE(settled(150));
	CU_ASSERT_EQUAL(count_of("scored"), 150);
	CU_ASSERT_EQUAL(count_of("dropped"), -1);
	shadows_begin(0, position);
	OK(shadows_page(world.db, position, 100, look, &seen, &read, NULL));
	CU_ASSERT_EQUAL(read, 100);
	OK(shadows_page(world.db, position, 100, look, &seen, &read, NULL));
	CU_ASSERT_EQUAL(read, 50);
	OK(shadows_page(world.db, position, 100, look, &seen, &read, NULL));
	CU_ASSERT_EQUAL(read, 0);
	CU_ASSERT_EQUAL(seen.n, 150);
	CU_ASSERT_EQUAL(seen.right, 150);
	/* From the 101st millisecond on. */
	shadows_begin(1700000000100, position);
	OK(shadows_page(world.db, position, 100, look, &seen, &read, NULL));
	CU_ASSERT_EQUAL(read, 50);
	/* After a while without any it is asleep, and wakes. */
	test_sleep_ms(100);
	offer(150);
	CU_ASSERT_TRUE(settled(151));
	finish();
}

static void a_full_queue_drops(void)
{
	begin("full.db", (struct shadow_options){.queue = 8});
	atomic_store(&held, true);
	offer(0);
	wait_until_asked(1); /* it has taken the first, and is held */
	for (int i = 1; i < 30; i++)
		offer(i);
	CU_ASSERT_EQUAL(count_of("dropped"), 29 - 8);
	atomic_store(&held, false);
	for (int i = 0; i < 10; i++)
		sem_post(&gate);
	CU_ASSERT_TRUE(settled(30));
	CU_ASSERT_EQUAL(count_of("scored"), 9);
	offer(30);
	CU_ASSERT_TRUE(settled(31));
	CU_ASSERT_EQUAL(count_of("scored"), 10);
	finish();
}

static void who_has_none_is_left_alone(void)
{
	begin("none.db", (struct shadow_options){0});
	const struct model *candidate = model_set_find(world.set, STR("wine"), STR("2"))->model;
	const struct prediction row = {.id = STR("x"), .features = STR("[1]"), .created_at = STR("y")};
	shadow_offer(world.shadow, world.set, candidate, &row);
	shadow_offer(world.shadow, world.set, model_mean(), &row);
	model_set_drop(world.set);
	world.set = make_set("");
	world.active = model_set_find(world.set, STR("wine"), STR("1"))->model;
	offer(1);
	test_sleep_ms(50);
	CU_ASSERT_EQUAL(atomic_load(&asked), 0);
	CU_ASSERT_EQUAL(count_of("dropped"), -1);
	finish();
	CU_ASSERT_EQUAL(
		test_number(world.db = test_open("none.db", DB_READ), "SELECT count(*) FROM shadow_predictions"), 0);
	db_close(world.db);
}

static void refusals_are_counted(void)
{
	begin("refuses.db", (struct shadow_options){0});
	for (int i = 0; i < 100; i++)
		offer(i % 4 == 0 ? -1 : i);
	CU_ASSERT_TRUE(settled(100));
	CU_ASSERT_EQUAL(count_of("scored"), 75);
	CU_ASSERT_EQUAL(count_of("failed"), 25);
	finish();
}

static void a_failing_store_is_counted(void)
{
	begin("fails.db", (struct shadow_options){0});
	OK(db_turn_take(world.db, 5000, NULL));
	OK(db_script(world.db, "ALTER TABLE shadow_predictions RENAME TO gone", NULL));
	db_turn_give(world.db);
	for (int i = 0; i < 10; i++)
		offer(i);
	CU_ASSERT_TRUE(settled(10));
	CU_ASSERT_EQUAL(count_of("failed"), 10);
	finish();
}

/* The set that jobs hold lives until the last of them is done, and not longer. */
static void a_swap_during_scoring(void)
{
	begin("swap.db", (struct shadow_options){0});
	atomic_store(&held, true);
	offer(1);
	wait_until_asked(1);
	offer(2);
	model_set_drop(world.set);
	world.set = make_set("2");
	world.active = model_set_find(world.set, STR("wine"), STR("1"))->model;
	offer(3);
	CU_ASSERT_EQUAL(atomic_load(&released), 0);
	atomic_store(&held, false);
	for (int i = 0; i < 10; i++)
		sem_post(&gate);
	CU_ASSERT_TRUE(settled(3));
	CU_ASSERT_EQUAL(count_of("scored"), 3);
	for (int i = 0; i < TEST_PATIENCE_MS && atomic_load(&released) < 2; i++)
		test_sleep_ms(1);
	CU_ASSERT_EQUAL(atomic_load(&released), 2);
	finish();
	CU_ASSERT_EQUAL(atomic_load(&released), 4);
}

static void closing_scores_what_waits(void)
{
	begin("closes.db", (struct shadow_options){.nap_ms = 10000, .stop_ms = 2 * TEST_PATIENCE_MS});
	for (int i = 0; i < 500; i++)
		offer(i);
	finish(); /* the nap is not slept to its end */
	world.db = test_open("closes.db", DB_READ);
	CU_ASSERT_EQUAL(test_number(world.db, "SELECT count(*) FROM shadow_predictions"), 500);
	db_close(world.db);
}

static void *open_gate_later(void *arg)
{
	(void)arg;
	test_sleep_ms(300);
	atomic_store(&held, false);
	sem_post(&gate);
	return NULL;
}

/* A candidate that takes too long at the end costs the rows that wait, not the process. */
static void closing_ends(void)
{
	pthread_t opener;
	int dropped = -1;

	/* On a busy machine the gate may be open before the closing has begun, but not each time. */
	for (int tries = 0; tries < 10 && dropped != 199; tries++) {
		char name[32];
		snprintf(name, sizeof(name), "ends%d.db", tries);
		begin(name, (struct shadow_options){.stop_ms = 50});
		atomic_store(&held, true);
		offer(0);
		wait_until_asked(1);
		for (int i = 1; i < 200; i++)
			offer(i);
		CU_ASSERT_EQUAL_FATAL(pthread_create(&opener, NULL, open_gate_later, NULL), 0);
		shadow_close(world.shadow);
		world.shadow = NULL;
		pthread_join(opener, NULL);
		dropped = count_of("dropped");
		finish();
	}
	CU_ASSERT_EQUAL(dropped, 199);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"stores what it says", stores_what_it_says},
		{"a full queue drops", a_full_queue_drops},
		{"who has none is left alone", who_has_none_is_left_alone},
		{"refusals are counted", refusals_are_counted},
		{"a failing store is counted", a_failing_store_is_counted},
		{"a swap during scoring", a_swap_during_scoring},
		{"closing scores what waits", closing_scores_what_waits},
		{"closing ends", closing_ends},
	};

	return UNIT_RUN("shadow", cases);
}
