/* Drift: the index by hand, what goes into which bin, what is read of the store, and the gauges. */
#include "store_helpers.h"

#include "model/drift.h"
#include "model/drift_watch.h"
#include "model_helpers.h"

#include <signal.h>
#include <sys/stat.h>

/* A model of every type of input with a distribution, and one without. */
#define INPUTS                                                                                                         \
	"[{\"name\":\"x\",\"type\":\"number\",\"missing\":\"allow\","                                                  \
	"\"distribution\":{\"edges\":[1,2,3],\"shares\":[0.25,0.25,0.25,0.25],\"missing\":0.2}},"                      \
	"{\"name\":\"none\",\"type\":\"number\"},"                                                                     \
	"{\"name\":\"colour\",\"type\":\"category\",\"categories\":[\"red\",\"white\"],"                               \
	"\"distribution\":{\"shares\":[0.5,0.5]}}]"
#define STEPS "[{\"step\":\"impute\",\"inputs\":[\"x\"],\"values\":[0]},{\"step\":\"one_hot\",\"input\":\"colour\"}]"

static struct model *wine(void)
{
	struct model *model = helper_model("linear", INPUTS, STEPS, "{\"type\":\"regression\"}", "",
					   "{\"format\":\"appcore linear 1\",\"coefficients\":[[1,1,1,1]],"
					   "\"intercepts\":[0]}");

	snprintf(model->name, sizeof(model->name), "wine");
	return model;
}

static void by_hand(void)
{
	static const double even[] = {0.25, 0.25, 0.25, 0.25}, moved[] = {0.1, 0.2, 0.3, 0.4};
	static const double gone[] = {0, 0.5, 0.25, 0.25}, one[] = {1}, half[] = {0.5, 0.5}, other[] = {1, 0};

	CU_ASSERT_EQUAL(drift_psi(even, even, 4), 0);
	CU_ASSERT_EQUAL(drift_psi(one, one, 1), 0);
	/* -0.15 ln 0.4 - 0.05 ln 0.8 + 0.05 ln 1.2 + 0.15 ln 1.6 */
	CU_ASSERT_DOUBLE_EQUAL(drift_psi(moved, even, 4), 0.2282174096, 1e-10);
	CU_ASSERT_DOUBLE_EQUAL(drift_psi(even, moved, 4), 0.2282174096, 1e-10); /* it has no direction */
	/* The empty bin counts as 0.0001: -0.2499 ln 0.0004 + 0.25 ln 2 */
	CU_ASSERT_DOUBLE_EQUAL(drift_psi(gone, even, 4), 2.1285158933, 1e-9);
	/* 0.5 ln 2 - 0.4999 ln 0.0002 */
	CU_ASSERT_DOUBLE_EQUAL(drift_psi(other, half, 2), 4.6043186, 1e-6);
	CU_ASSERT_STRING_EQUAL(drift_reading(0.0999), "stable");
	CU_ASSERT_STRING_EQUAL(drift_reading(0.1), "moving");
	CU_ASSERT_STRING_EQUAL(drift_reading(0.25), "moving");
	CU_ASSERT_STRING_EQUAL(drift_reading(0.2501), "shifted");
}

static void counts_are(const struct drift_input *input, const int64_t *counts, int n)
{
	CU_ASSERT_EQUAL(input->bins, n);
	for (int i = 0; i < n && i < input->bins; i++)
		if (input->counts[i] != counts[i])
			printf("\nbin %d: %lld instead of %lld\n", i, (long long)input->counts[i],
			       (long long)counts[i]);
	for (int i = 0; i < n && i < input->bins; i++)
		CU_ASSERT_EQUAL(input->counts[i], counts[i]);
}

