/* Keys: making, hashing, finding. */
#include "auth/keyring.h"

#include "base/id.h"
#include "store/generations.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

static void hash_key(struct str key, uint8_t out[static KEY_HASH_BYTES])
{
	static const char purpose[] = "appcore api key"; /* hashes of other things never match */

	crypto_generichash(out, KEY_HASH_BYTES, (const uint8_t *)key.p, key.n, (const uint8_t *)purpose,
			   sizeof(purpose) - 1);
}

void keyring_init(struct keyring *ring, struct str env_key)
{
	*ring = (struct keyring){.generation = -1, .has_env = env_key.n > 0};
	if (ring->has_env)
		hash_key(env_key, ring->env_hash);
}

void keyring_add_previous(struct keyring *ring, struct str env_key)
{
	ring->has_previous = env_key.n > 0;
	if (ring->has_previous)
		hash_key(env_key, ring->previous_hash);
}

void keyring_release(struct keyring *ring)
{
	free(ring->rows);
	sodium_memzero(ring, sizeof(*ring));
}

static int by_id(const void *a, const void *b)
{
	return strcmp(((const struct key_row *)a)->id, ((const struct key_row *)b)->id);
}

static bool add_row(struct keyring_rows *to, const struct key_row *row)
{
	if (to->n == to->cap) {
		size_t cap = to->cap ? 2 * to->cap : 16;
		struct key_row *rows = realloc(to->rows, cap * sizeof(*rows));
		if (!rows)
			return false;
		to->rows = rows;
		to->cap = cap;
	}
	to->rows[to->n++] = *row;
	return true;
}

struct counting {
	struct keyring_rows *rows;
	bool failed;
};

static bool count_row(void *arg, const struct key_row *row)
{
	struct counting *counting = arg;

	counting->failed = !add_row(counting->rows, row);
	return !counting->failed;
}

enum status keyring_read(struct keyring_rows *rows, struct db *db, struct err *err)
{
	int64_t generation, known = rows->generation;

	*rows = (struct keyring_rows){.generation = known};
	enum status status = generations_read(db, KEYS_TOPIC, &generation, err);
	if (status != STATUS_OK || generation == known)
		return status;
	struct counting counting = {.rows = rows};
	status = keys_each_valid(db, 0, count_row, &counting, err);
	if (status == STATUS_OK && counting.failed)
		status = err_set(err, STATUS_NO_MEMORY, "No memory for the API keys.");
	if (status != STATUS_OK) {
		free(rows->rows);
		*rows = (struct keyring_rows){.generation = known};
		return status;
	}
	if (rows->n > 0)
		qsort(rows->rows, rows->n, sizeof(*rows->rows), by_id);
	rows->generation = generation;
	rows->changed = true;
	return STATUS_OK;
}

void keyring_take(struct keyring *ring, struct keyring_rows *rows)
{
	if (!rows->changed)
		return;
	free(ring->rows);
	ring->rows = rows->rows;
	ring->n = rows->n;
	ring->cap = rows->cap;
	ring->generation = rows->generation;
	*rows = (struct keyring_rows){.generation = ring->generation};
}

enum status keyring_refresh(struct keyring *ring, struct db *db, struct err *err)
{
	struct keyring_rows rows = {.generation = ring->generation};

	enum status status = keyring_read(&rows, db, err);
	if (status == STATUS_OK)
		keyring_take(ring, &rows);
	return status;
}

/* It has the form of the keys that we make. */
static bool is_table_key(struct str key)
{
	return key.n == KEY_TEXT_BYTES - 1 && str_starts(key, STR("ak_")) && key.p[19] == '_';
}

/* The row that the key's public part names, or NULL. */
static const struct key_row *find_row(const struct keyring *ring, struct str key)
{
	struct key_row wanted = {0};

	if (ring->n == 0 || !is_table_key(key))
		return NULL;
	memcpy(wanted.id, key.p + 3, 16);
	wanted.id[16] = '\0';
	return bsearch(&wanted, ring->rows, ring->n, sizeof(*ring->rows), by_id);
}

