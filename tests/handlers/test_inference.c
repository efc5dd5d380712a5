/* The Open Inference Protocol V2: tensors in JSON and in binary, what is refused, and the models' repository. */
#include "harness.h"

#include "handlers/tensor.h"
#include "store/models.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define WINE        "/v2/models/wine/infer"
#define MOOD        "/v2/models/mood/infer"
#define MEAN        "/v2/models/mean/infer"
#define ERROR(text) "{\"error\":\"" text "\"}"
#define EDGE        "00112233445566778899aabbccddeeff"
#define FIRST       "018bcfe5-687b-7011-a233-445566778899"

static const char WINE_MEMBERS[] =
	"\"inputs\":[{\"name\":\"alcohol\",\"type\":\"number\",\"maximum\":15,\"outside\":\"refuse\"},"
	"{\"name\":\"sugar\",\"type\":\"number\"},"
	"{\"name\":\"colour\",\"type\":\"category\",\"categories\":[\"red\",\"white\"],\"outside\":\"refuse\"}],"
	"\"preprocessing\":[{\"step\":\"impute\",\"inputs\":[\"sugar\"],\"values\":[10]},"
	"{\"step\":\"one_hot\",\"input\":\"colour\"}],"
	"\"output\":{\"type\":\"regression\",\"name\":\"quality\"}";
static const char WINE_FILE[] = "{\"format\":\"appcore linear 1\",\"coefficients\":[[2,3,0,5]],\"intercepts\":[1]}";
static const char MOOD_MEMBERS[] = "\"inputs\":[{\"name\":\"x\",\"type\":\"number\"}],"
				   "\"output\":{\"type\":\"binary\",\"classes\":[\"bad\",\"good\"]}";
static const char MOOD_FILE[] = "{\"format\":\"appcore linear 1\",\"coefficients\":[[1]],\"intercepts\":[0]}";
/* a + 10b, both may be missing (0). */
static const char PAIR_MEMBERS[] =
	"\"inputs\":[{\"name\":\"a\",\"type\":\"number\"},{\"name\":\"b\",\"type\":\"number\"}],"
	"\"preprocessing\":[{\"step\":\"impute\",\"inputs\":[\"a\",\"b\"],\"values\":[0,0]}],"
	"\"output\":{\"type\":\"regression\"}";
static const char PAIR_FILE[] = "{\"format\":\"appcore linear 1\",\"coefficients\":[[1,10]],\"intercepts\":[0]}";

static void start(struct harness *h)
{
	harness_init(h);
	h->models[0] = harness_load("wine", "1", "linear", WINE_MEMBERS, WINE_FILE);
	h->models[1] = harness_load("mood", "1", "logistic", MOOD_MEMBERS, MOOD_FILE);
	h->models[2] = harness_load("pair", "1", "linear", PAIR_MEMBERS, PAIR_FILE);
	harness_start(h);
}

static struct exchange *ask(struct harness *h, const char *path, const char *body)
{
	return ASK(h, .path = path, .body = body, .key = HARNESS_KEY);
}

static void has(const struct exchange *x, int status, const char *part)
{
	ANSWERS(x, status, NULL);
	if (!strstr(answer_body(x), part))
		SAME(answer_body(x), part);
}

/* JSON, then bytes, as the protocol's clients send them. */
static struct exchange *ask_binary(struct harness *h, const char *path, const char *json, const void *bytes, size_t n)
{
	static char body[1 << 16];
	char length[24];
	size_t json_n = strlen(json);

	memcpy(body, json, json_n);
	if (n > 0)
		memcpy(body + json_n, bytes, n);
	snprintf(length, sizeof(length), "%zu", json_n);
	return ASK(h, .path = path, .body = body, .body_n = json_n + n, .key = HARNESS_KEY, .edge_id = EDGE,
		   .type = "application/octet-stream", .params = {"HTTP_INFERENCE_HEADER_CONTENT_LENGTH", length});
}

static void the_server_and_its_models(void)
{
	struct harness h;

	start(&h);
	struct exchange *x = GET(&h, "/v2");
	has(x, 200, "{\"name\":\"appcore\",\"version\":\"");
	has(x, 200, "\"extensions\":[\"binary_tensor_data\",\"model_repository\"]}");
	ANSWERS(GET(&h, "/v2/health/live"), 200, "{\"live\":true}");
	ANSWERS(GET(&h, "/v2/health/ready"), 200, "{\"live\":true,\"ready\":true}");
	ANSWERS(GET(&h, "/v2/models/wine"), 200,
		"{\"name\":\"wine\",\"versions\":[\"1\"],\"platform\":\"appcore_linear\",\"inputs\":["
		"{\"name\":\"alcohol\",\"datatype\":\"FP64\",\"shape\":[-1,1]},"
		"{\"name\":\"sugar\",\"datatype\":\"FP64\",\"shape\":[-1,1]},"
		"{\"name\":\"colour\",\"datatype\":\"BYTES\",\"shape\":[-1,1]}],"
		"\"outputs\":[{\"name\":\"result\",\"datatype\":\"FP64\",\"shape\":[-1]}]}");
	has(GET(&h, "/v2/models/mood/versions/1"), 200,
	    "{\"name\":\"label\",\"datatype\":\"BYTES\",\"shape\":[-1]},"
	    "{\"name\":\"probabilities\",\"datatype\":\"FP64\",\"shape\":[-1,2]}]}");
	has(GET(&h, "/v2/models/mean"), 200,
	    "\"inputs\":[{\"name\":\"features\",\"datatype\":\"FP64\",\"shape\":[-1,-1]}]");
	ANSWERS(GET(&h, "/v2/models/wine/ready"), 200, "{\"name\":\"wine\",\"ready\":true}");
	ANSWERS(GET(&h, "/v2/models/wine/versions/1/ready"), 200, "{\"name\":\"wine\",\"ready\":true}");
	ANSWERS(GET(&h, "/v2/models/beer"), 404, ERROR("There is no model beer."));
	ANSWERS(GET(&h, "/v2/models/beer/ready"), 404, ERROR("There is no model beer."));
	ANSWERS(GET(&h, "/v2/models/wine/versions/2"), 404, ERROR("Model wine has no version 2 that is loaded."));
	h.app.draining = true;
	has(GET(&h, "/v2/health/ready"), 503, "{\"error\":\"");
	h.app.draining = false;
	harness_close(&h);
}

