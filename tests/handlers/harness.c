/* The harness does what serve.c and fcgi.c do, in their order, with a transport that keeps what would be sent. */
#include "harness.h"

#include "auth/names.h"
#include "auth/password.h"
#include "base/clock.h"
#include "base/log.h"
#include "model/kinds.h"
#include "store/installation.h"
#include "store/migrate.h"
#include "store/sessions.h"
#include "store/users.h"

#include <ftw.h>
#include <math.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ANSWER_MS = 30 * 1000, JAM_MAX = 64 };

static void must(bool good, const char *what)
{
	if (!good) {
		fflush(stdout); /* what CUnit has said so far */
		fprintf(stderr, "harness: %s\n", what);
		abort();
	}
}

/* A case that ends in its middle leaves its threads and its log behind; the next one would wait for ever. */
static bool is_open;

/* --- the transport --- */

static struct exchange *exchange_of(struct request *req)
{
	return (struct exchange *)(void *)req;
}

static void end_with_nul(struct buf *buf)
{
	buf_char(buf, '\0');
	must(!buf->failed, "out of memory");
	buf->n--;
}

static void keep_head(struct exchange *x, bool known_length)
{
	x->head.n = 0;
	response_head(&x->req.response, known_length, &x->head);
	end_with_nul(&x->head);
	x->status = x->req.response.status;
}

static void respond(struct request *req)
{
	struct exchange *x = exchange_of(req);

	must(!x->done, "a request was answered twice");
	if (!req->streamed) {
		keep_head(x, true);
		x->body.n = 0;
		if (req->method != HTTP_HEAD)
			buf_str(&x->body, buf_view(&req->response.body));
	}
	end_with_nul(&x->body);
	x->done = true;
}

static bool stream(struct request *req, struct str piece)
{
	struct exchange *x = exchange_of(req);

	must(req->slow, "only slow threads stream");
	if (!req->streamed) {
		req->streamed = true;
		if (req->request_id.n > 0)
			response_header(&req->response, "X-Request-ID", req->request_id);
		keep_head(x, false);
	}
	if (x->gone_after > 0 && x->pieces >= x->gone_after)
		return false;
	x->pieces++;
	if (req->method != HTTP_HEAD)
		buf_str(&x->body, piece);
	return true;
}

static ptrdiff_t read_piece(struct request *req, void *into, size_t n)
{
	struct exchange *x = exchange_of(req);

	must(req->slow, "only slow threads read bodies");
	if (x->cut_body && x->late_body.n == 0)
		return -1;
	if (n > x->late_body.n)
		n = x->late_body.n;
	memcpy(into, x->late_body.p, n);
	x->late_body.p += n;
	x->late_body.n -= n;
	return (ptrdiff_t)n;
}

static void park(struct request *req, struct parked *parked)
{
	struct exchange *x = exchange_of(req);

	must(!req->slow && !x->parked && !x->done, "a request is parked once, by the event thread");
	keep_head(x, false);
	end_with_nul(&x->body);
	x->parked = parked;
	parked->req = req;
	request_reset(req);
	request_release(req);
}

static bool push(struct parked *parked, struct str piece)
{
	struct exchange *x = exchange_of(parked->req);

	must(x->parked == parked, "pushed to what is not parked");
	buf_str(&x->body, piece);
	end_with_nul(&x->body);
	x->pieces++;
	return !x->full;
}

static void end(struct parked *parked)
{
	struct exchange *x = exchange_of(parked->req);

	must(x->parked == parked, "ended what is not parked");
	x->parked = NULL;
	x->done = true;
}

void harness_drain(struct exchange *x)
{
	must(x->parked != NULL && x->full, "not parked, or not full");
	x->full = false;
	x->parked->drained(x->parked);
}

void harness_leave(struct exchange *x, enum parked_end why)
{
	struct parked *parked = x->parked;

	must(parked != NULL, "not parked");
	x->parked = NULL;
	x->done = true;
	parked->gone(parked, why);
}

/* --- asking --- */

static void set_param(struct request *req, const char *name, const char *value)
{
	if (value)
		request_set_param(req, str_of(name), str_of(value));
}

