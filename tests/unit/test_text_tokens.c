/* Tokens and n-grams. What Python gives for all characters is compared by tests/parity/text_parity.py; here are the
 * rules, one by one. */
#include "unit.h"

#include "model/text_tokens.h"

#include <stdio.h>
#include <stdlib.h>

struct example {
	const char *text, *tokens;
};

static void tokens_are(const struct example *examples, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct str text = str_of(examples[i].text);
		char *out = malloc(text_tokens_room(text.n));
		CU_ASSERT_PTR_NOT_NULL_FATAL(out);
		struct str tokens = {out, text_tokens_write(text, out)};
		if (!str_eq(tokens, str_of(examples[i].tokens)))
			printf("\n\"%s\": \"%.*s\" instead of \"%s\"\n", examples[i].text, STR_ARG(tokens),
			       examples[i].tokens);
		CU_ASSERT(str_eq(tokens, str_of(examples[i].tokens)));
		free(out);
	}
}

static void words_have_two_characters(void)
{
	static const struct example examples[] = {
		{"", ""},
		{" ", ""},
		{"a", ""},
		{"a b c", ""},
		{"ab", "ab"},
		{"  ab  ", "ab"},
		{"a bc d ef", "bc ef"},
		{"I'm", ""},
		{"it's", "it"},
		{"I love this product! It's amazing!", "love this product it amazing"},
		{"U.S.A. e-mail", "mail"},
		{"snake_case __init__ _ _a 1_0", "snake_case __init__ _a 1_0"},
		{"x2 2x 42 7", "x2 2x 42"},
		{"tab\tline\nnul", "tab line nul"},
		/* Two bytes are not two characters. */
		{"é", ""},
		{"éé", "éé"},
		{"𝒜", ""},
		{"日 本 日本", "日本"},
	};

	tokens_are(examples, sizeof(examples) / sizeof(examples[0]));
}

static void lower_case_is_unicode(void)
{
	static const struct example examples[] = {
		{"GREAT Value", "great value"},
		{"ÀÉÎ ĄĘ ЖУК", "àéî ąę жук"},
		{"STRASSE Straße GROẞ", "strasse straße groß"},
		{"ǅungla", "ǆungla"},
		{"ȺȾ", "ⱥⱦ"}, /* three bytes each, of two */
		{"𐐀𐐁", "𐐨𐐩"},
		/* U+0130 is an i and a combining dot, and that is no word character. */
		{"İstanbul", "stanbul"},
		{"Xİstanbul", "xi stanbul"},
		{"İİ", ""},
		{"aİ", "ai"},
		/* The final sigma. */
		{"ΟΔΥΣΣΕΥΣ", "οδυσσευς"},
		{"ΑΣ ΑΣ.", "ας ας"},
		{"ΑΣΑ", "ασα"},
		{"ΣΣ", "σς"},
		{"Σ Σ", ""},
		{"ΑΣ'Α", "ασ"},                 /* the apostrophe is looked past */
		{"ΑΣ' Α", "ας"},                /* the blank is not */
		{"1ΣΣ", "1σς"},                 /* the first has a digit before it, the second a letter */
		{"1Σ", "1σ"},                   /* a digit is not cased */
		{"a\u0301Σb\u0301ΣΣ", "σb σς"}, /* marks separate words, and are looked past */
		{"A\u00adΣ\u00ad.", ""},        /* soft hyphens separate and are looked past */
		{"AB\u00adΣΣ", "ab σς"},
	};

	tokens_are(examples, sizeof(examples) / sizeof(examples[0]));
}

static void numbers_and_marks(void)
{
	static const struct example examples[] = {
		{"²³ ½½ ①② ⅧⅧ", "²³ ½½ ①② ⅷⅷ"}, /* str.isalnum() has them all */
		{"٣٤ ௧௨", "٣٤ ௧௨"},
		{"cafe\u0301s", "cafe"}, /* a combining accent is no word character */
		{"caf\u00e9s", "cafés"},
		{"good\u200bbye good\u00a0bye", "good bye good bye"},
		{"👍good👍", "good"},
		{"ªº ʰʲ", "ªº ʰʲ"},
	};

	tokens_are(examples, sizeof(examples) / sizeof(examples[0]));
}

static void bytes_that_are_no_text_separate(void)
{
	static const struct example examples[] = {
		{"ab\xff"
		 "cd",
		 "ab cd"},
		{"ab\xc3", "ab"},
		{"\xed\xa0\x80"
		 "ab",
		 "ab"}, /* a surrogate */
		{"\xc0\x80"
		 "ab\xf5",
		 "ab"}, /* overlong, past the end */
		{"A\x80Σ\x80", ""},
		{"AB\x80\x80\x80\x80\x80ΣΣ", "ab σς"},
	};

	tokens_are(examples, sizeof(examples) / sizeof(examples[0]));
}

/* All n-grams, with bars between them. */
static void ngrams_are(const char *tokens, int min, int max, const char *expected)
{
	struct text_ngrams walk;
	struct str ngram;
	char all[1000] = "";

	text_ngrams_init(&walk, str_of(tokens), min, max);
	while (text_ngrams_next(&walk, &ngram))
		snprintf(all + strlen(all), sizeof(all) - strlen(all), "%.*s|", STR_ARG(ngram));
	CU_ASSERT_STRING_EQUAL(all, expected);
	CU_ASSERT_FALSE(text_ngrams_next(&walk, &ngram));
}

static void ngrams(void)
{
	ngrams_are("", 1, 2, "");
	ngrams_are("aa", 1, 2, "aa|");
	ngrams_are("aa", 2, 2, "");
	ngrams_are("aa bb cc", 1, 1, "aa|bb|cc|");
	ngrams_are("aa bb cc", 1, 2, "aa|bb|aa bb|cc|bb cc|");
	ngrams_are("aa bb cc", 2, 3, "aa bb|bb cc|aa bb cc|");
	ngrams_are("aa bb cc", 4, 8, "");
	ngrams_are("a b c d e f g h i j", 8, 8, "a b c d e f g h|b c d e f g h i|c d e f g h i j|");
}

static const struct unit_case CASES[] = {
	{"words have two characters", words_have_two_characters},
	{"lower case is Unicode", lower_case_is_unicode},
	{"numbers and marks", numbers_and_marks},
	{"bytes that are no text separate", bytes_that_are_no_text_separate},
	{"n-grams", ngrams},
};

int main(void)
{
	return UNIT_RUN("text_tokens", CASES);
}
