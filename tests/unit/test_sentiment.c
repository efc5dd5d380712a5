/* The kinds "sentiment_batch" and "sentiment", run by a real pool of workers. */
#include "model_helpers.h"
#include "store_helpers.h"

#include "shared/shm.h"
#include "store/sentiments.h"
#include "store/tasks.h"
#include "task/sentiment.h"
#include "task/worker.h"

#include <signal.h>
#include <sys/stat.h>

enum { PATIENCE_MS = 60 * 1000, TEXTS = 1200, PART = 500 };

static const char FILE_1[] =
	"{\"format\":\"appcore text 1\",\"classifier\":\"logistic_regression\",\"ngram_range\":[1,1],"
	"\"sublinear_tf\":false,\"norm\":null,\"vocabulary\":[\"bad\",\"good\"],\"idf\":[1,1],"
	"\"coefficients\":[[-1,1]],\"intercepts\":[0]}";

/* A database with a pool of workers over it. */
struct bench {
	char url[1024];
	struct config config;
	struct shm *shm;
	struct db *db;
	struct model_set *models;
	struct task_pool *pool;
	uint64_t before[3]; /* what the model's series had counted: predictions, the same by name, calls */
};

static struct model_set *models_of(bool with_model)
{
	struct model_set *set = model_set_new();
	const struct model_share share = {STR_INIT("1"), 1};
	struct err err = {0};

	CU_ASSERT_PTR_NOT_NULL_FATAL(set);
	if (!with_model)
		return set;
	struct model *model = helper_model("text", "[{\"name\":\"text\",\"type\":\"text\"}]", "",
					   "{\"type\":\"binary\",\"classes\":[\"negative\",\"positive\"]}", "", FILE_1);
	snprintf(model->name, sizeof(model->name), "sentiment");
	snprintf(model->version, sizeof(model->version), "1");
	OK(model_set_add(set, model, &err));
	OK(model_set_route(set, STR("sentiment"), &share, 1, (struct str){0}, MODEL_STICKY_NONE, (struct str){0},
			   &err));
	model_drop(model);
	return set;
}

static struct model_set *hold_models(void *arg)
{
	return model_set_hold(arg);
}

static void read_counts(struct bench *b, uint64_t counts[static 3])
{
	const struct model_version *version = model_set_find(b->models, STR("sentiment"), STR("1"));
	double sum;

	if (!version)
		return;
	counts[0] = metrics_count(b->shm, version->success, &sum);
	counts[1] = metrics_count(b->shm, version->model_success, &sum);
	counts[2] = metrics_count(b->shm, version->model_seconds, &sum);
}

/* Waits until so many predictions were counted, and looks that there are no more. */
static bool has_counted(struct bench *b, uint64_t n)
{
	uint64_t end_ms = clock_mono_ms() + PATIENCE_MS, now[3] = {0};

	do {
		test_sleep_ms(5);
		read_counts(b, now);
	} while ((now[0] - b->before[0] < n || now[1] - b->before[1] < n || now[2] == b->before[2]) &&
		 clock_mono_ms() < end_ms);
	return now[0] - b->before[0] == n && now[1] - b->before[1] == n && now[2] > b->before[2];
}

static void open_bench(struct bench *b, const char *name, bool with_model)
{
	char dir[512];

	*b = (struct bench){.db = test_database(name), .models = models_of(with_model)};
	struct str url = database_url(name);
	snprintf(b->url, sizeof(b->url), "%.*s", STR_ARG(url));
	snprintf(dir, sizeof(dir), "%s", test_path("run"));
	mkdir(dir, 0700);
	OK(shm_open_dir(&b->shm, dir, NULL));
	OK(shm_claim_slot(b->shm, "t", NULL));
	model_set_count_in(b->models, b->shm);
	read_counts(b, b->before);
	b->config.database_url = b->url;
	b->config.task_threads = 1;
	b->config.task_lease_seconds = 1;
	b->config.sentiment_model = "sentiment";
	b->config.schedule_backup = b->config.schedule_retention = b->config.schedule_expiry =
		b->config.schedule_checkpoint = "";
}

