/* Tasks over HTTP, and who listens to them. */
#include "harness.h"

#include "base/clock.h"
#include "events_impl.h"
#include "shared/wake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char TASKS[] = "/api/v1/tasks", EVENTS[] = "/api/v1/events";
static const char ECHO[] = "{\"kind\":\"echo\",\"payload\":{\"a\":1}}";

/* --- helpers --- */

static struct exchange *add(struct harness *h, const struct harness_user *user, const char *body)
{
	return ASK(h, .path = TASKS, .body = body, .token = user->token);
}

/* What stands behind `name` in the body, up to a quote, a comma or a bracket. Valid for eight calls. */
static const char *member(const struct exchange *x, const char *name)
{
	static char values[8][128];
	static int next;
	char *value = values[next++ % 8];
	char wanted[64];

	snprintf(wanted, sizeof(wanted), "\"%s\":", name);
	const char *at = strstr(answer_body(x), wanted);
	value[0] = '\0';
	if (!at)
		return value;
	at += strlen(wanted);
	at += *at == '"';
	snprintf(value, sizeof(values[0]), "%.*s", (int)strcspn(at, "\",}]"), at);
	return value;
}

static const char *path_of(const char *id, const char *more)
{
	static char paths[4][128];
	static int next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "/api/v1/tasks/%s%s", id, more);
	return path;
}

/* A new task of the user; its id is valid for sixteen calls. */
static const char *make(struct harness *h, const struct harness_user *user)
{
	static char ids[16][64];
	static int next;
	char *id = ids[next++ % 16];
	struct exchange *x = add(h, user, ECHO);

	ANSWERS(x, 202, NULL);
	snprintf(id, sizeof(ids[0]), "%s", member(x, "task_id"));
	return id;
}

/* As a worker would. */
static void set_status(struct harness *h, const char *id, const char *status, int done)
{
	char sql[400];

	snprintf(sql, sizeof(sql),
		 "UPDATE generations SET value = value + 1 WHERE topic = 'task_changes';"
		 "UPDATE background_tasks SET status = '%s', done = %d, change = (SELECT value FROM generations WHERE "
		 "topic = 'task_changes') WHERE task_id = '%s'",
		 status, done, id);
	harness_sql(h, sql);
	wake_all(h->app.shm, WAKE_EVENTS);
}

static void make_superuser(struct harness *h, const struct harness_user *user)
{
	char sql[100];

	snprintf(sql, sizeof(sql), "UPDATE users SET is_superuser = 1 WHERE id = %lld", (long long)user->id);
	harness_sql(h, sql);
}

static int count(const char *text, const char *part)
{
	int n = 0;

	for (const char *at = text; (at = strstr(at, part)); at += strlen(part))
		n++;
	return n;
}

static struct exchange *listen_to(struct harness *h, const struct harness_user *user, const char *path,
				  const char *last_id)
{
	struct exchange *x = harness_listen(h,
					    &(struct ask){.path = path,
							  .token = user->token,
							  .params = {last_id ? "HTTP_LAST_EVENT_ID" : NULL, last_id}});

	ANSWERS(x, 200, NULL);
	HEADER_IS(x, "Content-Type", "text/event-stream");
	return x;
}

/* The id of the last event that came. */
static const char *last_id(const struct exchange *x)
{
	static char ids[4][80];
	static int next;
	char *id = ids[next++ % 4];
	const char *at = NULL;

	id[0] = '\0';
	for (const char *found = answer_body(x); (found = strstr(found, "id: ")); found++)
		if (found == answer_body(x) || found[-1] == '\n')
			at = found + 4;
	if (at)
		snprintf(id, sizeof(ids[0]), "%.*s", (int)strcspn(at, "\n"), at);
	return id;
}

/* Ticks until it is due, and waits for what is asked of the database then. */
static void let_time_pass(struct harness *h)
{
	uint64_t end_ms = clock_mono_ms() + 20000;

	if (h->ticks_ms < clock_mono_ms())
		h->ticks_ms = clock_mono_ms(); /* a slow machine */
	for (int i = 0; i < EVENTS_PERIOD_MS / 1000 + 2; i++)
		harness_tick(h);
	do
		harness_pump(h, 10);
	while (h->app.events->checks.busy && clock_mono_ms() < end_ms);
}

/* --- adding --- */

static void a_task_is_stored(void)
{
	struct harness h;
	struct harness_user user;
	char wanted[600];

	harness_open(&h);
	harness_add_user(&h, "ada", &user);
	struct exchange *x = add(&h, &user, "{\"kind\": \"echo\", \"payload\": {\"a\": [1, \"\\u00e9\"]}}");
	const char *id = member(x, "task_id");
	snprintf(wanted, sizeof(wanted),
		 "{\"task_id\":\"%s\",\"kind\":\"echo\",\"status\":\"pending\",\"done\":0,\"total\":0,"
		 "\"error_message\":null,\"attempts\":0,\"cancel_requested\":false,\"priority\":0,"
		 "\"run_at\":\"2023-11-14T22:13:20.123000\",\"created_at\":\"2023-11-14T22:13:20.123000\","
		 "\"updated_at\":\"2023-11-14T22:13:20.123000\",\"user_id\":%lld,"
		 "\"payload\":{\"a\":[1,\"\\u00e9\"]},\"result\":null}",
		 id, (long long)user.id);
	ANSWERS(x, 202, wanted);
	HEADER_IS(x, "Location", path_of(id, ""));
	ANSWERS(ASK(&h, .path = path_of(id, ""), .token = user.token), 200, wanted);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM background_tasks"), 1);
	CU_ASSERT_EQUAL(harness_metric(&h, "tasks_created_total{kind=\"echo\"}"), 1.0);
	ANSWERS(ASK(&h, .path = TASKS, .body = ECHO), 401, DETAIL("Not authenticated"));
	ANSWERS(ASK(&h, .path = TASKS, .body = ECHO, .key = HARNESS_KEY), 403, NULL);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM background_tasks"), 1);
	harness_close(&h);
}

