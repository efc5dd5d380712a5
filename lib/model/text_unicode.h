/* What Python 3.11 (Unicode 14) knows of a character: whether its re module takes it for \w, and its lower case. A
 * table of two levels, written by scripts/make_unicode.py. Only text_tokens.c reads it. */
#ifndef APPCORE_MODEL_TEXT_UNICODE_H
#define APPCORE_MODEL_TEXT_UNICODE_H

#include <stdint.h>

enum {
	TEXT_UNICODE_WORD = 1,
	TEXT_UNICODE_CASED = 2,     /* and not ignorable */
	TEXT_UNICODE_IGNORABLE = 4, /* Case_Ignorable: the rule of the final sigma looks past it */
	TEXT_UNICODE_SHIFT = 7,     /* bits of a code point that are its place in a block */
};

struct text_unicode_record {
	int32_t lower; /* what to add for the lower case; of U+0130 and U+03A3, which are more than that: 0 */
	uint32_t flags;
};

extern const struct text_unicode_record TEXT_UNICODE_RECORDS[];
extern const uint8_t TEXT_UNICODE_ASCII[128]; /* the lower case of a word character, 0 of others */
extern const uint8_t TEXT_UNICODE_INDEX[];    /* code point >> SHIFT to the number of its block */
extern const unsigned TEXT_UNICODE_INDEX_N;   /* what lies behind has the last one's */
extern const uint8_t TEXT_UNICODE_ENTRIES[];  /* block after block: numbers of records */

static inline const struct text_unicode_record *text_unicode_find(uint32_t code)
{
	uint32_t block = code >> TEXT_UNICODE_SHIFT;

	if (block >= TEXT_UNICODE_INDEX_N)
		block = TEXT_UNICODE_INDEX_N - 1;
	block = TEXT_UNICODE_INDEX[block];
	code &= (1U << TEXT_UNICODE_SHIFT) - 1;
	return &TEXT_UNICODE_RECORDS[TEXT_UNICODE_ENTRIES[(block << TEXT_UNICODE_SHIFT) + code]];
}

#endif
