/* Sentiment analysis: one text, batches for the background, what became of them, and the history. */
#include "harness.h"

#include "base/clock.h"
#include "base/json.h"
#include "store/sentiments.h"
#include "store/tasks.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define ANALYZE "/api/v1/sentiment/analyze"
#define BATCH   "/api/v1/sentiment/analyze/batch"
#define HISTORY "/api/v1/sentiment/history"
#define TASK    "/api/v1/sentiment/task/"
#define EDGE    "00112233445566778899aabbccddeeff"
#define EDGE_ID "018bcfe5-687b-7011-a233-445566778899"

/* The probability of "positive" is the logistic function of the number of "good"s minus that of "bad"s. */
static const char MEMBERS[] = "\"inputs\":[{\"name\":\"text\",\"type\":\"text\"}],"
			      "\"output\":{\"type\":\"binary\",\"classes\":[\"negative\",\"positive\"]}";
static const char FILE_1[] =
	"{\"format\":\"appcore text 1\",\"classifier\":\"logistic_regression\",\"ngram_range\":[1,1],"
	"\"sublinear_tf\":false,\"norm\":null,\"vocabulary\":[\"bad\",\"good\"],\"idf\":[1,1],"
	"\"coefficients\":[[-1,1]],\"intercepts\":[0]}";
#define GOOD "0.7310585786300049"

static struct harness_user ada, bob;

static void start(struct harness *h)
{
	h->models[0] = harness_load("sentiment", "1", "text", MEMBERS, FILE_1);
	harness_start(h);
	harness_add_user(h, "ada", &ada);
	harness_add_user(h, "bob", &bob);
}

static void open_all(struct harness *h)
{
	harness_init(h);
	start(h);
}

static struct exchange *analyse(struct harness *h, const char *body)
{
	return ASK(h, .path = ANALYZE, .body = body, .token = ada.token);
}

static struct exchange *get(struct harness *h, const char *path, const char *query, const struct harness_user *user)
{
	return ASK(h, .path = path, .query = query, .token = user->token);
}

/* The JSON behind `member` is `wanted`. */
static bool has(const struct exchange *x, const char *text)
{
	bool there = strstr(answer_body(x), text) != NULL;

	if (!there)
		printf("\n      no %s in %.400s", text, answer_body(x));
	return there;
}

/* --- one text --- */

static void one_text_is_answered_and_stored(void)
{
	struct harness h;

	open_all(&h);
	struct exchange *x = ASK(&h, .path = ANALYZE, .body = "{\"text\":\"good\"}", .token = ada.token,
				 .edge_id = EDGE);
	const char *before = "{\"text\":\"good\",\"sentiment\":\"positive\",\"confidence\":" GOOD
			     ",\"processing_time\":";
	const char *body = answer_body(x);
	CU_ASSERT_EQUAL(x->status, 200);
	HEADER_IS(x, "Content-Type", "application/json");
	CU_ASSERT_EQUAL(strncmp(body, before, strlen(before)), 0);
	char *end;
	double seconds = strtod(body + strlen(before), &end);
	CU_ASSERT_TRUE(seconds > 0 && seconds < 60);
	SAME(end, "}");
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM sentiment_requests WHERE id = '" EDGE_ID
					   "' AND text = 'good'"
					   " AND sentiment = 'positive' AND confidence = " GOOD
					   " AND processing_time > 0 AND created_at = '2023-11-14T22:13:20.123000'"
					   " AND model_version = 'sentiment/1' AND task_id = '' AND position = 0"),
			1);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT user_id FROM sentiment_requests"), ada.id);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM predictions"), 0);
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_model_predictions_total{model=\"sentiment\",version=\"1\",status="
					   "\"success\"}"),
			1);
	harness_close(&h);
}

static void texts_are_echoed_as_they_came(void)
{
	static const struct {
		const char *body, *start;
	} cases[] = {
		{"{\"text\":\"\"}", "{\"text\":\"\",\"sentiment\":\"negative\",\"confidence\":0.5,"},
		{"{\"text\":\"  I love\\tit \\\"so\\\" \\\\ \\n\"}",
		 "{\"text\":\"  I love\\tit \\\"so\\\" \\\\ \\n\",\"sentiment\":\"negative\",\"confidence\":0.5,"},
		{"{\"text\":\"caf\\u00e9 \\ud83d\\ude00 \xc3\xa9\"}",
		 "{\"text\":\"caf\xc3\xa9 \xf0\x9f\x98\x80 \xc3\xa9\",\"sentiment\":\"negative\","},
		{"{\"text\":\"Robert'); DROP TABLE users;--\"}",
		 "{\"text\":\"Robert'); DROP TABLE users;--\",\"sentiment\":"},
		{"{\"text\":\"\\u0001\\u007f\\u2028</script>\"}", "{\"text\":\"\\u0001\x7f\xe2\x80\xa8</script>\","},
		{"{\"other\":[1,{}],\"text\":\"bad bad\",\"user_id\":1}",
		 "{\"text\":\"bad bad\",\"sentiment\":\"negative\",\"confidence\":0.88"},
	};
	struct harness h;

	open_all(&h);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct exchange *x = analyse(&h, cases[i].body);
		CU_ASSERT_EQUAL(x->status, 200);
		CU_ASSERT_TRUE(has(x, cases[i].start));
	}
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM sentiment_requests"), 6);
	harness_close(&h);
}