static void set_params(struct exchange *x, const struct ask *ask, size_t body_n)
{
	struct request *req = &x->req;
	struct edge_identity edge;
	char digits[24];

	edge_generate(&edge);
	hex_format(edge.random, sizeof(edge.random), x->edge_id);
	if (ask->edge_id)
		snprintf(x->edge_id, sizeof(x->edge_id), "%s", ask->edge_id);
	set_param(req, "REQUEST_METHOD", ask->method ? ask->method : ask->body ? "POST" : "GET");
	set_param(req, "DOCUMENT_URI", ask->path);
	set_param(req, "QUERY_STRING", ask->query ? ask->query : "");
	set_param(req, "REMOTE_ADDR", ask->client ? ask->client : "203.0.113.1");
	if (x->edge_id[0]) {
		set_param(req, "EDGE_MSEC", ask->msec ? ask->msec : HARNESS_MSEC);
		set_param(req, "EDGE_ID", x->edge_id);
		set_param(req, "REQUEST_ID", x->edge_id);
	}
	if (ask->body) {
		snprintf(digits, sizeof(digits), "%zu", body_n);
		struct str length = arena_dup(&req->arena, str_of(digits));
		must(length.p != NULL, "out of memory");
		request_set_param(req, STR("CONTENT_LENGTH"), length);
		set_param(req, "CONTENT_TYPE", ask->type ? ask->type : "application/json");
	}
	set_param(req, "HTTP_X_API_KEY", ask->key);
	if (ask->token) {
		struct buf text;
		buf_init(&text, &req->arena);
		buf_fmt(&text, "Bearer %s", ask->token);
		must(!text.failed, "out of memory");
		request_set_param(req, STR("HTTP_AUTHORIZATION"), buf_view(&text));
	}
	set_param(req, "HTTP_IDEMPOTENCY_KEY", ask->idem);
	enum { N = sizeof(ask->params) / sizeof(ask->params[0]) };
	for (int i = 0; i + 1 < N && ask->params[i]; i += 2)
		set_param(req, ask->params[i], ask->params[i + 1]);
}

static void run_with_late_body(struct request *req, struct db *db)
{
	(void)db;
	req->body = exchange_of(req)->late_body;
	app_run(req);
}

/* As checked() in fcgi.c. */
static void checked(struct request *req, bool passed)
{
	struct exchange *x = exchange_of(req);

	if (!passed) {
		app_complete(req);
		return;
	}
	shm_working_on(req->edge.random);
	if (!x->has_body || req->route->body == ROUTE_NO_BODY || req->route->body == ROUTE_STREAMED) {
		app_run(req);
	} else if (x->late) {
		request_go_slow(req, req->app->slow, run_with_late_body);
	} else {
		req->body = x->late_body;
		app_run(req);
	}
	shm_working_on(NULL);
}

static const struct transport TRANSPORT = {.checked = checked,
					   .respond = respond,
					   .stream = stream,
					   .read = read_piece,
					   .park = park,
					   .push = push,
					   .end = end};

struct exchange *harness_send(struct harness *h, const struct ask *ask)
{
	struct exchange *x = calloc(1, sizeof(*x));
	struct request *req = &x->req;
	size_t body_n = ask->body_n > 0 ? ask->body_n : ask->body ? strlen(ask->body) : 0;

	must(x != NULL, "out of memory");
	x->harness = h;
	x->next = h->exchanges;
	h->exchanges = x;
	x->gone_after = ask->gone_after;
	buf_init_heap(&x->head);
	buf_init_heap(&x->body);
	req->app = &h->app;
	req->transport = &TRANSPORT;
	arena_init(&req->arena, h->app.arena_limit);
	request_reset(req);
	set_params(x, ask, body_n);

	x->late_body = arena_dup(&req->arena, (struct str){ask->body, body_n});
	must(x->late_body.p != NULL, "out of memory");
	x->has_body = ask->body != NULL;
	x->late = ask->late_body;
	x->cut_body = ask->cut_body;
	app_begin(req);
	return x;
}

static void pump_once(struct harness *h, int ms)
{
	struct pollfd p[] = {{.fd = h->mailbox.fd, .events = POLLIN},
			     {.fd = h->app.redis ? redis_fd(h->app.redis) : -1, .events = POLLIN}};

	app_end_round(&h->app, clock_mono_ms()); /* what the last requests have asked for */
	poll(p, 2, app_sleep_ms(&h->app, clock_mono_ms(), ms));
	mailbox_drain(&h->mailbox);
	if (p[1].revents)
		redis_read(h->app.redis);
	store_expire(h->app.store, clock_mono_ms());
}