static void what_waits_is_bounded(void)
{
	struct harness_user user, other, admin;
	struct exchange *sent[8];
	int stored = 0, refused = 0;
	struct harness h;

	harness_init(&h);
	h.config.user_tasks_pending = 3;
	harness_start(&h);
	harness_add_user(&h, "ada", &user);
	harness_add_user(&h, "eve", &other);
	harness_add_user(&h, "root", &admin);
	make_superuser(&h, &admin);
	for (int i = 0; i < 8; i++) /* at once */
		sent[i] = harness_send(&h, &(struct ask){.path = TASKS, .body = ECHO, .token = user.token});
	for (int i = 0; i < 8; i++) {
		struct exchange *x = harness_wait(sent[i]);
		stored += x->status == 202;
		refused += x->status == 429;
	}
	CU_ASSERT_EQUAL(stored, 3);
	CU_ASSERT_EQUAL(refused, 5);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM background_tasks"), 3);
	struct ask keyed = {.path = TASKS, .body = ECHO, .token = user.token, .params = {"HTTP_IDEMPOTENCY_KEY", "k1"}};
	struct exchange *x = harness_ask(&h, &keyed);
	ANSWERS(x, 429,
		DETAIL("Too many of your tasks are waiting: at most 3 may (USER_TASKS_PENDING). Try again when some "
		       "are "
		       "done, or cancel some."));
	HEADER_IS(x, "Retry-After", "10");
	ANSWERS(add(&h, &other, ECHO), 202, NULL);
	for (int i = 0; i < 5; i++)
		ANSWERS(add(&h, &admin, ECHO), 202, NULL);
	harness_sql(&h, "UPDATE background_tasks SET status = 'completed' WHERE user_id > 0");
	ANSWERS(harness_ask(&h, &keyed), 202, NULL); /* the key has stored no refusal */
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_requests_rejected_total{reason=\"user_tasks\"}"), 6.0);
	CU_ASSERT_EQUAL(harness_metric(&h, "tasks_created_total{kind=\"echo\"}"), 10.0);
	h.config.user_tasks_bytes = 10;
	ANSWERS(add(&h, &other, "{\"kind\":\"echo\",\"payload\":{\"a\":\"123456\"}}"), 429,
		DETAIL("Your tasks that are waiting are too large: at most 10 bytes in all (USER_TASKS_BYTES). Try "
		       "again "
		       "when some are done, or cancel some."));
	harness_close(&h);
}

static void bad_bodies(void)
{
	static const struct {
		const char *body, *says;
	} cases[] = {
		{"{}", "{\"type\":\"missing\",\"loc\":[\"body\",\"kind\"],\"msg\":\"Field required\",\"input\":{}}"},
		{"[]", "\"loc\":[\"body\"]"},
		{"{", "json_invalid"},
		{"{\"kind\":1}",
		 "{\"type\":\"string_type\",\"loc\":[\"body\",\"kind\"],\"msg\":\"Input should be a valid string\","
		 "\"input\":1}"},
		{"{\"kind\":null}", "\"loc\":[\"body\",\"kind\"]"},
		{"{\"kind\":\"nope\"}", "\"type\":\"enum\",\"loc\":[\"body\",\"kind\"]"},
		{"{\"kind\":\"expiry\"}", "\"type\":\"enum\",\"loc\":[\"body\",\"kind\"]"}, /* schedules' own */
		{"{\"kind\":\"echo\\u0000\"}", "\"type\":\"enum\""},
		{"{\"kind\":\"echo\",\"x\":2}",
		 "{\"type\":\"extra_forbidden\",\"loc\":[\"body\",\"x\"],\"msg\":\"Extra inputs are not permitted\","
		 "\"input\":2}"},
		{"{\"kind\":\"echo\",\"payload\":[]}", "\"type\":\"dict_type\",\"loc\":[\"body\",\"payload\"]"},
		{"{\"kind\":\"echo\",\"priority\":11}",
		 "{\"type\":\"less_than_equal\",\"loc\":[\"body\",\"priority\"],\"msg\":\"Input should be less than or "
		 "equal to 10\",\"input\":11,\"ctx\":{\"le\":10}}"},
		{"{\"kind\":\"echo\",\"priority\":-101}", "{\"ge\":-100}"},
		{"{\"kind\":\"echo\",\"priority\":\"1\"}", "\"type\":\"int_type\""},
		{"{\"kind\":\"echo\",\"priority\":0.5}", "\"type\":\"int_from_float\""},
		{"{\"kind\":\"echo\",\"priority\":1e400}", "\"type\":\"int_type\""},
		{"{\"kind\":\"echo\",\"delay_seconds\":-1}", "\"loc\":[\"body\",\"delay_seconds\"]"},
		{"{\"kind\":\"echo\",\"delay_seconds\":1e12}", "{\"le\":31622400}"},
		{"{\"kind\":\"echo\",\"run_at\":\"tomorrow\"}", "\"type\":\"datetime_parsing\""},
		{"{\"kind\":\"echo\",\"run_at\":1}", "\"loc\":[\"body\",\"run_at\"]"},
		{"{\"kind\":\"echo\",\"run_at\":\"2033-01-01T00:00:00Z\"}", "366 days"},
		{"{\"kind\":\"echo\",\"run_at\":\"2023-12-01\",\"delay_seconds\":1}", "not both"},
	};
	struct harness h;
	struct harness_user user;

	harness_open(&h);
	harness_add_user(&h, "ada", &user);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct exchange *x = add(&h, &user, cases[i].body);
		ANSWERS(x, 422, NULL);
		CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(x), cases[i].says));
		if (!strstr(answer_body(x), cases[i].says))
			printf("\n%s: %s\n", cases[i].body, answer_body(x));
	}
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM background_tasks"), 0);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM generations WHERE topic = 'task_changes'"), 0);
	harness_close(&h);
}

