/* Finds an object's duplicate keys in linear time, also when they were chosen to collide: the table is keyed with
 * SipHash and a random key of this process (libsodium's crypto_shorthash). Keys are told apart by their unescaped text.
 */
#include "base/json_impl.h"

#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>

enum { FIRST_SLOTS = 4 * JSON_KEYS_DIRECT };

static unsigned char hash_secret[crypto_shorthash_KEYBYTES];
static pthread_once_t hash_once = PTHREAD_ONCE_INIT;

static void make_secret(void)
{
	crypto_shorthash_keygen(hash_secret);
}

static uint64_t hash_bytes(const char *p, size_t n)
{
	uint64_t hash;

	_Static_assert(sizeof(hash) == crypto_shorthash_BYTES, "a SipHash is 64 bits");
	crypto_shorthash((unsigned char *)&hash, (const unsigned char *)p, n, hash_secret);
	return hash;
}

/* False when memory is short. */
static bool hash_key(struct str raw, bool escaped, uint64_t *hash)
{
	char small[256];
	char *text = small;

	if (!escaped) {
		*hash = hash_bytes(raw.p, raw.n);
		return true;
	}
	if (raw.n > sizeof(small))
		text = malloc(raw.n);
	if (!text)
		return false;
	*hash = hash_bytes(text, json_unescape(raw, text));
	if (text != small)
		free(text);
	return true;
}

static bool same_key(const char *a, const char *b)
{
	struct json_reader left = {.at = a}, right = {.at = b};
	int c;

	do {
		c = json_reader_next(&left);
		if (c != json_reader_next(&right))
			return false;
	} while (c >= 0);
	return true;
}

static void put_slot(struct json_keys *keys, uint64_t hash, const char *key)
{
	size_t i = (size_t)hash & keys->mask;

	while (keys->slots[i].key)
		i = (i + 1) & keys->mask;
	keys->slots[i] = (struct json_key_slot){hash, key};
}

static bool resize(struct json_keys *keys, size_t slots)
{
	struct json_key_slot *old = keys->slots;
	size_t old_slots = old ? keys->mask + 1 : 0;
	struct json_key_slot *fresh = calloc(slots, sizeof(*fresh));

	if (!fresh)
		return false;
	keys->slots = fresh;
	keys->mask = slots - 1;
	for (size_t i = 0; i < old_slots; i++)
		if (old[i].key)
			put_slot(keys, old[i].hash, old[i].key);
	free(old);
	return true;
}

/* From here on the table does the work. Keys compared directly have no escapes. */
static bool start_table(struct json_keys *keys)
{
	pthread_once(&hash_once, make_secret);
	if (!resize(keys, FIRST_SLOTS))
		return false;
	for (size_t i = 0; i < keys->n; i++)
		put_slot(keys, hash_bytes(keys->keys[i], keys->tags[i] & 0xff), keys->keys[i]);
	return true;
}

static enum json_keys_added add_hashed(struct json_keys *keys, struct str raw, bool escaped)
{
	uint64_t hash;

	/* At most three quarters full, so that probes stay short. */
	if (keys->n + 1 > (keys->mask + 1) / 4 * 3 && !resize(keys, (keys->mask + 1) * 2))
		return JSON_KEYS_NO_MEMORY;
	if (!hash_key(raw, escaped, &hash))
		return JSON_KEYS_NO_MEMORY;
	for (size_t i = (size_t)hash & keys->mask; keys->slots[i].key; i = (i + 1) & keys->mask)
		if (keys->slots[i].hash == hash && same_key(keys->slots[i].key, raw.p))
			return JSON_KEYS_TWICE;
	put_slot(keys, hash, raw.p);
	keys->n++;
	return JSON_KEYS_NEW;
}

static uint32_t tag_of(struct str raw)
{
	if (raw.n == 0)
		return 0;
	uint32_t first = (unsigned char)raw.p[0];
	uint32_t middle = (unsigned char)raw.p[raw.n / 2];
	uint32_t last = (unsigned char)raw.p[raw.n - 1];
	return last << 24 | middle << 16 | first << 8 | (uint32_t)raw.n;
}

static enum json_keys_added add_direct(struct json_keys *keys, struct str raw)
{
	uint32_t tag = tag_of(raw);

	for (size_t i = 0; i < keys->n; i++)
		if (keys->tags[i] == tag && memcmp(keys->keys[i], raw.p, raw.n) == 0)
			return JSON_KEYS_TWICE;
	keys->tags[keys->n] = tag;
	keys->keys[keys->n] = raw.p;
	keys->n++;
	return JSON_KEYS_NEW;
}

enum json_keys_added json_keys_add(struct json_keys *keys, struct str raw, bool escaped)
{
	if (!keys->slots) {
		if (!escaped && raw.n <= JSON_KEYS_DIRECT_BYTES && keys->n < JSON_KEYS_DIRECT)
			return add_direct(keys, raw);
		if (!start_table(keys))
			return JSON_KEYS_NO_MEMORY;
	}
	return add_hashed(keys, raw, escaped);
}

void json_keys_release(struct json_keys *keys)
{
	free(keys->slots);
	keys->slots = NULL;
}
