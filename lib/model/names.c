/* Open addressing with SipHash (libsodium's crypto_shorthash), at most half full. */
#include "model/names.h"

#include <sodium.h>

_Static_assert(NAMES_KEY_BYTES == crypto_shorthash_KEYBYTES, "the key is SipHash's");

static uint32_t slot_of(const struct names *index, struct str name)
{
	uint64_t hash;

	crypto_shorthash((unsigned char *)&hash, (const unsigned char *)name.p, name.n, index->key);
	return (uint32_t)hash & index->mask;
}

int names_find(const struct names *index, struct str name)
{
	if (!index->slots) {
		for (int i = 0; i < index->n; i++)
			if (str_eq(index->names[i], name))
				return i;
		return -1;
	}
	for (uint32_t at = slot_of(index, name); index->slots[at]; at = (at + 1) & index->mask)
		if (str_eq(index->names[index->slots[at] - 1], name))
			return index->slots[at] - 1;
	return -1;
}

static bool find_twice(const struct str *names, int n, int *twice)
{
	for (int i = 1; i < n; i++)
		for (int before = 0; before < i; before++)
			if (str_eq(names[i], names[before])) {
				*twice = i;
				return true;
			}
	return false;
}

bool names_init(struct names *index, const struct str *names, int n, const uint8_t key[static NAMES_KEY_BYTES],
		struct arena *arena, int *twice)
{
	uint32_t slots_n = 4 * NAMES_DIRECT_MAX;

	*twice = -1;
	*index = (struct names){.names = names, .n = n};
	memcpy(index->key, key, NAMES_KEY_BYTES);
	if (n <= NAMES_DIRECT_MAX)
		return !find_twice(names, n, twice);
	while (slots_n < 2 * (uint32_t)n)
		slots_n *= 2;
	int *slots = arena_zalloc(arena, slots_n * sizeof(int));
	if (!slots)
		return false;
	index->slots = slots;
	index->mask = slots_n - 1;
	for (int i = 0; i < n; i++) {
		if (names_find(index, names[i]) >= 0) {
			*twice = i;
			return false;
		}
		uint32_t at = slot_of(index, names[i]);
		while (slots[at])
			at = (at + 1) & index->mask;
		slots[at] = i + 1;
	}
	return true;
}
