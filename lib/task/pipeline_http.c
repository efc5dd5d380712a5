/* Reading an API page by page for a run (pipeline_run.c): each page is fetched whole, tried again where that may help,
 * checked, and only then read. Where the run is, which page and what the greatest `since` was, is part of its position,
 * so it is stored with the records; what the next run begins with (data_cursors) is stored with the last of them.
 *
 * The circuit breaker counts every attempt that failed, and is stored at once: it holds for all runs and workers. */
#include "task/pipeline_impl.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "pipeline/http_fetch.h"
#include "pipeline/http_source.h"
#include "pipeline/http_url.h"
#include "store/cursors.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
	SCRATCH_BYTES = 1 << 20,
	DELAY_MS = 500, /* before the second attempt; doubles */
	DELAY_MOST_MS = 30000,
	RETRY_AFTER_MOST_S = 300, /* whoever wants us to wait longer ends the run */
	SLICE_MS = 100,
	DIGEST = 16,
};

struct api {
	struct task_run *run;
	const struct run_row *row;
	const struct pipeline *pipeline;
	const struct http_source *how;
	struct http_client *client;
	struct http_answer answer;
	struct cursor_row cursor;                         /* as it was found; its texts are in the task's arena */
	struct arena scratch;                             /* of a page */
	int64_t pages;                                    /* that are done */
	struct buf url, next;                             /* of this page; of the one after it, empty: there is none */
	char digest[2 * DIGEST + 1], was[2 * DIGEST + 1]; /* of this page; of the one that the position is in */
	char source[2 * DIGEST + 1], request[2 * DIGEST + 1];
	char since[HTTP_SINCE_BYTES + 1], first_since[HTTP_SINCE_BYTES + 1]; /* the greatest; before this page */
	bool over;
	enum status stopped; /* what a checkpoint said within a transfer */
	struct err stopped_err;
};

/* --- the position --- */

static void put_text(struct buf *out, const char *name, struct str value)
{
	buf_fmt(out, ",\"%s\":", name);
	json_put_string(out, value);
}

void api_put_position(const struct api *api, bool page_done, struct buf *out)
{
	buf_fmt(out, ",\"page\":{\"n\":%lld", (long long)api->pages + page_done);
	put_text(out, "url", page_done ? buf_view(&api->next) : buf_view(&api->url));
	put_text(out, "digest", page_done ? STR("") : str_of(api->digest));
	put_text(out, "since", str_of(page_done ? api->since : api->first_since));
	put_text(out, "request", str_of(api->request));
	buf_char(out, '}');
}

static struct str read_text(struct json_value page, struct str name, struct arena *arena)
{
	struct json_value value;

	return json_member(page, name, &value) && value.type == JSON_STRING ? json_string(value, arena)
									    : (struct str){0};
}

static bool read_position(struct api *api, struct str position)
{
	struct json_value root, page, n;
	struct json_fault fault;
	double number;

	if (!json_check(position, 3, &root, &fault) || !json_member(root, STR("page"), &page))
		return false;
	struct str url = read_text(page, STR("url"), &api->scratch);
	if (json_member(page, STR("n"), &n) && n.type == JSON_NUMBER && json_number(n, &number) && number >= 0 &&
	    number < 1e15)
		api->pages = (int64_t)number;
	buf_str(&api->url, url);
	snprintf(api->was, sizeof(api->was), "%.*s", STR_ARG(read_text(page, STR("digest"), &api->scratch)));
	snprintf(api->since, sizeof(api->since), "%.*s", STR_ARG(read_text(page, STR("since"), &api->scratch)));
	snprintf(api->request, sizeof(api->request), "%.*s", STR_ARG(read_text(page, STR("request"), &api->scratch)));
	memcpy(api->first_since, api->since, sizeof(api->first_since));
	api->over = url.n == 0;
	return true;
}

/* --- the first page --- */