static void what_superusers_may(void)
{
	static const char sleep[] = "{\"kind\":\"sleep\",\"payload\":{\"seconds\":1},\"priority\":100}";
	struct harness h;
	struct harness_user user, super;

	harness_open(&h);
	harness_add_user(&h, "ada", &user);
	harness_add_user(&h, "root", &super);
	make_superuser(&h, &super);
	ANSWERS(add(&h, &user, sleep), 403, DETAIL("Only superusers may add a task of this kind."));
	struct exchange *x = add(&h, &super, sleep);
	ANSWERS(x, 202, NULL);
	SAME(member(x, "priority"), "100");
	x = add(&h, &super, "{\"kind\":\"sleep\",\"payload\":{\"seconds\":\"x\"}}");
	ANSWERS(x, 422, NULL);
	CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(x), "\"loc\":[\"body\",\"payload\",\"seconds\"]"));
	harness_close(&h);
}

static void later(void)
{
	struct harness h;
	struct harness_user user;

	harness_open(&h);
	harness_add_user(&h, "ada", &user);
	SAME(member(add(&h, &user, "{\"kind\":\"echo\",\"delay_seconds\":1.5}"), "run_at"),
	     "2023-11-14T22:13:21.623000");
	SAME(member(add(&h, &user, "{\"kind\":\"echo\",\"run_at\":\"2023-11-15T01:00:00+01:00\"}"), "run_at"),
	     "2023-11-15T00:00:00.000000");
	/* What is past is now; null is as if it were not there. */
	SAME(member(add(&h, &user, "{\"kind\":\"echo\",\"run_at\":\"1999-01-01\",\"delay_seconds\":null}"), "run_at"),
	     "2023-11-14T22:13:20.123000");
	harness_close(&h);
}

static void the_same_request_again(void)
{
	static const char edge[] = "00112233445566778899aabbccddeeff";
	struct harness h;
	struct harness_user user;

	harness_open(&h);
	harness_add_user(&h, "ada", &user);
	struct exchange *first = ASK(&h, .path = TASKS, .body = ECHO, .token = user.token, .edge_id = edge);
	ANSWERS(first, 202, NULL);
	set_status(&h, member(first, "task_id"), "processing", 0);
	struct exchange *x = ASK(&h, .path = TASKS, .body = ECHO, .token = user.token, .edge_id = edge);
	ANSWERS(x, 202, NULL);
	SAME(member(x, "task_id"), member(first, "task_id"));
	SAME(member(x, "status"), "processing");
	HEADER_IS(x, "Location", answer_header(first, "Location"));
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM background_tasks"), 1);
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_repeated_writes_total"), 1.0);
	CU_ASSERT_EQUAL(harness_metric(&h, "tasks_created_total{kind=\"echo\"}"), 1.0);
	harness_close(&h);
}

static void an_idempotency_key(void)
{
	struct harness h;
	struct harness_user user, other;

	harness_open(&h);
	harness_add_user(&h, "ada", &user);
	harness_add_user(&h, "bob", &other);
	struct exchange *first = ASK(&h, .path = TASKS, .body = ECHO, .token = user.token, .idem = "k");
	ANSWERS(first, 202, NULL);
	struct exchange *x = ASK(&h, .path = TASKS, .body = ECHO, .token = user.token, .idem = "k");
	ANSWERS(x, 202, answer_body(first));
	HEADER_IS(x, "Idempotency-Replayed", "true");
	HEADER_IS(x, "Location", answer_header(first, "Location"));
	x = ASK(&h, .path = TASKS, .body = ECHO, .token = other.token, .idem = "k");
	ANSWERS(x, 202, NULL);
	HEADER_IS(x, "Idempotency-Replayed", "");
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM background_tasks"), 2);
	CU_ASSERT_EQUAL(harness_metric(&h, "tasks_created_total{kind=\"echo\"}"), 2.0);
	harness_close(&h);
}

/* --- looking and cancelling --- */

static void whose_a_task_is(void)
{
	struct harness h;
	struct harness_user user, other, super;

	harness_open(&h);
	harness_add_user(&h, "ada", &user);
	harness_add_user(&h, "bob", &other);
	harness_add_user(&h, "root", &super);
	make_superuser(&h, &super);
	const char *id = make(&h, &user);
	static const char missing[] = DETAIL("Task not found");
	ANSWERS(ASK(&h, .path = path_of(id, ""), .token = other.token), 404, missing);
	CU_ASSERT_TRUE(harness_logged(&h, "a task of another user was asked for"));
	CU_ASSERT_TRUE(harness_logged(&h, "\"event\":\"foreign_task\""));
	ANSWERS(ASK(&h, .path = path_of(id, ""), .token = other.token, .method = "DELETE"), 404, missing);
	ANSWERS(ASK(&h, .path = path_of(id, "/events"), .token = other.token), 404, missing);
	ANSWERS(ASK(&h, .path = path_of(id, ""), .token = super.token), 200, NULL);
	ANSWERS(ASK(&h, .path = path_of("x", ""), .token = user.token), 404, missing);
	ANSWERS(ASK(&h, .path = path_of("x", "/events"), .token = user.token), 404, missing);
	ANSWERS(ASK(&h, .path = path_of("00000000-0000-0000-0000-000000000000", ""), .token = user.token), 404,
		missing);
	ANSWERS(ASK(&h, .path = path_of(id, ""), .token = user.token), 200, NULL);
	harness_close(&h);
}

