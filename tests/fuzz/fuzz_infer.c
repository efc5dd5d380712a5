/* Requests of the Open Inference Protocol through the handler and back out of the database. The first byte says which
 * model is asked and how; the second (with the first byte's top bits) where binary tensors begin, counted from the end.
 */
#include "app.h"

#include "model/kinds.h"

static const char *const PATHS[] = {"/v2/models/mean/infer", "/v2/models/wine/infer", "/v2/models/mood/infer",
				    "/api/v1/models/wine/predict"};

static const char WINE_MEMBERS[] =
	"\"inputs\":[{\"name\":\"a\",\"type\":\"number\",\"maximum\":15,\"outside\":\"refuse\"},"
	"{\"name\":\"b\",\"type\":\"integer\",\"minimum\":0,\"outside\":\"flag\"},"
	"{\"name\":\"c\",\"type\":\"category\",\"categories\":[\"red\",\"white\"],\"outside\":\"refuse\"}],"
	"\"preprocessing\":[{\"step\":\"impute\",\"inputs\":[\"a\",\"b\"],\"values\":[1,10]},"
	"{\"step\":\"one_hot\",\"input\":\"c\"}],\"output\":{\"type\":\"regression\"}";
static const char MOOD_MEMBERS[] = "\"inputs\":[{\"name\":\"x\",\"type\":\"number\"}],"
				   "\"output\":{\"type\":\"binary\",\"classes\":[\"bad\",\"good\"]}";

/* The application with these models beside the mean. */
static struct harness *app(void)
{
	static bool added;
	struct harness *h = fuzz_app();

	if (added)
		return h;
	added = true;
	struct model_set *set = model_set_new();
	struct model *models[] = {
		harness_load("wine", "1", "linear", WINE_MEMBERS,
			     "{\"format\":\"appcore linear 1\",\"coefficients\":[[2,3,0,5]],\"intercepts\":[1]}"),
		harness_load("mood", "1", "logistic", MOOD_MEMBERS,
			     "{\"format\":\"appcore linear 1\",\"coefficients\":[[1]],\"intercepts\":[0]}"),
	};
	const struct model_share whole = {STR("1"), 1};
	for (int i = 0; i < 2; i++) {
		demand(model_set_add(set, models[i], NULL) == STATUS_OK &&
			       model_set_route(set, str_of(models[i]->name), &whole, 1, (struct str){0},
					       MODEL_STICKY_NONE, (struct str){0}, NULL) == STATUS_OK,
		       "a set");
		model_drop(models[i]);
	}
	app_take_models(&h->app, set);
	return h;
}

/* The JSON of an answer with binary tensors is where its header says, and the sizes in it add up to the rest. */
static void check_binary(const struct exchange *x)
{
	size_t n = strtoul(answer_header(x, "Inference-Header-Content-Length"), NULL, 10), bytes = 0;
	struct json_value root, outputs, output, parameters, size;
	struct json_fault fault;
	struct json_iter iter;
	uint64_t one;

	demand(n > 0 && n <= x->body.n, "the JSON is inside");
	demand(json_check((struct str){x->body.p, n}, JSON_MAX_DEPTH, &root, &fault), "the JSON is JSON");
	demand(json_member(root, STR("outputs"), &outputs), "there are outputs");
	json_iter_init(&iter, outputs);
	while (json_next(&iter, NULL, &output))
		if (json_member(output, STR("parameters"), &parameters) &&
		    json_member(parameters, STR("binary_data_size"), &size) && str_to_u64(size.text, UINT64_MAX, &one))
			bytes += one;
	demand(n + bytes == x->body.n, "the sizes add up");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct harness *h = app();
	char length[24];

	if (size < 3)
		return 0;
	size_t body_n = size - 2, behind = data[1] | (size_t)(data[0] >> 6) << 8;
	snprintf(length, sizeof(length), "%zu", body_n - (behind < body_n ? behind : 0));
	bool header = data[0] & 4;
	const struct ask ask = {.path = PATHS[data[0] & 3],
				.key = HARNESS_KEY,
				.body = (const char *)data + 2,
				.body_n = body_n,
				.idem = data[0] & 8 ? "one key for all" : NULL,
				.late_body = (data[0] & 48) == 48,
				.params = {header ? "HTTP_INFERENCE_HEADER_CONTENT_LENGTH" : NULL, length}};
	int64_t before = harness_number(h, "SELECT count(*) FROM predictions");
	struct exchange *x = harness_ask(h, &ask);
	fuzz_check_answer(x);
	bool stored = x->status == 200 || x->status == 201;
	demand(stored || x->status == 400 || x->status == 422, "taken, or refused with a reason");
	demand(stored || harness_number(h, "SELECT count(*) FROM predictions") == before,
	       "what is refused changes nothing");
	if (x->status == 200 && strcmp(answer_header(x, "Content-Type"), "application/octet-stream") == 0)
		check_binary(x);
	harness_forget(h);
	return 0;
}
