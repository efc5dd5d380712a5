/* Data over HTTP: pipelines, runs, records, aggregates, exports, and DataFlow's own paths. */
#include "harness.h"

#include "base/clock.h"
#include "store/records.h"
#include "store/runs.h"
#include "store/tasks.h"
#include "task/ingest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DATA "/api/v1/data"
enum { RECEIVED_S = 1700000000 };

/* --- helpers --- */

static void put_file(struct harness *h, const char *name, const char *text)
{
	char path[600];

	snprintf(path, sizeof(path), "%s/%s", h->dir, name);
	FILE *file = fopen(path, "we");
	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	fputs(text, file);
	fclose(file);
}

static void make_folder(struct harness *h, const char *name)
{
	char path[600];

	snprintf(path, sizeof(path), "%s/%s", h->dir, name);
	CU_ASSERT_EQUAL(mkdir(path, 0700), 0);
}

static const char SHOP[] =
	"{\"name\":\"shop\",\"source\":{\"format\":\"csv\",\"match\":\"shop*.csv\"},\"fields\":["
	"{\"name\":\"id\",\"type\":\"text\",\"required\":true},"
	"{\"name\":\"price\",\"type\":\"number\",\"index\":true},{\"name\":\"kind\",\"type\":\"text\",\"search\":true},"
	"{\"name\":\"sold\",\"type\":\"bool\"},{\"name\":\"note\",\"type\":\"any\"}],"
	"\"others\":\"drop\",\"key\":[\"id\"],\"to\":[\"records\"]}";

static void open_data(struct harness *h, struct harness_user *user, const char *access)
{
	static char folder[600];

	harness_init(h);
	snprintf(folder, sizeof(folder), "%s/pipelines", h->dir);
	h->config.data_dir = h->dir;
	h->config.pipelines_dir = folder;
	h->config.data_access = access;
	make_folder(h, "pipelines");
	make_folder(h, "raw");
	put_file(h, "pipelines/shop.json", SHOP);
	put_file(h, "pipelines/broken.json", "{\"name\":\"broken\",\"fields\":3}");
	harness_start(h);
	harness_add_user(h, "ann", user);
}

static void begin(struct harness *h)
{
	CU_ASSERT_EQUAL_FATAL(db_turn_take(h->db, 10000, NULL), STATUS_OK);
	CU_ASSERT_EQUAL_FATAL(db_begin(h->db, NULL), STATUS_OK);
}

static void commit(struct harness *h)
{
	CU_ASSERT_EQUAL_FATAL(db_commit(h->db, NULL), STATUS_OK);
	db_turn_give(h->db);
}

struct put {
	const char *key, *data, *search, *error;
	int minute;
};

static void add_records(struct harness *h, const char *pipeline, const struct put *puts, size_t n)
{
	struct err err = {0};
	int64_t id;

	begin(h);
	CU_ASSERT_EQUAL_FATAL(runs_pipeline_id(h->db, str_of(pipeline), 1, &id, &err), STATUS_OK);
	for (size_t i = 0; i < n; i++) {
		char outcome;
		struct record_row row = {
			.pipeline_id = id,
			.run = 7,
			.key = str_of(puts[i].key),
			.source = STR("csv"),
			.data = str_of(puts[i].data),
			.search = str_of(puts[i].search),
			.error = str_of(puts[i].error),
			.status = puts[i].error ? RECORD_FAILED : RECORD_PROCESSED,
			.received_us = (RECEIVED_S + 60 * puts[i].minute) * INT64_C(1000000),
			.processed_us = (RECEIVED_S + 60 * puts[i].minute) * INT64_C(1000000) + 500000,
			.seconds = 2.5e-06,
		};
		CU_ASSERT_EQUAL(records_insert(h->db, &row, 1, RECORDS_SKIP, &outcome, &err), STATUS_OK);
	}
	commit(h);
}

static const struct put SHOP_RECORDS[] = {
	{"a", "{\"id\":\"a\",\"price\":10,\"kind\":\"red apple\",\"sold\":true,\"note\":\"=1+1\"}", "red apple", NULL,
	 0},
	{"b", "{\"id\":\"b\",\"price\":2.5,\"kind\":\"pear, \\\"ripe\\\"\",\"sold\":false,\"note\":5}", "pear ripe",
	 NULL, 1},
	{"c", "{\"id\":\"c\",\"price\":7,\"kind\":\"green apple\",\"sold\":true,\"note\":\"5\"}", "green apple", NULL,
	 2},
	{"d", "{\"id\":\"d\",\"kind\":null,\"note\":-3}", NULL, "price is missing", 3},
};