static void cancelling(void)
{
	struct harness h;
	struct harness_user user;

	harness_open(&h);
	harness_add_user(&h, "ada", &user);
	const char *pending = make(&h, &user), *running = make(&h, &user), *over = make(&h, &user);
	for (int i = 0; i < 2; i++) {
		struct exchange *x = ASK(&h, .path = path_of(pending, ""), .token = user.token, .method = "DELETE");
		ANSWERS(x, 200, NULL);
		SAME(member(x, "status"), "cancelled");
	}
	set_status(&h, running, "processing", 1);
	for (int i = 0; i < 2; i++) {
		struct exchange *x = ASK(&h, .path = path_of(running, ""), .token = user.token, .method = "DELETE");
		ANSWERS(x, 202, NULL);
		SAME(member(x, "status"), "processing");
		SAME(member(x, "cancel_requested"), "true");
	}
	set_status(&h, over, "completed", 1);
	int64_t change = harness_number(&h, "SELECT value FROM generations WHERE topic = 'task_changes'");
	ANSWERS(ASK(&h, .path = path_of(over, ""), .token = user.token, .method = "DELETE"), 409,
		DETAIL("The task is over."));
	ANSWERS(ASK(&h, .path = path_of("00000000-0000-0000-0000-000000000000", ""), .token = user.token,
		    .method = "DELETE"),
		404, NULL);
	/* What is refused changes nothing. */
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT value FROM generations WHERE topic = 'task_changes'"), change);
	harness_close(&h);
}