static void digest(struct str a, struct str b, char out[static 2 * DIGEST + 1])
{
	crypto_generichash_state state;
	uint8_t hash[DIGEST], n[8];

	for (int i = 0; i < 8; i++)
		n[i] = (uint8_t)((uint64_t)a.n >> 8 * i);
	crypto_generichash_init(&state, NULL, 0, sizeof(hash));
	crypto_generichash_update(&state, n, sizeof(n));
	crypto_generichash_update(&state, (const uint8_t *)a.p, a.n);
	crypto_generichash_update(&state, (const uint8_t *)b.p, b.n);
	crypto_generichash_final(&state, hash, sizeof(hash));
	hex_format(hash, sizeof(hash), out);
	out[sizeof(hash) * 2] = '\0';
}

static bool set_number(struct buf *url, struct str param, int64_t value)
{
	char text[24];
	int n = snprintf(text, sizeof(text), "%lld", (long long)value);

	return http_url_set(url, param, (struct str){text, (size_t)n});
}

/* The URL that a run begins with when `since` is the greatest that is stored. */
static bool make_url(const struct api *api, struct str since, struct buf *url)
{
	const struct http_source *how = api->how;
	bool good = true;

	url->n = 0;
	buf_str(url, how->url);
	if (how->since_param.n > 0 && since.n > 0)
		good = http_url_set(url, how->since_param, since);
	if (good && how->paging == HTTP_BY_PAGE)
		good = set_number(url, how->page_param, how->page_first);
	if (good && how->size_param.n > 0)
		good = set_number(url, how->size_param, how->page_size);
	return good && !url->failed;
}

static enum status too_long(struct err *err)
{
	return err_set(err, STATUS_INVALID, "The URL of a page is no URL that can be fetched, or is too long.");
}

static enum status begin(struct api *api, struct str position, struct err *err)
{
	const struct http_source *how = api->how;
	struct buf about;

	buf_init(&about, &api->scratch);
	buf_fmt(&about, "%.*s %.*s", STR_ARG(how->since_param), STR_ARG(how->since_member));
	digest(how->url, buf_view(&about), api->source);
	if (!str_eq(api->cursor.source, str_of(api->source)))
		api->cursor.since = STR("");
	if (read_position(api, position))
		return STATUS_OK;
	snprintf(api->since, sizeof(api->since), "%.*s", STR_ARG(api->cursor.since));
	memcpy(api->first_since, api->since, sizeof(api->first_since));
	if (!make_url(api, api->cursor.since, &api->url))
		return too_long(err);
	digest(api->pipeline->text, buf_view(&api->url), api->request);
	return STATUS_OK;
}

/* --- the circuit breaker --- */

static enum status find_cursor(struct db *db, struct task_run *run, void *arg, struct err *err)
{
	struct api *api = arg;

	return cursors_find(db, api->cursor.pipeline_id, run->arena, &api->cursor, err);
}

static enum status save_cursor(struct db *db, struct task_run *run, void *arg, struct err *err)
{
	const struct api *api = arg;

	(void)run;
	return cursors_save(db, &api->cursor, clock_wall_us(), err);
}

static enum status check_circuit(struct api *api, struct err *err)
{
	int64_t now_us = clock_wall_us();

	if (cursors_circuit(&api->cursor, now_us) != CURSOR_OPEN)
		return STATUS_OK;
	return err_set(err, STATUS_INVALID,
		       "Circuit is OPEN: %lld calls in a row failed; the API is asked again in %lld s.",
		       (long long)api->cursor.failures, (long long)(api->cursor.open_until_us - now_us) / 1000000 + 1);
}

static enum status note_failure(struct api *api, const struct err *why, struct err *err)
{
	log_event(LOG_LEVEL_WARNING, "the API of the pipeline %s failed: %s", api->pipeline->name, why->text);
	cursors_note_failure(&api->cursor, clock_wall_us());
	return task_checkpoint(api->run, api->row->counts.bytes_read, api->row->counts.bytes_total, save_cursor, api,
			       err);
}

/* --- a page's contents --- */