static void fill_shop(struct harness *h)
{
	add_records(h, "shop", SHOP_RECORDS, sizeof(SHOP_RECORDS) / sizeof(SHOP_RECORDS[0]));
}

static struct exchange *ask(struct harness *h, const struct harness_user *user, const char *path, const char *query)
{
	return ASK(h, .path = path, .query = query, .token = user ? user->token : NULL);
}

/* The ids of the records of an answer, in order. */
static const char *ids(const struct exchange *x)
{
	static char texts[4][64];
	static int next;
	char *text = texts[next++ % 4];
	size_t n = 0;

	CU_ASSERT_EQUAL(x->status, 200);
	text[0] = '\0';
	for (const char *at = answer_body(x); (at = strstr(at, "{\"id\":\"")) && n < 60; at++)
		if (at[7 + strcspn(at + 7, "\"") + 1] == ',' &&
		    strncmp(at + 7 + strcspn(at + 7, "\"") + 1, ",\"timestamp\"", 12) == 0)
			text[n++] = at[7];
	text[n] = '\0';
	return text;
}

static const char *member(const struct exchange *x, const char *name)
{
	static char values[8][1100];
	static int next;
	char *value = values[next++ % 8], wanted[64];

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

#define RECORDS(query) ids(ask(&h, &ann, DATA "/records", "pipeline=shop" query))
#define REFUSED(query, part)                                                                                           \
	do {                                                                                                           \
		struct exchange *refused = ask(&h, &ann, DATA "/records", query);                                      \
		ANSWERS(refused, 422, NULL);                                                                           \
		CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(refused), part));                                            \
	} while (0)

/* --- records --- */

static void records_are_chosen(void)
{
	struct harness h;
	struct harness_user ann;

	open_data(&h, &ann, "open");
	fill_shop(&h);
	SAME(RECORDS(""), "dcba");
	SAME(RECORDS("&price.gte=7"), "ca");
	SAME(RECORDS("&price.gt=7&price.lte=10"), "a");
	SAME(RECORDS("&price=7.0"), "c");
	SAME(RECORDS("&price.ne=7"), "ba");
	SAME(RECORDS("&price.absent"), "d");
	SAME(RECORDS("&kind.contains=apple"), "ca");
	SAME(RECORDS("&kind=red+apple"), "a");
	SAME(RECORDS("&data.kind=red%20apple"), "a");
	SAME(RECORDS("&sold=true"), "ca");
	SAME(RECORDS("&sold=false"), "b");
	SAME(RECORDS("&note=5"), "cb");
	SAME(RECORDS("&note=%225%22"), "c");
	SAME(RECORDS("&note.lt=0"), "d");
	SAME(RECORDS("&status=failed"), "d");
	SAME(RECORDS("&status.ne=failed"), "cba");
	SAME(RECORDS("&source=api"), "");
	SAME(RECORDS("&run=7"), "dcba");
	SAME(RECORDS("&run=8"), "");
	SAME(RECORDS("&id=b"), "b");
	SAME(RECORDS("&received.gte=2023-11-14T22:15:20Z"), "dc");
	SAME(RECORDS("&processed.lt=2023-11-14T23:14:20+01:00"), "a");
	SAME(RECORDS("&q=apple"), "ca");
	SAME(RECORDS("&q=APPLE+green"), "c");
	SAME(RECORDS("&q=apple%22+OR+%22pear"), "");
	SAME(RECORDS("&sort=price"), "dbca");
	SAME(RECORDS("&sort=-price"), "acbd");
	SAME(RECORDS("&sort=id"), "abcd");
	SAME(RECORDS("&sort=received"), "abcd");
	SAME(RECORDS("&sort=-price&price.gte=1&limit=2"), "ac");
	SAME(RECORDS("&id=x"), "");
	harness_close(&h);
}

static void one_record_whole(void)
{
	struct harness h;
	struct harness_user ann;
	static const char legacy[] = "{\"id\":\"d\",\"timestamp\":\"2023-11-14T22:16:20.000000+00:00\",\"source\":"
				     "\"csv\",\"data\":{\"id\":\"d\","
				     "\"kind\":null,\"note\":-3},\"processed_at\":\"2023-11-14T22:16:20.500000+00:00\","
				     "\"status\":\"failed\"";
	char wanted[600];

	open_data(&h, &ann, "open");
	fill_shop(&h);
	add_records(&h, "dataflow", &SHOP_RECORDS[3], 1);
	snprintf(wanted, sizeof(wanted), "%s,\"run\":7,\"error\":\"price is missing\",\"processing_time\":2.5e-06}",
		 legacy);
	ANSWERS(ask(&h, &ann, DATA "/records/d", ""), 200, wanted);
	ANSWERS(ask(&h, &ann, DATA "/records/d", "pipeline=shop"), 200, wanted);
	ANSWERS(ask(&h, &ann, DATA "/records/a", "pipeline=dataflow"), 404, DETAIL("Record not found"));
	ANSWERS(ask(&h, &ann, DATA "/records/x'--", ""), 404, DETAIL("Record not found"));
	/* The contract's: of the pipeline dataflow, without what is ours. */
	snprintf(wanted, sizeof(wanted), "%s}", legacy);
	ANSWERS(GET(&h, "/data/d"), 200, wanted);
	ANSWERS(GET(&h, "/data/a"), 404, DETAIL("Record not found"));
	harness_close(&h);
}

