/* "1=90 2=10": how shares are written, in the database, on the command line and in answers. */
#include "store/models.h"

#include <stdio.h>

static enum status add_share(struct models_shares *shares, struct str word, struct err *err)
{
	struct str rest = word;
	struct str version = str_cut(&rest, '=');
	uint64_t share = 100;

	if (shares->n == MODELS_SHARES_MAX)
		return err_set(err, STATUS_INVALID, "At most %d versions share the requests of a model.",
			       MODELS_SHARES_MAX);
	if (!str_is_name(version))
		return err_set(err, STATUS_INVALID, "\"%.*s\" is no share: it wants VERSION=NUMBER.",
			       (int)(word.n < 80 ? word.n : 80), word.p);
	if (rest.p && (!str_to_u64(rest, MODELS_SHARE_MAX, &share) || share == 0))
		return err_set(err, STATUS_INVALID, "The share of version %.*s is no whole number from 1 to %d.",
			       STR_ARG(version), MODELS_SHARE_MAX);
	for (int i = 0; i < shares->n; i++)
		if (str_eq(version, str_of(shares->of[i].version)))
			return err_set(err, STATUS_INVALID, "Version %.*s is there twice.", STR_ARG(version));
	snprintf(shares->of[shares->n].version, MODELS_NAME_BYTES, "%.*s", STR_ARG(version));
	shares->of[shares->n++].share = (unsigned)share;
	return STATUS_OK;
}

enum status models_parse_shares(struct str text, struct models_shares *out, struct err *err)
{
	enum status status = STATUS_OK;

	*out = (struct models_shares){0};
	while (text.n > 0 && status == STATUS_OK) {
		struct str word = str_cut(&text, ' ');
		if (word.n > 0)
			status = add_share(out, word, err);
	}
	if (status == STATUS_OK && out->n == 0)
		status = err_set(err, STATUS_INVALID, "A route wants at least one version.");
	return status;
}

void models_format_shares(const struct models_shares *shares, char out[static MODELS_SHARES_BYTES])
{
	size_t n = 0;

	out[0] = '\0';
	for (int i = 0; i < shares->n; i++)
		n += (size_t)snprintf(out + n, MODELS_SHARES_BYTES - n, "%s%s=%u", i ? " " : "", shares->of[i].version,
				      shares->of[i].share);
}

const char *models_active(const struct models_shares *shares)
{
	int best = 0;

	for (int i = 1; i < shares->n; i++)
		if (shares->of[i].share > shares->of[best].share)
			best = i;
	return shares->n > 0 ? shares->of[best].version : "";
}

bool models_sticky_is_valid(struct str sticky)
{
	const struct str prefix = STR("header:");

	if (sticky.n == 0 || str_eq(sticky, STR("key")))
		return true;
	if (!str_starts(sticky, prefix) || sticky.n == prefix.n || sticky.n >= prefix.n + MODELS_STICKY_BYTES - 5)
		return false; /* CGI puts HTTP_ before it */
	for (size_t i = prefix.n; i < sticky.n; i++) {
		char c = sticky.p[i];
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-'))
			return false;
	}
	return true;
}