static void what_goes_where(void)
{
	static const char *const rows[] = {
		"[0.999, 0, \"red\"]", "[1, 0, \"red\"]",     "[1.999, 0, \"white\"]", "[2, 0, \"white\"]",
		"[3, 0, \"white\"]",   "[1e9, 0, \"white\"]", "[-1e9, 0, \"green\"]",  "[null, 0, \"red\"]",
	};
	struct model *model = wine();
	struct drift *drift = drift_new(model);
	struct arena arena;
	char name[64];

	CU_ASSERT_PTR_NOT_NULL_FATAL(drift);
	CU_ASSERT_EQUAL_FATAL(drift->inputs_n, 2);
	arena_init(&arena, 1 << 20);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		CU_ASSERT_EQUAL(drift_add(drift, str_of(rows[i]), &arena), STATUS_OK);
	CU_ASSERT_EQUAL(drift_add(drift, STR("[1]"), &arena), STATUS_OK); /* another version's */
	CU_ASSERT_EQUAL(drift_add(drift, STR("nonsense"), &arena), STATUS_OK);
	CU_ASSERT_EQUAL(drift->rows, 8);
	CU_ASSERT_EQUAL(drift->skipped, 2);
	counts_are(&drift->inputs[0], (const int64_t[]){2, 2, 1, 2, 1}, 5);
	counts_are(&drift->inputs[1], (const int64_t[]){3, 4, 0, 1}, 4);
	drift_finish(drift);
	CU_ASSERT(drift->inputs[0].psi >= drift->inputs[1].psi);
	for (int i = 0; i < 2; i++) {
		const struct drift_input *input = &drift->inputs[i];
		bool x = str_eq(input->input->name, STR("x"));
		/* x: shares 2 2 1 2 1 of 8 against 0.2 everywhere: 3 * 0.05 ln 1.25 - 2 * 0.075 ln 0.625
		 * colour: 3 4 0 1 of 8 against 0.5 0.5 0 0: -0.125 ln 0.75 + 0.1249 ln 1250 */
		CU_ASSERT_DOUBLE_EQUAL(input->psi, x ? 0.1039720771 : 0.9266095230, 1e-9);
		drift_bin_name(input, 0, name);
		CU_ASSERT_STRING_EQUAL(name, x ? "below 1" : "red");
		drift_bin_name(input, x ? 3 : 3, name);
		CU_ASSERT_STRING_EQUAL(name, x ? "3 and more" : "not listed");
		drift_bin_name(input, x ? 1 : 2, name);
		CU_ASSERT_STRING_EQUAL(name, x ? "1 to 2" : "missing");
	}
	arena_release(&arena);
	drift_free(drift);
	model_drop(model);

	struct drift *none = drift_new(model_mean());
	CU_ASSERT_PTR_NOT_NULL_FATAL(none);
	CU_ASSERT_EQUAL(none->inputs_n, 0);
	drift_finish(none);
	drift_free(none);
}

/* --- of the store --- */

static const int64_t NOW_US = INT64_C(1700000000000000);

static void put_row(struct db *db, const char *model, const char *version, int64_t at_us, const char *features)
{
	struct edge_identity edge;
	char id[ID_TEXT_BYTES], created_at[CLOCK_ISO_BYTES];
	bool repeated;

	edge_generate(&edge);
	edge.ms = at_us / 1000;
	struct id made = id_of_edge(&edge);
	id_format(&made, id);
	clock_format_iso(at_us, created_at);
	const struct prediction row = {.id = str_of(id),
				       .features = str_of(features),
				       .result = 1,
				       .model_version = str_of(version),
				       .model_name = str_of(model),
				       .created_at = str_of(created_at)};
	OK(predictions_save(db, &row, &repeated, NULL, NULL, NULL));
}

static struct drift *sampled(struct db *db, struct model *model, int rows)
{
	struct drift *drift = drift_new(model);
	struct err err = {0};

	CU_ASSERT_PTR_NOT_NULL_FATAL(drift);
	CU_ASSERT_EQUAL(drift_sample(drift, db, NOW_US, INT64_C(3600) * 1000000, rows, &err), STATUS_OK);
	drift_finish(drift);
	return drift;
}

static void a_window_of_the_store(void)
{
	struct db *db = test_database("window.db");
	struct model *model = wine();
	const int64_t minute = 60 * 1000000;

	test_begin(db);
	put_row(db, "wine", "1", NOW_US - 60 * minute - 1, "[0.5, 0, \"red\"]"); /* too old */
	put_row(db, "wine", "1", NOW_US - 60 * minute, "[0.5, 0, \"red\"]");
	put_row(db, "wine", "1", NOW_US, "[0.5, 0, \"red\"]"); /* not yet */
	put_row(db, "wine", "2", NOW_US - minute, "[0.5, 0, \"red\"]");
	put_row(db, "beer", "1", NOW_US - minute, "[0.5, 0, \"red\"]");
	for (int i = 0; i < 60; i++)
		put_row(db, "wine", "1", NOW_US - i * minute - 1, "[1.5, 0, \"white\"]");
	test_commit(db);

	struct drift *drift = sampled(db, model, DRIFT_ROWS);
	CU_ASSERT_EQUAL(drift->rows, 61);
	CU_ASSERT_FALSE(drift->sampled);
	CU_ASSERT_EQUAL(drift->inputs[0].counts[1], 60);
	drift_free(drift);

	/* Fewer than there are: spread over the window, not its newest alone. */
	drift = sampled(db, model, 50);
	CU_ASSERT(drift->rows >= 45 && drift->rows <= 50);
	CU_ASSERT_TRUE(drift->sampled);
	drift_free(drift);
	model_drop(model);
	db_close(db);
}