static void pages_follow_each_other(void)
{
	static const char *const orders[] = {"",           "&sort=received", "&sort=price", "&sort=-price",
					     "&sort=kind", "&sort=-id"};
	struct harness h;
	struct harness_user ann;
	char query[1300], all[64];

	open_data(&h, &ann, "open");
	fill_shop(&h);
	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		snprintf(query, sizeof(query), "pipeline=shop%s", orders[i]);
		snprintf(all, sizeof(all), "%s", ids(ask(&h, &ann, DATA "/records", query)));
		CU_ASSERT_EQUAL(strlen(all), 4);
		char seen[64] = "", cursor[1100] = "";
		for (int page = 0; page < 6; page++) {
			snprintf(query, sizeof(query), "pipeline=shop&limit=1%s%s%s", orders[i],
				 cursor[0] ? "&cursor=" : "", cursor);
			struct exchange *x = ask(&h, &ann, DATA "/records", query);
			strcat(seen, ids(x));
			snprintf(cursor, sizeof(cursor), "%s", member(x, "next_cursor"));
			if (strcmp(cursor, "null") == 0)
				break;
		}
		SAME(seen, all);
		SAME(cursor, "null");
	}
	/* A place is of one list. */
	struct exchange *x = ask(&h, &ann, DATA "/records", "pipeline=shop&limit=1&sort=price");
	snprintf(query, sizeof(query), "pipeline=shop&limit=1&sort=-price&cursor=%s", member(x, "next_cursor"));
	REFUSED(query, "cursor_invalid");
	REFUSED("pipeline=shop&cursor=%00", "cursor_invalid");
	REFUSED("pipeline=shop&cursor=AAAA", "cursor_invalid");
	harness_close(&h);
}

static void bad_questions(void)
{
	struct harness h;
	struct harness_user ann;

	open_data(&h, &ann, "open");
	fill_shop(&h);
	REFUSED("", "\"missing\"");
	REFUSED("pipeline=shop&price=cheap", "valid number");
	REFUSED("pipeline=shop&sold=maybe", "'true' or 'false'");
	REFUSED("pipeline=shop&prise=1", "no such field");
	REFUSED("pipeline=shop&status=new", "'raw', 'processed' or 'failed'");
	REFUSED("pipeline=shop&received.gte=yesterday", "datetime");
	REFUSED("pipeline=shop&run=x", "identifier");
	REFUSED("pipeline=shop&status.absent", "own fields");
	REFUSED("pipeline=shop&limit=0", "greater than or equal");
	REFUSED("pipeline=shop&limit=1001", "less than or equal");
	REFUSED("pipeline=shop&sort=a%22b", "name");
	REFUSED("pipeline=shop&kind=%ff", "UTF-8");
	REFUSED("pipeline=shop&kind=a%00b", "UTF-8");
	REFUSED("pipeline=shop&a%22b=1", "quotation");
	REFUSED("pipeline=shop&q=%ff", "UTF-8");
	REFUSED("pipeline=shop&price=1&price=2&price=3&price=4&price=5&price=6&price=7&price=8&price=9&price=10&price="
		"11"
		"&price=12&price=13",
		"too many");
	ANSWERS(ask(&h, &ann, DATA "/records", "pipeline=nope"), 404, DETAIL("There is no pipeline \\\"nope\\\"."));
	ANSWERS(ask(&h, &ann, DATA "/records", "pipeline=../shop"), 404, NULL);
	ANSWERS(ask(&h, NULL, DATA "/records", "pipeline=shop"), 401, DETAIL("Not authenticated"));
	harness_close(&h);
}

/* --- numbers --- */

