/* Tree models against XGBoost's own library (libxgboost0, found at run time; no headers needed), in one process and by
 * turns, so that the ratios hold on a busy machine. The models are trained here, on made-up data with eleven features:
 * 100 trees of depth 6 and 500 trees of depth 10. Every figure is the best of ROUNDS. The last line says whether all
 * aims are met; exit code 1 when not. */
#include "base/clock.h"
#include "base/id.h"
#include "model/kinds.h"

#include <dlfcn.h>
#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { FEATURES = 11, TRAIN_ROWS = 20000, ROWS = 1000, ROUNDS = 25 };

static float features[TRAIN_ROWS][FEATURES];
static double rows[ROWS][FEATURES];
static bool aims_met = true;

/* Of XGBoost's C API, what is called here (doc/c.rst of its repository). */
typedef void *handle;
static struct {
	const char *(*XGBGetLastError)(void);
	int (*XGDMatrixCreateFromMat)(const float *data, uint64_t rows_n, uint64_t columns_n, float missing,
				      handle *out);
	int (*XGDMatrixSetFloatInfo)(handle data, const char *field, const float *values, uint64_t n);
	int (*XGDMatrixFree)(handle data);
	int (*XGBoosterCreate)(const handle *data, uint64_t n, handle *out);
	int (*XGBoosterFree)(handle booster);
	int (*XGBoosterSetParam)(handle booster, const char *name, const char *value);
	int (*XGBoosterUpdateOneIter)(handle booster, int iteration, handle data);
	int (*XGBoosterSaveModel)(handle booster, const char *path);
	int (*XGBoosterLoadModelFromBuffer)(handle booster, const void *file, uint64_t n);
	int (*XGBoosterPredict)(handle booster, handle data, int options, unsigned trees, int training, uint64_t *n,
				const float **out);
	int (*XGBoosterPredictFromDense)(handle booster, const char *array, const char *config, handle proxy,
					 const uint64_t **shape, uint64_t *dimensions, const float **out);
} xgb;

static const struct {
	const char *name;
	void *target;
} FUNCTIONS[] = {
	{"XGBGetLastError", &xgb.XGBGetLastError},
	{"XGDMatrixCreateFromMat", &xgb.XGDMatrixCreateFromMat},
	{"XGDMatrixSetFloatInfo", &xgb.XGDMatrixSetFloatInfo},
	{"XGDMatrixFree", &xgb.XGDMatrixFree},
	{"XGBoosterCreate", &xgb.XGBoosterCreate},
	{"XGBoosterFree", &xgb.XGBoosterFree},
	{"XGBoosterSetParam", &xgb.XGBoosterSetParam},
	{"XGBoosterUpdateOneIter", &xgb.XGBoosterUpdateOneIter},
	{"XGBoosterSaveModel", &xgb.XGBoosterSaveModel},
	{"XGBoosterLoadModelFromBuffer", &xgb.XGBoosterLoadModelFromBuffer},
	{"XGBoosterPredict", &xgb.XGBoosterPredict},
	{"XGBoosterPredictFromDense", &xgb.XGBoosterPredictFromDense},
};

static bool find_xgboost(void)
{
	void *library = dlopen("libxgboost.so.0", RTLD_NOW);

	for (size_t i = 0; library && i < sizeof(FUNCTIONS) / sizeof(FUNCTIONS[0]); i++) {
		void *function = dlsym(library, FUNCTIONS[i].name);
		if (!function)
			return false;
		memcpy(FUNCTIONS[i].target, &function, sizeof(function));
	}
	return library != NULL;
}

static _Noreturn void fail(const char *what, const char *why)
{
	fprintf(stderr, "bench: %s: %s\n", what, why);
	exit(1);
}

static void must(int rc)
{
	if (rc != 0)
		fail("XGBoost", xgb.XGBGetLastError());
}

/* Of the processor, both have one thread: on a busy machine, waiting for a core says nothing about either. */
static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double uniform(void)
{
	static uint64_t state = 42;

	state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (double)(state >> 11) * 0x1p-53;
}