/* "meta.next" */
static bool find_member(struct json_value root, struct str path, struct json_value *out)
{
	*out = root;
	while (path.p)
		if (!json_member(*out, str_cut(&path, '.'), out))
			return false;
	return true;
}

static bool find_items(struct json_value root, struct str path, struct json_value *out)
{
	struct json_iter iter;

	*out = root;
	if (path.n > 0)
		return find_member(root, path, out) && out->type == JSON_ARRAY;
	if (root.type == JSON_ARRAY)
		return true;
	if (root.type != JSON_OBJECT)
		return false;
	json_iter_init(&iter, root);
	while (json_next(&iter, NULL, out))
		if (out->type == JSON_ARRAY)
			return true;
	return false;
}

static bool is_digits(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
	return s.n > 0;
}

/* Numbers by their value, exactly where they are whole; other texts as they are spelt, which suits ISO 8601. */
static bool is_greater(struct str a, struct str b, bool number)
{
	double x, y;

	if (number && is_digits(a) && is_digits(b) && a.n != b.n)
		return a.n > b.n;
	if (number && !(is_digits(a) && is_digits(b)) && json_number_of_text(a, &x) && json_number_of_text(b, &y))
		return x > y;
	int order = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
	return order > 0 || (order == 0 && a.n > b.n);
}

static void note_since(struct api *api, struct json_value item)
{
	struct json_value value;
	struct str text = {0};

	if (api->how->since_member.n == 0 || !find_member(item, api->how->since_member, &value))
		return;
	if (value.type == JSON_STRING)
		text = json_string(value, &api->scratch);
	else if (value.type == JSON_NUMBER)
		text = value.text;
	if (text.n == 0 || text.n > HTTP_SINCE_BYTES || memchr(text.p, '\0', text.n))
		return;
	if (api->since[0] && !is_greater(text, str_of(api->since), value.type == JSON_NUMBER))
		return;
	memcpy(api->since, text.p, text.n);
	api->since[text.n] = '\0';
}

/* Sets api->next. */
static enum status find_next(struct api *api, struct json_value root, int64_t items, struct err *err)
{
	const struct http_source *how = api->how;
	struct str text = {0};
	struct json_value value;
	bool good = true;

	api->next.n = 0;
	switch (how->paging) {
	case HTTP_ONE_PAGE:
		break;
	case HTTP_BY_LINK:
		if (http_link_next(buf_view(&api->answer.link), &text))
			good = http_url_join(buf_view(&api->answer.url), text, &api->next);
		break;
	case HTTP_BY_CURSOR:
		if (!find_member(root, how->page_member, &value))
			break;
		if (value.type == JSON_STRING) {
			text = json_string(value, &api->scratch);
			good = text.p != NULL;
		} else if (value.type == JSON_NUMBER) {
			text = value.text;
		}
		if (text.n > 0) {
			buf_str(&api->next, buf_view(&api->url));
			good = http_url_set(&api->next, how->page_param, text);
		}
		break;
	case HTTP_BY_PAGE:
		if (items > 0 && items >= how->page_size) {
			buf_str(&api->next, buf_view(&api->url));
			good = set_number(&api->next, how->page_param, how->page_first + api->pages + 1);
		}
		break;
	}
	if (!good)
		return too_long(err);
	if (api->next.failed)
		return err_set(err, STATUS_NO_MEMORY, "no memory for a URL");
	if (api->next.n > 0 && str_eq(buf_view(&api->next), buf_view(&api->url)))
		return err_set(err, STATUS_INVALID, "The next page after page %lld is the same page again.",
			       (long long)api->pages + 1);
	return STATUS_OK;
}

/* STATUS_UNAVAILABLE: half a page, perhaps. */
static enum status read_page(struct api *api, struct str *array, int64_t *items, struct err *err)
{
	struct json_value root, list, item;
	struct json_fault fault;
	struct json_iter iter;
	struct str body = buf_view(&api->answer.body), path = api->pipeline->source.items;