static void tensors_as_json(void)
{
	static const struct {
		const char *path, *inputs, *data;
	} cases[] = {
		{WINE,
		 "{\"name\":\"alcohol\",\"shape\":[2],\"datatype\":\"FP64\",\"data\":[1,2]},"
		 "{\"name\":\"colour\",\"shape\":[2,1],\"datatype\":\"BYTES\",\"data\":[\"red\",\"white\"]},"
		 "{\"name\":\"sugar\",\"shape\":[2,1],\"datatype\":\"INT32\",\"data\":[[0],[1]]}",
		 "\"shape\":[2],\"data\":[3.0,13.0]"},
		{WINE,
		 "{\"name\":\"alcohol\",\"shape\":[1],\"datatype\":\"FP64\",\"data\":[1]},"
		 "{\"name\":\"colour\",\"shape\":[1],\"datatype\":\"BYTES\",\"data\":[\"red\"]}",
		 "\"data\":[33.0]"}, /* sugar is missing */
		{"/v2/models/pair/infer",
		 "{\"name\":\"input-0\",\"shape\":[2,2],\"datatype\":\"FP64\",\"data\":[1,2,3,4]}",
		 "\"data\":[21.0,43.0]"},
		{"/v2/models/pair/infer",
		 "{\"name\":\"x\",\"shape\":[2,2],\"datatype\":\"FP32\",\"data\":[[1,2],[3,null]]}",
		 "\"data\":[21.0,3.0]"},
		{"/v2/models/pair/infer", "{\"name\":\"a\",\"shape\":[1,2],\"datatype\":\"UINT8\",\"data\":[[1,2]]}",
		 "\"data\":[21.0]"},
		{"/v2/models/pair/infer", "{\"name\":\"x\",\"shape\":[2],\"datatype\":\"BOOL\",\"data\":[true,false]}",
		 "\"data\":[1.0]"},
		{MEAN, "{\"name\":\"x\",\"shape\":[1,3],\"datatype\":\"INT64\",\"data\":[1,2,-9]}", "\"data\":[-2.0]"},
		{MEAN, "{\"name\":\"x\",\"shape\":[2,1],\"datatype\":\"INT64\",\"data\":[9223372036854775807,1e3]}",
		 "\"data\":[9.223372036854776e+18,1000.0]"},
		{MEAN,
		 "{\"name\":\"x\",\"shape\":[3,1],\"datatype\":\"UINT64\",\"data\":[18446744073709551615,-0,2.0]}",
		 "\"data\":[1.8446744073709552e+19,0.0,2.0]"},
		{MEAN, "{\"name\":\"x\",\"shape\":[2,1],\"datatype\":\"FP32\",\"data\":[0.1,16777217]}",
		 "\"data\":[0.10000000149011612,16777216.0]"},
		{MEAN,
		 "{\"name\":\"x\",\"shape\":[5,1],\"datatype\":\"FP16\",\"data\":[0.1,65504,65519.99,2049,5.9e-8]}",
		 "\"data\":[0.0999755859375,65504.0,65504.0,2048.0,5.960464477539063e-08]"},
		{MEAN, "{\"name\":\"x\",\"shape\":[1,1],\"datatype\":\"BF16\",\"data\":[3.14159]}",
		 "\"data\":[3.140625]"},
		{MOOD, "{\"name\":\"x\",\"shape\":[2],\"datatype\":\"FP64\",\"data\":[0,1000]}",
		 "\"outputs\":[{\"name\":\"result\",\"datatype\":\"FP64\",\"shape\":[2],\"data\":[0.5,1.0]},"
		 "{\"name\":\"label\",\"datatype\":\"BYTES\",\"shape\":[2],\"data\":[\"bad\",\"good\"]},"
		 "{\"name\":\"probabilities\",\"datatype\":\"FP64\",\"shape\":[2,2],\"data\":[0.5,0.5,0.0,1.0]}]}"},
	};
	struct harness h;

	start(&h);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char body[600];
		snprintf(body, sizeof(body), "{\"inputs\":[%s]}", cases[i].inputs);
		has(ask(&h, cases[i].path, body), 200, cases[i].data);
	}
	harness_close(&h);
}