struct exchange *harness_wait(struct exchange *x)
{
	uint64_t end = clock_mono_ms() + ANSWER_MS;

	while (!x->done) {
		must(clock_mono_ms() < end, "no answer came");
		pump_once(x->harness, 20);
	}
	return x;
}

struct exchange *harness_listen(struct harness *h, const struct ask *ask)
{
	struct exchange *x = harness_send(h, ask);
	uint64_t end_ms = clock_mono_ms() + ANSWER_MS;

	while (!x->done && !x->parked) {
		must(clock_mono_ms() < end_ms, "no answer came");
		pump_once(h, 20);
	}
	return x;
}

bool harness_hears(struct exchange *x, const char *text)
{
	uint64_t end_ms = clock_mono_ms() + ANSWER_MS;

	while (!strstr(answer_body(x), text)) {
		if (x->done || clock_mono_ms() > end_ms)
			return false;
		pump_once(x->harness, 20);
	}
	return true;
}

struct exchange *harness_ask(struct harness *h, const struct ask *ask)
{
	return harness_wait(harness_send(h, ask));
}

void harness_pump(struct harness *h, int ms)
{
	uint64_t end = clock_mono_ms() + (uint64_t)ms;

	do
		pump_once(h, 5);
	while (clock_mono_ms() < end);
}

void harness_forget(struct harness *h)
{
	struct exchange **link = &h->exchanges;

	while (*link) {
		struct exchange *x = *link;
		if (!x->done) {
			link = &x->next;
			continue;
		}
		*link = x->next;
		request_release(&x->req);
		buf_release(&x->head);
		buf_release(&x->body);
		free(x);
	}
}

/* --- life --- */

void harness_init(struct harness *h)
{
	static int serial;
	char *none[] = {NULL}, **environment = environ;
	struct config_problems problems;
	char run_dir[512];

	*h = (struct harness){.slow_threads = 2, .slow_queue = 8};
	must(sodium_init() >= 0, "libsodium");
	snprintf(h->dir, sizeof(h->dir), "%s/%d", unit_temp_dir(), ++serial);
	snprintf(run_dir, sizeof(run_dir), "%s/run", h->dir);
	must(mkdir(h->dir, 0700) == 0 && mkdir(run_dir, 0700) == 0, "no directory");
	snprintf(h->database, sizeof(h->database), "%d/test.db", serial);
	snprintf(h->url, sizeof(h->url), "%s", database_url(h->database).p);

	environ = none;
	bool good = config_load(&h->config, "/nonexistent/.env", &problems);
	environ = environment;
	config_problems_release(&problems);
	must(good, "the default settings are wrong");
	h->config.run_dir = arena_dup(&h->config.arena, str_of(run_dir)).p;
	h->config.database_url = h->url;
	h->config.api_key = HARNESS_KEY;
	h->config.secret_key = HARNESS_SECRET;
	h->config.user_rate_limit_per_minute = 0;
	h->config.rate_limit_per_minute = 0;
	h->config.retention_days = 0;
}

static void *open_slow_connection(void *arg)
{
	struct harness *h = arg;
	struct db *db;

	if (h->slow_without_db || store_connect(h->app.store, &db, NULL) != STATUS_OK)
		return NULL;
	return db;
}

static void close_slow_connection(void *arg, void *thread_state)
{
	(void)arg;
	db_close(thread_state);
}

static void start_store(struct harness *h)
{
	struct err err = {0};
	struct store_options options = {.url = str_of(h->url),
					.mailbox = &h->mailbox,
					.shm = h->app.shm,
					.deadline_ms = h->deadline_ms ? h->deadline_ms : 25000};
	struct pool_options slow = {.name = "slow",
				    .threads = h->slow_threads,
				    .queue = h->slow_queue,
				    .thread_start = open_slow_connection,
				    .thread_stop = close_slow_connection,
				    .arg = h};

	must(store_open(&h->app.store, &options, &err) == STATUS_OK, err.text);
	must(pool_open(&h->app.slow, &slow), "no threads");
	const struct shadow_options shadow = {.store = h->app.store, .shm = h->app.shm, .nap_ms = 2};
	must(shadow_open(&h->app.shadow, &shadow), "no shadow");
	const struct pool_options passwords = {.name = "passwords", .threads = 2, .queue = APP_SLOW_QUEUE};
	must(pool_open(&h->app.passwords, &passwords), "no threads");
	h->app.lists = h->app.uploads = h->app.slow;
}