static void start(struct bench *b)
{
	const struct task_pool_options options = {.config = &b->config,
						  .shm = b->shm,
						  .name = "t",
						  .kinds = TASK_KINDS,
						  .kinds_n = TASK_KINDS_N,
						  .hold_models = hold_models,
						  .arg = b->models};
	struct err err = {0};

	if (task_pool_open(&b->pool, &options, &err) != STATUS_OK)
		test_give_up("pool", &err);
}

static void close_bench(struct bench *b)
{
	task_pool_close(b->pool);
	model_set_drop(b->models);
	db_close(b->db);
	shm_close(b->shm);
}

/* --- tasks --- */

static struct id task_id(uint8_t random)
{
	struct edge_identity edge = {.ms = 1700000000123};

	memset(edge.random, random, sizeof(edge.random));
	return id_of_edge(&edge);
}

static void insert_task(struct bench *b, const struct id *id, const char *kind, const char *payload, int64_t total)
{
	struct task_row row = {.id = *id, .user_id = 7, .payload = str_of(payload), .total = total};
	bool stored;

	snprintf(row.kind, sizeof(row.kind), "%s", kind);
	snprintf(row.created_at, sizeof(row.created_at), "2023-11-14T22:13:20.123000");
	OK(tasks_begin_change(b->db, &row.change, NULL));
	OK(tasks_insert(b->db, &row, &stored, NULL));
	CU_ASSERT_TRUE(stored);
}

/* A batch of `n` texts "good 0", "good 1", … in parts of PART. */
static void insert_batch(struct bench *b, const struct id *id, int n)
{
	char payload[4096];
	size_t used = (size_t)snprintf(payload, sizeof(payload), "{\"version\":\"1\",\"counts\":[");
	struct buf part;

	test_begin(b->db);
	buf_init_heap(&part);
	for (int i = 0; i < n;) {
		int first = i;
		part.n = 0;
		for (; i < n && i - first < PART; i++)
			buf_fmt(&part, "%s\"good %d\"", i == first ? "[" : ",", i);
		buf_char(&part, ']');
		OK(tasks_insert_part(b->db, id, first / PART, buf_view(&part), 1, NULL));
		used += (size_t)snprintf(payload + used, sizeof(payload) - used, "%s%d", first ? "," : "", i - first);
	}
	snprintf(payload + used, sizeof(payload) - used, "]}");
	insert_task(b, id, SENTIMENT_KIND_BATCH, payload, n);
	buf_release(&part);
	test_commit(b->db);
}

static void read_task(struct bench *b, const struct id *id, struct task_row *row, struct arena *arena)
{
	arena_reset(arena);
	OK(tasks_find(b->db, id, -1, arena, row, NULL));
}

/* Waits until the task is over. */
static void wait_over(struct bench *b, const struct id *id, struct task_row *row, struct arena *arena)
{
	uint64_t end_ms = clock_mono_ms() + PATIENCE_MS;

	do {
		read_task(b, id, row, arena);
		if (task_is_over(row->status))
			return;
		test_sleep_ms(5);
	} while (clock_mono_ms() < end_ms);
	CU_FAIL("the task is not over");
}

static bool is(struct str text, const char *wanted)
{
	bool same = str_eq(text, str_of(wanted));

	if (!same)
		printf("\n      wanted %s, got %.*s", wanted, STR_ARG(text));
	return same;
}

/* Reads rows in order and says where they are not as they should be. */
struct checked {
	int64_t n;
	const char *first_sentiment; /* of the first `first` rows, which were there before */
	int64_t first;
};