static void lists(void)
{
	struct harness h;
	struct harness_user user, other, super;
	const char *ids[5];
	char query[200];

	harness_open(&h);
	harness_add_user(&h, "ada", &user);
	harness_add_user(&h, "bob", &other);
	harness_add_user(&h, "root", &super);
	make_superuser(&h, &super);
	ANSWERS(ASK(&h, .path = TASKS, .token = user.token), 200, "{\"tasks\":[],\"next_cursor\":null}");
	for (int i = 0; i < 5; i++)
		ids[i] = make(&h, &user);
	make(&h, &other);
	set_status(&h, ids[2], "completed", 1);
	struct exchange *x = ASK(&h, .path = TASKS, .token = user.token);
	CU_ASSERT_EQUAL(count(answer_body(x), "\"task_id\""), 5);
	CU_ASSERT_PTR_NULL(strstr(answer_body(x), "payload"));
	SAME(member(x, "next_cursor"), "null");

	/* By pages of two each is there once. */
	char cursor[100] = "";
	int seen = 0;
	for (int page = 0; page < 3; page++) {
		snprintf(query, sizeof(query), "limit=2%s%s", cursor[0] ? "&cursor=" : "", cursor);
		x = ASK(&h, .path = TASKS, .token = user.token, .query = query);
		ANSWERS(x, 200, NULL);
		seen += count(answer_body(x), "\"task_id\"");
		snprintf(cursor, sizeof(cursor), "%s", member(x, "next_cursor"));
	}
	CU_ASSERT_EQUAL(seen, 5);
	SAME(cursor, "null");
	x = ASK(&h, .path = TASKS, .token = user.token, .query = "status=completed");
	CU_ASSERT_EQUAL(count(answer_body(x), "\"task_id\""), 1);
	SAME(member(x, "task_id"), ids[2]);
	x = ASK(&h, .path = TASKS, .token = user.token, .query = "kind=sleep");
	ANSWERS(x, 200, "{\"tasks\":[],\"next_cursor\":null}");
	CU_ASSERT_EQUAL(
		count(answer_body(ASK(&h, .path = TASKS, .token = user.token, .query = "kind=echo")), "task_id"), 5);

	static const char *const bad[] = {"limit=0",  "limit=101",   "limit=x",   "status=nope", "kind=",
					  "cursor=x", "cursor=AAAA", "all=maybe", "user_id=x"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ANSWERS(ASK(&h, .path = TASKS, .token = user.token, .query = bad[i]), 422, NULL);
	static const char only[] = DETAIL("Only superusers see the tasks of others.");
	ANSWERS(ASK(&h, .path = TASKS, .token = user.token, .query = "all=true"), 403, only);
	snprintf(query, sizeof(query), "user_id=%lld", (long long)other.id);
	ANSWERS(ASK(&h, .path = TASKS, .token = user.token, .query = query), 403, only);
	ANSWERS(ASK(&h, .path = EVENTS, .token = user.token, .query = query), 403, only);
	CU_ASSERT_EQUAL(count(answer_body(ASK(&h, .path = TASKS, .token = super.token, .query = query)), "task_id"), 1);
	CU_ASSERT_EQUAL(
		count(answer_body(ASK(&h, .path = TASKS, .token = super.token, .query = "all=true")), "task_id"), 6);
	CU_ASSERT_EQUAL(count(answer_body(ASK(&h, .path = TASKS, .token = super.token)), "task_id"), 0);
	harness_close(&h);
}

/* The one that is asked for is the oldest of many: pages before it are empty, and each is short work. */
static void a_filter_that_little_passes(void)
{
	struct harness h;
	struct harness_user user;
	char sql[700], query[200], cursor[100] = "";
	int pages = 0, seen = 0;

	harness_open(&h);
	harness_add_user(&h, "ada", &user);
	snprintf(sql, sizeof(sql),
		 "INSERT INTO background_tasks (task_id, user_id, task_type, status, created_at, updated_at)"
		 " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)"
		 " SELECT '00000000-0000-7000-8000-' || (100000000000 + i), %lld, 'echo', CASE i WHEN 1 THEN 'failed' "
		 "ELSE"
		 " 'completed' END, '2026-01-01T00:00:00.000000', '2026-01-01T00:00:00.000000' FROM n",
		 (long long)user.id);
	harness_sql(&h, sql);
	do {
		snprintf(query, sizeof(query), "status=failed&kind=echo%s%s", cursor[0] ? "&cursor=" : "", cursor);
		struct exchange *x = ASK(&h, .path = TASKS, .token = user.token, .query = query);
		ANSWERS(x, 200, NULL);
		seen += count(answer_body(x), "task_id");
		snprintf(cursor, sizeof(cursor), "%s", member(x, "next_cursor"));
	} while (strcmp(cursor, "null") != 0 && ++pages < 10);
	CU_ASSERT_EQUAL(seen, 1);
	CU_ASSERT_EQUAL(pages, 2);
	harness_close(&h);
}

/* --- listening --- */

static void a_user_hears_of_their_tasks(void)
{
	struct harness h;
	struct harness_user user, other;

	harness_open(&h);
	harness_add_user(&h, "ada", &user);
	harness_add_user(&h, "bob", &other);
	const char *before = make(&h, &user);
	struct exchange *x = listen_to(&h, &user, EVENTS, NULL);
	HEADER_IS(x, "Cache-Control", "no-store");
	HEADER_IS(x, "X-Request-ID", x->edge_id);
	HEADER_IS(x, "Content-Length", "");
	CU_ASSERT_TRUE(harness_hears(x, "retry: "));
	CU_ASSERT_TRUE(harness_hears(x, "id: 1-ffffffff-ffff-ffff-ffff-ffffffffffff\n\n"));
	const char *theirs = make(&h, &other), *mine = make(&h, &user);
	CU_ASSERT_TRUE(harness_hears(x, mine));
	set_status(&h, mine, "processing", 7);
	CU_ASSERT_TRUE(harness_hears(x, "\"status\":\"processing\",\"done\":7"));
	CU_ASSERT_PTR_NULL(strstr(answer_body(x), theirs));
	CU_ASSERT_PTR_NULL(strstr(answer_body(x), before)); /* from now */
	CU_ASSERT_PTR_NULL(strstr(answer_body(x), "payload"));

	char event[200];
	snprintf(event, sizeof(event), "id: 4-%s\nevent: task\ndata: {\"task_id\":\"%s\",", mine, mine);
	CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(x), event));
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_event_streams{instance=\"1\"}"), 1.0);
	harness_leave(x, PARKED_PEER_GONE);
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_event_streams{instance=\"1\"}"), 0.0);
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_event_streams_ended_total{reason=\"gone\"}"), 1.0);
	CU_ASSERT_TRUE(harness_metric(&h, "appcore_events_sent_total") >= 2.0);
	make(&h, &user); /* nobody listens */
	harness_close(&h);
}

static void who_comes_back_misses_nothing(void)
{
	struct harness h;
	struct harness_user user;

	harness_open(&h);
	harness_add_user(&h, "ada", &user);
	struct exchange *x = listen_to(&h, &user, EVENTS, NULL);
	const char *first = make(&h, &user);
	CU_ASSERT_TRUE(harness_hears(x, first));
	harness_leave(x, PARKED_DRAINED);
	const char *id = last_id(x);
	const char *second = make(&h, &user), *third = make(&h, &user);
	set_status(&h, second, "completed", 1);

	struct exchange *live = listen_to(&h, &user, EVENTS, NULL);
	struct exchange *again = listen_to(&h, &user, EVENTS, id);
	CU_ASSERT_TRUE(harness_hears(again, "completed"));
	CU_ASSERT_TRUE(harness_hears(again, third));
	const char *fourth = make(&h, &user);
	CU_ASSERT_TRUE(harness_hears(again, fourth));
	CU_ASSERT_TRUE(harness_hears(live, fourth));
	/* Each once, in the order of the changes. */
	CU_ASSERT_EQUAL(count(answer_body(again), "event: task"), 3);
	CU_ASSERT_EQUAL(count(answer_body(live), "event: task"), 1);
	CU_ASSERT_TRUE(strstr(answer_body(again), third) < strstr(answer_body(again), second));

	/* The same by the query, which the header goes before. */
	char query[120];
	snprintf(query, sizeof(query), "last_event_id=%s", id);
	x = harness_listen(&h, &(struct ask){.path = EVENTS, .query = query, .token = user.token});
	CU_ASSERT_TRUE(harness_hears(x, fourth));
	CU_ASSERT_EQUAL(count(answer_body(x), "event: task"), 3);
	x = harness_listen(&h, &(struct ask){.path = EVENTS,
					     .query = query,
					     .token = user.token,
					     .params = {"HTTP_LAST_EVENT_ID", last_id(live)}});
	const char *fifth = make(&h, &user);
	CU_ASSERT_TRUE(harness_hears(x, fifth));
	CU_ASSERT_EQUAL(count(answer_body(x), "event: task"), 1);
	harness_close(&h);
}