static void note_keys(void *arg)
{
	app_keys_changed(&((struct harness *)arg)->app);
}

/* As open_redis() in serve.c. */
static void start_redis(struct harness *h)
{
	struct redis_options options = {.mailbox = &h->mailbox,
					.shm = h->app.shm,
					.instance = "t",
					.on_change = note_keys,
					.arg = h,
					.script = limit_redis_script,
					.probe = limit_redis_probe,
					.probe_n = LIMIT_REDIS_PROBE_ARGS,
					.deadline_ms = h->redis_deadline_ms ? h->redis_deadline_ms : 10000};
	struct err err = {0};

	if (!h->redis_url)
		return;
	must(redis_url_parse(str_of(h->redis_url), &options.url, &err) == STATUS_OK, err.text);
	must(installation_make(h->db, options.installation, &err) == STATUS_OK, err.text);
	must(redis_open(&h->app.redis, &options, &err) == STATUS_OK, err.text);
	must(limit_redis_open(&h->app.limits, h->app.redis, CONFIG_SECONDS_PER_WINDOW * 1000), "no limits");
}

static void end_redis(struct harness *h)
{
	redis_close(h->app.redis);
	limit_redis_close(h->app.limits);
}

bool harness_redis_is(struct harness *h, enum redis_state state)
{
	uint64_t end = clock_mono_ms() + ANSWER_MS;

	while (redis_state(h->app.redis) != state && clock_mono_ms() < end)
		pump_once(h, 10);
	return redis_state(h->app.redis) == state;
}

static void add_model(struct model_set *set, struct model *model)
{
	const struct model_share whole = {str_of(model->version), 1};
	struct err err = {0};

	must(model_set_add(set, model, &err) == STATUS_OK, err.text);
	if (model_set_find_route(set, str_of(model->name)))
		return;
	must(model_set_route(set, str_of(model->name), &whole, 1, (struct str){0}, MODEL_STICKY_NONE, (struct str){0},
			     &err) == STATUS_OK,
	     err.text);
}

/* The mean, and the harness's models. */
static struct model_set *models_of(struct harness *h)
{
	enum { N = sizeof(h->models) / sizeof(h->models[0]) };
	struct model_set *set = model_set_new();
	struct err err = {0};

	must(set, "no memory");
	if (h->model) {
		add_model(set, h->model);
		must(model_set_default(set, str_of(h->model->name), &err) == STATUS_OK, err.text);
	}
	for (int i = 0; i < N && h->models[i]; i++) {
		if (h->models[i] != h->model)
			add_model(set, h->models[i]);
		model_drop(h->models[i]);
		h->models[i] = NULL;
	}
	return set;
}

struct model *harness_load(const char *name, const char *version, const char *kind, const char *members,
			   const char *file)
{
	struct manifest *manifest;
	struct model *model;
	struct err err = {0};
	uint8_t hash[32];
	char digits[65];
	struct buf text;

	crypto_generichash(hash, sizeof(hash), (const uint8_t *)file, strlen(file), NULL, 0);
	hex_format(hash, sizeof(hash), digits);
	buf_init_heap(&text);
	buf_fmt(&text, "{\"appcore\":1,\"kind\":\"%s\",\"file\":\"model.json\",\"hash\":\"%s\",%s}", kind, digits,
		members);
	must(manifest_parse(&manifest, buf_view(&text), &err) == STATUS_OK, err.text);
	must(kind_load_model(&model, str_of(name), str_of(version), manifest, str_of(file), &err) == STATUS_OK,
	     err.text);
	buf_release(&text);
	return model;
}

void harness_start(struct harness *h)
{
	struct app *app = &h->app;
	struct err err = {0};

	must(!is_open, "the case before was ended by a FATAL assertion; its failure stands above");
	is_open = true;
	snprintf(h->log, sizeof(h->log), "%s/log", h->dir);
	must(log_start(LOG_LEVEL_INFO, h->log_file ? h->log_file : h->log, "t"), "no log");
	must(db_open(&h->db, str_of(h->url), DB_WRITE, &err) == STATUS_OK, err.text);
	must(migrate_up(h->db, 0, false, NULL, NULL, NULL, &err) == STATUS_OK, err.text);
	app->config = &h->config;
	must(shm_open_dir(&app->shm, h->config.run_dir, &err) == STATUS_OK, err.text);
	must(shm_claim_slot(app->shm, "t", &err) == STATUS_OK, err.text);
	if (h->model || h->models[0])
		app_take_models(app, models_of(h));
	else
		must(app_begin_models(app, &err) == STATUS_OK, err.text);
	must(mailbox_init(&h->mailbox), "no mailbox");
	app->mailbox = &h->mailbox;
	start_store(h);
	start_redis(h);
	must(app_init(app), "app_init");
	if (app->redis && !h->redis_late)
		must(harness_redis_is(h, REDIS_CLOSED), "no Redis");
	h->ticks_ms = clock_mono_ms();
}

