/* What is asked of tasks: the body of a new one, and the query of lists and streams. The first byte says which. What
 * was accepted is there as it was told, in the list and as an event. */
#include "app.h"

#include "base/clock.h"

enum { TOKEN_MS = 20 * 60 * 1000 };

static struct harness_user user;

/* A token lives for half an hour, and the table is emptied from time to time. */
static void renew(struct harness *h)
{
	static uint64_t made_ms;
	static int users, calls;
	char name[32];

	if (users == 0 || clock_mono_ms() - made_ms > TOKEN_MS) {
		snprintf(name, sizeof(name), "fuzz%d", ++users);
		harness_add_user(h, name, &user);
		made_ms = clock_mono_ms();
	}
	if (++calls % FUZZ_FORGET_ROWS == 0)
		harness_sql(h, "DELETE FROM background_tasks");
}

static struct json_value parse(const struct exchange *x)
{
	struct json_value root;
	struct json_fault fault;

	demand(json_check(buf_view(&x->body), JSON_MAX_DEPTH, &root, &fault), "answers are JSON");
	return root;
}

static void check_stored(struct harness *h, const struct exchange *x)
{
	const char *path = answer_header(x, "Location");

	demand(path[0], "it is said where");
	struct exchange *read = ASK(h, .path = path, .token = user.token);
	demand(read->status == 200, "what was acknowledged is there");
	demand(str_eq(buf_view(&read->body), buf_view(&x->body)), "and is as it was told");
	(void)parse(read);
}

/* A stream ends here, before its first event. */
static void check_stream(struct harness *h, const char *path, const char *query)
{
	struct exchange *x = harness_listen(h, &(struct ask){.path = path, .query = query, .token = user.token});

	demand(x->status == 200 || x->status == 422 || x->status == 403, "a stream, or why not");
	if (x->parked)
		harness_leave(x, PARKED_PEER_GONE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct harness *h = fuzz_app();
	char query[512];

	if (size < 2)
		return 0;
	renew(h);
	size_t n = size - 1 < sizeof(query) - 1 ? size - 1 : sizeof(query) - 1;
	memcpy(query, data + 1, n);
	query[n] = '\0';
	switch (data[0] % 3) {
	case 0:
		check_stream(h, "/api/v1/events", query);
		break;
	case 1: {
		struct exchange *x = ASK(h, .path = "/api/v1/tasks", .query = query, .token = user.token);
		fuzz_check_answer(x);
		demand(x->status == 200 || x->status == 422 || x->status == 403, "a page, or why not");
		break;
	}
	default: {
		struct exchange *x = ASK(h, .path = "/api/v1/tasks", .body = (const char *)data + 1, .body_n = size - 1,
					 .token = user.token);
		fuzz_check_answer(x);
		if (x->status == 202)
			check_stored(h, x);
		else
			demand(x->status == 422 || x->status == 403, "stored, or why not");
	}
	}
	harness_forget(h);
	return 0;
}