static void what_is_no_text_is_refused(void)
{
	static const struct {
		const char *body, *answer;
	} cases[] = {
		{"{}", "{\"detail\":[{\"type\":\"missing\",\"loc\":[\"body\",\"text\"],\"msg\":\"Field "
		       "required\",\"input\":{}}]}"},
		{"{\"Text\":\"x\"}",
		 "{\"detail\":[{\"type\":\"missing\",\"loc\":[\"body\",\"text\"],\"msg\":\"Field required\","
		 "\"input\":{\"Text\":\"x\"}}]}"},
		{"{\"text\":5}",
		 "{\"detail\":[{\"type\":\"string_type\",\"loc\":[\"body\",\"text\"],\"msg\":\"Input should be a "
		 "valid string\",\"input\":5}]}"},
		{"{\"text\":null}",
		 "{\"detail\":[{\"type\":\"string_type\",\"loc\":[\"body\",\"text\"],\"msg\":\"Input should be "
		 "a valid string\",\"input\":null}]}"},
		{"{\"text\":[\"x\"]}",
		 "{\"detail\":[{\"type\":\"string_type\",\"loc\":[\"body\",\"text\"],\"msg\":\"Input should "
		 "be a valid string\",\"input\":[\"x\"]}]}"},
		{"{\"text\":\"a\\u0000b\"}", "{\"detail\":[{\"type\":\"value_error\",\"loc\":[\"body\",\"text\"],"
					     "\"msg\":\"Value error, a text can't hold the "
					     "character U+0000\",\"input\":\"a\\u0000b\",\"ctx\":{\"error\":{}}}]}"},
		{"[1]", NULL},
		{"{\"text\":\"x\"", NULL},
		{"\"x\"", NULL},
		{"{\"text\":\"\xff\"}", NULL},
	};
	struct harness h;

	open_all(&h);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ANSWERS(analyse(&h, cases[i].body), 422, cases[i].answer);
	ANSWERS(ASK(&h, .path = ANALYZE, .method = "POST", .token = ada.token), 422, NULL);
	ANSWERS(ASK(&h, .path = ANALYZE, .body = "text=x", .type = "application/x-www-form-urlencoded",
		    .token = ada.token),
		415, NULL);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM sentiment_requests"), 0);
	harness_close(&h);
}

/* A body {"text":"…"} with n times `unit`. */
static char *long_text(const char *unit, size_t n)
{
	size_t length = strlen(unit);
	char *body = malloc(n * length + 16), *p = body;

	CU_ASSERT_PTR_NOT_NULL_FATAL(body);
	p += sprintf(p, "{\"text\":\"");
	for (size_t i = 0; i < n; i++, p += length)
		memcpy(p, unit, length);
	strcpy(p, "\"}");
	return body;
}

static void a_text_has_40000_characters_at_most(void)
{
	static const struct {
		const char *unit;
		size_t n;
		int status;
	} cases[] = {
		{"a", 40000, 200},
		{"a", 40001, 422},
		{"\xc3\xa9", 40000, 200},
		{"\xc3\xa9", 40001, 422},
		{"\\u00e9", 40000, 200},
		{"\\u00e9", 40001, 422},
		{"\xf0\x9f\x98\x80", 40000, 200},
		{"\\ud83d\\ude00", 40000, 200},
		{"\\ud83d\\ude00", 40001, 422},
		{"a", 900000, 422},
	};
	struct harness h;

	open_all(&h);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *body = long_text(cases[i].unit, cases[i].n);
		struct exchange *x = analyse(&h, body);
		CU_ASSERT_EQUAL(x->status, cases[i].status);
		if (cases[i].status == 422)
			CU_ASSERT_TRUE(has(
				x, "\"type\":\"string_too_long\",\"loc\":[\"body\",\"text\"],\"msg\":\"String should "
				   "have at most 40000 characters\""));
		free(body);
	}
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT min(length(text)) FROM sentiment_requests"), 40000);
	harness_close(&h);
}

static void only_people_may_ask(void)
{
	static const char *const paths[] = {HISTORY, TASK EDGE_ID};
	char key[KEY_TEXT_BYTES];
	struct harness h;

	open_all(&h);
	harness_add_key(&h, "operator", -1, 0, key);
	harness_tick(&h);
	ANSWERS(ASK(&h, .path = ANALYZE, .body = "{\"text\":\"x\"}"), 401, DETAIL("Not authenticated"));
	ANSWERS(ASK(&h, .path = ANALYZE, .body = "{\"text\":\"x\"}", .token = "nonsense"), 401,
		DETAIL("Could not validate credentials"));
	ANSWERS(ASK(&h, .path = BATCH, .body = "{\"texts\":[\"x\"]}"), 401, DETAIL("Not authenticated"));
	for (int i = 0; i < 2; i++)
		ANSWERS(GET(&h, paths[i]), 401, DETAIL("Not authenticated"));
	/* An operator's key is nobody's history. */
	struct exchange *x = ASK(&h, .path = ANALYZE, .body = "{\"text\":\"x\"}", .key = key);
	CU_ASSERT_TRUE(x->status == 401 || x->status == 403);
	x = ASK(&h, .path = ANALYZE, .method = "GET", .token = ada.token);
	ANSWERS(x, 405, DETAIL("Method Not Allowed"));
	HEADER_IS(x, "Allow", "POST");
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM sentiment_requests"), 0);
	harness_close(&h);
}