static bool check_row(void *arg, const struct sentiment_row *row)
{
	struct checked *checked = arg;
	struct id id = task_id(1), wanted = sentiments_id_in_task(&id, checked->n);
	bool old = checked->n < checked->first;
	char text[32];

	snprintf(text, sizeof(text), "good %lld", (long long)checked->n);
	CU_ASSERT_EQUAL(row->position, checked->n);
	CU_ASSERT_EQUAL(memcmp(&row->id, &wanted, sizeof(wanted)), 0);
	CU_ASSERT_TRUE(is(row->text, text));
	CU_ASSERT_TRUE(is(row->sentiment, old ? checked->first_sentiment : "positive"));
	if (!old) {
		CU_ASSERT_EQUAL(row->user_id, 7);
		CU_ASSERT_EQUAL(row->confidence, 0.7310585786300049);
		CU_ASSERT_TRUE(row->processing_s >= 0 && row->processing_s < 60);
		CU_ASSERT_STRING_EQUAL(row->created_at, "2023-11-14T22:13:20.123000");
		CU_ASSERT_STRING_EQUAL(row->model_version, "sentiment/1");
	}
	checked->n++;
	return true;
}

static int64_t check_rows(struct bench *b, struct checked *checked)
{
	struct id id = task_id(1);

	OK(sentiments_of_task(b->db, &id, 0, 1 << 20, check_row, checked, NULL));
	return checked->n;
}

/* --- cases --- */

static void a_batch_is_worked_on(void)
{
	struct bench b;
	struct id id = task_id(1);
	struct task_row row;
	struct arena arena;
	struct checked checked = {0};

	arena_init(&arena, 1 << 20);
	open_bench(&b, "batch.db", true);
	insert_batch(&b, &id, TEXTS);
	CU_ASSERT_EQUAL(test_number(b.db, "SELECT count(*) FROM task_parts"), 3);
	start(&b);
	wait_over(&b, &id, &row, &arena);
	CU_ASSERT_EQUAL(row.status, TASK_COMPLETED);
	CU_ASSERT_EQUAL(row.done, TEXTS);
	CU_ASSERT_EQUAL(row.attempts, 1);
	CU_ASSERT_TRUE(is(row.result, "{\"texts\":1200}"));
	CU_ASSERT_TRUE(row.expires_us > 0);
	CU_ASSERT_EQUAL(check_rows(&b, &checked), TEXTS);
	CU_ASSERT_EQUAL(test_number(b.db, "SELECT count(*) FROM sentiment_requests"), TEXTS);
	CU_ASSERT_EQUAL(test_number(b.db, "SELECT count(*) FROM task_parts"), 0);
	CU_ASSERT_TRUE(has_counted(&b, TEXTS));
	close_bench(&b);
	arena_release(&arena);
}

/* What a worker had stored before it died is neither done again nor left out. */
static void a_batch_goes_on_where_it_was(void)
{
	enum { DONE = 730 };
	struct bench b;
	struct id id = task_id(1);
	struct task_row row;
	struct arena arena;
	char text[32], task[ID_TEXT_BYTES];
	struct checked checked = {.first_sentiment = "before", .first = DONE};

	arena_init(&arena, 1 << 20);
	open_bench(&b, "resume.db", true);
	insert_batch(&b, &id, TEXTS);
	id_format(&id, task);
	test_begin(b.db);
	for (int i = 0; i < DONE; i++) {
		snprintf(text, sizeof(text), "good %d", i);
		struct sentiment_row one = {.id = sentiments_id_in_task(&id, i),
					    .text = str_of(text),
					    .sentiment = STR("before"),
					    .created_at = "x",
					    .task_id = str_of(task),
					    .position = i};
		bool stored;
		OK(sentiments_insert(b.db, &one, &stored, NULL));
	}
	OK(tasks_delete_part(b.db, &id, 0, NULL));
	OK(db_script(b.db, "UPDATE background_tasks SET done = 730", NULL));
	test_commit(b.db);
	start(&b);
	wait_over(&b, &id, &row, &arena);
	CU_ASSERT_EQUAL(row.status, TASK_COMPLETED);
	CU_ASSERT_EQUAL(check_rows(&b, &checked), TEXTS);
	CU_ASSERT_EQUAL(test_number(b.db, "SELECT count(*) FROM sentiment_requests"), TEXTS);
	CU_ASSERT_TRUE(has_counted(&b, TEXTS - DONE));
	close_bench(&b);
	arena_release(&arena);
}

struct child {
	struct bench b;
	const char *name;
};