static void numbers_about_records(void)
{
	struct harness h;
	struct harness_user ann;

	open_data(&h, &ann, "open");
	ANSWERS(ask(&h, &ann, DATA "/aggregates", "pipeline=shop"), 200,
		"{\"pipeline\":\"shop\",\"count\":0,\"estimated\":false,\"edges\":[],\"groups\":[]}");
	fill_shop(&h);
	ANSWERS(ask(&h, &ann, DATA "/aggregates", "pipeline=shop&field=price&quantiles=0,0.5&buckets=3"), 200,
		"{\"pipeline\":\"shop\",\"count\":4,\"estimated\":false,\"edges\":[2.5,5.0,7.5,10.0],\"groups\":[{"
		"\"value\":null,"
		"\"count\":4,\"numbers\":3,\"sum\":19.5,\"mean\":6.5,\"min\":2.5,\"max\":10.0,\"quantiles\":{\"0.0\":2."
		"5,"
		"\"0.5\":7.0},\"histogram\":[1,1,1]}]}");
	ANSWERS(ask(&h, &ann, DATA "/aggregates", "pipeline=shop&by=status"), 200,
		"{\"pipeline\":\"shop\",\"count\":4,\"estimated\":false,\"edges\":[],\"groups\":[{\"value\":"
		"\"processed\","
		"\"count\":3},{\"value\":\"failed\",\"count\":1}]}");
	struct exchange *x = ask(&h, &ann, DATA "/aggregates", "pipeline=shop&by=sold&field=price&price.gt=3");
	ANSWERS(x, 200, NULL);
	CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(x), "{\"value\":1.0,\"count\":2,\"numbers\":2,\"sum\":17.0"));
	ANSWERS(ask(&h, &ann, DATA "/aggregates", "pipeline=shop&field=price&quantiles=2"), 422, NULL);
	ANSWERS(ask(&h, &ann, DATA "/aggregates", "pipeline=shop&field=a%22"), 422, NULL);
	ANSWERS(ask(&h, &ann, DATA "/aggregates", "pipeline=shop&field=price&buckets=101"), 422, NULL);
	harness_close(&h);
}

/* --- export --- */

static void exports(void)
{
	struct harness h;
	struct harness_user ann;

	open_data(&h, &ann, "open");
	fill_shop(&h);
	struct exchange *x = ask(&h, &ann, DATA "/export", "pipeline=shop&sort=id");
	ANSWERS(x, 200,
		"id,price,kind,sold,note\r\na,10,red apple,true,'=1+1\r\nb,2.5,\"pear, \"\"ripe\"\"\",false,5\r\n"
		"c,7,green apple,true,5\r\nd,,,,-3\r\n");
	HEADER_IS(x, "Content-Type", "text/csv; charset=utf-8");
	HEADER_IS(x, "Content-Disposition", "attachment; filename=\"shop.csv\"");
	ANSWERS(ask(&h, &ann, DATA "/export", "pipeline=shop&sort=id&fields=sold,id&price.lt=8"), 200,
		"sold,id\r\nfalse,b\r\ntrue,c\r\n");
	x = ask(&h, &ann, DATA "/export", "pipeline=shop&sort=-id&format=jsonl&price.gte=7");
	SAME(answer_header(x, "Content-Type"), "application/x-ndjson");
	ANSWERS(x, 200,
		"{\"id\":\"c\",\"price\":7,\"kind\":\"green apple\",\"sold\":true,\"note\":\"5\"}\n"
		"{\"id\":\"a\",\"price\":10,\"kind\":\"red apple\",\"sold\":true,\"note\":\"=1+1\"}\n");
	ANSWERS(ask(&h, &ann, DATA "/export", "pipeline=shop&format=json&id=d"), 200,
		"[{\"id\":\"d\",\"kind\":null,\"note\":-3}]\n");
	SAME(ids(ask(&h, &ann, DATA "/export", "pipeline=shop&format=json&meta=true")), "dcba");
	ANSWERS(ask(&h, &ann, DATA "/export", "pipeline=shop&format=json&id=none"), 200, "[]\n");
	ANSWERS(ask(&h, &ann, DATA "/export", "pipeline=shop&format=xml"), 422, NULL);
	/* More than a page, in an order that many share. */
	struct put many[500];
	static char keys[500][8], data[500][64];
	for (int k = 0; k < 5; k++) {
		for (int i = 0; i < 500; i++) {
			snprintf(keys[i], sizeof(keys[i]), "m%04d", 500 * k + i);
			snprintf(data[i], sizeof(data[i]), "{\"id\":\"m%04d\",\"price\":%d}", 500 * k + i, i % 3);
			many[i] = (struct put){keys[i], data[i], NULL, NULL, 10};
		}
		add_records(&h, "shop", many, 500);
	}
	x = ask(&h, &ann, DATA "/export",
		"pipeline=shop&sort=-price&price.lt=3&price.gte=0&format=jsonl&id.contains=m");
	ANSWERS(x, 200, NULL);
	int lines = 0, last = 3, wrong = 0;
	for (const char *at = answer_body(x); (at = strstr(at, "\"price\":")); at++, lines++) {
		wrong += at[8] - '0' > last;
		last = at[8] - '0';
	}
	CU_ASSERT_EQUAL(lines, 2500);
	CU_ASSERT_EQUAL(wrong, 0);
	harness_close(&h);
}