static void without_the_model_it_says_so(void)
{
	static const char none[] = DETAIL(
		"No version of the model sentiment (SENTIMENT_MODEL) is loaded. Try again later.");
	static const char wrong[] = DETAIL("The model numbers (SENTIMENT_MODEL) is no classifier of texts.");
	struct harness h;

	harness_open(&h);
	harness_add_user(&h, "ada", &ada);
	struct exchange *x = analyse(&h, "{\"text\":\"x\"}");
	ANSWERS(x, 503, none);
	HEADER_IS(x, "Retry-After", "1");
	ANSWERS(ASK(&h, .path = BATCH, .body = "{\"texts\":[\"x\"]}", .token = ada.token), 503, none);
	harness_close(&h);

	harness_init(&h);
	h.config.sentiment_model = "numbers";
	h.models[0] = harness_load(
		"numbers", "1", "linear",
		"\"inputs\":[{\"name\":\"x\",\"type\":\"number\"}],\"output\":{\"type\":\"regression\"}",
		"{\"format\":\"appcore linear 1\",\"coefficients\":[[1]],\"intercepts\":[0]}");
	harness_start(&h);
	harness_add_user(&h, "ada", &ada);
	ANSWERS(analyse(&h, "{\"text\":\"x\"}"), 503, wrong);
	harness_close(&h);
}

static void a_request_tried_again_is_one(void)
{
	struct harness h;
	struct ask ask = {.path = ANALYZE, .body = "{\"text\":\"good\"}", .edge_id = EDGE};

	open_all(&h);
	ask.token = ada.token;
	struct exchange *first = harness_ask(&h, &ask), *second = harness_ask(&h, &ask);
	ANSWERS(second, 200, answer_body(first)); /* the time that it took is the stored one, too */
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM sentiment_requests"), 1);
	CU_ASSERT_EQUAL(harness_metric(&h, "appcore_repeated_writes_total"), 1);
	harness_close(&h);
}

static void a_key_makes_it_once(void)
{
	struct harness h;
	struct ask ask = {.path = ANALYZE, .body = "{\"text\":\"good\"}", .idem = "k1"};

	open_all(&h);
	ask.token = ada.token;
	struct exchange *first = harness_ask(&h, &ask), *again = harness_ask(&h, &ask);
	ANSWERS(again, 200, answer_body(first));
	HEADER_IS(again, "Idempotency-Replayed", "true");
	ask.body = "{\"text\":\"bad\"}";
	ANSWERS(harness_ask(&h, &ask), 422, DETAIL("This Idempotency-Key was used with another request body."));
	ask.token = bob.token; /* somebody else's key is another one */
	ANSWERS(harness_ask(&h, &ask), 200, NULL);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM sentiment_requests"), 2);
	harness_close(&h);
}

/* --- batches --- */

static struct exchange *send_batch(struct harness *h, const char *body)
{
	return ASK(h, .path = BATCH, .body = body, .token = ada.token, .edge_id = EDGE);
}

static void a_batch_becomes_a_task(void)
{
	struct harness h;

	open_all(&h);
	struct exchange *x = send_batch(&h, "{\"texts\":[\"good\", \"b\\u00e4d\" ,\"\"]}");
	ANSWERS(x, 202, "{\"task_id\":\"" EDGE_ID "\",\"status\":\"pending\"}");
	HEADER_IS(x, "Location", TASK EDGE_ID);
	CU_ASSERT_EQUAL(harness_number(&h,
				       "SELECT count(*) FROM background_tasks WHERE task_id = '" EDGE_ID
				       "' AND task_type = 'sentiment_batch' AND status = 'pending' AND total = 3 AND"
				       " done = 0 AND created_at = '2023-11-14T22:13:20.123000' AND payload ="
				       " '{\"version\":\"1\",\"counts\":[3]}'"),
			1);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT user_id FROM background_tasks"), ada.id);
	struct id id;
	struct arena arena;
	struct str part;
	arena_init(&arena, 1 << 20);
	CU_ASSERT_TRUE(id_parse(STR(EDGE_ID), &id));
	CU_ASSERT_EQUAL(tasks_read_part(h.db, &id, 0, &arena, &part, NULL), STATUS_OK);
	CU_ASSERT_TRUE(str_eq(part, STR("[\"good\",\"b\xc3\xa4"
					"d\",\"\"]")));
	arena_release(&arena);
	/* nginx tries it again: the same task. */
	ANSWERS(send_batch(&h, "{\"texts\":[\"good\", \"b\\u00e4d\" ,\"\"]}"), 202, answer_body(x));
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM background_tasks"), 1);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM task_parts"), 1);
	CU_ASSERT_EQUAL(harness_metric(&h, "tasks_created_total{kind=\"sentiment_batch\"}"), 1.0);
	harness_close(&h);
}

