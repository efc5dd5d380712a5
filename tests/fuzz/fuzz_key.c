/* API keys from strangers: a key is let in when it is one of the known texts, byte for byte, and not otherwise.
 *
 * The keys are made anew in each process, so an input names one by its first byte and says with the others what is
 * changed in it: all zeros are the key itself. */
#include "fuzz.h"

#include "auth/keyring.h"

#include <string.h>

enum { KEYS = 7 };

static const int64_t NOW = INT64_C(1700000000000000);
static const char ENV_KEY[] = "the-key-of-the-environment";

static struct keyring ring;
static struct key_row rows[KEYS];
static char texts[KEYS + 1][KEY_TEXT_BYTES];

static int by_id(const void *a, const void *b)
{
	return strcmp(((const struct key_row *)a)->id, ((const struct key_row *)b)->id);
}

static void make_keys(void)
{
	keyring_init(&ring, str_of(ENV_KEY));
	for (int i = 0; i < KEYS; i++) {
		keyring_generate(texts[i], &rows[i]);
		snprintf(rows[i].name, sizeof(rows[i].name), "key %d", i);
		rows[i].expires_us = i % 3 == 1 ? NOW : 0;
		rows[i].revoked_us = i % 3 == 2 ? NOW - 1 : 0;
	}
	snprintf(texts[KEYS], sizeof(texts[KEYS]), "%s", ENV_KEY);
	ring.rows = malloc(sizeof(rows));
	if (!ring.rows)
		abort();
	memcpy(ring.rows, rows, sizeof(rows));
	qsort(ring.rows, KEYS, sizeof(rows[0]), by_id);
	ring.n = ring.cap = KEYS;
	ring.generation = 1; /* as if read */
}

static void try(struct str key)
{
	struct caller caller;
	enum status status = keyring_check(&ring, key, NOW, &caller), wanted = STATUS_FORBIDDEN;
	const char *id = "";

	if (key.n == 0)
		wanted = STATUS_UNAUTHENTICATED;
	for (int i = 0; i < KEYS; i += 3) {
		if (str_eq(key, str_of(texts[i]))) {
			wanted = STATUS_OK;
			id = rows[i].id;
		}
	}
	if (str_eq(key, str_of(ENV_KEY))) {
		wanted = STATUS_OK;
		id = "env";
	}
	demand(status == wanted, "known keys and no others are let in");
	demand(strcmp(caller.key_id, id) == 0, "a caller is who the key says");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char changed[4096];

	if (ring.n == 0)
		make_keys();
	try((struct str){(const char *)data, size});
	if (size == 0)
		return 0;
	struct str key = str_of(texts[data[0] % (KEYS + 1)]);
	size_t n = size - 1 > sizeof(changed) ? sizeof(changed) : size - 1;
	for (size_t i = 0; i < n; i++)
		changed[i] = (char)(data[i + 1] ^ (i < key.n ? (uint8_t)key.p[i] : 0));
	try((struct str){changed, n});
	/* Changed at the front, as long as it was. */
	if (n < key.n) {
		memcpy(changed + n, key.p + n, key.n - n);
		try((struct str){changed, key.n});
	}
	return 0;
}
