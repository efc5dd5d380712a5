/* For targets that send requests through the whole application, with a real store in memory (TMPDIR). */
#ifndef APPCORE_TESTS_FUZZ_APP_H
#define APPCORE_TESTS_FUZZ_APP_H

#include "fuzz.h"

#include "../handlers/harness.h"

#include "base/json.h"

enum { FUZZ_FORGET_ROWS = 20000 };

/* The one application of the process, opened by the first call; its tables are emptied from time to time. */
static inline struct harness *fuzz_app(void)
{
	static struct harness h;
	static int calls;

	if (calls == 0) {
		harness_init(&h);
		h.log_file = "/dev/null";
		harness_start(&h);
	}
	if (++calls % FUZZ_FORGET_ROWS == 0)
		harness_sql(&h, "DELETE FROM predictions WHERE created_at > '2000'; DELETE FROM idempotency_keys");
	return &h;
}

/* What holds for every answer, whatever was asked. */
static inline void fuzz_check_answer(const struct exchange *x)
{
	struct str head = buf_view(&x->head), rest = head;
	struct json_value root;
	struct json_fault fault;

	demand(strcmp(response_reason(x->status), "Unknown") != 0, "the status is one of ours");
	demand(str_starts(head, STR("Status: ")), "the status comes first");
	demand(head.n > 4 && memcmp(head.p + head.n - 4, "\r\n\r\n", 4) == 0, "the head ends");
	while (rest.n > 0) {
		struct str line = str_cut(&rest, '\n');
		demand(line.n > 0 && line.p[line.n - 1] == '\r', "lines end in CR LF");
		demand(line.n > 1 || rest.n == 0, "the empty line is the last");
		for (size_t i = 0; i + 1 < line.n; i++)
			demand((unsigned char)line.p[i] >= 0x20 && line.p[i] != 0x7f, "no control characters");
		demand(line.n == 1 || memchr(line.p, ':', line.n), "each is a header");
	}
	demand(x->head.n < 200000, "heads are bounded");
	if (strcmp(answer_header(x, "Content-Type"), "application/json") == 0 && x->req.method != HTTP_HEAD)
		demand(json_check(buf_view(&x->body), JSON_MAX_DEPTH, &root, &fault) ||
			       strstr(fault.reason,
				      "deep"), /* what is shown of an input adds a few levels to its own */
		       "JSON is JSON");
	if (!x->req.streamed && x->req.method != HTTP_HEAD && x->status != 204)
		demand(strtoul(answer_header(x, "Content-Length"), NULL, 10) == x->body.n, "the length is the body's");
}

#endif