/* Which connection to the server it is. */
static int64_t connection_of(struct db *db)
{
	return database_is_postgres() ? test_number(db, "SELECT pg_backend_pid()") : 0;
}

/* Many rows in one minute do not crowd out the others, nor do another model's. All is read over one connection. */
static void bounded_work(void)
{
	struct db *db = test_database("bounded.db");
	struct model *model = wine();

	test_begin(db);
	for (int i = 0; i < 3000; i++)
		put_row(db, "wine", "1", NOW_US - 1000 - i, "[1.5, 0, \"white\"]");
	for (int i = 0; i < 30; i++)
		put_row(db, "wine", "1", NOW_US - INT64_C(3000) * 1000000 - i, "[2.5, 0, \"red\"]");
	for (int i = 0; i < 300; i++)
		put_row(db, "beer", "1", NOW_US - INT64_C(3000) * 1000000 + 1 + i, "[2.5, 0, \"red\"]");
	test_commit(db);
	int64_t connection = connection_of(db);
	struct drift *drift = sampled(db, model, 1000);
	CU_ASSERT_EQUAL(connection_of(db), connection);
	CU_ASSERT(drift->rows <= 1000 &&
		  drift->rows > 990); /* nor are they cut to a slice's part when others are empty */
	CU_ASSERT_TRUE(drift->sampled);
	for (int i = 0; i < drift->inputs_n; i++) /* x: all 30 of the older ones are there */
		if (str_eq(drift->inputs[i].input->name, STR("x")))
			CU_ASSERT_EQUAL(drift->inputs[i].counts[2], 30);
	drift_free(drift);
	model_drop(model);
	db_close(db);
}

static void texts(void)
{
	struct model *model = helper_model(
		"text",
		"[{\"name\":\"text\",\"type\":\"text\",\"distribution\":{\"edges\":[3,6],\"shares\":[0.5,0.25,0.25]}}]",
		"", "{\"type\":\"binary\",\"classes\":[\"no\",\"yes\"]}", "",
		"{\"format\":\"appcore text 1\",\"classifier\":\"logistic_regression\",\"ngram_range\":[1,1],"
		"\"sublinear_tf\":false,\"norm\":\"l2\",\"vocabulary\":[\"good\"],\"idf\":[1],"
		"\"coefficients\":[[1]],\"intercepts\":[0]}");
	struct drift *drift = drift_new(model);
	struct arena arena;

	CU_ASSERT_PTR_NOT_NULL_FATAL(drift);
	CU_ASSERT_EQUAL_FATAL(drift->inputs_n, 1);
	arena_init(&arena, 1 << 20);
	OK(drift_add(drift, STR("\"äöü\""), &arena)); /* three characters of two bytes */
	OK(drift_add(drift, STR("\"ab\""), &arena));
	OK(drift_add(drift, STR("\"\""), &arena));
	OK(drift_add(drift, STR("\"a longer text\""), &arena));
	counts_are(&drift->inputs[0], (const int64_t[]){2, 1, 1, 0}, 4);
	arena_release(&arena);
	drift_free(drift);
	model_drop(model);
}

/* --- the watch --- */

static double gauge(struct shm *shm, const char *name)
{
	struct buf text;
	double value = -1;

	buf_init_heap(&text);
	metrics_render(shm, &text);
	buf_char(&text, '\0');
	const char *at = strstr(text.p, name);
	if (at)
		value = strtod(at + strlen(name), NULL);
	buf_release(&text);
	return value;
}

static bool gauge_becomes(struct shm *shm, const char *name, double wanted)
{
	for (uint64_t end_ms = clock_mono_ms() + TEST_PATIENCE_MS; clock_mono_ms() < end_ms;) {
		if (fabs(gauge(shm, name) - wanted) < 1e-9)
			return true;
		test_sleep_ms(10);
	}
	printf("\n%s is %g instead of %g\n", name, gauge(shm, name), wanted);
	return false;
}