static void a_batch_says_what_is_wrong(void)
{
	static const struct {
		const char *body, *answer;
	} cases[] = {
		{"{}", "{\"detail\":[{\"type\":\"missing\",\"loc\":[\"body\",\"texts\"],\"msg\":\"Field "
		       "required\",\"input\":{}}]}"},
		{"{\"texts\":\"x\"}",
		 "{\"detail\":[{\"type\":\"list_type\",\"loc\":[\"body\",\"texts\"],\"msg\":\"Input should be "
		 "a valid list\",\"input\":\"x\"}]}"},
		{"{\"texts\":null}",
		 "{\"detail\":[{\"type\":\"list_type\",\"loc\":[\"body\",\"texts\"],\"msg\":\"Input should be "
		 "a valid list\",\"input\":null}]}"},
		{"{\"texts\":[]}",
		 "{\"detail\":[{\"type\":\"too_short\",\"loc\":[\"body\",\"texts\"],\"msg\":\"List should have at "
		 "least 1 item "
		 "after validation, not "
		 "0\",\"input\":[],\"ctx\":{\"field_type\":\"List\",\"min_length\":1,\"actual_length\":0}}]}"},
		{"{\"texts\":[\"a\",5,\"b\",{}]}", "{\"detail\":[{\"type\":\"string_type\",\"loc\":[\"body\",\"texts\","
						   "1],\"msg\":\"Input should be a valid "
						   "string\",\"input\":5},{\"type\":\"string_type\",\"loc\":[\"body\","
						   "\"texts\",3],\"msg\":\"Input should be a valid "
						   "string\",\"input\":{}}]}"},
		{"{\"texts\":[\"\\u0000\"]}", NULL},
		{"{\"texts\":[\"1\",\"2\",\"3\",\"4\",\"5\"]}",
		 "{\"detail\":[{\"type\":\"too_long\",\"loc\":[\"body\",\"texts\"],\"msg\":\"List should have at most "
		 "4 items after "
		 "validation, not "
		 "5\",\"input\":[],\"ctx\":{\"field_type\":\"List\",\"max_length\":4,\"actual_length\":5}}]}"},
		{"[\"x\"]", NULL},
		{"{\"texts\":[\"x\"}", NULL},
	};
	struct harness h;

	harness_init(&h);
	h.config.batch_max = 4;
	start(&h);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ANSWERS(send_batch(&h, cases[i].body), 422, cases[i].answer);
	ANSWERS(ASK(&h, .path = BATCH, .body = "x", .type = "text/plain", .token = ada.token), 415, NULL);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM background_tasks"), 0);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM task_parts"), 0);
	harness_close(&h);
}

/* A batch of n texts "<i> <filler>". */
static char *large_batch(int n, size_t filler)
{
	char *body = malloc((size_t)n * (filler + 16) + 32), *p = body;

	CU_ASSERT_PTR_NOT_NULL_FATAL(body);
	p += sprintf(p, "{\"texts\":[");
	for (int i = 0; i < n; i++) {
		p += sprintf(p, "%s\"%d ", i ? "," : "", i);
		memset(p, 'x', filler);
		p += filler;
		*p++ = '"';
	}
	strcpy(p, "]}");
	return body;
}

static void a_large_batch_is_stored_in_parts(void)
{
	enum { N = 3000, FILLER = 500 };
	struct harness h;
	char *body = large_batch(N, FILLER);
	int64_t counted = 0, parts;

	open_all(&h);
	ANSWERS(ASK(&h, .path = BATCH, .body = body, .token = ada.token, .edge_id = EDGE, .late_body = true), 202,
		"{\"task_id\":\"" EDGE_ID "\",\"status\":\"pending\"}");
	parts = harness_number(&h, "SELECT count(*) FROM task_parts");
	CU_ASSERT_TRUE(parts >= 24 && parts <= 32);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM task_parts WHERE length(data) > 65536"), 0);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT total FROM background_tasks"), N);
	/* All texts are there, in their order. */
	struct id id;
	struct arena arena;
	arena_init(&arena, 8 << 20);
	CU_ASSERT_TRUE(id_parse(STR(EDGE_ID), &id));
	for (int64_t i = 0; i < parts; i++) {
		struct json_value list, item;
		struct json_fault fault;
		struct json_iter iter;
		struct str part;
		CU_ASSERT_EQUAL_FATAL(tasks_read_part(h.db, &id, i, &arena, &part, NULL), STATUS_OK);
		CU_ASSERT_TRUE_FATAL(json_check(part, 2, &list, &fault));
		json_iter_init(&iter, list);
		for (; json_next(&iter, NULL, &item); counted++)
			CU_ASSERT_EQUAL(strtoll(item.text.p + 1, NULL, 10), counted);
	}
	CU_ASSERT_EQUAL(counted, N);
	arena_release(&arena);
	free(body);
	harness_close(&h);
}

static void a_batch_that_is_too_large_for_its_route(void)
{
	struct harness h;
	char *body = large_batch(100, 100);

	harness_init(&h);
	h.config.batch_body_bytes = 4096;
	start(&h);
	ANSWERS(send_batch(&h, body), 413, DETAIL("Request body is too large."));
	ANSWERS(send_batch(&h, "{\"texts\":[\"x\"]}"), 202, NULL);
	free(body);
	harness_close(&h);
}

/* What a large body is wanted for is bounded in number: they are whole in memory. */
static void few_large_bodies_at_a_time(void)
{
	struct harness h;
	char *body = large_batch(2200, 500); /* more than 1 MiB */
	enum { SENT = APP_LARGE_BODIES + 1 };
	struct exchange *sent[SENT];
	int taken = 0, refused = 0;

	open_all(&h);
	harness_hold_turn(&h, true);
	const struct ask ask = {.path = BATCH, .body = body, .token = ada.token};
	for (int i = 0; i < SENT; i++)
		sent[i] = harness_send(&h, &ask);
	uint64_t end_ms = clock_mono_ms() + 30000;
	for (bool any = false; !any && clock_mono_ms() < end_ms; harness_pump(&h, 1))
		for (int i = 0; i < SENT; i++)
			any |= sent[i]->done;
	struct exchange *small = harness_send(
		&h, &(struct ask){.path = BATCH, .body = "{\"texts\":[\"x\"]}", .token = ada.token});
	harness_hold_turn(&h, false);
	for (int i = 0; i < SENT; i++) {
		taken += harness_wait(sent[i])->status == 202;
		if (sent[i]->status == 202)
			continue;
		refused++;
		ANSWERS(sent[i], 503, DETAIL("Too many large requests at once. Try again later."));
		HEADER_IS(sent[i], "Retry-After", "1");
	}
	CU_ASSERT_EQUAL(taken, APP_LARGE_BODIES);
	CU_ASSERT_EQUAL(refused, 1);
	ANSWERS(harness_wait(small), 202, NULL);
	harness_forget(&h); /* as a connection is free for its next request */
	ANSWERS(harness_ask(&h, &ask), 202, NULL);
	CU_ASSERT_EQUAL(h.app.large_bodies, 1);
	harness_forget(&h);
	CU_ASSERT_EQUAL(h.app.large_bodies, 0);
	free(body);
	harness_close(&h);
}

