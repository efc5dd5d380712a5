/* Models that are added, activated, broken, deleted and taken back while requests go on. */
#include "../unit/model_helpers.h"
#include "harness.h"

#include "base/clock.h"
#include "model/folder.h"
#include "store/models.h"

#include <dirent.h>
#include <malloc.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WAIT_MS = 20 * 1000, SWAPS = 999, TRIES = 1000 };

/* A sanitizer keeps what was freed for a while. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

static const char INPUTS[] = "[{\"name\":\"a\",\"type\":\"number\"}]", OUTPUT[] = "{\"type\":\"regression\"}";

static char models_dir[500];

/* A harness whose default model is `fallback`, and whose folder of models is empty. */
static void prepare(struct harness *h, const char *fallback)
{
	harness_init(h);
	snprintf(models_dir, sizeof(models_dir), "%s/models", h->dir);
	h->config.models_dir = models_dir;
	h->config.model_default = fallback;
}

static void open_with(struct harness *h, const char *fallback)
{
	prepare(h, fallback);
	harness_start(h);
}

static char *copy_of(struct str text)
{
	char *copy = malloc(text.n + 1);

	memcpy(copy, text.p, text.n);
	copy[text.n] = '\0';
	return copy;
}

/* A model that multiplies by `factor`, as wine/VERSION in the folder; its manifest's hash. */
static void put_files(const char *version, int factor, char hash[static MODEL_HASH_BYTES])
{
	char file[200];
	struct model *model = NULL;
	struct err err = {0};

	snprintf(file, sizeof(file), "{\"format\":\"appcore linear 1\",\"coefficients\":[[%d]],\"intercepts\":[0]}",
		 factor);
	struct buf manifest = helper_manifest("linear", INPUTS, "", OUTPUT, "", file);
	struct folder_candidate candidate = {.manifest = copy_of(buf_view(&manifest)),
					     .manifest_n = manifest.n,
					     .file = copy_of(str_of(file)),
					     .file_n = strlen(file)};
	if (folder_add(&model, models_dir, STR("wine"), str_of(version), &candidate, &err) != STATUS_OK)
		printf("\n%s\n", err.text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(model);
	memcpy(hash, model->hash, MODEL_HASH_BYTES);
	model_drop(model);
	folder_candidate_release(&candidate);
	buf_release(&manifest);
}

struct change {
	struct models_version row;
	const char *shares;
};

static enum status apply(struct db *db, void *arg, struct err *err)
{
	const struct change *change = arg;
	struct models_shares shares;
	bool there;

	if (change->row.name[0]) {
		enum status status = models_add(db, &change->row, &there, err);
		if (status != STATUS_OK)
			return status;
	}
	if (!change->shares)
		return STATUS_OK;
	enum status status = models_parse_shares(str_of(change->shares), &shares, err);
	struct models_change wanted = {.name = STR("wine"), .shares = &shares};
	return status == STATUS_OK ? models_set_route(db, &wanted, err) : status;
}

static void change(struct harness *h, const char *version, const char *hash, const char *shares)
{
	struct change wanted = {.row = {.loaded = true}, .shares = shares};
	struct err err = {0};

	if (version) {
		snprintf(wanted.row.name, sizeof(wanted.row.name), "wine");
		snprintf(wanted.row.version, sizeof(wanted.row.version), "%s", version);
		snprintf(wanted.row.hash, sizeof(wanted.row.hash), "%s", hash);
	}
	enum status status = db_transact(h->db, 5000, apply, &wanted, &err);
	if (status != STATUS_OK)
		printf("\n%s\n", err.text);
	CU_ASSERT_EQUAL(status, STATUS_OK);
}

/* Ticks until the change has arrived. */
static void settle(struct harness *h)
{
	uint64_t end = clock_mono_ms() + WAIT_MS;

	harness_tick(h);
	while (app_loads_models(&h->app) && clock_mono_ms() < end)
		harness_pump(h, 2);
	CU_ASSERT_FALSE(app_loads_models(&h->app));
}

static void add_version(struct harness *h, const char *version, int factor, const char *shares)
{
	char hash[MODEL_HASH_BYTES];

	put_files(version, factor, hash);
	change(h, version, hash, shares);
	settle(h);
}

/* What /predict says for 1, "" when it says nothing of the kind. */
static const char *answer(struct harness *h)
{
	static char text[100];
	const char *body = answer_body(PREDICT(h, "{\"features\":[1]}"));
	const char *result = strstr(body, "\"result\":"), *end = strstr(body, ",\"created_at\"");

	text[0] = '\0';
	if (result && end)
		snprintf(text, sizeof(text), "%.*s", (int)(end - result), result);
	return text;
}

#define ANSWER(value, version) "\"result\":" value ",\"model_version\":\"" version "\""

static void a_version_is_taken_while_it_serves(void)
{
	struct harness h;

	open_with(&h, "wine");
	settle(&h);
	ANSWERS(PREDICT(&h, "{\"features\":[1]}"), 503, NULL);
	CU_ASSERT_EQUAL(GET(&h, "/health")->status, 503);
	add_version(&h, "1", 2, "1");
	SAME(answer(&h), ANSWER("2.0", "1"));
	CU_ASSERT_EQUAL(GET(&h, "/health")->status, 200);
	add_version(&h, "2", 3, NULL);
	SAME(answer(&h), ANSWER("2.0", "1"));
	change(&h, NULL, NULL, "2");
	settle(&h);
	SAME(answer(&h), ANSWER("3.0", "2"));
	change(&h, NULL, NULL, "1");
	settle(&h);
	SAME(answer(&h), ANSWER("2.0", "1"));
	CU_ASSERT_TRUE(harness_logged(&h, "model wine: 1=100"));
	harness_close(&h);
}

/* The mean is not what answers in place of a default model that is not loaded yet. */
static void nothing_answers_before_the_first_load(void)
{
	char hash[MODEL_HASH_BYTES];
	struct harness h;

	open_with(&h, "wine");
	put_files("1", 2, hash);
	change(&h, "1", hash, "1");
	SAME(answer(&h), "");
	ANSWERS(PREDICT(&h, "{\"features\":[1]}"), 503, NULL);
	CU_ASSERT_EQUAL(GET(&h, "/readyz")->status, 503);
	settle(&h);
	SAME(answer(&h), ANSWER("2.0", "1"));
	CU_ASSERT_EQUAL(GET(&h, "/readyz")->status, 200);
	harness_close(&h);
}

static void a_request_keeps_what_it_began_with(void)
{
	struct harness h;

	open_with(&h, "wine");
	add_version(&h, "1", 2, "1");
	harness_hold_turn(&h, true);
	struct exchange *x = harness_send(
		&h, &(struct ask){.path = "/predict", .body = "{\"features\":[1]}", .key = HARNESS_KEY});
	struct model_set *before = h.app.models;
	harness_hold_turn(&h, false);
	add_version(&h, "2", 3, "2");
	CU_ASSERT_PTR_NOT_EQUAL(h.app.models, before);
	CU_ASSERT_EQUAL(harness_wait(x)->status, 201);
	CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(x), ANSWER("2.0", "1")));
	harness_close(&h);
}

