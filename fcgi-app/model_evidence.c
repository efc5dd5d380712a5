/* What replay, compare and drift share: options, and printing a comparison. */
#include "base/clock.h"
#include "base/json.h"
#include "model_impl.h"
#include "model_report.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

enum { TOP = 20 };

bool model_since(const struct model_command *c, const char *fallback, int64_t *since_us)
{
	struct str text = str_of(c->since ? c->since : fallback);
	int64_t seconds;

	if (clock_parse_duration(text, &seconds))
		*since_us = clock_wall_us() - seconds * 1000000;
	else if (!clock_parse_iso(text, since_us)) {
		command_fail(EXIT_USAGE, "--since wants a duration (7d, 24h, 30m) or a time (2027-01-31T12:00:00Z).");
		return false;
	}
	return true;
}

bool model_find_active(struct model_command *c, const char *name, char out[static MODELS_NAME_BYTES])
{
	struct models_route route;
	struct err err;
	unsigned most = 0;

	out[0] = '\0';
	enum status status = models_find_route(c->db, str_of(name), &route, &err);
	for (int i = 0; status == STATUS_OK && i < route.shares.n; i++) {
		if (route.shares.of[i].share <= most)
			continue;
		most = route.shares.of[i].share;
		snprintf(out, MODELS_NAME_BYTES, "%s", route.shares.of[i].version);
	}
	if (status == STATUS_NOT_FOUND && model_builtin(name).n > 0) {
		snprintf(out, MODELS_NAME_BYTES, "%.*s", STR_ARG(model_builtin(name)));
		status = STATUS_OK;
	}
	if (status == STATUS_OK && !*out)
		status = err_set(&err, STATUS_NOT_FOUND, "Nothing is active for model %s.", name);
	return model_finish(status, &err) == EXIT_OK;
}

struct compare *model_new_compare(const struct model_command *c)
{
	uint64_t top = TOP;
	double tolerance = 0.0;

	if (c->json && c->csv) {
		command_fail(EXIT_USAGE, "say --json or --csv.");
		return NULL;
	}
	if (c->top && !str_to_u64(str_of(c->top), COMPARE_TOP_MAX, &top)) {
		command_fail(EXIT_USAGE, "--top wants a number from 0 to %d.", COMPARE_TOP_MAX);
		return NULL;
	}
	if (c->tolerance && (!json_number_of_text(str_of(c->tolerance), &tolerance) || !(tolerance >= 0))) {
		command_fail(EXIT_USAGE, "--tolerance wants a number from 0 on.");
		return NULL;
	}
	struct compare *compare = compare_new((int)top, tolerance);
	if (!compare)
		command_fail(EXIT_SYSTEM, "out of memory.");
	return compare;
}

int model_print_report(const struct model_command *c, const struct report *report, struct compare *compare)
{
	struct buf out;

	buf_init_heap(&out);
	if (c->json)
		report_put_json(report, compare, &out);
	else
		report_put_text(report, compare, &out);
	int code = out.failed ? command_fail(EXIT_SYSTEM, "out of memory.") : command_print(buf_view(&out));
	buf_release(&out);
	return code;
}