/* What is wrong with them as a whole is told without telling all of it. */
static void large_nonsense_is_told_briefly(void)
{
	enum { BYTES = 4 << 20 };
	struct harness h;
	char *body = malloc(BYTES + 64);
	static const struct {
		const char *start, *end, *type;
	} cases[] = {{"[\"", "\"]", "model_attributes_type"},
		     {"{\"text\":[\"", "\"]}", "missing"},
		     {"{\"texts\":\"", "\"}", "list_type"},
		     {"{\"texts\":[\"", "\"]}", "string_too_long"},
		     {"{\"texts\":[[\"", "\"]]}", "string_type"}};

	open_all(&h);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t n = (size_t)sprintf(body, "%s", cases[i].start);
		memset(body + n, 'x', BYTES);
		strcpy(body + n + BYTES, cases[i].end);
		struct exchange *x = send_batch(&h, body);
		CU_ASSERT_EQUAL(x->status, 422);
		CU_ASSERT_TRUE(has(x, cases[i].type));
		CU_ASSERT_TRUE(strlen(answer_body(x)) < 1000);
		harness_forget(&h);
	}
	free(body);
	harness_close(&h);
}

static void a_key_makes_a_batch_once(void)
{
	struct harness h;
	char *body = large_batch(1200, 500), *other = large_batch(1201, 500);
	struct ask ask = {.path = BATCH, .body = body, .idem = "k1"};

	open_all(&h);
	ask.token = ada.token;
	struct exchange *first = harness_ask(&h, &ask);
	CU_ASSERT_EQUAL(first->status, 202);
	int64_t parts = harness_number(&h, "SELECT count(*) FROM task_parts");
	struct exchange *again = harness_ask(&h, &ask);
	ANSWERS(again, 202, answer_body(first));
	HEADER_IS(again, "Idempotency-Replayed", "true");
	SAME(answer_header(again, "Location"), answer_header(first, "Location"));
	ask.body = other;
	ANSWERS(harness_ask(&h, &ask), 422, DETAIL("This Idempotency-Key was used with another request body."));
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM background_tasks"), 1);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM task_parts"), parts); /* nothing was stored in vain */
	free(body);
	free(other);
	harness_close(&h);
}

/* Its first parts wait for the turn to write while the slow threads get other work. */
static void a_batch_refused_half_way_may_come_again(void)
{
	struct harness h;
	char *body = large_batch(2400, 500); /* more parts than one write stores */

	open_all(&h);
	const struct ask ask = {.path = BATCH, .body = body, .token = ada.token, .idem = "half"};
	harness_hold_turn(&h, true);
	struct exchange *x = harness_send(&h, &ask);
	harness_jam_slow_lane(&h, true); /* behind it */
	harness_hold_turn(&h, false);
	harness_wait(x);
	ANSWERS(x, 503, DETAIL("Too many large requests at once. Try again later."));
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM background_tasks"), 0);
	harness_jam_slow_lane(&h, false);
	ANSWERS(harness_ask(&h, &ask), 202, NULL);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM background_tasks"), 1);
	harness_close(&h);
	free(body);
}

/* --- what became of it --- */

/* What a worker does, by hand: n results of the task EDGE_ID. */
static void complete(struct harness *h, int n)
{
	struct sentiment_row row = {.user_id = ada.id,
				    .sentiment = STR("positive"),
				    .confidence = 0.75,
				    .processing_s = 0.000002,
				    .created_at = "2023-11-14T22:13:20.123000",
				    .model_version = "sentiment/1",
				    .task_id = STR(EDGE_ID)};
	struct id id;
	char text[32];
	bool stored;

	CU_ASSERT_TRUE(id_parse(STR(EDGE_ID), &id));
	harness_sql(h, "UPDATE background_tasks SET status = 'completed', done = total, result = '{}'");
	CU_ASSERT_EQUAL_FATAL(db_turn_take(h->db, 5000, NULL), STATUS_OK);
	CU_ASSERT_EQUAL_FATAL(db_begin(h->db, NULL), STATUS_OK);
	for (int i = 0; i < n; i++) {
		snprintf(text, sizeof(text), "text %d", i);
		row.text = str_of(text);
		row.position = i;
		row.id = sentiments_id_in_task(&id, i);
		CU_ASSERT_EQUAL(sentiments_insert(h->db, &row, &stored, NULL), STATUS_OK);
	}
	CU_ASSERT_EQUAL(db_commit(h->db, NULL), STATUS_OK);
	db_turn_give(h->db);
}

#define TIMES "\"created_at\":\"2023-11-14T22:13:20.123000\",\"updated_at\":\"2023-11-14T22:13:20.123000\""

