/* Uploads over HTTP: pieces, whole files, what is refused, and what is on the disk. */
#include "harness.h"

#include "base/clock.h"
#include "task/upload.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char UPLOADS[] = "/api/v1/data/uploads";
static const char HELLO[] = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"; /* SHA-256 of "hello" */

/* --- helpers --- */

static void open_rest(struct harness *h, struct harness_user *user)
{
	h->config.data_dir = h->dir;
	h->config.upload_bytes = 1000;
	h->config.upload_days = 7;
	h->config.pipelines_dir = "pipelines";
	harness_start(h);
	harness_add_user(h, "ada", user);
}

static void open_with(struct harness *h, struct harness_user *user)
{
	harness_init(h);
	open_rest(h, user);
}

/* What stands behind `name` in the body, up to a quote. Valid for eight calls. */
static const char *member(const struct exchange *x, const char *name)
{
	static char values[8][128];
	static int next;
	char *value = values[next++ % 8], wanted[64];

	snprintf(wanted, sizeof(wanted), "\"%s\":\"", name);
	const char *at = strstr(answer_body(x), wanted);
	value[0] = '\0';
	if (at)
		snprintf(value, sizeof(values[0]), "%.*s", (int)strcspn(at + strlen(wanted), "\""),
			 at + strlen(wanted));
	return value;
}