/* --- pipelines --- */

static void pipelines_are_told(void)
{
	struct harness h;
	struct harness_user ann;

	open_data(&h, &ann, "open");
	struct exchange *x = ask(&h, &ann, DATA "/pipelines", "");
	ANSWERS(x, 200, NULL);
	CU_ASSERT(strstr(answer_body(x), "{\"pipelines\":[{\"name\":\"broken\",\"problems\":[\"") == answer_body(x));
	CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(x), "{\"name\":\"shop\",\"description\":\"\",\"format\":\"csv\""));
	CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(x), "{\"name\":\"price\",\"type\":\"number\",\"required\":false,"
						      "\"indexed\":true,\"searched\":false}"));
	x = ask(&h, &ann, DATA "/pipelines/shop", "");
	ANSWERS(x, 200, NULL);
	CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(x), "\"definition\":{\"name\":\"shop\""));
	ANSWERS(ask(&h, &ann, DATA "/pipelines/none", ""), 404, NULL);
	ANSWERS(ask(&h, &ann, DATA "/pipelines/..", ""), 404, NULL);
	harness_close(&h);
}

/* --- runs --- */

static struct exchange *start(struct harness *h, const struct harness_user *user, const char *body)
{
	return ASK(h, .path = DATA "/runs", .body = body, .token = user->token);
}

static const char *run_path(const char *id, const char *more)
{
	static char paths[8][160];
	static int next;
	char *path = paths[next++ % 8];

	snprintf(path, sizeof(paths[0]), DATA "/runs/%s%s", id, more);
	return path;
}

static void runs_are_started_once(void)
{
	struct harness h;
	struct harness_user ann, ben;
	char first[40], wanted[600];

	open_data(&h, &ann, "open");
	put_file(&h, "raw/shop-1.csv", "id,price\na,1\n");
	make_folder(&h, "raw/shop");
	put_file(&h, "raw/shop/mine.csv", "id,price\na,1\n");
	struct exchange *x = start(&h, &ann, "{\"pipeline\":\"shop\",\"file\":\"shop-1.csv\"}");
	ANSWERS(x, 202, NULL);
	snprintf(first, sizeof(first), "%s", member(x, "run_id"));
	HEADER_IS(x, "Location", run_path(first, ""));
	SAME(member(x, "state"), "pending");
	SAME(member(x, "bytes_total"), "13");
	SAME(member(x, "progress"), "0.0");
	/* Somebody else wants the same. */
	x = start(&h, &ann, "{\"pipeline\":\"shop\",\"file\":\"shop-1.csv\"}");
	ANSWERS(x, 200, NULL);
	SAME(member(x, "run_id"), first);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM data_runs"), 1);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM background_tasks WHERE task_type = 'pipeline_run'"),
			1);
	/* Also somebody who may not stop it: all runs are there for everybody to see, and this one tells no more. */
	harness_add_user(&h, "ben", &ben);
	x = start(&h, &ben, "{\"pipeline\":\"shop\",\"file\":\"shop-1.csv\"}");
	ANSWERS(x, 200, NULL);
	SAME(member(x, "run_id"), first);
	ANSWERS(ASK(&h, .path = run_path(first, ""), .token = ben.token), 200, answer_body(x));
	CU_ASSERT_PTR_NULL(strstr(answer_body(x), "ann"));
	ANSWERS(ASK(&h, .method = "DELETE", .path = run_path(first, ""), .token = ben.token), 403, NULL);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM data_runs"), 1);
	/* nginx tries a request again. */
	const struct ask again = {.path = DATA "/runs",
				  .body = "{\"pipeline\":\"shop\",\"file\":\"mine.csv\"}",
				  .token = ann.token,
				  .edge_id = "0123456789abcdef0123456789abcdef"};
	x = harness_ask(&h, &again);
	ANSWERS(x, 202, NULL);
	SAME(member(x, "source"), "mine.csv");
	ANSWERS(harness_ask(&h, &again), 202, answer_body(x));
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM data_runs WHERE path = 'raw/shop/mine.csv'"), 1);
	/* What can't be. */
	static const struct {
		const char *body, *part;
	} bad[] = {
		{"{\"pipeline\":\"nope\",\"file\":\"shop-1.csv\"}", "no such pipeline"},
		{"{\"pipeline\":\"broken\",\"file\":\"shop-1.csv\"}", "damaged"},
		{"{\"pipeline\":\"shop\",\"file\":\"../pipelines/shop.json\"}", "no such file"},
		{"{\"pipeline\":\"shop\",\"file\":\"none.csv\"}", "no such file"},
		{"{\"pipeline\":\"shop\",\"file\":\"shop\"}", "no such file"},
		{"{\"pipeline\":\"shop\",\"file\":\"\\u0000\"}", "no such file"},
		{"{\"pipeline\":\"shop\"}", "Field required"},
		{"{\"pipeline\":5,\"file\":\"a\"}", "valid string"},
		{"{\"pipeline\":\"shop\",\"file\":\"shop-1.csv\",\"x\":1}", "not permitted"},
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		x = start(&h, &ann, bad[i].body);
		ANSWERS(x, 422, NULL);
		CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(x), bad[i].part));
	}
	snprintf(wanted, sizeof(wanted), "%s/raw/link.csv", h.dir);
	CU_ASSERT_EQUAL(symlink("shop-1.csv", wanted), 0);
	ANSWERS(start(&h, &ann, "{\"pipeline\":\"shop\",\"file\":\"link.csv\"}"), 422, NULL);
	/* As many tasks as a user may have waiting. */
	put_file(&h, "raw/shop-2.csv", "id,price\na,1\n");
	h.config.user_tasks_pending = 2;
	x = start(&h, &ann, "{\"pipeline\":\"shop\",\"file\":\"shop-2.csv\"}");
	ANSWERS(x, 429, NULL);
	HEADER_IS(x, "Retry-After", "10");
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM data_runs"), 2);
	ANSWERS(ASK(&h, .method = "POST", .path = "/api/dataflow/data/process", .token = ann.token), 429, NULL);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM background_tasks"), 2);
	ANSWERS(harness_ask(&h, &again), 202, NULL);
	h.config.user_tasks_pending = 0;
	ANSWERS(start(&h, &ann, "{\"pipeline\":\"shop\",\"file\":\"shop-2.csv\"}"), 202, NULL);
	harness_close(&h);
}