static void ids_and_outputs(void)
{
	struct harness h;

	start(&h);
	ANSWERS(ASK(&h, .path = MOOD, .key = HARNESS_KEY, .edge_id = EDGE,
		    .body = "{\"id\":\"a\\u0022b\",\"parameters\":{\"priority\":1},\"inputs\":[{\"name\":\"x\","
			    "\"shape\":[1],"
			    "\"datatype\":\"FP64\",\"data\":[0],\"parameters\":{\"more\":\"x\"}}],"
			    "\"outputs\":[{\"name\":\"prediction_id\"},{\"name\":\"label\",\"parameters\":{}}]}"),
		200,
		"{\"model_name\":\"mood\",\"model_version\":\"1\",\"id\":\"a\\u0022b\",\"parameters\":{\"prediction_"
		"id\":\"" FIRST
		"\"},\"outputs\":[{\"name\":\"prediction_id\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"" FIRST
		"\"]},{\"name\":\"label\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"bad\"]}]}");
	/* Stored as any other. */
	has(GET(&h, "/api/v1/predictions/" FIRST), 200, "\"model_name\":\"mood\"");
	has(GET(&h, "/api/v1/predictions/" FIRST), 200, "\"label\":\"bad\"");
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM predictions WHERE key_id = 'env'"), 1);
	harness_close(&h);
}

/* What tritonclient's InferResult does with an answer: the JSON's length, then the buffers one after the other. */
static void tensors_as_bytes(void)
{
	static const char json[] =
		"{\"id\":\"1\",\"inputs\":[{\"name\":\"x\",\"shape\":[2],\"datatype\":\"FP32\",\"parameters\":"
		"{\"binary_data_size\":8}}],\"parameters\":{\"binary_data_output\":true}}";
	const float values[] = {0.0f, 1000.0f};
	struct harness h;

	start(&h);
	struct exchange *x = ask_binary(&h, MOOD, json, values, sizeof(values));
	ANSWERS(x, 200, NULL);
	HEADER_IS(x, "Content-Type", "application/octet-stream");
	size_t n = (size_t)atoi(answer_header(x, "Inference-Header-Content-Length"));
	static const char outputs[] =
		"\"outputs\":[{\"name\":\"result\",\"datatype\":\"FP64\",\"shape\":[2],\"parameters\":"
		"{\"binary_data_size\":16}},{\"name\":\"label\",\"datatype\":\"BYTES\",\"shape\":[2],"
		"\"parameters\":{\"binary_data_size\":15}},{\"name\":\"probabilities\",\"datatype\":\"FP64\","
		"\"shape\":[2,2],\"parameters\":{\"binary_data_size\":32}}]}";
	CU_ASSERT_EQUAL(x->body.n, n + 16 + 15 + 32);
	CU_ASSERT_TRUE(n > sizeof(outputs) &&
		       memcmp(x->body.p + n - (sizeof(outputs) - 1), outputs, sizeof(outputs) - 1) == 0);
	const double results[] = {0.5, 1.0}, probabilities[] = {0.5, 0.5, 0.0, 1.0};
	CU_ASSERT_EQUAL(memcmp(x->body.p + n, results, 16), 0);
	CU_ASSERT_EQUAL(memcmp(x->body.p + n + 16, "\3\0\0\0bad\4\0\0\0good", 15), 0);
	CU_ASSERT_EQUAL(memcmp(x->body.p + n + 31, probabilities, 32), 0);

	/* Tried again by nginx, it is the stored rows, byte for byte. */
	struct exchange *again = ask_binary(&h, MOOD, json, values, sizeof(values));
	CU_ASSERT_TRUE(again->body.n == x->body.n && memcmp(again->body.p, x->body.p, x->body.n) == 0);
	HEADER_IS(again, "Inference-Header-Content-Length", answer_header(x, "Inference-Header-Content-Length"));
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM predictions"), 2);

	/* Of single outputs, some in binary. */
	x = ask(&h, MOOD,
		"{\"inputs\":[{\"name\":\"x\",\"shape\":[1],\"datatype\":\"FP64\",\"data\":[0]}],\"outputs\":[{"
		"\"name\":\"label\"},"
		"{\"name\":\"result\",\"parameters\":{\"binary_data\":true}}]}");
	has(x, 200,
	    "\"shape\":[1],\"data\":[\"bad\"]},{\"name\":\"result\",\"datatype\":\"FP64\",\"shape\":[1],"
	    "\"parameters\":{\"binary_data_size\":8}}]}");
	x = ask(&h, MOOD,
		"{\"parameters\":{\"binary_data_output\":true},\"inputs\":[{\"name\":\"x\",\"shape\":[1],\"datatype\":"
		"\"FP64\","
		"\"data\":[0]}],\"outputs\":[{\"name\":\"result\",\"parameters\":{\"binary_data\":false}}]}");
	has(x, 200, "\"data\":[0.5]}]}");
	HEADER_IS(x, "Content-Type", "application/json");
	HEADER_IS(x, "Inference-Header-Content-Length", "");
	harness_close(&h);
}

#define ONE(type, size)                                                                                                \
	"{\"inputs\":[{\"name\":\"x\",\"shape\":[1,1],\"datatype\":\"" type                                            \
	"\",\"parameters\":{\"binary_data_size\":" size "}}]}"