/* A process of its own that works on tasks until it is killed. */
static int work(void *arg)
{
	struct child *child = arg;

	open_bench(&child->b, child->name, true);
	start(&child->b);
	test_sleep_ms(PATIENCE_MS);
	return 0;
}

static void a_killed_worker_leaves_nothing_twice(void)
{
	enum { MANY = 40000 };
	struct bench b;
	struct child child = {.name = "killed.db"};
	struct id id = task_id(1);
	struct task_row row;
	struct arena arena;
	struct checked checked = {0};

	arena_init(&arena, 1 << 20);
	open_bench(&b, "killed.db", true);
	insert_batch(&b, &id, MANY);
	db_close(b.db); /* connections are not for two processes */
	pid_t pid = test_fork(work, &child);
	b.db = test_open("killed.db", DB_WRITE);
	uint64_t end_ms = clock_mono_ms() + PATIENCE_MS;
	do {
		read_task(&b, &id, &row, &arena);
		test_sleep_ms(1);
	} while (row.done == 0 && !task_is_over(row.status) && clock_mono_ms() < end_ms);
	kill(pid, SIGKILL);
	test_wait(pid);
	CU_ASSERT_TRUE(row.done > 0);
	start(&b); /* the lease ends after a second */
	wait_over(&b, &id, &row, &arena);
	CU_ASSERT_EQUAL(row.status, TASK_COMPLETED);
	CU_ASSERT_EQUAL(row.done, MANY);
	CU_ASSERT_EQUAL(check_rows(&b, &checked), MANY);
	CU_ASSERT_EQUAL(test_number(b.db, "SELECT count(*) FROM sentiment_requests"), MANY);
	CU_ASSERT_EQUAL(test_number(b.db, "SELECT count(*) FROM task_parts"), 0);
	close_bench(&b);
	arena_release(&arena);
}

static void damaged_batches_fail(void)
{
	static const struct {
		const char *payload, *part, *error;
	} cases[] = {
		{"", "[]", "Batches are made by POST /api/v1/sentiment/analyze/batch, which stores their texts."},
		{"{\"texts\":[\"a\"]}", "[]",
		 "Batches are made by POST /api/v1/sentiment/analyze/batch, which stores their texts."},
		{"{\"version\":\"1\",\"counts\":[2]}", "[\"a\"]", "A part of the texts is damaged."},
		{"{\"version\":\"1\",\"counts\":[1]}", "{}", "A part of the texts is damaged."},
		{"{\"version\":\"1\",\"counts\":[1]}", "[5]",
		 "A text of the batch is none: Input should be a valid string."},
		{"{\"version\":\"1\",\"counts\":[1]}", NULL, "A part of the texts is gone."},
		{"{\"version\":\"1\",\"counts\":[-1]}", "[\"a\"]", "The batch's payload is damaged."},
		{"{\"version\":\"1\",\"counts\":[\"1\"]}", "[\"a\"]", "The batch's payload is damaged."},
	};
	enum { N = sizeof(cases) / sizeof(cases[0]) };
	struct bench b;
	struct task_row row;
	struct arena arena;

	arena_init(&arena, 1 << 20);
	open_bench(&b, "damaged.db", true);
	test_begin(b.db);
	for (int i = 0; i < N; i++) {
		struct id id = task_id((uint8_t)(i + 1));
		if (cases[i].part)
			OK(tasks_insert_part(b.db, &id, 0, str_of(cases[i].part), 1, NULL));
		insert_task(&b, &id, SENTIMENT_KIND_BATCH, cases[i].payload, 1);
	}
	test_commit(b.db);
	start(&b);
	for (int i = 0; i < N; i++) {
		struct id id = task_id((uint8_t)(i + 1));
		wait_over(&b, &id, &row, &arena);
		CU_ASSERT_EQUAL(row.status, TASK_FAILED);
		CU_ASSERT_TRUE(is(row.error, cases[i].error));
	}
	CU_ASSERT_EQUAL(test_number(b.db, "SELECT count(*) FROM sentiment_requests"), 0);
	close_bench(&b);
	arena_release(&arena);
}