/* Only what is new is read: the files of what is served may go. */
static void files_may_go_while_it_serves(void)
{
	struct harness h;
	char path[600];

	open_with(&h, "wine");
	add_version(&h, "1", 2, "1");
	snprintf(path, sizeof(path), "%s/wine/1/m.json", models_dir);
	CU_ASSERT_EQUAL(truncate(path, 3), 0);
	SAME(answer(&h), ANSWER("2.0", "1"));
	CU_ASSERT_EQUAL(unlink(path), 0);
	add_version(&h, "2", 3, "1=1 2=1");
	CU_ASSERT_EQUAL(model_set_find_route(h.app.models, STR("wine"))->n, 2);
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_model_load_failing{instance=\"1\",model=\"wine\"}"), -1);
	harness_close(&h);
}

static void a_broken_version_changes_nothing(void)
{
	static const char gauge[] = "appcore_model_load_failing{instance=\"1\",model=\"wine\"}";
	char hash[MODEL_HASH_BYTES], path[600], other[600];
	struct harness h;

	open_with(&h, "wine");
	add_version(&h, "1", 2, "1");
	put_files("2", 3, hash);
	snprintf(path, sizeof(path), "%s/wine/2/m.json", models_dir);
	snprintf(other, sizeof(other), "%s/wine/2/away", models_dir);
	CU_ASSERT_EQUAL(rename(path, other), 0);
	change(&h, "2", hash, "2");
	settle(&h);
	SAME(answer(&h), ANSWER("2.0", "1"));
	CU_ASSERT_TRUE(harness_logged(&h, "model wine 2 can't be loaded"));
	CU_ASSERT_TRUE(harness_logged(&h, "m.json is not there."));
	CU_ASSERT_EQUAL(harness_metric(&h, gauge), 1);
	CU_ASSERT_EQUAL(GET(&h, "/health")->status, 200);
	/* Other names are not affected. */
	ANSWERS(ASK(&h, .path = "/health"), 200, NULL);
	CU_ASSERT_EQUAL(model_set_find_route(h.app.models, STR("mean"))->n, 1);
	/* It is tried again by itself. */
	CU_ASSERT_EQUAL(rename(other, path), 0);
	for (int i = 0; i < TRIES && strcmp(answer(&h), ANSWER("3.0", "2")) != 0; i++)
		settle(&h);
	SAME(answer(&h), ANSWER("3.0", "2"));
	CU_ASSERT_EQUAL(harness_metric(&h, gauge), 0);
	CU_ASSERT_TRUE(harness_logged(&h, "model wine 2 does not fail any more"));
	harness_close(&h);
}