static void every_datatype_in_binary(void)
{
	static const struct {
		const char *json, *bytes;
		size_t n;
		const char *data;
	} cases[] = {
		{ONE("BOOL", "1"), "\1", 1, "[1.0]"},
		{ONE("UINT8", "1"), "\xff", 1, "[255.0]"},
		{ONE("INT8", "1"), "\xff", 1, "[-1.0]"},
		{ONE("UINT16", "2"), "\xff\xff", 2, "[65535.0]"},
		{ONE("INT16", "2"), "\0\x80", 2, "[-32768.0]"},
		{ONE("UINT32", "4"), "\1\2\0\0", 4, "[513.0]"},
		{ONE("INT32", "4"), "\xfe\xff\xff\xff", 4, "[-2.0]"},
		{ONE("UINT64", "8"), "\0\0\0\0\0\0\0\x80", 8, "[9.223372036854776e+18]"},
		{ONE("INT64", "8"), "\0\0\0\0\0\0\0\x80", 8, "[-9.223372036854776e+18]"},
		{ONE("FP16", "2"), "\0\x3c", 2, "[1.0]"},
		{ONE("FP16", "2"), "\1\0", 2, "[5.960464477539063e-08]"},   /* the least */
		{ONE("FP16", "2"), "\xff\3", 2, "[6.097555160522461e-05]"}, /* the largest without leading one */
		{ONE("FP16", "2"), "\0\4", 2, "[6.103515625e-05]"},
		{ONE("FP16", "2"), "\xff\x7b", 2, "[65504.0]"},
		{ONE("FP16", "2"), "\0\xc0", 2, "[-2.0]"},
		{ONE("FP16", "2"), "\0\x80", 2, "[0.0]"},
		{ONE("BF16", "2"), "\x49\x40", 2, "[3.140625]"},
		{ONE("FP32", "4"), "\xcd\xcc\xcc\x3d", 4, "[0.10000000149011612]"},
		{ONE("FP64", "8"), "\0\0\0\0\0\0\xf0\x3f", 8, "[1.0]"},
	};
	struct harness h;

	start(&h);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		harness_sql(&h, "DELETE FROM predictions WHERE created_at > '2000'");
		has(ask_binary(&h, MEAN, cases[i].json, cases[i].bytes, cases[i].n), 200, cases[i].data);
	}
	/* NaN is a missing value, which the mean has no use for and the pair has. */
	has(ask_binary(&h, MEAN, ONE("FP32", "4"), "\0\0\xc0\x7f", 4), 400, "row 0: Input should be a valid number");
	harness_sql(&h, "DELETE FROM predictions WHERE created_at > '2000'");
	has(ask_binary(&h, "/v2/models/pair/infer",
		       "{\"inputs\":[{\"name\":\"x\",\"shape\":[1,2],\"datatype\":\"FP16\",\"parameters\":{\"binary_"
		       "data_size\":4}}]}",
		       "\1\x7e\0\x40", 4),
	    200, "\"data\":[20.0]");
	has(GET(&h, "/api/v1/predictions/" FIRST), 200, "\"features\":[null, 2.0]");
	/* BYTES for a category. */
	harness_sql(&h, "DELETE FROM predictions WHERE created_at > '2000'");
	has(ask_binary(&h, WINE,
		       "{\"inputs\":[{\"name\":\"alcohol\",\"shape\":[1],\"datatype\":\"FP64\",\"data\":[1]},{\"name\":"
		       "\"colour\",\"shape\":[1],"
		       "\"datatype\":\"BYTES\",\"parameters\":{\"binary_data_size\":9}}]}",
		       "\5\0\0\0white", 9),
	    200, "\"data\":[38.0]");
	harness_close(&h);
}

#define INPUT(more) "{\"inputs\":[{\"name\":\"x\"," more "}]}"