static void places_that_are_none(void)
{
	static const char *const bad[] = {"x",
					  "1",
					  "1-",
					  "-00000000-0000-0000-0000-000000000000",
					  "1-00000000-0000-0000-0000-00000000000",
					  "1x-00000000-0000-0000-0000-000000000000",
					  "99999999999999999999-00000000-0000-0000-0000-000000000000"};
	struct harness h;
	struct harness_user user;

	harness_open(&h);
	harness_add_user(&h, "ada", &user);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct exchange *x = ASK(&h, .path = EVENTS, .token = user.token,
					 .params = {"HTTP_LAST_EVENT_ID", bad[i]});
		ANSWERS(x, 422, NULL);
		CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(x), "[\"header\",\"Last-Event-ID\"]"));
	}
	ANSWERS(ASK(&h, .path = EVENTS, .token = user.token, .query = "last_event_id=x"), 422, NULL);
	/* One of a time that was taken back: from now. */
	struct exchange *x = listen_to(&h, &user, EVENTS, "77-00000000-0000-0000-0000-000000000000");
	CU_ASSERT_TRUE(harness_hears(x, "id: 0-ffffffff"));
	CU_ASSERT_TRUE(harness_hears(x, "event: reset\ndata: {}\n\n"));
	CU_ASSERT_TRUE(harness_hears(x, make(&h, &user)));
	harness_close(&h);
}

/* Nobody walks through all that others did since then. */
static void who_was_away_for_long_reads_anew(void)
{
	struct harness h;
	struct harness_user user;
	char sql[600];

	harness_open(&h);
	harness_add_user(&h, "ada", &user);
	struct exchange *x = listen_to(&h, &user, EVENTS, NULL);
	const char *id = make(&h, &user), *at;
	CU_ASSERT_TRUE(harness_hears(x, id));
	at = last_id(x);
	snprintf(sql, sizeof(sql),
		 "INSERT INTO background_tasks (task_id, user_id, task_type, created_at, updated_at, status, change)"
		 " WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
		 " SELECT 'x' || i, 99, 'echo', '', '', 'completed', 1000 + i FROM n",
		 EVENTS_TOLD_AGAIN + 1);
	harness_sql(&h, sql);
	snprintf(sql, sizeof(sql), "UPDATE generations SET value = %d WHERE topic = 'task_changes'",
		 1001 + EVENTS_TOLD_AGAIN);
	harness_sql(&h, sql);
	x = listen_to(&h, &user, EVENTS, at);
	CU_ASSERT_TRUE(harness_hears(x, "event: reset\ndata: {}\n\n"));
	CU_ASSERT_PTR_NULL(strstr(answer_body(x), id));
	id = make(&h, &user);
	CU_ASSERT_TRUE(harness_hears(x, id));
	at = last_id(x);
	/* One less is told. */
	harness_sql(&h, "DELETE FROM background_tasks WHERE task_id = 'x1'");
	harness_sql(&h, "UPDATE background_tasks SET change = 1 WHERE user_id <> 99");
	x = listen_to(&h, &user, EVENTS, "2-00000000-0000-0000-0000-000000000000");
	CU_ASSERT_TRUE(harness_hears(x, "retry: "));
	CU_ASSERT_PTR_NULL(strstr(answer_body(x), "reset"));
	harness_close(&h);
}

static void one_task_until_its_end(void)
{
	struct harness h;
	struct harness_user user;

	harness_open(&h);
	harness_add_user(&h, "ada", &user);
	const char *id = make(&h, &user), *other = make(&h, &user);
	struct exchange *x = listen_to(&h, &user, path_of(id, "/events"), NULL);
	CU_ASSERT_TRUE(harness_hears(x, "\"status\":\"pending\""));
	set_status(&h, other, "processing", 3);
	set_status(&h, id, "processing", 5);
	CU_ASSERT_TRUE(harness_hears(x, "\"done\":5"));
	const char *at = last_id(x);
	set_status(&h, id, "completed", 9);
	CU_ASSERT_TRUE(harness_hears(x, "\"status\":\"completed\",\"done\":9"));
	CU_ASSERT_TRUE(x->done);
	CU_ASSERT_PTR_NULL(strstr(answer_body(x), other));
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_event_streams_ended_total{reason=\"over\"}"), 1.0);

	/* Who has missed the end is told; who knows it need not come back. */
	struct exchange *again = harness_listen(&h, &(struct ask){.path = path_of(id, "/events"),
								  .token = user.token,
								  .params = {"HTTP_LAST_EVENT_ID", at}});
	ANSWERS(again, 200, NULL);
	CU_ASSERT_TRUE(again->done);
	CU_ASSERT_EQUAL(count(answer_body(again), "event: task"), 1);
	ANSWERS(ASK(&h, .path = path_of(id, "/events"), .token = user.token,
		    .params = {"HTTP_LAST_EVENT_ID", last_id(x)}),
		204, "");
	x = harness_listen(&h, &(struct ask){.path = path_of(id, "/events"), .token = user.token});
	CU_ASSERT_TRUE(x->done);
	CU_ASSERT_EQUAL(count(answer_body(x), "event: task"), 1);
	ANSWERS(ASK(&h, .path = path_of(id, "/events"), .token = user.token, .method = "HEAD"), 200, "");
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_event_streams{instance=\"1\"}"), 0.0);
	harness_close(&h);
}