static const char *path_of(const char *id)
{
	static char paths[8][128];
	static int next;
	char *path = paths[next++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", UPLOADS, id);
	return path;
}

static const char *file_of(struct harness *h, const char *id, const char *name)
{
	static char path[1024];

	snprintf(path, sizeof(path), "%s/uploads/%s/%s", h->dir, id, name);
	return path;
}

/* The file has just this in it. */
static bool holds(const char *path, const char *text)
{
	char got[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, got, sizeof(got)) : -1;

	if (fd >= 0)
		close(fd);
	return n == (ssize_t)strlen(text) && memcmp(got, text, (size_t)n) == 0;
}

static bool is_there(const char *path)
{
	return access(path, F_OK) == 0;
}

/* A new one; its id. */
static const char *make(struct harness *h, const struct harness_user *user, const char *body)
{
	struct exchange *x = ASK(h, .path = UPLOADS, .body = body, .token = user->token);

	ANSWERS(x, 201, NULL);
	CU_ASSERT_PTR_NOT_NULL(strstr(answer_header(x, "Location"), member(x, "upload_id")));
	return member(x, "upload_id");
}

static struct exchange *piece(struct harness *h, const struct harness_user *user, const char *id, const char *offset,
			      const char *body)
{
	return ASK(h, .method = "PATCH", .path = path_of(id), .body = body, .type = "application/offset+octet-stream",
		   .token = user->token, .params = {"HTTP_UPLOAD_OFFSET", offset});
}

static struct exchange *whole(struct harness *h, const struct harness_user *user, const char *query, const char *body)
{
	return ASK(h, .method = "PUT", .path = UPLOADS, .query = query, .body = body, .type = "text/csv",
		   .token = user->token);
}

/* --- cases --- */

static void piece_by_piece(void)
{
	struct harness h;
	struct harness_user user, other;
	char id[64], body[200];

	open_with(&h, &user);
	harness_add_user(&h, "eve", &other);
	snprintf(body, sizeof(body), "{\"name\":\"a b.csv\",\"bytes\":5,\"sha256\":\"%s\"}", HELLO);
	snprintf(id, sizeof(id), "%s", make(&h, &user, body));
	struct exchange *x = ASK(&h, .method = "HEAD", .path = path_of(id), .token = user.token);
	ANSWERS(x, 200, "");
	HEADER_IS(x, "Upload-Offset", "0");
	HEADER_IS(x, "Upload-Length", "5");
	x = piece(&h, &user, id, "0", "he");
	ANSWERS(x, 204, "");
	HEADER_IS(x, "Upload-Offset", "2");
	CU_ASSERT_TRUE(holds(file_of(&h, id, ".part"), "he"));

	ANSWERS(piece(&h, &user, id, "0", "he"), 409, NULL);
	ANSWERS(piece(&h, &user, id, "3", "lo"), 409, NULL);
	ANSWERS(piece(&h, &user, id, "2", "llo and more"), 413, NULL);
	ANSWERS(piece(&h, &other, id, "2", "llo"), 404, NULL);
	ANSWERS(ASK(&h, .path = path_of(id), .token = other.token), 404, DETAIL("Upload not found"));
	CU_ASSERT_TRUE(harness_logged(&h, "\"event\":\"foreign_file\""));
	x = ASK(&h, .path = "/api/v1/files/x/download", .token = user.token);
	ANSWERS(x, 404, DETAIL("File not found"));
	CU_ASSERT_TRUE(holds(file_of(&h, id, ".part"), "he"));

	x = piece(&h, &user, id, "2", "llo");
	ANSWERS(x, 204, "");
	HEADER_IS(x, "Upload-Offset", "5");
	CU_ASSERT_TRUE(holds(file_of(&h, id, "a b.csv"), "hello"));
	CU_ASSERT_FALSE(is_there(file_of(&h, id, ".part")));
	CU_ASSERT_PTR_NOT_NULL(
		strstr(answer_body(ASK(&h, .path = path_of(id), .token = user.token)), "\"complete\":true"));
	ANSWERS(piece(&h, &user, id, "5", "!"), 409, DETAIL("The upload is complete."));

	snprintf(body, sizeof(body), "/files/%s/download", id);
	x = ASK(&h, .path = body, .token = user.token);
	ANSWERS(x, 200, "");
	snprintf(body, sizeof(body), "/.appcore/files/uploads/%s/a%%20b.csv", id);
	HEADER_IS(x, "X-Accel-Redirect", body);
	HEADER_IS(x, "Content-Disposition", "attachment; filename=\"a b.csv\"; filename*=UTF-8''a%20b.csv");
	snprintf(body, sizeof(body), "/files/%s/download", id);
	ANSWERS(ASK(&h, .path = body, .token = other.token), 404, NULL);
	ANSWERS(ASK(&h, .path = body), 401, NULL);

	ANSWERS(ASK(&h, .method = "DELETE", .path = path_of(id), .token = other.token), 404, NULL);
	ANSWERS(ASK(&h, .method = "DELETE", .path = path_of(id), .token = user.token), 204, "");
	CU_ASSERT_FALSE(is_there(file_of(&h, id, "")));
	ANSWERS(ASK(&h, .path = path_of(id), .token = user.token), 404, NULL);
	harness_close(&h);
}

/* What lies behind the stored offset is cut off; what came of a piece that broke off is kept. */
static void after_a_death(void)
{
	struct harness h;
	struct harness_user user;
	char id[64];

	open_with(&h, &user);
	snprintf(id, sizeof(id), "%s", make(&h, &user, "{\"name\":\"a.csv\",\"bytes\":5}"));
	ANSWERS(piece(&h, &user, id, "0", "he"), 204, "");
	FILE *file = fopen(file_of(&h, id, ".part"), "ae");
	CU_ASSERT_PTR_NOT_NULL(file);
	if (file) {
		fputs("XXXXXXXX", file);
		fclose(file);
	}
	struct exchange *x = ASK(&h, .method = "PATCH", .path = path_of(id), .body = "l", .cut_body = true,
				 .type = "application/offset+octet-stream", .token = user.token,
				 .params = {"HTTP_UPLOAD_OFFSET", "2"});
	ANSWERS(x, 400, NULL);
	CU_ASSERT_TRUE(holds(file_of(&h, id, ".part"), "hel"));
	/* Named, and not said so. */
	char from[1024];
	snprintf(from, sizeof(from), "%s", file_of(&h, id, ".part"));
	CU_ASSERT_EQUAL(rename(from, file_of(&h, id, "a.csv")), 0);
	ANSWERS(piece(&h, &user, id, "3", "lo"), 204, "");
	CU_ASSERT_TRUE(holds(file_of(&h, id, "a.csv"), "hello"));
	harness_close(&h);
}

static void at_once(void)
{
	struct harness h;
	struct harness_user user;
	char id[64];

	open_with(&h, &user);
	snprintf(id, sizeof(id), "%s", make(&h, &user, "{\"name\":\"a.csv\",\"bytes\":5}"));
	ANSWERS(piece(&h, &user, id, "0", "he"), 204, "");
	int dir = open(file_of(&h, id, ""), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CU_ASSERT_EQUAL(flock(dir, LOCK_EX), 0);
	ANSWERS(piece(&h, &user, id, "2", "llo"), 423, DETAIL("Another request works on this upload."));
	close(dir);
	ANSWERS(piece(&h, &user, id, "2", "llo"), 204, "");
	harness_close(&h);
}

static void another_file(void)
{
	struct harness h;
	struct harness_user user;
	char id[64], body[200];

	open_with(&h, &user);
	snprintf(body, sizeof(body), "{\"name\":\"a.csv\",\"bytes\":5,\"sha256\":\"%s\"}", HELLO);
	snprintf(id, sizeof(id), "%s", make(&h, &user, body));
	ANSWERS(piece(&h, &user, id, "0", "hullo"), 422, NULL);
	CU_ASSERT_FALSE(is_there(file_of(&h, id, "a.csv")));
	HEADER_IS(ASK(&h, .method = "HEAD", .path = path_of(id), .token = user.token), "Upload-Offset", "0");
	ANSWERS(piece(&h, &user, id, "0", "hello"), 204, "");
	CU_ASSERT_TRUE(holds(file_of(&h, id, "a.csv"), "hello"));
	harness_close(&h);
}

static void in_one_request(void)
{
	struct harness h;
	struct harness_user user;
	char query[200];

	open_with(&h, &user);
	snprintf(query, sizeof(query), "name=a.csv&sha256=%s", HELLO);
	struct exchange *x = whole(&h, &user, query, "hello");
	ANSWERS(x, 201, NULL);
	CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(x), "\"complete\":true"));
	CU_ASSERT_TRUE(holds(file_of(&h, member(x, "upload_id"), "a.csv"), "hello"));
	/* nginx tries it again. */
	struct exchange *again = ASK(&h, .method = "POST", .path = UPLOADS, .query = query, .body = "hello",
				     .type = "text/csv", .token = user.token, .edge_id = x->edge_id);
	ANSWERS(again, 201, NULL);
	SAME(member(again, "upload_id"), member(x, "upload_id"));
	ANSWERS(whole(&h, &user, query, "hullo"), 422, NULL);
	x = ASK(&h, .method = "PUT", .path = UPLOADS, .query = "name=b.csv", .body = "hello", .type = "text/csv",
		.token = user.token, .params = {"CONTENT_LENGTH", "9"});
	ANSWERS(x, 400, DETAIL("The request body could not be read."));
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM data_uploads"), 1);

	x = whole(&h, &user, "name=rows.csv&pipeline=dataflow", "id,value\n1,2\n");
	ANSWERS(x, 201, NULL);
	CU_ASSERT_NOT_EQUAL(member(x, "run_id")[0], '\0');
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM data_runs WHERE state = 'pending'"
					   " AND origin = 'upload' AND bytes_total = 13"),
			1);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM background_tasks"), 1);
	ANSWERS(ASK(&h, .method = "DELETE", .path = path_of(member(x, "upload_id")), .token = user.token), 409, NULL);
	harness_close(&h);
}

