/* The body of a 422: {"detail":[{"type":…,"loc":[…],"msg":…,"input":…,"ctx":{…}}, …]}, the shape that FastAPI with
 * Pydantic 2 gives, which the contract's clients know. */
#ifndef APPCORE_HTTP_INVALID_H
#define APPCORE_HTTP_INVALID_H

#include "base/json.h"
#include "http/request.h"

enum { INVALID_LISTED = 100 }; /* violations that are listed; further ones only make the request invalid */

struct invalid {
	struct buf body;
	int n; /* violations so far */
};

/* One thing that is wrong. `where`: "body", "query", "header". Give `field` when there is one, `index` when >= 0, and
 * `path` when there is more between or behind: JSON texts with commas between them ("3,\"alcohol\"").
 * `input`: JSON text (json_put_value's), cut to a short string when it is long; `ctx`: JSON text of an object, or
 * empty. */
struct violation {
	const char *type, *msg;
	const char *where, *field;
	int64_t index;
	struct str path;
	struct str input;
	struct str ctx;
};

void invalid_init(struct invalid *invalid, struct request *req) __attribute__((nonnull));
void invalid_add(struct invalid *invalid, const struct violation *violation) __attribute__((nonnull));

/* Makes it the response, 422. */
void invalid_answer(struct invalid *invalid, struct request *req) __attribute__((nonnull));

/* One violation, answered at once. */
void invalid_answer_one(struct request *req, const struct violation *violation) __attribute__((nonnull));

/* JSON text of a checked value, and of plain text, for `input`; in the request's arena. */
struct str invalid_input_value(struct request *req, struct json_value value) __attribute__((nonnull));
struct str invalid_input_text(struct request *req, struct str text) __attribute__((nonnull));

#endif