static void a_task_tells_how_it_is(void)
{
	static const struct {
		const char *sql, *answer;
	} cases[] = {
		{NULL,
		 "{\"task_id\":\"" EDGE_ID "\",\"status\":\"pending\",\"result\":null,\"error_message\":null," TIMES
		 ",\"progress\":{\"done\":0,\"total\":2},\"next_cursor\":null}"},
		{"UPDATE background_tasks SET status = 'processing', done = 1, error_message = 'the last try''s'",
		 "{\"task_id\":\"" EDGE_ID "\",\"status\":\"processing\",\"result\":null,\"error_message\":null," TIMES
		 ",\"progress\":{\"done\":1,\"total\":2},\"next_cursor\":null}"},
		{"UPDATE background_tasks SET status = 'failed', error_message = 'broken \"so\"'",
		 "{\"task_id\":\"" EDGE_ID
		 "\",\"status\":\"failed\",\"result\":null,\"error_message\":\"broken \\\"so\\\"\"," TIMES
		 ",\"progress\":{\"done\":1,\"total\":2},\"next_cursor\":null}"},
		{"UPDATE background_tasks SET status = 'dead', error_message = 'often'",
		 "{\"task_id\":\"" EDGE_ID "\",\"status\":\"failed\",\"result\":null,\"error_message\":\"often\"," TIMES
		 ",\"progress\":{\"done\":1,\"total\":2},\"next_cursor\":null}"},
		{"UPDATE background_tasks SET status = 'cancelled', error_message = NULL",
		 "{\"task_id\":\"" EDGE_ID
		 "\",\"status\":\"failed\",\"result\":null,\"error_message\":\"The task was cancelled.\"," TIMES
		 ",\"progress\":{\"done\":1,\"total\":2},\"next_cursor\":null}"},
	};
	struct harness h;

	open_all(&h);
	ANSWERS(send_batch(&h, "{\"texts\":[\"a\",\"b\"]}"), 202, NULL);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (cases[i].sql)
			harness_sql(&h, cases[i].sql);
		ANSWERS(get(&h, TASK EDGE_ID, "", &ada), 200, cases[i].answer);
	}
	complete(&h, 2);
	ANSWERS(get(&h, TASK EDGE_ID, "", &ada), 200,
		"{\"task_id\":\"" EDGE_ID "\",\"status\":\"completed\",\"result\":["
		"{\"text\":\"text 0\",\"sentiment\":\"positive\",\"confidence\":0.75},"
		"{\"text\":\"text 1\",\"sentiment\":\"positive\",\"confidence\":0.75}],\"error_message\":null," TIMES
		",\"progress\":{\"done\":2,\"total\":2},\"next_cursor\":null}");
	harness_close(&h);
}

static void a_task_is_told_to_its_owner_only(void)
{
	static const char *const unknown[] = {TASK "018bcfe5-687b-7011-a233-000000000000", TASK "x", TASK "1",
					      TASK "%27%3B--"};
	struct harness h;

	open_all(&h);
	ANSWERS(send_batch(&h, "{\"texts\":[\"a\"]}"), 202, NULL);
	ANSWERS(get(&h, TASK EDGE_ID, "", &bob), 404, DETAIL("Task not found"));
	CU_ASSERT_TRUE(harness_logged(&h, "somebody asked for another user's task"));
	CU_ASSERT_TRUE(harness_logged(&h, "\"event\":\"foreign_task\""));
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
		ANSWERS(get(&h, unknown[i], "", &ada), 404, DETAIL("Task not found"));
	CU_ASSERT_TRUE(harness_logged(&h, "somebody asked for a task that there is not"));
	harness_sql(&h, "UPDATE background_tasks SET task_type = 'echo'");
	ANSWERS(get(&h, TASK EDGE_ID, "", &ada), 404, DETAIL("Task not found"));
	harness_close(&h);
}

/* How many results an answer has, and whether they are those from `from` on, in order. */
static int results_of(const struct exchange *x, int from)
{
	char wanted[64];
	const char *p = answer_body(x);
	int n = 0;

	for (;; n++) {
		snprintf(wanted, sizeof(wanted), "{\"text\":\"text %d\",", from + n);
		const char *at = strstr(p, wanted);
		if (!at)
			break;
		p = at + 1;
	}
	const char *more = strstr(p, "{\"text\":");
	CU_ASSERT_PTR_NULL(more);
	return n;
}