	if (str_starts(body, STR("\xef\xbb\xbf")))
		body = (struct str){body.p + 3, body.n - 3};
	if (!json_check(body, JSON_MAX_DEPTH, &root, &fault))
		return err_set(err, STATUS_UNAVAILABLE, "The answer is no JSON: %s at character %zu.", fault.reason,
			       fault.offset);
	if (!find_items(root, path, &list))
		return err_set(err, STATUS_INVALID, "The JSON has no array%s%.*s%s.", path.n > 0 ? " \"" : "",
			       STR_ARG(path), path.n > 0 ? "\"" : "");
	snprintf(api->first_since, sizeof(api->first_since), "%s", api->since);
	*items = 0;
	json_iter_init(&iter, list);
	while (json_next(&iter, NULL, &item)) {
		++*items;
		arena_reset(&api->scratch);
		note_since(api, item);
	}
	arena_reset(&api->scratch);
	*array = list.text;
	digest(list.text, STR(""), api->digest);
	return find_next(api, root, *items, err);
}

/* --- fetching --- */

static bool go_on(void *arg)
{
	struct api *api = arg;
	const struct run_counts *counts = &api->row->counts;

	api->stopped = task_checkpoint(api->run, counts->bytes_read, counts->bytes_total, NULL, NULL,
				       &api->stopped_err);
	return api->stopped == STATUS_OK;
}

static int64_t delay_ms(const struct api *api, int64_t attempt)
{
	int64_t ms = attempt < 7 ? (int64_t)DELAY_MS << attempt : DELAY_MOST_MS;

	ms = ms < DELAY_MOST_MS ? ms : DELAY_MOST_MS;
	ms = ms / 2 + (int64_t)randombytes_uniform((uint32_t)(ms / 2 + 1));
	return api->answer.retry_after_s * 1000 > ms ? api->answer.retry_after_s * 1000 : ms;
}

static enum status wait_ms(struct api *api, int64_t ms, struct err *err)
{
	static const struct timespec nap = {.tv_nsec = SLICE_MS * 1000000L};
	uint64_t until = clock_mono_ms() + (uint64_t)ms;

	for (int i = 0; clock_mono_ms() < until; i++) {
		nanosleep(&nap, NULL);
		if (i % 5 == 4 && !go_on(api)) {
			*err = api->stopped_err;
			return api->stopped;
		}
	}
	return STATUS_OK;
}

static enum status try_once(struct api *api, struct str *array, int64_t *items, struct err *err)
{
	bool first = api->pages == 0 && str_eq(api->cursor.request, str_of(api->request)) && !api->was[0];

	enum status status = http_fetch(api->client, buf_view(&api->url), first ? api->cursor.etag : STR(""),
					first ? api->cursor.last_modified : STR(""), &api->answer, err);
	if (status != STATUS_OK || api->answer.status == 304)
		return status;
	char before[sizeof(api->since)];
	memcpy(before, api->since, sizeof(before));
	status = read_page(api, array, items, err);
	if (status != STATUS_OK)
		memcpy(api->since, before, sizeof(before));
	return status;
}

/* Until a page is there, or there is no hope. */
static enum status fetch(struct api *api, struct str *array, int64_t *items, struct err *err)
{
	for (int64_t attempt = 0;; attempt++) {
		struct err why = {0};
		enum status status = check_circuit(api, err);
		if (status != STATUS_OK)
			return status;
		api->stopped = STATUS_OK;
		status = try_once(api, array, items, &why);
		if (status == STATUS_OK)
			return status;
		if (api->stopped != STATUS_OK) {
			*err = api->stopped_err;
			return api->stopped;
		}
		*err = why;
		if (status != STATUS_INVALID && status != STATUS_UNAVAILABLE)
			return status;
		if (api->answer.reached) {
			struct err other;
			enum status noted = note_failure(api, &why, &other);
			if (noted != STATUS_OK) {
				*err = other;
				return noted;
			}
		}
		if (status == STATUS_INVALID)
			return status;
		if (attempt >= api->how->retries || api->answer.retry_after_s > RETRY_AFTER_MOST_S)
			return err_set(err, STATUS_INVALID, "%s", why.text);
		if (cursors_circuit(&api->cursor, clock_wall_us()) != CURSOR_OPEN) {
			status = wait_ms(api, delay_ms(api, attempt), err);
			if (status != STATUS_OK)
				return status;
		}
	}
}