static handle train(const char *depth, int trees)
{
	static float labels[TRAIN_ROWS];
	const char *const parameters[][2] = {{"max_depth", depth},    {"objective", "reg:squarederror"},
					     {"eta", "0.1"},          {"nthread", "1"},
					     {"tree_method", "hist"}, {"verbosity", "0"}};
	handle data;
	handle booster;

	for (int i = 0; i < TRAIN_ROWS; i++) {
		double y = 0;
		for (int j = 0; j < FEATURES; j++) {
			double x = uniform() * (j + 1);
			features[i][j] = (float)x;
			y += sin(x * (1 + j % 4)) * (1 + j % 3) + (j > 0 ? x * (double)features[i][j - 1] / 20 : 0);
		}
		labels[i] = (float)(y + uniform());
	}
	must(xgb.XGDMatrixCreateFromMat(&features[0][0], TRAIN_ROWS, FEATURES, NAN, &data));
	must(xgb.XGDMatrixSetFloatInfo(data, "label", labels, TRAIN_ROWS));
	must(xgb.XGBoosterCreate(&data, 1, &booster));
	for (size_t i = 0; i < sizeof(parameters) / sizeof(parameters[0]); i++)
		must(xgb.XGBoosterSetParam(booster, parameters[i][0], parameters[i][1]));
	for (int i = 0; i < trees; i++)
		must(xgb.XGBoosterUpdateOneIter(booster, i, data));
	must(xgb.XGDMatrixFree(data));
	return booster;
}

static struct buf save(handle booster)
{
	char path[] = "/tmp/appcore-bench-XXXXXX.json";
	struct buf buf;
	int fd = mkstemps(path, 5);

	if (fd < 0)
		fail(path, "can't be made");
	must(xgb.XGBoosterSaveModel(booster, path));
	off_t n = lseek(fd, 0, SEEK_END);
	buf_init_heap(&buf);
	if (n <= 0 || !buf_reserve(&buf, (size_t)n) || pread(fd, buf.p, (size_t)n, 0) != n)
		fail(path, "can't be read");
	buf.n = (size_t)n;
	close(fd);
	unlink(path);
	return buf;
}

static struct model *load(struct str file)
{
	uint8_t hash[32];
	char hex[65];
	struct buf text;
	struct manifest *manifest;
	struct model *model;
	struct err err = {0};

	crypto_generichash(hash, sizeof(hash), (const uint8_t *)file.p, file.n, NULL, 0);
	hex_format(hash, sizeof(hash), hex);
	buf_init_heap(&text);
	buf_fmt(&text,
		"{\"appcore\": 1, \"kind\": \"xgboost\", \"file\": \"model.json\", \"hash\": \"%s\", \"inputs\": [",
		hex);
	for (int i = 0; i < FEATURES; i++)
		buf_fmt(&text, "%s{\"name\": \"f%d\", \"type\": \"number\"}", i ? ", " : "", i);
	buf_str(&text, STR("], \"output\": {\"type\": \"regression\", \"name\": \"y\"}}"));
	if (manifest_parse(&manifest, buf_view(&text), &err) != STATUS_OK ||
	    kind_load_model(&model, STR("bench"), STR("1"), manifest, file, &err) != STATUS_OK)
		fail("load", err.text);
	buf_release(&text);
	return model;
}

static double seconds_to_load(struct str file)
{
	double best = HUGE_VAL;

	for (int i = 0; i < 5; i++) {
		double start = now();
		struct model *model = load(file);
		best = fmin(best, now() - start);
		model_drop(model);
	}
	return best;
}

static double seconds_to_load_theirs(struct str file)
{
	double best = HUGE_VAL;

	for (int i = 0; i < 3; i++) {
		handle booster;
		double start = now();
		must(xgb.XGBoosterCreate(NULL, 0, &booster));
		must(xgb.XGBoosterLoadModelFromBuffer(booster, file.p, file.n));
		best = fmin(best, now() - start);
		must(xgb.XGBoosterFree(booster));
	}
	return best;
}

/* All ROWS in batches of n; seconds for a row. */
static double ours(const struct model *model, size_t n, double *results)
{
	struct arena arena;
	struct err err;
	size_t bad;

	arena_init(&arena, 64u << 20);
	double start = now();
	for (size_t i = 0; i < ROWS; i += n) {
		struct model_batch batch = {
			.n = n, .values = rows[i], .width = FEATURES, .results = results + i, .arena = &arena};
		if (model_predict(model, &batch, &bad, &err) != STATUS_OK)
			fail("predict", err.text);
		arena_reset(&arena);
	}
	double spent = now() - start;
	arena_release(&arena);
	return spent / ROWS;
}

static double theirs(handle booster, size_t n, float *results)
{
	static const char config[] = "{\"type\": 0, \"training\": false, \"iteration_begin\": 0, \"iteration_end\": 0, "
				     "\"strict_shape\": true, \"cache_id\": 0, \"missing\": NaN}";
	char array[200];
	const uint64_t *shape;
	const float *out;
	uint64_t dimensions;

	double start = now();
	for (size_t i = 0; i < ROWS; i += n) {
		snprintf(array, sizeof(array),
			 "{\"data\": [%zu, true], \"shape\": [%zu, %d], \"typestr\": \"<f4\", \"version\": 3}",
			 (size_t)features[i], n, FEATURES);
		must(xgb.XGBoosterPredictFromDense(booster, array, config, NULL, &shape, &dimensions, &out));
		memcpy(results + i, out, n * sizeof(float));
	}
	return (now() - start) / ROWS;
}