static void many_results_are_streamed_or_paged(void)
{
	enum { N = 2600 };
	struct harness h;
	char *body = large_batch(N, 1);

	open_all(&h);
	ANSWERS(send_batch(&h, body), 202, NULL);
	complete(&h, N);
	struct exchange *x = get(&h, TASK EDGE_ID, "", &ada);
	CU_ASSERT_EQUAL(x->status, 200);
	CU_ASSERT_TRUE(x->pieces > 1);
	CU_ASSERT_EQUAL(results_of(x, 0), N);
	CU_ASSERT_TRUE(has(x, "\"progress\":{\"done\":2600,\"total\":2600},\"next_cursor\":null}"));
	x = get(&h, TASK EDGE_ID, "limit=100", &ada);
	CU_ASSERT_EQUAL(results_of(x, 0), 100);
	CU_ASSERT_TRUE(has(x, "\"next_cursor\":\"100\"}"));
	x = get(&h, TASK EDGE_ID, "limit=1500&cursor=100", &ada);
	CU_ASSERT_EQUAL(results_of(x, 100), 1500);
	CU_ASSERT_TRUE(has(x, "\"next_cursor\":\"1600\"}"));
	x = get(&h, TASK EDGE_ID, "limit=10000&cursor=1600", &ada);
	CU_ASSERT_EQUAL(results_of(x, 1600), 1000);
	CU_ASSERT_TRUE(has(x, "\"next_cursor\":null}"));
	CU_ASSERT_EQUAL(results_of(get(&h, TASK EDGE_ID, "cursor=2599", &ada), 2599), 1);
	CU_ASSERT_EQUAL(results_of(get(&h, TASK EDGE_ID, "cursor=2600&limit=3", &ada), 2600), 0);
	ANSWERS(get(&h, TASK EDGE_ID, "limit=0", &ada), 422, NULL);
	ANSWERS(get(&h, TASK EDGE_ID, "limit=x", &ada), 422, NULL);
	ANSWERS(get(&h, TASK EDGE_ID, "cursor=-1", &ada), 422, NULL);
	ANSWERS(get(&h, TASK EDGE_ID, "cursor=99999999999999999999", &ada), 422, NULL);
	free(body);
	harness_close(&h);
}

/* --- history --- */

static void everybody_sees_their_own_history(void)
{
	struct harness h;
	char wanted[512];

	open_all(&h);
	ANSWERS(get(&h, HISTORY, "", &ada), 200, "[]");
	ANSWERS(ASK(&h, .path = ANALYZE, .body = "{\"text\":\"good\"}", .token = ada.token, .edge_id = EDGE), 200,
		NULL);
	ANSWERS(ASK(&h, .path = ANALYZE, .body = "{\"text\":\"bob's\"}", .token = bob.token), 200, NULL);
	struct exchange *x = get(&h, HISTORY, "", &ada);
	snprintf(wanted, sizeof(wanted),
		 "[{\"id\":\"" EDGE_ID "\",\"text\":\"good\",\"sentiment\":\"positive\",\"confidence\":" GOOD
		 ",\"processing_time\":");
	CU_ASSERT_EQUAL(x->status, 200);
	CU_ASSERT_EQUAL(strncmp(answer_body(x), wanted, strlen(wanted)), 0);
	CU_ASSERT_TRUE(has(x, ",\"created_at\":\"2023-11-14T22:13:20.123000\"}]"));
	CU_ASSERT_PTR_NULL(strstr(answer_body(x), "bob"));
	HEADER_IS(x, "Link", "");
	HEADER_IS(x, "X-Next-Cursor", "");
	harness_close(&h);
}

/* Texts of an answer, newest first, as "9 8 7 ". */
static const char *texts_of(const struct exchange *x)
{
	static char list[4096];
	const char *p = answer_body(x);
	size_t n = 0;

	list[0] = '\0';
	while ((p = strstr(p, "\"text\":\"")) && n < sizeof(list) - 32) {
		p += strlen("\"text\":\"");
		n += (size_t)snprintf(list + n, 32, "%.*s ", (int)strcspn(p, "\""), p);
	}
	return list;
}

static void history_has_pages(void)
{
	struct harness h;
	char query[128], msec[32], body[64];

	open_all(&h);
	for (int i = 0; i < 7; i++) {
		snprintf(msec, sizeof(msec), "1700000000.%03d", 100 + i);
		snprintf(body, sizeof(body), "{\"text\":\"%d\"}", i);
		ANSWERS(ASK(&h, .path = ANALYZE, .body = body, .token = ada.token, .msec = msec), 200, NULL);
	}
	SAME(texts_of(get(&h, HISTORY, "", &ada)), "6 5 4 3 2 1 0 ");
	SAME(texts_of(get(&h, HISTORY, "limit=2&offset=3", &ada)), "3 2 ");
	SAME(texts_of(get(&h, HISTORY, "offset=7", &ada)), "");
	SAME(texts_of(get(&h, HISTORY, "offset=10000", &ada)), "");
	struct exchange *x = get(&h, HISTORY, "limit=3", &ada);
	SAME(texts_of(x), "6 5 4 ");
	snprintf(query, sizeof(query), "limit=3&cursor=%s", answer_header(x, "X-Next-Cursor"));
	char link[256];
	snprintf(link, sizeof(link), "<" HISTORY "?%s>; rel=\"next\"", query);
	HEADER_IS(x, "Link", link);
	x = get(&h, HISTORY, query, &ada);
	SAME(texts_of(x), "3 2 1 ");
	snprintf(query, sizeof(query), "limit=3&cursor=%s", answer_header(x, "X-Next-Cursor"));
	x = get(&h, HISTORY, query, &ada);
	SAME(texts_of(x), "0 ");
	HEADER_IS(x, "X-Next-Cursor", "");
	SAME(texts_of(get(&h, HISTORY, query, &bob)), ""); /* a cursor is a place, not a right */
	static const char *const bad[] = {
		"limit=0", "limit=1001", "limit=a", "limit=", "offset=-1", "offset=10001", "cursor=x", "cursor="};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ANSWERS(get(&h, HISTORY, bad[i], &ada), 422, NULL);
	harness_close(&h);
}

static void batches_are_in_the_history(void)
{
	struct harness h;

	open_all(&h);
	ANSWERS(send_batch(&h, "{\"texts\":[\"a\",\"b\",\"c\"]}"), 202, NULL);
	SAME(texts_of(get(&h, HISTORY, "", &ada)), "");
	complete(&h, 3);
	SAME(texts_of(get(&h, HISTORY, "", &ada)), "text 2 text 1 text 0 ");
	harness_close(&h);
}

