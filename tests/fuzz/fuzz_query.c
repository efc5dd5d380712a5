/* Query strings, through request_query() and through both lists. */
#include "app.h"

#include "base/id.h"

enum { ROWS = 25 };

static void store_rows(struct harness *h)
{
	char id[64], at[64];

	for (int i = 0; i < ROWS; i++) {
		snprintf(id, sizeof(id), "018bcfe5-687b-7000-8000-0000000000%02d", i);
		/* Older than 2000, so that they stay. */
		snprintf(at, sizeof(at), "1999-12-31T23:59:%02d.000000+00:00", i / 3);
		harness_store(h, &(struct prediction){.id = str_of(id),
						      .features = STR("[1.0]"),
						      .result = 1.0,
						      .model_version = i % 2 ? STR("v1.0") : STR("v2.0"),
						      .created_at = str_of(at),
						      .model_name = STR("mean"),
						      .key_id = STR("env")});
	}
}

static int rows_of(const struct exchange *x)
{
	int n = 0;

	for (const char *p = answer_body(x); (p = strstr(p, "{\"id\":\"")); p++)
		n++;
	return n;
}

static void try_decoding(struct harness *h, struct str text)
{
	struct request req = {.app = &h->app, .query = text};
	struct str value = {0}, rest = text, name = str_cut(&rest, '=');

	arena_init(&req.arena, 1 << 20);
	bool found = request_query(&req, name, &value);
	demand(!found || value.n <= text.n, "decoding makes nothing longer");
	found = request_query(&req, STR("limit"), &value);
	arena_release(&req.arena);
	(void)found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool stored;
	struct harness *h = fuzz_app();
	char *query = strndup((const char *)data, size);

	if (!query)
		abort();
	if (!stored)
		store_rows(h);
	stored = true;
	try_decoding(h, (struct str){(const char *)data, size});

	struct exchange *x = ASK(h, .path = "/predictions", .query = query);
	fuzz_check_answer(x);
	demand(x->status == 200 || x->status == 422, "rows, or a reason");
	x = ASK(h, .path = "/api/v1/predictions", .query = query);
	fuzz_check_answer(x);
	demand(x->status == 200 || x->status == 422, "rows, or a reason");
	demand(rows_of(x) <= 100, "a page is bounded");
	const char *cursor = x->status == 200 ? strstr(answer_body(x), "\"next_cursor\":\"") : NULL;
	if (cursor) {
		char next[300];
		snprintf(next, sizeof(next), "limit=100&cursor=%.*s", (int)strcspn(cursor + 15, "\""), cursor + 15);
		struct exchange *more = ASK(h, .path = "/api/v1/predictions", .query = next);
		demand(more->status == 200, "a cursor of ours is taken");
		demand(rows_of(more) + rows_of(x) <= ROWS, "pages do not overlap");
	}
	harness_forget(h);
	free(query);
	return 0;
}