static void bad_requests_are_named(void)
{
	static const struct {
		const char *path, *body, *part;
	} cases[] = {
		{MEAN, "", "the JSON is empty"},
		{MEAN, "{", "is not JSON"},
		{MEAN, "[]", "must be a JSON object"},
		{MEAN, "{}", "inputs must be a list"},
		{MEAN, "{\"inputs\":[]}", "got 0 input tensors, but model mean takes 1"},
		{MEAN, "{\"inputs\":[1]}", "inputs must be a list of tensors"},
		{MEAN, "{\"inputs\":[{}]}", "an input has no name"},
		{MEAN, "{\"inputs\":[{\"name\":\"x\"}]}", "input 'x': datatype must be a string"},
		{MEAN, INPUT("\"datatype\":\"FP8\",\"shape\":[1]"), "there is no datatype 'FP8'"},
		{MEAN, INPUT("\"datatype\":\"FP32\""), "shape must be a list"},
		{MEAN, INPUT("\"datatype\":\"FP32\",\"shape\":[-1]"), "shape must be a list of whole numbers"},
		{MEAN, INPUT("\"datatype\":\"FP32\",\"shape\":[1.5]"), "shape must be a list of whole numbers"},
		{MEAN, INPUT("\"datatype\":\"FP32\",\"shape\":[]"), "one or two dimensions"},
		{MEAN, INPUT("\"datatype\":\"FP32\",\"shape\":[1,1,1]"), "one or two dimensions"},
		{MEAN, INPUT("\"datatype\":\"FP32\",\"shape\":[1,0]"), "a dimension of 0"},
		{MEAN, INPUT("\"datatype\":\"FP32\",\"shape\":[9223372036854775808,2]"), "more elements than can be"},
		{MEAN, INPUT("\"datatype\":\"FP32\",\"shape\":[18446744073709551616]"), "shape must be a list"},
		{MEAN, INPUT("\"datatype\":\"FP32\",\"shape\":[9223372036854775808],\"data\":[1]"),
		 "data has 1 element, its shape"},
		{MEAN, INPUT("\"datatype\":\"FP32\",\"shape\":[1,2]"), "data must be a list"},
		{MEAN, INPUT("\"datatype\":\"FP32\",\"shape\":[1,2],\"data\":[]"),
		 "data has 0 elements, its shape wants 2"},
		{MEAN, INPUT("\"datatype\":\"FP32\",\"shape\":[1,2],\"data\":[1,2,3]"), "data has 3 elements"},
		{MEAN, INPUT("\"datatype\":\"FP32\",\"shape\":[2,2],\"data\":[[1,2],[3]]"),
		 "a row of data has 1 element"},
		{MEAN, INPUT("\"datatype\":\"FP32\",\"shape\":[2,2],\"data\":[[1,2],3]"), "neither flat nor nested"},
		{MEAN, INPUT("\"datatype\":\"FP32\",\"shape\":[2,2],\"data\":[1,[2],3,4]"), "element 1 is no FP32"},
		{MEAN, INPUT("\"datatype\":\"FP32\",\"shape\":[2],\"data\":[[1],[2]]"), "nested deeper"},
		{MEAN, INPUT("\"datatype\":\"FP32\",\"shape\":[1],\"data\":[\"1\"]"), "element 0 is no FP32"},
		{MEAN, INPUT("\"datatype\":\"FP32\",\"shape\":[1],\"data\":[1e39]"), "element 0 is not finite"},
		{MEAN, INPUT("\"datatype\":\"FP16\",\"shape\":[1],\"data\":[65520]"), "element 0 is not finite"},
		{MEAN, INPUT("\"datatype\":\"FP64\",\"shape\":[1],\"data\":[1e999]"), "element 0 is not finite"},
		{MEAN, INPUT("\"datatype\":\"INT8\",\"shape\":[1],\"data\":[128]"), "out of the range of INT8"},
		{MEAN, INPUT("\"datatype\":\"INT8\",\"shape\":[1],\"data\":[-129]"), "out of the range of INT8"},
		{MEAN, INPUT("\"datatype\":\"UINT8\",\"shape\":[1],\"data\":[-1]"), "out of the range of UINT8"},
		{MEAN, INPUT("\"datatype\":\"UINT64\",\"shape\":[1],\"data\":[18446744073709551616]"),
		 "out of the range"},
		{MEAN, INPUT("\"datatype\":\"INT64\",\"shape\":[1],\"data\":[9223372036854775808]"),
		 "out of the range"},
		{MEAN, INPUT("\"datatype\":\"INT32\",\"shape\":[1],\"data\":[1.5]"), "element 0 is no INT32"},
		{MEAN, INPUT("\"datatype\":\"INT32\",\"shape\":[1],\"data\":[null]"), "element 0 is no INT32"},
		{MEAN, INPUT("\"datatype\":\"BOOL\",\"shape\":[1],\"data\":[1]"), "element 0 is no BOOL"},
		{MEAN, INPUT("\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[1]"), "element 0 is no BYTES"},
		{MEAN, INPUT("\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"1\"]"),
		 "row 0: Input should be a valid number"},
		{MEAN, INPUT("\"datatype\":\"FP32\",\"shape\":[1],\"parameters\":{\"binary_data_size\":4}"),
		 "only 0 bytes are left"},
		{MEAN, INPUT("\"datatype\":\"FP32\",\"shape\":[1],\"parameters\":{\"shared_memory_region\":\"r\"}"),
		 "shared memory"},
		{MEAN, INPUT("\"datatype\":\"FP32\",\"shape\":[1],\"parameters\":[]"), "parameters must be an object"},
		{MEAN, "{\"id\":1,\"inputs\":[]}", "id must be a string"},
		{MEAN, "{\"parameters\":1,\"inputs\":[]}", "parameters must be an object"},
		{MEAN, "{\"outputs\":{},\"inputs\":[]}", "outputs must be a list"},
		{MEAN, "{\"outputs\":[{\"name\":\"label\"}],\"inputs\":[]}", "model mean has no output 'label'"},
		{MEAN, "{\"outputs\":[{}],\"inputs\":[]}", "an output has no name"},
		{MEAN, "{\"outputs\":[{\"name\":\"result\"},{\"name\":\"result\"}],\"inputs\":[]}", "asked for twice"},
		{MEAN, "{\"outputs\":[{\"name\":\"result\",\"parameters\":{\"classification\":3}}],\"inputs\":[]}",
		 "not supported"},
		{"/v2/models/pair/infer", INPUT("\"datatype\":\"FP32\",\"shape\":[1,3],\"data\":[1,2,3]"),
		 "rows of 3, but model pair takes 2"},
		{WINE, INPUT("\"datatype\":\"FP32\",\"shape\":[1],\"data\":[1]"), "rows of 1, but model wine takes 3"},
		{WINE, "{\"inputs\":[{\"name\":\"alcohol\",\"shape\":[1],\"datatype\":\"FP64\",\"data\":[1]}]}",
		 "row 0, input 'colour': "},
		{WINE,
		 "{\"inputs\":[{\"name\":\"alcohol\",\"shape\":[2],\"datatype\":\"FP64\",\"data\":[1,16]},{\"name\":"
		 "\"colour\","
		 "\"shape\":[2],\"datatype\":\"BYTES\",\"data\":[\"red\",\"red\"]}]}",
		 "row 1, input 'alcohol': Input should be less than or equal to 15"},
		{WINE,
		 "{\"inputs\":[{\"name\":\"alcohol\",\"shape\":[1],\"datatype\":\"FP64\",\"data\":[1]},{\"name\":"
		 "\"ph\",\"shape\":[1],"
		 "\"datatype\":\"FP64\",\"data\":[1]}]}",
		 "model wine has no input 'ph'"},
		{WINE,
		 "{\"inputs\":[{\"name\":\"alcohol\",\"shape\":[1],\"datatype\":\"FP64\",\"data\":[1]},{\"name\":"
		 "\"alcohol\",\"shape\":[1],"
		 "\"datatype\":\"FP64\",\"data\":[1]}]}",
		 "got input 'alcohol' twice"},
		{WINE,
		 "{\"inputs\":[{\"name\":\"alcohol\",\"shape\":[1],\"datatype\":\"FP64\",\"data\":[1]},{\"name\":"
		 "\"sugar\",\"shape\":[2],"
		 "\"datatype\":\"FP64\",\"data\":[1,2]}]}",
		 "input 'sugar' must have the shape [n] or [n, 1]"},
		{MEAN, INPUT("\"datatype\":\"FP32\",\"shape\":[1001,1],\"data\":[1]"), "data has 1 element"},
	};
	struct harness h;

	start(&h);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct exchange *x = ask(&h, cases[i].path, cases[i].body);
		has(x, 400, cases[i].part);
		CU_ASSERT_EQUAL(strncmp(answer_body(x), "{\"error\":\"", 10), 0);
	}
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM predictions"), 0);
	harness_close(&h);
}

