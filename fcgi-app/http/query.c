/* Query parameters, in the words of Pydantic 2. */
#include "http/query.h"

#include <inttypes.h>
#include <stdio.h>

void query_answer(struct request *req, const char *type, const char *msg, const char *field, struct str input,
		  struct str ctx)
{
	invalid_answer_one(req, &(struct violation){.type = type,
						    .msg = msg,
						    .where = req->query_is_of_body ? "body" : "query",
						    .field = field,
						    .index = -1,
						    .input = invalid_input_text(req, input),
						    .ctx = ctx});
}

/* Whole number with a sign at the most; saturates far outside any bound. */
static bool parse_int(struct str text, int64_t *out)
{
	struct str digits = str_trim(text);
	bool negative = digits.n > 0 && digits.p[0] == '-';
	uint64_t value = 0;

	if (digits.n > 0 && (digits.p[0] == '-' || digits.p[0] == '+'))
		digits = (struct str){digits.p + 1, digits.n - 1};
	if (digits.n == 0)
		return false;
	for (size_t i = 0; i < digits.n; i++) {
		if (digits.p[i] < '0' || digits.p[i] > '9')
			return false;
		if (value < 1000000000000u)
			value = value * 10 + (uint64_t)(digits.p[i] - '0');
	}
	*out = negative ? -(int64_t)value : (int64_t)value;
	return true;
}

bool query_read_int(struct request *req, const char *field, int64_t fallback, int64_t min, int64_t max, int64_t *out)
{
	struct str text;
	int64_t value;
	char msg[80];
	struct buf ctx;

	*out = fallback;
	if (!request_query(req, str_of(field), &text))
		return true;
	if (!parse_int(text, &value)) {
		query_answer(req, "int_parsing",
			     "Input should be a valid integer, unable to parse string as an integer", field, text,
			     (struct str){0});
		return false;
	}
	if (value >= min && value <= max) {
		*out = value;
		return true;
	}
	bool low = value < min;
	int64_t bound = low ? min : max;
	snprintf(msg, sizeof(msg), "Input should be %s than or equal to %" PRId64, low ? "greater" : "less", bound);
	buf_init(&ctx, &req->arena);
	buf_fmt(&ctx, "{\"%s\":%" PRId64 "}", low ? "ge" : "le", bound);
	query_answer(req, low ? "greater_than_equal" : "less_than_equal", msg, field, text, buf_view(&ctx));
	return false;
}