enum status keyring_check(const struct keyring *ring, struct str key, int64_t now_us, struct caller *out)
{
	static const uint8_t nobody[KEY_HASH_BYTES];
	uint8_t hash[KEY_HASH_BYTES];

	*out = (struct caller){.rate_per_minute = -1};
	if (key.n == 0)
		return STATUS_UNAUTHENTICATED;
	hash_key(key, hash);
	/* All comparisons are always made, and each takes the same time whatever differs. */
	const struct key_row *row = find_row(ring, key);
	bool env = sodium_memcmp(hash, ring->env_hash, sizeof(hash)) == 0 && ring->has_env;
	bool previous = sodium_memcmp(hash, ring->previous_hash, sizeof(hash)) == 0 && ring->has_previous;
	bool found = sodium_memcmp(hash, row ? row->hash : nobody, sizeof(hash)) == 0 && row;
	if (env || previous) {
		memcpy(out->key_id, "env", sizeof("env"));
		memcpy(out->name, "default-user", sizeof("default-user"));
		return STATUS_OK;
	}
	if (ring->generation < 0 && is_table_key(key))
		return STATUS_UNAVAILABLE;
	if (!found || row->revoked_us != 0 || (row->expires_us != 0 && row->expires_us <= now_us))
		return STATUS_FORBIDDEN;
	memcpy(out->key_id, row->id, sizeof(out->key_id));
	memcpy(out->name, row->name, sizeof(out->name));
	memcpy(out->scopes, row->scopes, sizeof(out->scopes));
	out->rate_per_minute = row->rate_per_minute;
	return STATUS_OK;
}

static bool list_has(struct str list, struct str item)
{
	while (list.n > 0)
		if (str_eq(str_cut(&list, ','), item))
			return true;
	return false;
}

bool caller_has_scope(const struct caller *caller, const char *scope)
{
	return list_has(str_of(caller->scopes), str_of(scope));
}

bool scopes_are_valid(struct str scopes)
{
	bool good = scopes.n < KEY_SCOPES_BYTES && (scopes.n == 0 || scopes.p[scopes.n - 1] != ',');

	while (good && scopes.n > 0) {
		struct str item = str_cut(&scopes, ',');
		good = !list_has(scopes, item) && item.n > 0 && list_has(STR("models"), item);
	}
	return good;
}

bool keyring_read_key(struct str key, char id[static KEY_ID_BYTES], uint8_t hash[static KEY_HASH_BYTES])
{
	if (!is_table_key(key))
		return false;
	memcpy(id, key.p + 3, KEY_ID_BYTES - 1);
	id[KEY_ID_BYTES - 1] = '\0';
	hash_key(key, hash);
	return true;
}

static void format_key(const uint8_t public_id[static 8], const uint8_t secret[static 32],
		       char text[static KEY_TEXT_BYTES], struct key_row *row)
{
	hex_format(public_id, 8, row->id);
	memcpy(text, "ak_", 3); /* NOLINT(bugprone-not-null-terminated-result): more follows */
	memcpy(text + 3, row->id, 16);
	text[19] = '_';
	sodium_bin2base64(text + 20, 44, secret, 32, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	hash_key(str_of(text), row->hash);
}

void keyring_derive(const uint8_t seed[static KEYRING_SEED_BYTES], char text[static KEY_TEXT_BYTES],
		    struct key_row *row)
{
	uint8_t public_id[16], secret[32]; /* 16: the shortest hash that there is */

	crypto_generichash(public_id, sizeof(public_id), (const uint8_t *)"id", 2, seed, KEYRING_SEED_BYTES);
	crypto_generichash(secret, sizeof(secret), (const uint8_t *)"secret", 6, seed, KEYRING_SEED_BYTES);
	format_key(public_id, secret, text, row);
	sodium_memzero(secret, sizeof(secret));
}

void keyring_generate(char text[static KEY_TEXT_BYTES], struct key_row *row)
{
	uint8_t public_id[8], secret[32];

	randombytes_buf(public_id, sizeof(public_id));
	randombytes_buf(secret, sizeof(secret));
	format_key(public_id, secret, text, row);
	sodium_memzero(secret, sizeof(secret));
}