static void runs_are_looked_at_and_changed(void)
{
	struct harness h;
	struct harness_user ann, bob;
	char first[40], second[40], query[100];

	open_data(&h, &ann, "open");
	harness_add_user(&h, "bob", &bob);
	put_file(&h, "raw/1.csv", "id\n");
	put_file(&h, "raw/2.csv", "id\n");
	snprintf(first, sizeof(first), "%s",
		 member(start(&h, &ann, "{\"pipeline\":\"shop\",\"file\":\"1.csv\"}"), "run_id"));
	snprintf(second, sizeof(second), "%s",
		 member(start(&h, &bob, "{\"pipeline\":\"shop\",\"file\":\"2.csv\"}"), "run_id"));
	struct exchange *x = ask(&h, &ann, DATA "/runs", "limit=1");
	ANSWERS(x, 200, NULL);
	SAME(member(x, "run_id"), second);
	snprintf(query, sizeof(query), "limit=1&cursor=%s", member(x, "next_cursor"));
	x = ask(&h, &ann, DATA "/runs", query);
	SAME(member(x, "run_id"), first);
	SAME(member(x, "next_cursor"), "null");
	SAME(member(ask(&h, &ann, DATA "/runs", "pipeline=shop&state=pending"), "run_id"), second);
	ANSWERS(ask(&h, &ann, DATA "/runs", "pipeline=none"), 200, "{\"runs\":[],\"next_cursor\":null}");
	ANSWERS(ask(&h, &ann, DATA "/runs", "state=failed"), 200, "{\"runs\":[],\"next_cursor\":null}");
	ANSWERS(ask(&h, &ann, DATA "/runs", "state=odd"), 422, NULL);
	ANSWERS(ask(&h, &ann, DATA "/runs", "cursor=x"), 422, NULL);
	ANSWERS(ask(&h, &ann, run_path(first, ""), ""), 200, NULL);
	ANSWERS(ask(&h, &ann, run_path("00000000-0000-7000-8000-000000000000", ""), ""), 404, DETAIL("Run not found"));
	ANSWERS(ask(&h, &ann, run_path("x", ""), ""), 404, DETAIL("Run not found"));

	/* Seen by all, changed by whose it is. */
	ANSWERS(ASK(&h, .method = "POST", .path = run_path(second, "/pause"), .token = ann.token), 403, NULL);
	x = ASK(&h, .method = "POST", .path = run_path(second, "/pause"), .token = bob.token);
	ANSWERS(x, 200, NULL);
	SAME(member(x, "state"), "paused");
	SAME(member(ASK(&h, .method = "POST", .path = run_path(second, "/resume"), .token = bob.token), "state"),
	     "pending");
	x = ASK(&h, .method = "DELETE", .path = run_path(first, ""), .token = ann.token);
	ANSWERS(x, 200, NULL);
	SAME(member(x, "state"), "cancelled");
	ANSWERS(ASK(&h, .method = "POST", .path = run_path(first, "/pause"), .token = ann.token), 409,
		DETAIL("The run is over: it is cancelled."));
	ANSWERS(ASK(&h, .method = "POST", .path = run_path(first, "/retry"), .token = ann.token), 409,
		DETAIL("The run refused nothing."));
	ANSWERS(ASK(&h, .method = "POST", .path = run_path("x", "/retry"), .token = ann.token), 404, NULL);
	ANSWERS(ASK(&h, .method = "DELETE", .path = run_path("x", ""), .token = ann.token), 404, NULL);
	/* Its events are its task's, for all. */
	x = harness_listen(&h, &(struct ask){.path = run_path(first, "/events"), .token = bob.token});
	ANSWERS(x, 200, NULL);
	CU_ASSERT_TRUE(harness_hears(x, "\"status\":\"cancelled\""));
	ANSWERS(ask(&h, &bob, run_path("x", "/events"), ""), 404, DETAIL("Run not found"));
	x = ASK(&h, .path = "/api/v1/tasks", .body = "{\"kind\":\"echo\"}", .token = ann.token);
	ANSWERS(ask(&h, &bob, run_path(member(x, "task_id"), "/events"), ""), 404, DETAIL("Run not found"));
	harness_close(&h);
}