static struct model_set *set_of(struct model *model)
{
	static const struct model_share whole = {STR_INIT("1"), 100};
	struct model_set *set = model_set_new();

	CU_ASSERT_PTR_NOT_NULL_FATAL(set);
	OK(model_set_add(set, model, NULL));
	OK(model_set_route(set, STR("wine"), &whole, 1, (struct str){0}, MODEL_STICKY_NONE, (struct str){0}, NULL));
	return set;
}

/* Another worker, in a slot below that of whoever comes later; lives until it is killed. */
static int be_a_worker(void *arg)
{
	struct shm *shm;
	char byte = 'x';

	if (shm_open_dir(&shm, test_path("run"), NULL) != STATUS_OK || shm_claim_slot(shm, "first", NULL) != STATUS_OK)
		return 1;
	if (write(*(int *)arg, &byte, 1) != 1)
		return 1;
	for (;;)
		pause();
}

static pid_t start_worker(void)
{
	int ends[2];
	char byte;

	CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
	pid_t pid = test_fork(be_a_worker, &ends[1]);
	CU_ASSERT_EQUAL_FATAL(read(ends[0], &byte, 1), 1);
	close(ends[0]);
	close(ends[1]);
	return pid;
}

static void gauges(void)
{
	static const char rows[] = "appcore_model_drift_rows{model=\"wine\",version=\"1\"} ";
	static const char psi[] = "appcore_model_drift_psi{model=\"wine\",version=\"1\",input=\"colour\"} ";
	struct db *db = test_database("gauges.db");
	struct model *model = wine();
	struct mailbox mailbox;
	struct shm *shm;
	struct store *store;
	struct drift_watch *watch;
	struct err err = {0};

	CU_ASSERT_EQUAL_FATAL(mkdir(test_path("run"), 0700), 0);
	pid_t first = start_worker();
	if (shm_open_dir(&shm, test_path("run"), &err) != STATUS_OK || shm_claim_slot(shm, "t", &err) != STATUS_OK)
		test_give_up("shm", &err);
	CU_ASSERT_TRUE_FATAL(mailbox_init(&mailbox));
	const struct store_options options = {.url = database_url("gauges.db"), .mailbox = &mailbox, .shm = shm};
	if (store_open(&store, &options, &err) != STATUS_OK)
		test_give_up("store", &err);
	test_begin(db);
	for (int i = 0; i < 30; i++)
		put_row(db, "wine", "1", clock_wall_us() - 1000000, i % 3 ? "[1.5, 0, \"white\"]" : "[1, 0, \"red\"]");
	test_commit(db);

	const struct drift_watch_options watching = {.store = store, .shm = shm, .window_s = 600};
	CU_ASSERT_TRUE_FATAL(drift_watch_start(&watch, &watching));
	struct model_set *set = set_of(model);
	drift_watch_take(watch, set);
	model_set_drop(set);
	/* It is the first worker's work, as long as there is one. */
	test_sleep_ms(2500);
	CU_ASSERT_EQUAL(gauge(shm, rows), -1);
	kill(first, SIGKILL);
	test_wait(first);
	CU_ASSERT_TRUE(gauge_becomes(shm, rows, 30));
	/* 2/3 and 1/3 against 1/2: 2 * (1/6) ln of 4/3 and 2/3: (ln(4/3) - ln(2/3)) / 6 = ln 2 / 6 */
	CU_ASSERT_TRUE(gauge_becomes(shm, psi, log(2.0) / 6));
	CU_ASSERT_EQUAL(gauge(shm, "input=\"none\"} "), -1);

	/* What answers no more is not shown any more. */
	struct model_set *without = model_set_new();
	OK(model_set_add(without, model, NULL));
	drift_watch_take(watch, without);
	model_set_drop(without);
	CU_ASSERT_TRUE(gauge_becomes(shm, rows, -1));
	CU_ASSERT_TRUE(gauge_becomes(shm, psi, -1));
	drift_watch_stop(watch);
	store_close(store);
	mailbox_drain(&mailbox);
	mailbox_release(&mailbox);
	shm_close(shm);
	model_drop(model);
	db_close(db);
}

int main(void)
{
	static const struct unit_case cases[] = {
		{"by hand", by_hand},
		{"what goes where", what_goes_where},
		{"a window of the store", a_window_of_the_store},
		{"bounded work", bounded_work},
		{"texts", texts},
		{"gauges", gauges},
	};

	return UNIT_RUN("drift", cases);
}
