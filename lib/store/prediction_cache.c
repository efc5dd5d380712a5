/* The cache of rows. What is read from Redis is input: every member is checked, and whatever is odd is a miss. */
#include "store/prediction_cache.h"

#include "base/clock.h"
#include "base/json.h"

#include <stdio.h>

/* Texts of a row, by their names in the value. */
static const struct {
	const char *name;
	size_t at;
} TEXTS[] = {
	{"id", offsetof(struct prediction, id)},
	{"features", offsetof(struct prediction, features)},
	{"model_version", offsetof(struct prediction, model_version)},
	{"created_at", offsetof(struct prediction, created_at)},
	{"model_name", offsetof(struct prediction, model_name)},
	{"model_hash", offsetof(struct prediction, model_hash)},
	{"key_id", offsetof(struct prediction, key_id)},
	{"request_id", offsetof(struct prediction, request_id)},
	{"trace_id", offsetof(struct prediction, trace_id)},
	{"label", offsetof(struct prediction, label)},
	{"probabilities", offsetof(struct prediction, probabilities)},
	{"flags", offsetof(struct prediction, flags)},
};
enum { TEXTS_N = sizeof(TEXTS) / sizeof(TEXTS[0]) };

static struct str *text_of(struct prediction *row, int i)
{
	return (struct str *)(void *)((char *)row + TEXTS[i].at);
}

/* "pred:<id>". False: the text is not an id as we write it. */
static bool write_key(struct str id, char key[static 64])
{
	char text[ID_TEXT_BYTES];
	struct id parsed;

	if (!id_parse(id, &parsed))
		return false;
	id_format(&parsed, text);
	if (!str_eq(id, str_of(text)))
		return false;
	snprintf(key, 64, "pred:%s", text);
	return true;
}

/* --- reading --- */

static bool read_text(struct json_value object, const char *name, struct arena *arena, struct str *out)
{
	struct json_value value;

	if (!json_member(object, str_of(name), &value) || value.type != JSON_STRING)
		return false;
	*out = json_string(value, arena);
	return out->p || value.text.n <= 2;
}

static bool read_number(struct json_value object, const char *name, double *out)
{
	struct json_value value;

	return json_member(object, str_of(name), &value) && value.type == JSON_NUMBER && json_number(value, out);
}

static bool read_row(struct prediction_cache_get *get, struct str text)
{
	struct prediction *row = &get->row;
	struct json_value root;
	struct json_fault fault;
	struct str installation;
	double duration_us;
	int64_t created_us;

	/* Replies end with their command: what a row borrows has to stay. */
	text = arena_dup(get->arena, text);
	if (!text.p || !json_check(text, 4, &root, &fault) || root.type != JSON_OBJECT ||
	    !read_text(root, "installation", get->arena, &installation) ||
	    !str_eq(installation, redis_installation(get->redis)))
		return false;
	for (int i = 0; i < TEXTS_N; i++)
		if (!read_text(root, TEXTS[i].name, get->arena, text_of(row, i)))
			return false;
	if (row->features.n == 0)
		return false;
	if (!read_number(root, "result", &row->result) || !read_number(root, "duration_us", &duration_us) ||
	    duration_us < 0 || duration_us > 9e15)
		return false;
	row->duration_us = (int64_t)duration_us;
	return str_eq(row->id, get->id) && clock_parse_iso(row->created_at, &created_us) && created_us > get->oldest_us;
}

static void answered(struct redis_op *op)
{
	struct prediction_cache_get *get = (struct prediction_cache_get *)(void *)op;

	get->hit = op->status == STATUS_OK && read_row(get, op->reply);
	get->done(get);
}

bool prediction_cache_get(struct prediction_cache_get *get)
{
	struct redis_op *op = &get->op;

	get->hit = false;
	get->row = (struct prediction){0};
	if (!write_key(get->id, get->key))
		return false;
	get->args[0] = STR("GET");
	get->args[1] = str_of(get->key);
	*op = (struct redis_op){.use = REDIS_CACHE_GET, .done = answered, .args = get->args, .args_n = 2};
	op->within_ms = get->within_ms;
	return redis_submit(get->redis, op);
}

/* --- writing --- */

bool prediction_cache_copy(struct prediction *to, const struct prediction *row, struct arena *arena)
{
	struct prediction copy = *row;

	*to = (struct prediction){0};
	if (row->features.n > PREDICTION_CACHE_MAX)
		return false;
	for (int i = 0; i < TEXTS_N; i++) {
		struct str *text = text_of(&copy, i);
		*text = arena_dup(arena, *text);
		if (!text->p)
			return false;
	}
	*to = copy;
	return true;
}

static bool put_row(struct buf *out, const struct prediction *row, struct str installation)
{
	buf_str(out, STR("{\"installation\":"));
	json_put_string(out, installation);
	for (int i = 0; i < TEXTS_N; i++) {
		const struct str *text = (const struct str *)(const void *)((const char *)row + TEXTS[i].at);
		if (!str_is_utf8(*text))
			return false; /* it would not come back as it was */
		buf_str(out, STR(",\""));
		buf_str(out, str_of(TEXTS[i].name));
		buf_str(out, STR("\":"));
		json_put_string(out, *text);
	}
	buf_str(out, STR(",\"result\":"));
	json_put_double(out, row->result);
	buf_str(out, STR(",\"duration_us\":"));
	json_put_i64(out, row->duration_us);
	buf_char(out, '}');
	return !out->failed;
}

void prediction_cache_put(struct redis *redis, const struct prediction *row, int64_t oldest_us, struct arena *arena)
{
	char key[64], seconds[24];
	int64_t created_us;
	struct buf value;

	if (row->features.n > PREDICTION_CACHE_MAX || !write_key(row->id, key) ||
	    !clock_parse_iso(row->created_at, &created_us))
		return;
	int64_t left = (created_us - oldest_us) / 1000000;
	if (left <= 0)
		return;
	snprintf(seconds, sizeof(seconds), "%lld", (long long)(left < PREDICTION_CACHE_S ? left : PREDICTION_CACHE_S));
	buf_init(&value, arena);
	if (!put_row(&value, row, redis_installation(redis)))
		return;
	/* NX: the mark of an erased row stays. */
	const struct str args[] = {STR("SET"), str_of(key), buf_view(&value), STR("EX"), str_of(seconds), STR("NX")};
	(void)redis_send(redis, REDIS_CACHE_SET, args, 6);
}

bool prediction_cache_forget(struct redis *redis, struct str id)
{
	char key[64], seconds[24], value[64];

	if (!write_key(id, key))
		return true; /* never kept */
	snprintf(seconds, sizeof(seconds), "%d", PREDICTION_CACHE_GONE_S);
	snprintf(value, sizeof(value), "{\"installation\":\"%.16s\",\"gone\":true}", redis_installation(redis).p);
	const struct str args[] = {STR("SET"), str_of(key), str_of(value), STR("EX"), str_of(seconds)};
	return redis_send(redis, REDIS_CACHE_SET, args, 5);
}