static void bad_bytes_are_named(void)
{
	static const char bytes_5[] = "{\"inputs\":[{\"name\":\"x\",\"shape\":[2],\"datatype\":\"BYTES\","
				      "\"parameters\":{\"binary_data_size\":5}}]}";
	static const struct {
		const char *json, *bytes;
		size_t n;
		const char *part;
	} cases[] = {
		{ONE("FP32", "4"), "\0\0\0", 3, "binary_data_size is 4, but only 3 bytes are left"},
		{ONE("FP32", "4"), "\0\0\0\0\0", 5, "1 bytes are left behind"},
		{ONE("FP32", "8"), "\0\0\0\0\0\0\0\0", 8, "does not fit shape and datatype"},
		{ONE("FP32", "0"), "", 0, "does not fit shape and datatype"},
		{ONE("FP32", "-4"), "\0\0\0\0", 4, "binary_data_size must be a whole number"},
		{ONE("FP32", "\\\"4\\\""), "\0\0\0\0", 4, "is not JSON"},
		{ONE("FP32", "9223372036854775808"), "\0\0\0\0", 4, "must be a whole number"},
		{ONE("FP32", "9223372036854775807"), "\0\0\0\0", 4, "only 4 bytes are left"},
		{ONE("FP32", "4"), "\0\0\x80\x7f", 4, "element 0 is not finite"},
		{ONE("FP16", "2"), "\0\xfc", 2, "element 0 is not finite"},
		{ONE("BOOL", "1"), "\2", 1, "element 0 is no BOOL"},
		{ONE("BYTES", "5"), "\1\0\0\0\xff", 5, "element 0 is not UTF-8"},
		{ONE("BYTES", "4"), "\1\0\0\0", 4, "element 0 is longer than the data"},
		{ONE("BYTES", "4"), "\xff\xff\xff\xff", 4, "element 0 is longer than the data"},
		{ONE("BYTES", "3"), "\0\0\0", 3, "the length of element 0 is cut off"},
		{ONE("BYTES", "8"), "\0\0\0\0\0\0\0\0", 8, "data has 2 elements, its shape wants 1"},
		{bytes_5, "\1\0\0\0a", 5, "data has 1 element, its shape wants 2"},
		{"{\"inputs\":[{\"name\":\"x\",\"shape\":[4611686018427387904],\"datatype\":\"FP64\",\"parameters\":{"
		 "\"binary_data_size\":0}}]}",
		 "", 0, "does not fit shape and datatype"},
		{"{\"inputs\":[{\"name\":\"x\",\"shape\":[1],\"datatype\":\"FP32\",\"data\":[1],\"parameters\":{"
		 "\"binary_data_size\":4}}]}",
		 "\0\0\0\0", 4, "there is data, and binary_data_size as well"},
	};
	struct harness h;

	start(&h);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		has(ask_binary(&h, MEAN, cases[i].json, cases[i].bytes, cases[i].n), 400, cases[i].part);
	static const char *const lengths[] = {"-1", "x", "1000", "99999999999999999999", "1.0"};
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
		has(ASK(&h, .path = MEAN, .body = "{}", .key = HARNESS_KEY,
			.params = {"HTTP_INFERENCE_HEADER_CONTENT_LENGTH", lengths[i]}),
		    400, "Inference-Header-Content-Length must be a whole number");
	has(ASK(&h, .path = MEAN, .body = "{}", .key = HARNESS_KEY,
		.params = {"HTTP_INFERENCE_HEADER_CONTENT_LENGTH", "0"}),
	    400, "the JSON is empty");
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM predictions"), 0);
	harness_close(&h);
}

