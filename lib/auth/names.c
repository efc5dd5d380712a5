/* Characters of names: libunistring's, taken into the arena. */
#include "auth/names.h"

#include "auth/names_impl.h"

#include <stdlib.h>
#include <unicase.h>
#include <uninorm.h>
#include <unistr.h>

bool chars_read(struct str text, struct arena *arena, struct chars *out)
{
	const uint8_t *p = (const uint8_t *)text.p;

	*out = (struct chars){arena_alloc(arena, (text.n + 1) * sizeof(ucs4_t)), 0};
	for (size_t i = 0; out->p && i < text.n;) {
		ucs4_t c;
		int n = u8_mbtoucr(&c, p + i, text.n - i);
		if (n <= 0)
			return false;
		out->p[out->n++] = c;
		i += (size_t)n;
	}
	return out->p != NULL;
}

struct str chars_write(struct chars s, struct arena *arena)
{
	uint8_t *text = arena_alloc(arena, s.n * 4 + 1);
	size_t n = 0;

	if (!text)
		return (struct str){0};
	for (size_t i = 0; i < s.n; i++) {
		int more = u8_uctomb(text + n, s.p[i], 4);
		n += more > 0 ? (size_t)more : 0;
	}
	text[n] = '\0';
	return (struct str){(char *)text, n};
}

/* Takes over what the library has allocated. */
static bool take(uint32_t *made, size_t n, struct arena *arena, struct chars *out)
{
	*out = (struct chars){made ? arena_alloc(arena, (n + 1) * sizeof(ucs4_t)) : NULL, n};
	if (out->p && made && n > 0)
		memcpy(out->p, made, n * sizeof(ucs4_t));
	free(made);
	return out->p != NULL;
}

bool chars_compose(struct chars s, struct arena *arena, struct chars *out)
{
	size_t n = 0;
	uint32_t *made = u32_normalize(UNINORM_NFC, s.p, s.n, NULL, &n);

	return take(made, n, arena, out);
}

bool chars_fold(struct chars s, struct arena *arena, struct chars *out)
{
	size_t n = 0;
	uint32_t *made = u32_casefold(s.p, s.n, NULL, UNINORM_NFC, NULL, &n);

	return take(made, n, arena, out);
}

bool chars_fold_apart(struct chars s, struct arena *arena, struct chars *out)
{
	size_t n = 0;
	uint32_t *made = u32_casefold(s.p, s.n, NULL, UNINORM_NFD, NULL, &n);

	return take(made, n, arena, out);
}

bool char_is_compatible(ucs4_t c)
{
	uint32_t one = c, mapped[32];
	size_t n = sizeof(mapped) / sizeof(mapped[0]);
	uint32_t *made = u32_normalize(UNINORM_NFKC, &one, 1, mapped, &n);
	bool same = made && n == 1 && made[0] == c;

	if (made != mapped)
		free(made);
	return !same;
}