static void what_a_run_refused(void)
{
	struct harness h;
	struct harness_user ann;
	struct refusal_row rows[] = {
		{.n = 1,
		 .line = 2,
		 .key = STR("a"),
		 .field = STR("price"),
		 .value = STR("=cmd|' /C calc'!A0"),
		 .reason = STR("type"),
		 .message = STR("price: not a number")},
		{.n = 2,
		 .line = 5,
		 .field = STR("id"),
		 .value = STR("x,\"y\"\nz"),
		 .reason = STR("missing"),
		 .message = STR("id is required")},
	};
	char id[40], query[100];

	open_data(&h, &ann, "open");
	put_file(&h, "raw/1.csv", "id\n");
	struct exchange *x = start(&h, &ann, "{\"pipeline\":\"shop\",\"file\":\"1.csv\"}");
	snprintf(id, sizeof(id), "%s", member(x, "run_id"));
	rows[0].run = rows[1].run = strtoll(member(x, "number"), NULL, 10);
	begin(&h);
	CU_ASSERT_EQUAL(runs_insert_refusals(h.db, rows, 2, NULL), STATUS_OK);
	commit(&h);
	x = ask(&h, &ann, run_path(id, "/errors"), "limit=1");
	ANSWERS(x, 200,
		"{\"errors\":[{\"n\":1,\"line\":2,\"key\":\"a\",\"field\":\"price\",\"value\":\"=cmd|' /C calc'!A0\","
		"\"reason\":\"type\",\"message\":\"price: not a number\"}],\"next_cursor\":\"1\"}");
	snprintf(query, sizeof(query), "cursor=%s", member(x, "next_cursor"));
	x = ask(&h, &ann, run_path(id, "/errors"), query);
	SAME(member(x, "n"), "2");
	SAME(member(x, "next_cursor"), "null");
	static const char csv[] = "line,key,field,value,reason,message\r\n"
				  "2,a,price,'=cmd|' /C calc'!A0,type,price: not a number\r\n"
				  "5,\"\",id,\"x,\"\"y\"\"\nz\",missing,id is required\r\n";
	x = ask(&h, &ann, run_path(id, "/errors"), "format=csv");
	ANSWERS(x, 200, csv);
	HEADER_IS(x, "Content-Type", "text/csv; charset=utf-8");
	x = ASK(&h, .path = run_path(id, "/errors"), .token = ann.token, .params = {"HTTP_ACCEPT", "text/csv"});
	ANSWERS(x, 200, csv);
	ANSWERS(ask(&h, &ann, run_path(id, "/errors"), "format=xml"), 422, NULL);
	ANSWERS(ask(&h, &ann, run_path("x", "/errors"), ""), 404, DETAIL("Run not found"));
	harness_close(&h);
}

/* --- DataFlow's own paths --- */