enum status api_fetch(struct api *api, struct str *array, int64_t *items, bool *same, struct err *err)
{
	*array = (struct str){0};
	*items = 0;
	*same = false;
	if (api->over)
		return STATUS_OK;
	if (api->pages >= api->how->pages_max)
		return err_set(err, STATUS_INVALID,
			       "There are more than pages_max, %lld, pages: what came before is stored.",
			       (long long)api->how->pages_max);
	enum status status = fetch(api, array, items, err);
	if (status == STATUS_OK && api->answer.status == 304) {
		api->next.n = 0; /* nothing is new */
		return STATUS_OK;
	}
	*same = status == STATUS_OK && strcmp(api->digest, api->was) == 0;
	api->was[0] = '\0';
	return status;
}

/* --- a page's end --- */

enum status api_store(struct db *db, const struct api *api, struct err *err)
{
	struct cursor_row row = api->cursor;
	bool same = api->answer.status == 304, last = api->next.n == 0;
	char request[2 * DIGEST + 1];
	struct buf url;

	if (!last && row.failures == 0)
		return STATUS_OK;
	cursors_note_success(&row);
	if (last && !same) {
		/* Validators are of one URL: they count if the next run begins with it, and if it was all there was. */
		buf_init_heap(&url);
		bool good = make_url(api, str_of(api->since), &url);
		digest(api->pipeline->text, buf_view(&url), request);
		buf_release(&url);
		row.source = str_of(api->source);
		row.since = str_of(api->since);
		row.request = str_of(request);
		good = good && api->pages == 0 && strcmp(request, api->request) == 0;
		row.etag = good ? str_of(api->answer.etag) : STR("");
		row.last_modified = good ? str_of(api->answer.last_modified) : STR("");
	}
	return cursors_save(db, &row, clock_wall_us(), err);
}

void api_advance(struct api *api)
{
	cursors_note_success(&api->cursor);
	api->pages++;
	api->url.n = 0;
	buf_str(&api->url, buf_view(&api->next));
	api->over = api->next.n == 0;
	api->next.n = 0;
	api->digest[0] = '\0';
	memcpy(api->first_since, api->since, sizeof(api->first_since));
}

int64_t api_pages(const struct api *api)
{
	return api->pages;
}

/* --- */

enum status api_open(struct api **out, struct task_run *run, const struct run_row *row, const struct pipeline *pipeline,
		     struct err *err)
{
	struct api *api = calloc(1, sizeof(*api));

	*out = NULL;
	if (!api)
		return err_set(err, STATUS_NO_MEMORY, "no memory for an API");
	api->run = run;
	api->row = row;
	api->pipeline = pipeline;
	api->how = pipeline->source.api;
	api->cursor.pipeline_id = row->pipeline_id;
	arena_init(&api->scratch, SCRATCH_BYTES);
	http_answer_init(&api->answer);
	buf_init_heap(&api->url);
	buf_init_heap(&api->next);
	enum status status = task_read(run, find_cursor, api, err);
	if (status == STATUS_OK)
		status = begin(api, row->position, err);
	if (status == STATUS_OK && !api->over)
		status = http_client_open(&api->client, api->how, run->config->source_networks, go_on, api, err);
	if (status == STATUS_OK)
		*out = api;
	else
		api_close(api);
	return status;
}

void api_close(struct api *api)
{
	if (!api)
		return;
	http_client_close(api->client);
	http_answer_release(&api->answer);
	buf_release(&api->url);
	buf_release(&api->next);
	arena_release(&api->scratch);
	free(api);
}