/* The other way that it has, with a matrix of its own. */
static double theirs_by_matrix(handle booster, size_t n, float *results)
{
	const float *out;
	uint64_t out_n;
	handle data;

	double start = now();
	for (size_t i = 0; i < ROWS; i += n) {
		must(xgb.XGDMatrixCreateFromMat(features[i], n, FEATURES, NAN, &data));
		must(xgb.XGBoosterPredict(booster, data, 0, 0, 0, &out_n, &out));
		memcpy(results + i, out, n * sizeof(float));
		must(xgb.XGDMatrixFree(data));
	}
	return (now() - start) / ROWS;
}

static void put(const char *what, const char *unit, double scale, double appcore, double xgboost, double ratio_wanted,
		double most)
{
	bool good = (ratio_wanted <= 0 || xgboost / appcore >= ratio_wanted) && (most <= 0 || appcore < most);
	char aim[64] = "-";

	if (ratio_wanted > 0)
		snprintf(aim, sizeof(aim), "%.0f times as fast", ratio_wanted);
	else if (most > 0)
		snprintf(aim, sizeof(aim), "under %.4g %s", most * scale, unit);
	aims_met &= good;
	printf("%-40s %9.3f %9.3f %-3s %7.1f  %-20s %s\n", what, appcore * scale, xgboost * scale, unit,
	       xgboost / appcore, aim, good ? "" : "MISSED");
}

static void compare(const char *depth, int trees, bool aimed)
{
	static double results[ROWS];
	static float wanted[ROWS];
	double one = HUGE_VAL, many = HUGE_VAL, their_one = HUGE_VAL, their_many = HUGE_VAL;
	char title[64];

	handle booster = train(depth, trees);
	struct buf file = save(booster);
	struct model *model = load(buf_view(&file));
	for (int i = 0; i < ROWS; i++)
		for (int j = 0; j < FEATURES; j++)
			rows[i][j] = (double)features[i][j];
	for (int i = 0; i < ROUNDS; i++) {
		their_one = fmin(their_one, fmin(theirs(booster, 1, wanted), theirs_by_matrix(booster, 1, wanted)));
		one = fmin(one, ours(model, 1, results));
		their_many = fmin(their_many,
				  fmin(theirs(booster, ROWS, wanted), theirs_by_matrix(booster, ROWS, wanted)));
		many = fmin(many, ours(model, ROWS, results));
	}
	for (int i = 0; i < ROWS; i++)
		if (results[i] != (double)wanted[i])
			fail(depth, "results differ from XGBoost's");
	snprintf(title, sizeof(title), "%d trees, depth %s: one row", trees, depth);
	put(title, "µs", 1e6, one, their_one, aimed ? 10 : 0, 0);
	snprintf(title, sizeof(title), "%d trees, depth %s: a row of 1,000", trees, depth);
	put(title, "µs", 1e6, many, their_many, aimed ? 2 : 0, 0);
	snprintf(title, sizeof(title), "%d trees, depth %s: loading %.1f MB", trees, depth, (double)file.n / 1e6);
	put(title, "ms", 1e3, seconds_to_load(buf_view(&file)), seconds_to_load_theirs(buf_view(&file)), 0,
	    aimed ? 0.010 : 0.100);
	double share = (double)model->bytes / (double)file.n;
	aims_met &= share <= 1.5;
	printf("%-40s %9.3f of its file%29s at most 1.5%s\n", "  memory", share, "", share <= 1.5 ? "" : " MISSED");
	model_drop(model);
	buf_release(&file);
	must(xgb.XGBoosterFree(booster));
}

int main(void)
{
	if (sodium_init() < 0)
		fail("libsodium", "can't be initialised");
	if (!find_xgboost()) {
		printf("skip trees: libxgboost.so.0 (libxgboost0) is not there\n");
		return 0;
	}
	printf("%-40s %9s %9s %3s %7s  %-20s\n", "11 features, one thread", "appcore", "XGBoost", "", "ratio", "aim");
	compare("6", 100, true);
	compare("10", 500, false);
	printf("trees: %s\n", aims_met ? "all aims are met" : "an aim is missed");
	return aims_met ? 0 : 1;
}