static void what_is_refused(void)
{
	static const struct {
		const char *body, *says;
	} cases[] = {
		{"{\"name\":\"a/b\",\"bytes\":1}", "without folders"},
		{"{\"name\":\"../a\",\"bytes\":1}", "begin with a dot"},
		{"{\"name\":\"a\\\\b\",\"bytes\":1}", "without folders"},
		{"{\"name\":\".hidden\",\"bytes\":1}", "begin with a dot"},
		{"{\"name\":\"..\",\"bytes\":1}", "begin with a dot"},
		{"{\"name\":\"a\\nb\",\"bytes\":1}", "control characters"},
		{"{\"name\":\"a\\u0000b\",\"bytes\":1}", "control characters"},
		{"{\"name\":\"\",\"bytes\":1}", "1 to 200 bytes"},
		{"{\"bytes\":1}", "1 to 200 bytes"},
		{"{\"name\":7,\"bytes\":1}", "valid string"},
		{"{\"name\":\"a\"}", "length in bytes"},
		{"{\"name\":\"a\",\"bytes\":0}", "length in bytes"},
		{"{\"name\":\"a\",\"bytes\":-1}", "length in bytes"},
		{"{\"name\":\"a\",\"bytes\":1.5}", "length in bytes"},
		{"{\"name\":\"a\",\"bytes\":1001}", "UPLOAD_BYTES"},
		{"{\"name\":\"a\",\"bytes\":1,\"sha256\":\"00\"}", "hexadecimal"},
		{"{\"name\":\"a\",\"bytes\":1,\"pipeline\":\"none\"}", "no such pipeline"},
		{"{\"name\":\"a\",\"bytes\":1,\"pipeline\":\"../x\"}", "no such pipeline"},
		{"{\"name\":\"a\",\"bytes\":1,\"size\":1}", "alone"},
	};
	struct harness h;
	struct harness_user user;
	char body[1100];

	open_with(&h, &user);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct exchange *x = ASK(&h, .path = UPLOADS, .body = cases[i].body, .token = user.token);
		ANSWERS(x, 422, NULL);
		if (!strstr(answer_body(x), cases[i].says)) {
			printf("%s: %s\n", cases[i].body, answer_body(x));
			CU_FAIL("another reason");
		}
	}
	ANSWERS(ASK(&h, .path = UPLOADS, .body = "{\"name\":\"a\",\"bytes\":1}"), 401, NULL);
	memset(body, 'x', sizeof(body) - 1);
	body[sizeof(body) - 1] = '\0';
	ANSWERS(whole(&h, &user, "name=a", body), 413, NULL);
	ANSWERS(whole(&h, &user, "name=a", ""), 400, NULL);
	ANSWERS(whole(&h, &user, "name=..%2Fa", "x"), 422, NULL);
	ANSWERS(whole(&h, &user, "pipeline=dataflow", "x"), 422, NULL);
	const char *id = make(&h, &user, "{\"name\":\"a\",\"bytes\":1}");
	ANSWERS(ASK(&h, .method = "PATCH", .path = path_of(id), .body = "x", .token = user.token), 415, NULL);
	ANSWERS(piece(&h, &user, id, NULL, "x"), 400, NULL);
	ANSWERS(piece(&h, &user, id, "-1", "x"), 400, NULL);
	ANSWERS(piece(&h, &user, "no-id", "0", "x"), 404, NULL);
	harness_close(&h);
}