static void large_histories_are_streamed(void)
{
	struct harness h;
	char *body = long_text("word ", 8000); /* 40,000 characters */

	open_all(&h);
	for (int i = 0; i < 8; i++)
		ANSWERS(analyse(&h, body), 200, NULL);
	struct exchange *x = get(&h, HISTORY, "limit=6", &ada);
	CU_ASSERT_EQUAL(x->status, 200);
	CU_ASSERT_TRUE(x->pieces > 1);
	CU_ASSERT_TRUE(strlen(answer_body(x)) > (size_t)6 * 40000);
	int rows = 0;
	for (const char *p = answer_body(x); (p = strstr(p, "{\"id\":")); p++)
		rows++;
	CU_ASSERT_EQUAL(rows, 6);
	CU_ASSERT_EQUAL(answer_body(x)[strlen(answer_body(x)) - 1], ']');
	char query[128];
	CU_ASSERT_EQUAL(strlen(answer_header(x, "X-Next-Cursor")), 36);
	snprintf(query, sizeof(query), "limit=6&cursor=%s", answer_header(x, "X-Next-Cursor"));
	x = get(&h, HISTORY, query, &ada);
	rows = 0;
	for (const char *p = answer_body(x); (p = strstr(p, "{\"id\":")); p++)
		rows++;
	CU_ASSERT_EQUAL(rows, 2);
	HEADER_IS(x, "X-Next-Cursor", "");
	free(body);
	harness_close(&h);
}

/* The first page is far away: it is read by a slow thread. */
static void far_pages_are_the_same(void)
{
	struct harness h;
	char *body = large_batch(1200, 1);

	open_all(&h);
	ANSWERS(send_batch(&h, body), 202, NULL);
	complete(&h, 1200);
	struct exchange *near = get(&h, HISTORY, "limit=3&offset=1000", &ada);
	struct exchange *far = get(&h, HISTORY, "limit=3&offset=1001", &ada);
	SAME(texts_of(near), "text 199 text 198 text 197 ");
	SAME(texts_of(far), "text 198 text 197 text 196 ");
	CU_ASSERT_EQUAL(strlen(answer_header(far, "X-Next-Cursor")), 36);
	HEADER_IS(get(&h, HISTORY, "limit=199&offset=1001", &ada), "X-Next-Cursor", "");
	free(body);
	harness_close(&h);
}

static void old_texts_go(void)
{
	struct harness h;
	char msec[32];

	harness_init(&h);
	h.config.retention_days = 30;
	start(&h);
	snprintf(msec, sizeof(msec), "%lld.000", (long long)(clock_wall_us() / 1000000));
	ANSWERS(ASK(&h, .path = ANALYZE, .body = "{\"text\":\"old\"}", .token = ada.token), 200, NULL);
	ANSWERS(ASK(&h, .path = ANALYZE, .body = "{\"text\":\"new\"}", .token = ada.token, .msec = msec), 200, NULL);
	uint64_t end_ms = clock_mono_ms() + 30000;
	do {
		harness_tick(&h);
		harness_pump(&h, 10);
	} while (harness_number(&h, "SELECT count(*) FROM sentiment_requests") > 1 && clock_mono_ms() < end_ms);
	SAME(texts_of(get(&h, HISTORY, "", &ada)), "new ");
	CU_ASSERT_TRUE(harness_metric_is(&h, "appcore_retention_deleted_total{table=\"sentiment_requests\"}", 1));
	harness_close(&h);
}

static const struct unit_case CASES[] = {
	{"one text is answered and stored (B-112, B-050)", one_text_is_answered_and_stored},
	{"texts are echoed as they came", texts_are_echoed_as_they_came},
	{"what is no text is refused (B-113)", what_is_no_text_is_refused},
	{"a text has 40,000 characters at the most", a_text_has_40000_characters_at_most},
	{"only people may ask (B-111, B-114)", only_people_may_ask},
	{"without the model it says so", without_the_model_it_says_so},
	{"a request that is tried again is one", a_request_tried_again_is_one},
	{"a key makes it once", a_key_makes_it_once},
	{"a batch becomes a task (B-115, B-116)", a_batch_becomes_a_task},
	{"a batch says what is wrong (B-117)", a_batch_says_what_is_wrong},
	{"a large batch is stored in parts", a_large_batch_is_stored_in_parts},
	{"a batch that is too large for its route", a_batch_that_is_too_large_for_its_route},
	{"few large bodies at a time", few_large_bodies_at_a_time},
	{"large nonsense is told briefly", large_nonsense_is_told_briefly},
	{"a key makes a batch once", a_key_makes_a_batch_once},
	{"a batch refused half-way may come again", a_batch_refused_half_way_may_come_again},
	{"a task tells how it is (B-118, B-119, B-120)", a_task_tells_how_it_is},
	{"a task is told to its owner only (B-121)", a_task_is_told_to_its_owner_only},
	{"many results are streamed or paged", many_results_are_streamed_or_paged},
	{"everybody sees their own history (B-123)", everybody_sees_their_own_history},
	{"the history has pages", history_has_pages},
	{"batches are in the history (B-124)", batches_are_in_the_history},
	{"large histories are streamed", large_histories_are_streamed},
	{"far pages are the same", far_pages_are_the_same},
	{"old texts go", old_texts_go},
};

int main(void)
{
	return UNIT_RUN("sentiment", CASES);
}