static void every_failure_has_the_protocols_form(void)
{
	struct harness h;

	harness_init(&h);
	h.config.max_body_bytes = 100;
	h.config.rate_limit_per_minute = 10;
	harness_start(&h);
	ANSWERS(ASK(&h, .path = MEAN, .body = "{}"), 401, ERROR("Missing API key. Include X-API-Key header."));
	ANSWERS(ASK(&h, .path = MEAN, .body = "{}", .key = "wrong"), 403, ERROR("Invalid API key."));
	ANSWERS(ASK(&h, .path = MEAN, .body = "{}", .params = {"HTTP_AUTHORIZATION", "Bearer wrong"}), 403,
		ERROR("Invalid API key."));
	has(ASK(&h, .path = MEAN, .body = "{}", .params = {"HTTP_AUTHORIZATION", "bearer " HARNESS_KEY}), 400,
	    "inputs must be");
	ANSWERS(ASK(&h, .path = MEAN, .body = "{}", .params = {"HTTP_AUTHORIZATION", "Basic " HARNESS_KEY}), 401, NULL);
	ANSWERS(ASK(&h, .path = "/predict", .body = "{}", .params = {"HTTP_AUTHORIZATION", "Bearer " HARNESS_KEY}), 401,
		NULL);
	ANSWERS(GET(&h, "/v2/nope"), 404, ERROR("Not Found"));
	ANSWERS(GET(&h, MEAN), 405, ERROR("Method Not Allowed"));
	ANSWERS(ASK(&h, .path = MEAN, .body = "x", .type = "text/plain", .key = HARNESS_KEY), 415,
		ERROR("Content-Type must be application/json or application/octet-stream."));
	ANSWERS(ASK(&h, .path = MEAN, .body = "x", .key = HARNESS_KEY, .params = {"HTTP_CONTENT_ENCODING", "gzip"}),
		415, ERROR("Bodies must be sent without Content-Encoding."));
	ANSWERS(GET(&h, "/v2/health/live"), 200, NULL); /* probes are not limited */
	ANSWERS(GET(&h, "/v2"), 429, ERROR("Rate limit exceeded. Try again later."));
	ANSWERS(ASK(&h, .path = MEAN, .client = "203.0.113.2", .key = HARNESS_KEY,
		    .body = "{\"inputs\":[                                                                             "
			    "             ]}"),
		413, ERROR("Request body is too large."));
	harness_close(&h);
}

/* A stored answer has its binary tensors where the first one had them. */
static void a_key_repeats_bytes(void)
{
	const struct ask ask = {
		.path = MOOD,
		.key = HARNESS_KEY,
		.idem = "once",
		.body = "{\"id\":\"}\\\"{\",\"parameters\":{\"binary_data_output\":true},\"inputs\":[{\"name\":\"x\","
			"\"shape\":[1],\"datatype\":\"FP64\",\"data\":[0]}]}"};
	struct harness h;

	start(&h);
	struct exchange *first = harness_ask(&h, &ask), *again = harness_ask(&h, &ask);
	ANSWERS(first, 200, NULL);
	ANSWERS(again, 200, NULL);
	HEADER_IS(again, "Idempotency-Replayed", "true");
	HEADER_IS(again, "Content-Type", "application/octet-stream");
	HEADER_IS(again, "Inference-Header-Content-Length", answer_header(first, "Inference-Header-Content-Length"));
	CU_ASSERT_EQUAL((size_t)atoi(answer_header(first, "Inference-Header-Content-Length")) + 8 + 7 + 16,
			first->body.n);
	CU_ASSERT_TRUE(again->body.n == first->body.n && memcmp(again->body.p, first->body.p, first->body.n) == 0);
	has(ASK(&h, .path = MOOD, .key = HARNESS_KEY, .idem = "once",
		.body = "{\"inputs\":[{\"name\":\"x\",\"shape\":[1],\"datatype\":\"FP64\",\"data\":[0]}]}"),
	    422, "{\"error\":");
	has(ASK(&h, .path = MOOD, .key = HARNESS_KEY, .idem = "\"",
		.body = "{\"inputs\":[{\"name\":\"x\",\"shape\":[1],\"datatype\":\"FP64\",\"data\":[0]}]}"),
	    400, "{\"error\":\"Idempotency-Key");
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM predictions"), 1);
	harness_close(&h);
}