/* Also in a worker that starts now, which has served nothing before. */
static void a_new_worker_serves_what_the_others_go_on_with(void)
{
	char hash[MODEL_HASH_BYTES], path[600], other[600];
	struct harness h;

	open_with(&h, "wine");
	put_files("1", 2, hash);
	change(&h, "1", hash, "1");
	put_files("2", 3, hash);
	change(&h, "2", hash, "2");
	snprintf(path, sizeof(path), "%s/wine/2/m.json", models_dir);
	snprintf(other, sizeof(other), "%s/wine/2/away", models_dir);
	CU_ASSERT_EQUAL(rename(path, other), 0);
	settle(&h);
	SAME(answer(&h), ANSWER("2.0", "1"));
	CU_ASSERT_EQUAL(GET(&h, "/health")->status, 200);
	CU_ASSERT_TRUE(harness_logged(&h, "model wine 2 can't be loaded"));
	CU_ASSERT_TRUE(harness_logged(&h, "model wine: 1=100"));
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_model_load_failing{instance=\"1\",model=\"wine\"}"), 1);
	CU_ASSERT_EQUAL(rename(other, path), 0);
	for (int i = 0; i < TRIES && strcmp(answer(&h), ANSWER("3.0", "2")) != 0; i++)
		settle(&h);
	SAME(answer(&h), ANSWER("3.0", "2"));
	harness_close(&h);
}

/* Another content than the database says is not served, were it ever so good. */
static void another_content_is_refused(void)
{
	char hash[MODEL_HASH_BYTES];
	struct harness h;

	open_with(&h, "wine");
	put_files("1", 2, hash);
	hash[0] = hash[0] == 'a' ? 'b' : 'a';
	change(&h, "1", hash, "1");
	settle(&h);
	CU_ASSERT_EQUAL(PREDICT(&h, "{\"features\":[1]}")->status, 503);
	CU_ASSERT_TRUE(harness_logged(&h, "The folder has another wine 1 than was added"));
	harness_close(&h);
}

/* Nobody makes such rows but by hand. */
static void a_route_to_nowhere_changes_nothing(void)
{
	struct harness h;

	open_with(&h, "wine");
	add_version(&h, "1", 2, "1");
	harness_sql(&h, "UPDATE model_routes SET shares = '7=100'");
	harness_sql(&h, "UPDATE generations SET value = value + 1 WHERE topic = 'models'");
	settle(&h);
	SAME(answer(&h), ANSWER("2.0", "1"));
	CU_ASSERT_TRUE(harness_logged(&h, "It has a share of the requests but was never added."));
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_model_load_failing{instance=\"1\",model=\"wine\"}"), 1);
	harness_close(&h);
}