void harness_open(struct harness *h)
{
	harness_init(h);
	harness_start(h);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void harness_close(struct harness *h)
{
	for (struct exchange *x = h->exchanges; x; x = x->next) {
		if (x->parked)
			harness_leave(x, PARKED_DRAINED);
		harness_wait(x);
	}
	h->app.draining = true;
	pool_stop(h->app.slow);
	pool_stop(h->app.passwords);
	shadow_close(h->app.shadow);
	h->app.shadow = NULL;
	store_stop(h->app.store);
	mailbox_drain(&h->mailbox);
	end_redis(h);
	mailbox_drain(&h->mailbox);
	pool_close(h->app.slow);
	pool_close(h->app.passwords);
	store_close(h->app.store);
	harness_forget(h);
	app_release(&h->app);
	mailbox_release(&h->mailbox);
	shm_close(h->app.shm);
	db_close(h->db);
	database_drop(h->database);
	log_stop();
	is_open = false;
	config_release(&h->config);
	nftw(h->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* --- looking at answers --- */

const char *answer_header(const struct exchange *x, const char *name)
{
	static char values[8][1024];
	static int next;
	char *value = values[next++ % 8];
	struct str rest = buf_view(&x->head);
	int found = 0;

	value[0] = '\0';
	while (rest.n > 0) {
		struct str line = str_cut(&rest, '\n');
		struct str its_name = str_cut(&line, ':');
		if (!str_eq_nocase(its_name, str_of(name)))
			continue;
		line = str_trim(line);
		snprintf(value, sizeof(values[0]), "%.*s", STR_ARG(line));
		found++;
	}
	if (found > 1)
		snprintf(value, sizeof(values[0]), "(twice)");
	return value;
}

const char *answer_body(const struct exchange *x)
{
	return x->body.p;
}

void text_is(const char *got, const char *wanted, const char *file, int line)
{
	bool good = strcmp(got, wanted) == 0;

	if (!good)
		printf("\n%s:%d\n  got    %.2000s\n  wanted %.2000s\n", file, line, got, wanted);
	CU_assertImplementation(good, (unsigned)line, wanted, file, "", CU_FALSE);
}

void answer_is(const struct exchange *x, int status, const char *body, const char *file, int line)
{
	if (x->status != status)
		printf("\n%s:%d: status %d instead of %d: %.2000s\n", file, line, x->status, status, answer_body(x));
	CU_assertImplementation(x->status == status, (unsigned)line, "status", file, "", CU_FALSE);
	if (body)
		text_is(answer_body(x), body, file, line);
}

double harness_metric(struct harness *h, const char *series)
{
	struct buf text;
	struct str name = str_of(series);
	double value = -1.0;

	buf_init_heap(&text);
	metrics_render(h->app.shm, &text);
	must(!text.failed, "out of memory");
	buf_char(&text, '\0');
	struct str rest = {text.p, text.n - 1};
	while (rest.n > 0) {
		struct str line = str_cut(&rest, '\n');
		if (str_starts(line, name) && line.n > name.n && line.p[name.n] == ' ')
			value = strtod(line.p + name.n, NULL);
	}
	buf_release(&text);
	return value;
}

bool harness_metric_is(struct harness *h, const char *series, double wanted)
{
	uint64_t end_ms = clock_mono_ms() + ANSWER_MS;

	while (harness_metric(h, series) != wanted) {
		if (clock_mono_ms() > end_ms) {
			printf("\n%s is %g instead of %g\n", series, harness_metric(h, series), wanted);
			return false;
		}
		pump_once(h, 5);
	}
	return true;
}

bool harness_logged(struct harness *h, const char *text)
{
	static char content[1 << 20];

	for (int tries = 0; tries < ANSWER_MS / 10; tries++) {
		FILE *file = fopen(h->log, "re");
		size_t n = file ? fread(content, 1, sizeof(content) - 1, file) : 0;
		if (file)
			fclose(file);
		content[n] = '\0';
		if (strstr(content, text))
			return true;
		usleep(10 * 1000);
	}
	return false;
}

/* --- the database --- */

int64_t harness_number(struct harness *h, const char *sql)
{
	struct stmt *stmt;
	bool row;

	if (db_prepare(h->db, sql, &stmt, NULL) != STATUS_OK)
		return -1;
	int64_t n = db_step(stmt, &row, NULL) == STATUS_OK && row ? db_column_i64(stmt, 0) : -1;
	db_reset(stmt);
	return n;
}

static void begin(struct harness *h)
{
	must(db_turn_take(h->db, ANSWER_MS, NULL) == STATUS_OK && db_begin(h->db, NULL) == STATUS_OK, "no turn");
}

static void commit(struct harness *h)
{
	must(db_commit(h->db, NULL) == STATUS_OK, "no commit");
	db_turn_give(h->db);
}

void harness_sql(struct harness *h, const char *sql)
{
	struct err err = {0};

	begin(h);
	must(db_script(h->db, sql, &err) == STATUS_OK, err.text);
	commit(h);
}

void harness_hold_turn(struct harness *h, bool hold)
{
	database_hold(h->db, hold);
	if (hold)
		database_plug(h->app.store);
}

void harness_store(struct harness *h, const struct prediction *row)
{
	bool repeated;

	begin(h);
	must(predictions_save(h->db, row, &repeated, NULL, NULL, NULL) == STATUS_OK && !repeated, "not stored");
	commit(h);
}

void harness_add_row(struct harness *h, const struct key_row *row)
{
	begin(h);
	must(keys_insert(h->db, row, NULL) == STATUS_OK, "no key");
	commit(h);
}

void harness_add_key(struct harness *h, const char *name, int64_t rate, int64_t expires_us, char text[KEY_TEXT_BYTES])
{
	struct key_row row = {.rate_per_minute = rate, .created_us = clock_wall_us(), .expires_us = expires_us};

	keyring_generate(text, &row);
	snprintf(row.name, sizeof(row.name), "%s", name);
	harness_add_row(h, &row);
}

/* One hash for all: making it takes its time. */
static const char *password_hash_of_all(void)
{
	static char hash[PASSWORD_HASH_BYTES];

	if (!hash[0])
		must(password_hash(STR(HARNESS_PASSWORD), hash, NULL) == STATUS_OK, "no hash");
	return hash;
}

static void insert_user(struct harness *h, struct harness_user *user)
{
	struct user_row row = {.active = true};
	struct str name, name_key, email, email_key;
	struct arena arena;

	arena_init(&arena, 1 << 20);
	must(!username_normalise(str_of(user->name), &arena, &name, &name_key), "a bad name");
	must(!email_normalise(str_of(user->email), &arena, &email, &email_key), "a bad address");
	snprintf(row.username, sizeof(row.username), "%.*s", STR_ARG(name));
	snprintf(row.username_key, sizeof(row.username_key), "%.*s", STR_ARG(name_key));
	snprintf(row.email, sizeof(row.email), "%.*s", STR_ARG(email));
	snprintf(row.email_key, sizeof(row.email_key), "%.*s", STR_ARG(email_key));
	snprintf(row.hash, sizeof(row.hash), "%s", password_hash_of_all());
	must(users_insert(h->db, &row, NULL) == STATUS_OK, "no user");
	user->id = row.id;
	arena_release(&arena);
}

void harness_add_user(struct harness *h, const char *name, struct harness_user *user)
{
	int64_t now_us = clock_wall_us();
	struct session_row session = {
		.created_us = now_us, .renewed_us = now_us, .expires_us = now_us + INT64_C(3600000000)};
	struct edge_identity edge;
	struct token token = {.issued_s = now_us / 1000000, .expires_s = now_us / 1000000 + 1800};
	struct arena arena;

	*user = (struct harness_user){0};
	snprintf(user->name, sizeof(user->name), "%s", name);
	snprintf(user->email, sizeof(user->email), "%s@example.com", name);
	begin(h);
	insert_user(h, user);
	edge_generate(&edge);
	const struct id id = id_of_edge(&edge);
	id_format(&id, user->session);
	memcpy(session.id, user->session, sizeof(session.id));
	session.user_id = user->id;
	randombytes_buf(session.refresh_hash, sizeof(session.refresh_hash));
	must(sessions_insert(h->db, &session, NULL) == STATUS_OK, "no session");
	commit(h);

	snprintf(token.username, sizeof(token.username), "%s", name);
	token.user_id = user->id;
	memcpy(token.session, user->session, sizeof(token.session));
	memcpy(token.jti, user->session, sizeof(token.jti));
	arena_init(&arena, 1 << 20);
	struct str text = token_sign(&h->app.token_keys, &token, &arena);
	must(text.n > 0 && text.n < sizeof(user->token), "no token");
	memcpy(user->token, text.p, text.n);
	arena_release(&arena);
}

void harness_tick(struct harness *h)
{
	h->ticks_ms += 1000;
	app_tick(&h->app, h->ticks_ms);
	for (int i = 0; i < 1000 && app_reads_keys(&h->app); i++)
		harness_pump(h, 10); /* what it has read comes through the mailbox */
}

/* --- a jam --- */

static sem_t jam_entered, jam_end;
static struct pool_job jam_jobs[JAM_MAX];

static void wait_in_jam(struct pool_job *job, void *thread_state)
{
	(void)job;
	(void)thread_state;
	sem_post(&jam_entered);
	sem_wait(&jam_end);
}

void harness_jam_slow_lane(struct harness *h, bool jam)
{
	static int jammed;

	if (!jam) {
		for (int i = 0; i < jammed; i++)
			sem_post(&jam_end);
		while (pool_queue_length(h->app.slow) > 0) /* or the next request still finds it full */
			usleep(1000);
		return;
	}
	jammed = h->slow_threads + (int)h->slow_queue;
	must(jammed <= JAM_MAX, "too many to jam");
	sem_init(&jam_entered, 0, 0);
	sem_init(&jam_end, 0, 0);
	for (int i = 0; i < jammed; i++) {
		jam_jobs[i].run = wait_in_jam;
		must(pool_submit(h->app.slow, &jam_jobs[i]), "the slow lane was full before");
		if (i < h->slow_threads)
			sem_wait(&jam_entered);
	}
}

/* --- models --- */

static enum status give_42(const struct model *model, const struct model_batch *batch, size_t *bad, struct err *err)
{
	(void)model;
	(void)bad;
	(void)err;
	for (size_t i = 0; i < batch->n; i++)
		batch->results[i] = 42.0;
	return STATUS_OK;
}

static enum status refuse(const struct model *model, const struct model_batch *batch, size_t *bad, struct err *err)
{
	(void)model;
	(void)batch;
	(void)bad;
	return err_set(err, STATUS_INVALID, "No model today");
}

static enum status give_nan(const struct model *model, const struct model_batch *batch, size_t *bad, struct err *err)
{
	(void)model;
	(void)bad;
	(void)err;
	for (size_t i = 0; i < batch->n; i++)
		batch->results[i] = (double)NAN;
	return STATUS_OK;
}

static bool is_well(const struct model *model)
{
	(void)model;
	return true;
}

static bool is_sick(const struct model *model)
{
	(void)model;
	return false;
}

static const struct model_ops OPS_42 = {.predict = give_42, .is_healthy = is_well};
static const struct model_ops OPS_REFUSES = {.predict = refuse, .is_healthy = is_well};
static const struct model_ops OPS_NAN = {.predict = give_nan, .is_healthy = is_well};
static const struct model_ops OPS_SICK = {.predict = give_42, .is_healthy = is_sick};

static struct model models[] = {
	{.name = "test", .version = "test-v1", .hash = "42", .accepts = MODEL_VECTOR, .ops = &OPS_42},
	{.name = "test", .version = "refuses-v1", .hash = "0", .accepts = MODEL_VECTOR, .ops = &OPS_REFUSES},
	{.name = "test", .version = "nan-v1", .hash = "0", .accepts = MODEL_VECTOR, .ops = &OPS_NAN},
	{.name = "test", .version = "sick-v1", .hash = "0", .accepts = MODEL_VECTOR, .ops = &OPS_SICK},
};

struct model *harness_model_42(void)
{
	return &models[0];
}

struct model *harness_model_refuses(void)
{
	return &models[1];
}

struct model *harness_model_nan(void)
{
	return &models[2];
}

struct model *harness_model_sick(void)
{
	return &models[3];
}
