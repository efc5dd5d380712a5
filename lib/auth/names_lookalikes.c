/* Letters that pass for a Latin one, from Unicode's confusables.txt (TR39, "Unicode Security Mechanisms"), as far as
 * they can stand in a user name. The table is of folded letters: one is in it when it looks like the Latin letter, or
 * when its capital looks like that letter's capital (a name is shown as it was typed, and compared folded). Where these
 * differ (Greek nu looks like v, its capital like N) the small letter counts. Digits of other scripts are their value:
 * they are read as it. */
#include "auth/names_impl.h"

#include <unictype.h>

static const struct {
	ucs4_t from;
	char to;
} LOOKALIKES[] = {
	{0x0131, 'i'}, {0x0138, 'k'}, {0x0180, 'b'}, {0x0192, 'f'}, {0x01bf, 'p'}, {0x01c0, 'l'}, {0x0251, 'a'},
	{0x0261, 'g'}, {0x0269, 'i'}, {0x026a, 'i'}, {0x026f, 'w'}, {0x028b, 'u'}, {0x028f, 'y'}, {0x0299, 'b'},
	{0x029c, 'h'}, {0x029f, 'l'}, {0x03b1, 'a'}, {0x03b2, 'b'}, {0x03b3, 'y'}, {0x03b5, 'e'}, {0x03b6, 'z'},
	{0x03b7, 'h'}, {0x03b9, 'i'}, {0x03ba, 'k'}, {0x03bc, 'm'}, {0x03bd, 'v'}, {0x03bf, 'o'}, {0x03c1, 'p'},
	{0x03c4, 't'}, {0x03c5, 'u'}, {0x03c7, 'x'}, {0x03f2, 'c'}, {0x03f3, 'j'}, {0x0430, 'a'}, {0x0432, 'b'},
	{0x0433, 'r'}, {0x0435, 'e'}, {0x043a, 'k'}, {0x043c, 'm'}, {0x043d, 'h'}, {0x043e, 'o'}, {0x0440, 'p'},
	{0x0441, 'c'}, {0x0442, 't'}, {0x0443, 'y'}, {0x0445, 'x'}, {0x044c, 'b'}, {0x0455, 's'}, {0x0456, 'i'},
	{0x0458, 'j'}, {0x0461, 'w'}, {0x0475, 'v'}, {0x04ab, 'c'}, {0x04af, 'y'}, {0x04bb, 'h'}, {0x04bd, 'e'},
	{0x04c0, 'l'}, {0x04cf, 'l'}, {0x0501, 'd'}, {0x050d, 'g'}, {0x051b, 'q'}, {0x051d, 'w'}, {0x0561, 'w'},
	{0x0563, 'q'}, {0x0566, 'q'}, {0x0570, 'h'}, {0x0578, 'n'}, {0x057c, 'n'}, {0x057d, 'u'}, {0x0581, 'g'},
	{0x0584, 'f'}, {0x0585, 'o'}, {0x1d00, 'a'}, {0x1d04, 'c'}, {0x1d05, 'd'}, {0x1d07, 'e'}, {0x1d0a, 'j'},
	{0x1d0b, 'k'}, {0x1d0d, 'm'}, {0x1d0f, 'o'}, {0x1d18, 'p'}, {0x1d1b, 't'}, {0x1d1c, 'u'}, {0x1d20, 'v'},
	{0x1d21, 'w'}, {0x1d22, 'z'}, {0x1e9f, 's'}, {0x2c81, 'a'}, {0x2c83, 'b'}, {0x2c8f, 'h'}, {0x2c93, 'i'},
	{0x2c95, 'k'}, {0x2c99, 'm'}, {0x2c9b, 'n'}, {0x2c9f, 'o'}, {0x2ca3, 'p'}, {0x2ca5, 'c'}, {0x2ca7, 't'},
	{0x2ca9, 'y'}, {0x2cad, 'x'}, {0xa4d0, 'b'}, {0xa4d1, 'p'}, {0xa4d2, 'd'}, {0xa4d3, 'd'}, {0xa4d4, 't'},
	{0xa4d6, 'g'}, {0xa4d7, 'k'}, {0xa4d9, 'j'}, {0xa4da, 'c'}, {0xa4dc, 'z'}, {0xa4dd, 'f'}, {0xa4df, 'm'},
	{0xa4e0, 'n'}, {0xa4e1, 'l'}, {0xa4e2, 's'}, {0xa4e3, 'r'}, {0xa4e6, 'v'}, {0xa4e7, 'h'}, {0xa4ea, 'w'},
	{0xa4eb, 'x'}, {0xa4ec, 'y'}, {0xa4ee, 'a'}, {0xa4f0, 'e'}, {0xa4f2, 'i'}, {0xa4f3, 'o'}, {0xa4f4, 'u'},
	{0xa731, 's'}, {0x13a0, 'd'}, {0x13a1, 'r'}, {0x13a2, 't'}, {0x13a5, 'i'}, {0x13a9, 'y'}, {0x13aa, 'a'},
	{0x13ab, 'j'}, {0x13ac, 'e'}, {0x13b3, 'w'}, {0x13b7, 'm'}, {0x13bb, 'h'}, {0x13c0, 'g'}, {0x13c2, 'h'},
	{0x13c3, 'z'}, {0x13ce, '4'}, {0x13cf, 'b'}, {0x13d2, 'r'}, {0x13d4, 'w'}, {0x13d5, 's'}, {0x13d9, 'v'},
	{0x13da, 's'}, {0x13de, 'l'}, {0x13df, 'c'}, {0x13e2, 'p'}, {0x13e6, 'k'}, {0x13e7, 'd'}, {0x13f3, 'g'},
	{0x13f4, 'b'},
};

ucs4_t char_lookalike(ucs4_t c)
{
	if (c < 0x80)
		return c;
	int digit = uc_decimal_value(c);
	if (digit >= 0)
		return (ucs4_t)('0' + digit);
	for (size_t i = 0; i < sizeof(LOOKALIKES) / sizeof(LOOKALIKES[0]); i++)
		if (LOOKALIKES[i].from == c)
			return (unsigned char)LOOKALIKES[i].to;
	return c;
}