static void how_much_a_user_may(void)
{
	struct harness h;
	struct harness_user user, other;

	open_with(&h, &user);
	harness_add_user(&h, "eve", &other);
	for (int i = 0; i < 16; i++)
		make(&h, &user, "{\"name\":\"a\",\"bytes\":1}");
	ANSWERS(ASK(&h, .path = UPLOADS, .body = "{\"name\":\"a\",\"bytes\":1}", .token = user.token), 429, NULL);
	make(&h, &other, "{\"name\":\"a\",\"bytes\":1}");
	harness_sql(&h, "UPDATE data_uploads SET bytes = 1000, received = 1000");
	ANSWERS(ASK(&h, .path = UPLOADS, .body = "{\"name\":\"a\",\"bytes\":1000}", .token = user.token), 507, NULL);
	ANSWERS(whole(&h, &user, "name=a", "much"), 201, NULL); /* within a seventeenth part */
	make(&h, &other, "{\"name\":\"a\",\"bytes\":1000}");
	harness_close(&h);
}

/* How many folders of uploads there are on the disk. */
static int folders(struct harness *h)
{
	char path[1024];
	struct dirent *entry;
	int n = 0;

	snprintf(path, sizeof(path), "%s/uploads", h->dir);
	DIR *list = opendir(path);
	while (list && (entry = readdir(list)))
		n += entry->d_name[0] != '.';
	if (list)
		closedir(list);
	return n;
}

/* Each upload that a pipeline is to read adds a task of the user's, and these are bounded. */
static void how_many_may_wait(void)
{
	static const char rows[] = "id,value\n1,2\n";
	struct harness h;
	struct harness_user user;

	harness_init(&h);
	h.config.user_tasks_pending = 1;
	h.config.user_tasks_bytes = 1000;
	open_rest(&h, &user);
	struct exchange *x = whole(&h, &user, "name=a.csv&pipeline=dataflow", rows);
	ANSWERS(x, 201, NULL);
	x = whole(&h, &user, "name=b.csv&pipeline=dataflow", rows);
	ANSWERS(x, 429, NULL);
	HEADER_IS(x, "Retry-After", "10");
	CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(x), "USER_TASKS_PENDING"));
	CU_ASSERT_EQUAL(folders(&h), 1); /* nothing of it was kept */
	ANSWERS(whole(&h, &user, "name=b.csv", rows), 201, NULL);
	/* The last word is the transaction's, when the bytes are on the disk already: they are taken away again. */
	harness_sql(&h, "DELETE FROM background_tasks");
	harness_sql(&h, "DELETE FROM data_uploads WHERE name = 'b.csv'");
	harness_sql(&h, "UPDATE data_runs SET state = 'completed', busy_key = NULL");
	h.config.user_tasks_bytes = 1;
	x = whole(&h, &user, "name=c.csv&pipeline=dataflow", rows);
	ANSWERS(x, 429, NULL);
	CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(x), "USER_TASKS_BYTES"));
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM data_uploads WHERE name = 'c.csv'"), 0);
	CU_ASSERT_EQUAL(folders(&h), 2);
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM background_tasks"), 0);
	harness_close(&h);
}

