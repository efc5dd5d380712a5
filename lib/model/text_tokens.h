/* Text to tokens and n-grams, as scikit-learn's CountVectorizer and TfidfVectorizer have them by default: Python's
 * str.lower (with its final sigma), then the matches of (?u)\b\w\w+\b, where \w is str.isalnum() or '_', then n-grams
 * of words joined with a blank. Python 3.11 with Unicode 14 is the reference. */
#ifndef APPCORE_MODEL_TEXT_TOKENS_H
#define APPCORE_MODEL_TEXT_TOKENS_H

#include "base/str.h"

enum { TEXT_NGRAM_MAX = 8 }; /* words in an n-gram at the most */

/* Bytes that the tokens of a text of n bytes take at the most: a lower case has up to half as many bytes more. */
static inline size_t text_tokens_room(size_t n)
{
	return n + n / 2 + 4;
}

/* Writes the tokens of a text, joined with single blanks, to out, which has room for text_tokens_room(text.n) bytes.
 * Returns how many bytes it wrote. So an n-gram is a run of the output. A byte that is no UTF-8 separates. */
size_t text_tokens_write(struct str text, char *out) __attribute__((nonnull));

/* Walks over all n-grams of min to max words in what text_tokens_write wrote; 1 <= min <= max <= TEXT_NGRAM_MAX. Those
 * that end with the same word come one after the other, the shortest first. */
struct text_ngrams {
	const char *at, *end; /* what is not read yet */
	const char *word_end; /* of the newest word */
	int min, max;
	int next;                           /* words of the next n-gram that ends with the newest word */
	unsigned words;                     /* read so far */
	const char *starts[TEXT_NGRAM_MAX]; /* of the newest words: word i at i % TEXT_NGRAM_MAX */
};

static inline void text_ngrams_init(struct text_ngrams *walk, struct str tokens, int min, int max)
{
	walk->at = tokens.p;
	walk->end = tokens.n ? tokens.p + tokens.n : tokens.p;
	walk->word_end = tokens.p;
	walk->min = min;
	walk->max = max;
	walk->next = max + 1;
	walk->words = 0;
}

/* The next n-gram, a view into the tokens; false at the end. */
static inline bool text_ngrams_next(struct text_ngrams *walk, struct str *ngram)
{
	while (walk->next > walk->max || (unsigned)walk->next > walk->words) {
		const char *p = walk->at;
		if (p == walk->end)
			return false;
		walk->starts[walk->words++ % TEXT_NGRAM_MAX] = p;
		while (p < walk->end && *p != ' ')
			p++;
		walk->word_end = p;
		walk->at = p < walk->end ? p + 1 : p;
		walk->next = walk->min;
	}
	ngram->p = walk->starts[(walk->words - (unsigned)walk->next) % TEXT_NGRAM_MAX];
	ngram->n = (size_t)(walk->word_end - ngram->p);
	walk->next++;
	return true;
}

#endif