static void many_rows(void)
{
	static char body[400000];
	struct harness h;
	size_t n = (size_t)snprintf(body, sizeof(body), INPUT("\"datatype\":\"FP32\",\"shape\":[1000,11],\"data\":["));

	start(&h);
	n -= 3;
	for (int i = 0; i < 11000; i++)
		n += (size_t)snprintf(body + n, sizeof(body) - n, "%s%d.5", i ? "," : "", i % 100);
	snprintf(body + n, sizeof(body) - n, "]}]}");
	struct exchange *x = ask(&h, MEAN, body);
	has(x, 200, "\"shape\":[1000],\"data\":[5.5,16.5,");
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM predictions"), 1000);
	h.config.model_batch_max = 999;
	has(ask(&h, MEAN, body), 400, "a request may have 999 rows, not 1000");
	harness_close(&h);
}

static void add_version(struct harness *h, const char *version)
{
	char sql[300];

	snprintf(sql, sizeof(sql), "INSERT INTO models (id, hash, loaded) VALUES ('beer/%s', '%064d', 0)", version, 0);
	harness_sql(h, sql);
}

static void the_repository(void)
{
	char text[KEY_TEXT_BYTES];
	struct key_row row = {.rate_per_minute = -1, .created_us = 1};
	struct harness h;

	start(&h);
	ANSWERS(ASK(&h, .path = "/v2/repository/index", .body = "{\"ready\":true}"), 200,
		"[{\"name\":\"mean\",\"version\":\"v1.0\",\"state\":\"READY\",\"reason\":\"\"},"
		"{\"name\":\"mood\",\"version\":\"1\",\"state\":\"READY\",\"reason\":\"\"},"
		"{\"name\":\"pair\",\"version\":\"1\",\"state\":\"READY\",\"reason\":\"\"},"
		"{\"name\":\"wine\",\"version\":\"1\",\"state\":\"READY\",\"reason\":\"\"}]");
	add_version(&h, "1");
	has(ASK(&h, .method = "POST", .path = "/v2/repository/index"), 200,
	    ",{\"name\":\"beer\",\"version\":\"1\",\"state\":\"UNAVAILABLE\",\"reason\":\"unloaded\"}]");
	has(ASK(&h, .path = "/v2/repository/index", .body = "{}", .late_body = true), 200, "\"unloaded\"}]");
	ANSWERS(ASK(&h, .path = "/v2/repository/index", .body = "[1]"), 400, NULL);
	/* The key of the environment has no scope. */
	ANSWERS(ASK(&h, .path = "/v2/repository/models/beer/load", .body = "{}", .key = HARNESS_KEY), 403,
		ERROR("This API key lacks the scope \\\"models\\\"."));
	ANSWERS(ASK(&h, .path = "/v2/repository/models/beer/unload", .body = "{}"), 401, NULL);
	keyring_generate(text, &row);
	snprintf(row.name, sizeof(row.name), "ops");
	snprintf(row.scopes, sizeof(row.scopes), "models");
	harness_add_row(&h, &row);
	harness_tick(&h);
	ANSWERS(ASK(&h, .path = "/v2/repository/models/nope/load", .body = "{}", .key = text), 404,
		ERROR("There is no model nope in the repository."));
	/* It is in the table, but this machine has no such files. */
	has(ASK(&h, .path = "/v2/repository/models/beer/load", .body = "{}", .key = text), 400,
	    "failed to load 'beer' version 1: ");
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM models WHERE loaded = 1"), 0);
	has(ASK(&h, .path = "/v2/repository/models/beer/load", .body = "{\"parameters\":{\"config\":\"{}\"}}",
		.key = text),
	    400, "config is not supported");
	harness_sql(&h, "UPDATE models SET loaded = 1");
	int64_t before = harness_number(&h, "SELECT coalesce(max(value), 0) FROM generations WHERE topic = 'models'");
	const struct ask unload = {.path = "/v2/repository/models/beer/unload",
				   .key = text,
				   .late_body = true,
				   .body = "{\"parameters\":{\"unload_dependents\":false}}"};
	struct exchange *x = harness_send(&h, &unload);
	harness_pump(&h, 100);
	CU_ASSERT_FALSE(x->done); /* not before the workers had their time */
	for (int i = 0; i < 3000 && !x->done; i++) {
		harness_tick(&h);
		harness_pump(&h, 10);
	}
	ANSWERS(harness_wait(x), 200, "{}");
	CU_ASSERT_EQUAL(harness_number(&h, "SELECT count(*) FROM models WHERE loaded = 0"), 1);
	CU_ASSERT_TRUE(harness_number(&h, "SELECT max(value) FROM generations WHERE topic = 'models'") > before);
	harness_close(&h);
}

static const struct unit_case CASES[] = {
	{"the server and its models", the_server_and_its_models},
	{"tensors as JSON", tensors_as_json},
	{"ids and outputs", ids_and_outputs},
	{"tensors as bytes", tensors_as_bytes},
	{"every datatype in binary", every_datatype_in_binary},
	{"bad requests are named", bad_requests_are_named},
	{"bad bytes are named", bad_bytes_are_named},
	{"every failure has the protocol's form", every_failure_has_the_protocols_form},
	{"a key repeats bytes", a_key_repeats_bytes},
	{"many rows", many_rows},
	{"the repository", the_repository},
};

int main(void)
{
	return UNIT_RUN("inference", CASES);
}
