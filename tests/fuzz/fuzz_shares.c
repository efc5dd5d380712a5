/* Shares as an operator writes them: what is read is written so that reading it again gives the same. */
#include "fuzz.h"

#include "store/models.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct models_shares shares, again;
	char text[MODELS_SHARES_BYTES], other[MODELS_SHARES_BYTES];
	struct str input = {(const char *)data, n};
	struct err err = {0};

	(void)models_sticky_is_valid(input);
	if (models_parse_shares(input, &shares, &err) != STATUS_OK) {
		demand(err.text[0] != '\0', "what is refused is refused with a sentence");
		return 0;
	}
	demand(shares.n > 0 && shares.n <= MODELS_SHARES_MAX, "a route has versions, and not too many");
	demand(models_active(&shares)[0] != '\0', "one of them is active");
	models_format_shares(&shares, text);
	demand(models_parse_shares(str_of(text), &again, NULL) == STATUS_OK, "what was written is read");
	models_format_shares(&again, other);
	demand(strcmp(text, other) == 0, "and says the same");
	return 0;
}