static void exports(void)
{
	static const struct {
		const char *body, *says;
		int status;
	} cases[] = {
		{"{}",
		 "{\"detail\":[{\"type\":\"missing\",\"loc\":[\"body\",\"pipeline\"],\"msg\":\"Field "
		 "required\",\"input\":{}}]}",
		 422},
		{"{\"pipeline\":\"none\"}", "", 404},
		{"{\"pipeline\":\"dataflow\",\"format\":\"xls\"}", "jsonl", 422},
		{"{\"pipeline\":\"dataflow\",\"gzip\":1}", "true or false", 422},
		{"{\"pipeline\":\"dataflow\",\"filters\":[1]}", "object of conditions", 422},
		{"{\"pipeline\":\"dataflow\",\"filters\":{\"limit\":1}}", "data.NAME", 422},
		{"{\"pipeline\":\"dataflow\",\"filters\":{\"value\":null}}", "a text, a number", 422},
		{"{\"pipeline\":\"dataflow\",\"filters\":{\"status\":\"odd\"}}", "processed", 422},
		{"{\"pipeline\":\"dataflow\",\"filters\":{\"status\":\"odd\"}}",
		 "\"loc\":[\"body\",\"filters\",\"status\"]", 422},
		{"{\"pipeline\":\"dataflow\",\"q\":\"\"}", "\"loc\":[\"body\",\"q\"]", 422},
		{"{\"pipeline\":\"\"}", "\"loc\":[\"body\",\"pipeline\"]", 422},
		{"{\"pipeline\":\"dataflow\",\"fields\":[1]}", "list of field names", 422},
		{"{\"pipeline\":\"dataflow\",\"sort\":\"id\"}", "alone", 422},
	};
	struct harness h;
	struct harness_user user, other;
	char path[200], id[64];

	open_with(&h, &user);
	harness_add_user(&h, "eve", &other);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct exchange *x = ASK(&h, .path = "/api/v1/data/exports", .body = cases[i].body,
					 .token = user.token);
		ANSWERS(x, cases[i].status, NULL);
		CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(x), cases[i].says));
	}
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM background_tasks"), 0);
	struct exchange *x = ASK(&h, .path = "/api/v1/data/exports", .token = user.token,
				 .body = "{\"pipeline\":\"dataflow\",\"filters\":{\"value.gte\":5,\"data.a&b\":\"=1\"},"
					 "\"fields\":[\"id\"]}");
	ANSWERS(x, 202, NULL);
	snprintf(id, sizeof(id), "%s", member(x, "export_id"));
	snprintf(path, sizeof(path), "/api/v1/data/exports/%s", id);
	HEADER_IS(x, "Location", path);
	ANSWERS(ASK(&h, .path = path, .token = user.token), 200, NULL);
	ANSWERS(ASK(&h, .path = path, .token = other.token), 404, DETAIL("Export not found"));
	CU_ASSERT_TRUE(harness_logged(&h, "\"event\":\"foreign_task\""));
	snprintf(path, sizeof(path), "/api/v1/tasks/%s", id);
	CU_ASSERT_PTR_NOT_NULL(strstr(answer_body(ASK(&h, .path = path, .token = user.token)),
				      "\"filters\":[{\"field\":\"value\",\"compare\":5,\"number\":5.0},"
				      "{\"field\":\"a&b\",\"compare\":0,\"text\":\"=1\"}]"));
	snprintf(path, sizeof(path), "/api/v1/data/exports/%s/file", id);
	ANSWERS(ASK(&h, .path = path, .token = user.token), 409, DETAIL("The export is not written yet."));
	harness_sql(&h, "UPDATE background_tasks SET status = 'completed', result = "
			"'{\"file\":\"x.csv\",\"rows\":1,\"bytes\":2}'");
	ANSWERS(ASK(&h, .path = path, .token = user.token), 404, DETAIL("The export's file is gone."));
	char file[1024];
	snprintf(file, sizeof(file), "%s/exports", h.dir);
	CU_ASSERT_EQUAL(mkdir(file, 0700), 0);
	snprintf(file, sizeof(file), "%s/exports/x.csv", h.dir);
	close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	x = ASK(&h, .path = path, .token = user.token);
	ANSWERS(x, 200, "");
	HEADER_IS(x, "X-Accel-Redirect", "/.appcore/files/exports/x.csv");
	HEADER_IS(x, "Content-Disposition", "attachment; filename=\"dataflow.csv\"; filename*=UTF-8''dataflow.csv");
	ANSWERS(ASK(&h, .path = path, .token = other.token), 404, DETAIL("Export not found"));
	harness_close(&h);
}

static const struct unit_case CASES[] = {
	{"exports", exports},
	{"piece by piece", piece_by_piece},
	{"after a death", after_a_death},
	{"at once", at_once},
	{"another file", another_file},
	{"in one request", in_one_request},
	{"what is refused", what_is_refused},
	{"how much a user may", how_much_a_user_may},
	{"how many may wait", how_many_may_wait},
};

int main(void)
{
	return UNIT_RUN("uploads", CASES);
}
