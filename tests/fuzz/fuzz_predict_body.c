/* The body of a prediction, through the handler and back out of the database. The first byte says how it is sent. */
#include "app.h"

#include <math.h>

static struct json_value member(struct json_value object, const char *name)
{
	struct json_value value = {0};

	demand(json_member(object, str_of(name), &value), name);
	return value;
}

static struct json_value parse(const struct exchange *x)
{
	struct json_value root;
	struct json_fault fault;

	demand(json_check(buf_view(&x->body), JSON_MAX_DEPTH, &root, &fault), "answers are JSON");
	return root;
}

/* The stored features are finite numbers, and their mean is what was told. */
static void check_stored(struct harness *h, const struct exchange *x)
{
	struct json_value told = parse(x), id = member(told, "prediction_id"), item;
	struct json_iter iter;
	double result, number, sum = 0.0;
	char path[80];
	int n = 0;

	snprintf(path, sizeof(path), "/api/v1/predictions/%.36s", id.text.p + 1);
	struct exchange *read = GET(h, path);
	demand(read->status == 200, "what was acknowledged is there");
	struct json_value row = parse(read);
	demand(str_eq(member(row, "result").text, member(told, "result").text), "the result is stored as told");
	demand(json_number(member(told, "result"), &result), "the result is finite");
	json_iter_init(&iter, member(row, "features"));
	for (; json_next(&iter, NULL, &item); n++) {
		demand(item.type == JSON_NUMBER && json_number(item, &number), "features are finite numbers");
		sum += number;
	}
	demand(n > 0, "there is a feature");
	if (isfinite(sum))
		demand(sum / n == result, "the result is the mean");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct harness *h = fuzz_app();

	if (size < 2)
		return 0;
	const struct ask ask = {.path = data[0] & 1 ? "/api/v1/predict" : "/predict",
				.key = HARNESS_KEY,
				.body = (const char *)data + 1,
				.body_n = size - 1,
				.type = data[0] & 2 ? "text/plain" : "application/json",
				.idem = data[0] & 4 ? "one key for all" : NULL,
				.late_body = (data[0] & 24) == 24};
	struct exchange *x = harness_ask(h, &ask);
	fuzz_check_answer(x);
	demand(x->status == 201 || x->status == 422 || x->status == 415, "taken, or refused with a reason");
	if (x->status == 201 && !ask.idem)
		check_stored(h, x);
	harness_forget(h);
	return 0;
}