/* It may be loaded later. */
static void without_a_model_it_waits(void)
{
	struct bench b;
	struct id id = task_id(1);
	struct task_row row;
	struct arena arena;
	uint64_t end_ms = clock_mono_ms() + PATIENCE_MS;

	arena_init(&arena, 1 << 20);
	open_bench(&b, "none.db", false);
	insert_batch(&b, &id, 3);
	start(&b);
	do {
		read_task(&b, &id, &row, &arena);
		test_sleep_ms(5);
	} while (!(row.status == TASK_PENDING && row.attempts == 1) && clock_mono_ms() < end_ms);
	CU_ASSERT_EQUAL(row.status, TASK_PENDING);
	CU_ASSERT_TRUE(
		is(row.error, "No version of the model sentiment (SENTIMENT_MODEL) that classifies texts is loaded."));
	CU_ASSERT_EQUAL(test_number(b.db, "SELECT count(*) FROM task_parts"), 1);
	close_bench(&b);
	arena_release(&arena);
}

static void one_text_is_a_task_too(void)
{
	struct bench b;
	struct id good = task_id(1), bad = task_id(2);
	struct task_row row;
	struct arena arena;

	arena_init(&arena, 1 << 20);
	open_bench(&b, "one.db", true);
	test_begin(b.db);
	insert_task(&b, &good, SENTIMENT_KIND_ONE, "{\"text\":\"good \\u00e9\"}", 0);
	insert_task(&b, &bad, SENTIMENT_KIND_ONE, "{\"text\":7}", 0);
	test_commit(b.db);
	start(&b);
	wait_over(&b, &good, &row, &arena);
	CU_ASSERT_EQUAL(row.status, TASK_COMPLETED);
	CU_ASSERT_TRUE(is(row.result,
			  "{\"text\":\"good \xc3\xa9\",\"sentiment\":\"positive\",\"confidence\":0.7310585786300049}"));
	CU_ASSERT_EQUAL(test_number(b.db, "SELECT count(*) FROM sentiment_requests WHERE user_id = 7 AND position = 0"
					  " AND sentiment = 'positive' AND task_id <> ''"),
			1);
	wait_over(&b, &bad, &row, &arena);
	CU_ASSERT_EQUAL(row.status, TASK_FAILED);
	CU_ASSERT_TRUE(is(row.error, "text: Input should be a valid string"));
	CU_ASSERT_TRUE(has_counted(&b, 1));
	close_bench(&b);
	arena_release(&arena);
}

static void payloads_are_checked(void)
{
	static const struct {
		const char *payload, *says;
	} cases[] = {
		{"{\"text\":\"x\"}", NULL},
		{"{\"text\":\"\"}", NULL},
		{"{\"text\":\"x\",\"more\":1}", NULL},
		{"{}", "Field required"},
		{"", "Field required"},
		{"[]", "Field required"},
		{"{\"text\":null}", "Input should be a valid string"},
		{"{\"text\":\"\\u0000\"}", "Value error, a text can't hold the character U+0000"},
	};
	const struct task_kind *kind = task_kind_find(STR("sentiment"));

	CU_ASSERT_PTR_NOT_NULL_FATAL(kind);
	CU_ASSERT_PTR_NOT_NULL(task_kind_find(STR("sentiment_batch")));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *field = NULL, *says = kind->check(str_of(cases[i].payload), &field);
		CU_ASSERT_TRUE(cases[i].says ? says && strcmp(says, cases[i].says) == 0 : !says);
		if (says)
			CU_ASSERT_STRING_EQUAL(field, "text");
	}
}

static const struct unit_case CASES[] = {
	{"a batch is worked on", a_batch_is_worked_on},
	{"a batch goes on where it was", a_batch_goes_on_where_it_was},
	{"a killed worker leaves nothing twice", a_killed_worker_leaves_nothing_twice},
	{"damaged batches fail", damaged_batches_fail},
	{"without a model it waits", without_a_model_it_waits},
	{"one text is a task, too", one_text_is_a_task_too},
	{"payloads are checked", payloads_are_checked},
};

int main(void)
{
	return UNIT_RUN("sentiment", CASES);
}