static void shares_shadow_and_stickiness_arrive(void)
{
	struct harness h;

	open_with(&h, "mean");
	add_version(&h, "1", 2, "1");
	add_version(&h, "2", 3, "1=10 2=90");
	add_version(&h, "3", 4, NULL);
	harness_sql(&h, "UPDATE model_routes SET sticky = 'header:X-User-Id', shadow = '3'");
	harness_sql(&h, "UPDATE generations SET value = value + 1 WHERE topic = 'models'");
	settle(&h);
	const struct model_route *route = model_set_find_route(h.app.models, STR("wine"));
	CU_ASSERT_PTR_NOT_NULL_FATAL(route);
	CU_ASSERT_EQUAL(route->n, 2);
	SAME(route->shares[0].version->model->version, "2");
	CU_ASSERT_EQUAL(route->shares[0].share, 90);
	CU_ASSERT_EQUAL(route->sum, 100);
	CU_ASSERT_EQUAL(route->sticky, MODEL_STICKY_HEADER);
	SAME(route->sticky_header, "HTTP_X_USER_ID");
	SAME(route->shadow->model->version, "3");
	SAME(answer(&h), ANSWER("1.0", "v1.0"));
	/* Unloaded as a whole, the name answers with nothing, and again when it is loaded. */
	harness_sql(&h, "UPDATE models SET loaded = 0");
	harness_sql(&h, "UPDATE generations SET value = value + 1 WHERE topic = 'models'");
	settle(&h);
	CU_ASSERT_EQUAL(model_set_find_route(h.app.models, STR("wine"))->n, 0);
	CU_ASSERT_PTR_NULL(model_set_find(h.app.models, STR("wine"), STR("1")));
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_model_load_failing{instance=\"1\",model=\"wine\"}"), -1);
	harness_sql(&h, "UPDATE models SET loaded = 1");
	harness_sql(&h, "UPDATE generations SET value = value + 1 WHERE topic = 'models'");
	settle(&h);
	CU_ASSERT_EQUAL(model_set_find_route(h.app.models, STR("wine"))->n, 2);
	harness_close(&h);
}

static int open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static long resident_pages(void)
{
	long all = 0, resident = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	if (!file || fscanf(file, "%ld %ld", &all, &resident) != 2)
		resident = -1;
	if (file)
		fclose(file);
	return resident;
}

/* Each swap loads one version and frees the other; memory and descriptors stay what they are, and no request fails. */
static void many_swaps_leave_nothing(void)
{
	struct harness h;

	open_with(&h, "wine");
	add_version(&h, "1", 2, "1");
	add_version(&h, "2", 3, "1");
	int files = 0;
	size_t bytes[3] = {0};
	long pages[3] = {0};
	for (int i = 0; i < SWAPS; i++) {
		change(&h, NULL, NULL, i % 2 ? "1" : "2");
		harness_sql(&h, i % 2 ? "UPDATE models SET loaded = 0 WHERE id = 'wine/2'"
				      : "UPDATE models SET loaded = 0 WHERE id = 'wine/1'");
		settle(&h);
		CU_ASSERT_PTR_NULL(model_set_find(h.app.models, STR("wine"), i % 2 ? STR("2") : STR("1")));
		SAME(answer(&h), i % 2 ? ANSWER("2.0", "1") : ANSWER("3.0", "2"));
		harness_forget(&h);
		if ((i + 1) % (SWAPS / 3) == 0) {
			files = files > 0 ? files : open_files();
			bytes[i / (SWAPS / 3)] = mallinfo2().uordblks;
			pages[i / (SWAPS / 3)] = resident_pages();
		}
	}
	CU_ASSERT_EQUAL(open_files(), files);
	/* What is left behind is left in each third; the log's buffers grow once, when its thread is late. */
	CU_ASSERT_TRUE(bytes[1] <= bytes[0] + 64 * 1024 || bytes[2] <= bytes[1] + 64 * 1024);
	if (!SANITIZED)
		CU_ASSERT_TRUE(pages[1] <= pages[0] + 64 || pages[2] <= pages[1] + 64);
	harness_close(&h);
}

static const struct unit_case CASES[] = {
	{"a version is taken while it serves", a_version_is_taken_while_it_serves},
	{"nothing answers before the first load", nothing_answers_before_the_first_load},
	{"a request keeps what it began with", a_request_keeps_what_it_began_with},
	{"files may go while it serves", files_may_go_while_it_serves},
	{"a broken version changes nothing", a_broken_version_changes_nothing},
	{"a new worker serves what the others go on with", a_new_worker_serves_what_the_others_go_on_with},
	{"another content is refused", another_content_is_refused},
	{"a route to nowhere changes nothing", a_route_to_nowhere_changes_nothing},
	{"shares, shadow and stickiness arrive", shares_shadow_and_stickiness_arrive},
	{"many swaps leave nothing", many_swaps_leave_nothing},
};

int main(void)
{
	return UNIT_RUN("model swap", CASES);
}