/* More than a page at once, with listeners of three kinds. */
static void many_changes(void)
{
	enum { N = 700 };
	struct harness h;
	struct harness_user user, super;

	harness_open(&h);
	harness_add_user(&h, "ada", &user);
	harness_add_user(&h, "root", &super);
	make_superuser(&h, &super);
	const char *id = make(&h, &user);
	struct exchange *mine = listen_to(&h, &user, EVENTS, NULL);
	struct exchange *all = harness_listen(&h,
					      &(struct ask){.path = EVENTS, .token = super.token, .query = "all=true"});
	struct exchange *one = listen_to(&h, &user, path_of(id, "/events"), NULL);
	CU_ASSERT_TRUE(harness_hears(one, id));
	char sql[900];
	snprintf(sql, sizeof(sql),
		 "INSERT INTO background_tasks (task_id, user_id, task_type, created_at, updated_at, change)"
		 " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
		 " SELECT '00000000-0000-7000-8000-' || (100000000000 + i), %lld, 'echo',"
		 " '2026-01-01T00:00:00.000000', '2026-01-01T00:00:00.000000', 2 FROM n;"
		 "UPDATE generations SET value = 2 WHERE topic = 'task_changes'",
		 N, (long long)user.id);
	harness_sql(&h, sql);
	wake_all(h.app.shm, WAKE_EVENTS);
	set_status(&h, id, "completed", 1);
	struct exchange *late = listen_to(&h, &user, EVENTS, "0-00000000-0000-0000-0000-000000000000");
	CU_ASSERT_TRUE(harness_hears(mine, "completed"));
	CU_ASSERT_TRUE(harness_hears(all, "completed"));
	CU_ASSERT_TRUE(harness_hears(one, "completed"));
	CU_ASSERT_TRUE(harness_hears(late, "completed"));
	CU_ASSERT_EQUAL(count(answer_body(mine), "event: task"), N + 1);
	CU_ASSERT_EQUAL(count(answer_body(all), "event: task"), N + 1);
	CU_ASSERT_EQUAL(count(answer_body(one), "event: task"), 2);
	CU_ASSERT_EQUAL(count(answer_body(late), "event: task"), N + 1);
	CU_ASSERT_TRUE(one->done);
	harness_close(&h);
}

/* One who takes less than comes gets the last of each, in order, and holds nobody up. */
static void one_who_lags(void)
{
	struct harness h;
	struct harness_user user;

	harness_open(&h);
	harness_add_user(&h, "ada", &user);
	struct exchange *slow = listen_to(&h, &user, EVENTS, NULL), *quick = listen_to(&h, &user, EVENTS, NULL);
	slow->full = true;
	const char *first = make(&h, &user);
	CU_ASSERT_TRUE(harness_hears(slow, first));
	CU_ASSERT_TRUE(harness_hears(quick, first));
	const char *second = make(&h, &user);
	CU_ASSERT_TRUE(harness_hears(quick, second));
	for (int i = 1; i <= 3; i++) {
		char wanted[40];
		set_status(&h, second, "processing", i);
		snprintf(wanted, sizeof(wanted), "\"done\":%d", i);
		CU_ASSERT_TRUE(harness_hears(quick, wanted));
	}
	CU_ASSERT_PTR_NULL(strstr(answer_body(slow), second));
	let_time_pass(&h);
	CU_ASSERT_PTR_NULL(strstr(answer_body(slow), "keep-alive"));
	harness_drain(slow);
	CU_ASSERT_TRUE(harness_hears(slow, "\"done\":3"));
	CU_ASSERT_EQUAL(count(answer_body(slow), "event: task"), 2);
	const char *third = make(&h, &user);
	CU_ASSERT_TRUE(harness_hears(slow, third));
	CU_ASSERT_TRUE(harness_hears(quick, third));
	CU_ASSERT_EQUAL(count(answer_body(slow), "event: task"), 3);
	CU_ASSERT_EQUAL(count(answer_body(quick), "event: task"), 6);
	harness_close(&h);
}

static void a_user_has_so_many_streams(void)
{
	struct harness h;
	struct harness_user user, other;
	struct exchange *x[EVENTS_PER_USER];

	harness_open(&h);
	harness_add_user(&h, "ada", &user);
	harness_add_user(&h, "bob", &other);
	for (int i = 0; i < EVENTS_PER_USER; i++)
		x[i] = listen_to(&h, &user, EVENTS, NULL);
	struct exchange *more = ASK(&h, .path = EVENTS, .token = user.token);
	ANSWERS(more, 429, DETAIL("Too many event streams at once. Close one first."));
	HEADER_IS(more, "Retry-After", "5");
	listen_to(&h, &other, EVENTS, NULL);
	harness_leave(x[3], PARKED_TOO_SLOW);
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_event_streams_ended_total{reason=\"slow\"}"), 1.0);
	listen_to(&h, &user, EVENTS, NULL);
	ANSWERS(ASK(&h, .path = EVENTS, .token = user.token), 429, NULL);
	harness_close(&h);
}

static void comments(void)
{
	struct harness h;
	struct harness_user user, other;

	harness_open(&h);
	harness_add_user(&h, "ada", &user);
	harness_add_user(&h, "bob", &other);
	struct exchange *x = listen_to(&h, &user, EVENTS, NULL);
	CU_ASSERT_PTR_NULL(strstr(answer_body(x), ":\x20keep-alive"));
	let_time_pass(&h);
	CU_ASSERT_TRUE(harness_hears(x, ": keep-alive\n\n"));
	/* What happened to others moves its place on. */
	struct exchange *theirs = listen_to(&h, &other, EVENTS, NULL);
	const char *id = make(&h, &other);
	CU_ASSERT_TRUE(harness_hears(theirs, id));
	let_time_pass(&h);
	CU_ASSERT_TRUE(harness_hears(x, ": keep-alive\nid: 1-"));
	CU_ASSERT_PTR_NULL(strstr(answer_body(x), "event: task"));
	harness_close(&h);
}