static void tokens_in_dataflows_words(void)
{
	static const char *const paths[] = {"/api/dataflow/data", "/api/dataflow/data/x", "/data", "/data/x"};
	struct harness h;
	struct harness_user ann;

	open_data(&h, &ann, "token");
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		ANSWERS(GET(&h, paths[i]), 403, DETAIL("Not authenticated"));
		ANSWERS(ASK(&h, .path = paths[i], .key = HARNESS_KEY), 403, DETAIL("Not authenticated"));
		ANSWERS(ASK(&h, .path = paths[i], .params = {"HTTP_AUTHORIZATION", "Basic YTpi"}), 403,
			DETAIL("Invalid authentication credentials"));
		ANSWERS(ASK(&h, .path = paths[i], .token = "a.b.c"), 401, DETAIL("Invalid token"));
		ANSWERS(ask(&h, &ann, paths[i], ""), i % 2 ? 404 : 200, NULL);
	}
	ANSWERS(ASK(&h, .method = "POST", .path = "/data/process"), 403, DETAIL("Not authenticated"));
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM background_tasks"), 0);
	/* A session that was ended. */
	harness_sql(&h, "DELETE FROM sessions");
	ANSWERS(ask(&h, &ann, "/data", ""), 401, DETAIL("Invalid token"));
	harness_close(&h);
}

static void dataflows_paths(void)
{
	struct harness h;
	struct harness_user ann;

	open_data(&h, &ann, "open");
	ANSWERS(GET(&h, "/data"), 200, "{\"data\":[],\"page\":1,\"has_more\":false}");
	fill_shop(&h);
	ANSWERS(GET(&h, "/data"), 200, "{\"data\":[],\"page\":1,\"has_more\":false}"); /* another pipeline's */
	add_records(&h, "dataflow", SHOP_RECORDS, 4);
	SAME(ids(GET(&h, "/data")), "dcba");
	SAME(ids(ASK(&h, .path = "/data", .query = "status=failed")), "d");
	SAME(ids(ASK(&h, .path = "/data", .query = "page=2")), "");
	ANSWERS(ASK(&h, .path = "/data", .query = "status=odd"), 422, NULL);
	ANSWERS(ASK(&h, .path = "/data", .query = "page=0"), 422, NULL);
	ANSWERS(GET(&h, "/api/dataflow/data"), 403, NULL);
	for (int i = 0; i < 2; i++)
		ANSWERS(ASK(&h, .method = "POST", .path = "/data/process"), 200,
			"{\"message\":\"Processing triggered\",\"status\":\"started\"}");
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM background_tasks WHERE task_type = 'pipeline_ingest'"),
			2);
	ANSWERS(ASK(&h, .method = "POST", .path = "/api/dataflow/data/process", .token = ann.token), 200, NULL);
	harness_close(&h);
}

static double number_of(const struct exchange *x, const char *name)
{
	const char *text = member(x, name);

	return text[0] ? strtod(text, NULL) : -1.0;
}

static void health_has_figures(void)
{
	struct harness h;
	struct harness_user ann;

	open_data(&h, &ann, "token");
	ANSWERS(GET(&h, "/api/dataflow/health"), 200, "{\"status\":\"healthy\",\"service\":\"dataflow-api\"}");
	double now = (double)clock_wall_us() / 1e6;
	struct exchange *x = GET(&h, "/api/dataflow/health/system");
	ANSWERS(x, 200, NULL);
	CU_ASSERT(strstr(answer_body(x), "{\"service\":\"system\",\"status\":\"healthy\",\"timestamp\":") ==
		  answer_body(x));
	CU_ASSERT(number_of(x, "timestamp") >= now);
	CU_ASSERT(number_of(x, "cpu_percent") >= 0 && number_of(x, "cpu_percent") <= 100);
	CU_ASSERT(number_of(x, "memory_percent") > 0 && number_of(x, "memory_percent") <= 100);
	CU_ASSERT(number_of(x, "disk_percent") > 0 && number_of(x, "disk_percent") <= 100);
	x = GET(&h, "/api/dataflow/health/database");
	ANSWERS(x, 200, NULL);
	SAME(member(x, "service"), "database");
	SAME(member(x, "engine"), database_is_postgres() ? "PostgreSQL" : "SQLite");
	harness_close(&h);
}

static const struct unit_case CASES[] = {
	{"records are chosen", records_are_chosen},
	{"one record whole", one_record_whole},
	{"pages follow each other", pages_follow_each_other},
	{"bad questions", bad_questions},
	{"numbers about records", numbers_about_records},
	{"exports", exports},
	{"pipelines are told", pipelines_are_told},
	{"runs are started once", runs_are_started_once},
	{"runs are looked at and changed", runs_are_looked_at_and_changed},
	{"what a run refused", what_a_run_refused},
	{"tokens in DataFlow's words", tokens_in_dataflows_words},
	{"DataFlow's paths", dataflows_paths},
	{"health has figures", health_has_figures},
};

int main(void)
{
	return UNIT_RUN("data", CASES);
}