static void who_may_listen_no_more(void)
{
	struct harness h;
	struct harness_user out, off, demoted, keyed, good;

	harness_open(&h);
	harness_add_user(&h, "ada", &out);
	harness_add_user(&h, "bob", &off);
	harness_add_user(&h, "cyd", &demoted);
	harness_add_user(&h, "dan", &good);
	harness_add_user(&h, "eve", &keyed);
	make_superuser(&h, &demoted);
	struct exchange *key = ASK(&h, .path = "/api/v1/users/me/keys", .body = "{\"name\":\"k\"}",
				   .token = keyed.token);
	ANSWERS(key, 201, NULL);
	struct exchange *x[] = {
		listen_to(&h, &out, EVENTS, NULL),
		listen_to(&h, &off, EVENTS, NULL),
		harness_listen(&h, &(struct ask){.path = EVENTS, .token = demoted.token, .query = "all=true"}),
		harness_listen(&h, &(struct ask){.path = EVENTS, .key = member(key, "key")}),
		listen_to(&h, &good, EVENTS, NULL),
	};
	char path[128];
	snprintf(path, sizeof(path), "/api/v1/users/me/keys/%s", member(key, "id"));
	let_time_pass(&h);
	CU_ASSERT_FALSE(x[0]->done || x[1]->done || x[2]->done || x[3]->done || x[4]->done);
	ANSWERS(ASK(&h, .path = path, .token = keyed.token, .method = "DELETE"), 204, NULL);
	ANSWERS(ASK(&h, .path = "/api/v1/auth/logout", .token = out.token, .method = "POST"), 204, NULL);
	harness_sql(&h, "UPDATE users SET is_active = 0 WHERE username = 'bob';"
			"UPDATE users SET is_superuser = 0 WHERE username = 'cyd'");
	let_time_pass(&h);
	for (int i = 0; i < 4; i++) {
		uint64_t end_ms = clock_mono_ms() + 20000;
		while (!x[i]->done && clock_mono_ms() < end_ms)
			harness_pump(&h, 5);
		CU_ASSERT_TRUE(x[i]->done);
	}
	CU_ASSERT_FALSE(x[4]->done);
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_event_streams_ended_total{reason=\"revoked\"}"), 4.0);
	harness_close(&h);
}

/* Who may listen no more is not known while the database can't be read: for half a minute they go on. */
static void nobody_can_say_who_may(void)
{
	static const char ended[] = "appcore_event_streams_ended_total{reason=\"unchecked\"}";
	struct harness h;
	struct harness_user user;

	harness_open(&h);
	harness_add_user(&h, "ada", &user);
	struct exchange *x = listen_to(&h, &user, EVENTS, NULL);
	for (int i = 0; i < 2; i++) {
		harness_sql(&h, "ALTER TABLE sessions RENAME TO away");
		let_time_pass(&h); /* a check fails */
		CU_ASSERT_FALSE(x->done);
		harness_sql(&h, "ALTER TABLE away RENAME TO sessions");
		let_time_pass(&h); /* the next does not */
		CU_ASSERT_FALSE(x->done);
	}
	harness_sql(&h, "ALTER TABLE sessions RENAME TO away");
	let_time_pass(&h);
	CU_ASSERT_FALSE(x->done);
	let_time_pass(&h);
	CU_ASSERT_TRUE(x->done);
	CU_ASSERT_EQUAL(harness_metric(&h, ended), 1.0);
	harness_sql(&h, "ALTER TABLE away RENAME TO sessions");

	/* A check that is not answered at all. */
	x = listen_to(&h, &user, EVENTS, NULL);
	struct checks *checks = &h.app.events->checks;
	checks->busy = true;
	checks->asked_ms = h.ticks_ms;
	for (int i = 0; i < EVENTS_PERIOD_MS / 1000 + 2; i++)
		harness_tick(&h);
	CU_ASSERT_TRUE(x->done);
	CU_ASSERT_EQUAL(harness_metric(&h, ended), 2.0);
	checks->busy = false;
	listen_to(&h, &user, EVENTS, NULL);
	harness_close(&h);
}

static const struct unit_case CASES[] = {
	{"a task is stored", a_task_is_stored},
	{"what a user has waiting is bounded", what_waits_is_bounded},
	{"bad bodies", bad_bodies},
	{"what superusers may", what_superusers_may},
	{"later", later},
	{"the same request again", the_same_request_again},
	{"an Idempotency-Key", an_idempotency_key},
	{"whose a task is", whose_a_task_is},
	{"cancelling", cancelling},
	{"lists", lists},
	{"a filter that little passes", a_filter_that_little_passes},
	{"a user hears of their tasks", a_user_hears_of_their_tasks},
	{"who comes back misses nothing", who_comes_back_misses_nothing},
	{"who was away for long reads anew", who_was_away_for_long_reads_anew},
	{"places that are none", places_that_are_none},
	{"one task until its end", one_task_until_its_end},
	{"many changes", many_changes},
	{"one who lags", one_who_lags},
	{"a user has so many streams", a_user_has_so_many_streams},
	{"comments", comments},
	{"who may listen no more", who_may_listen_no_more},
	{"nobody can say who may", nobody_can_say_who_may},
};

int main(void)
{
	return UNIT_RUN("tasks", CASES);
}
