/* appcore model compare: what a shadow has said, beside what was answered. */
#include "base/clock.h"
#include "model/folder.h"
#include "model_impl.h"
#include "model_report.h"
#include "store/shadows.h"

#include <stdio.h>
#include <stdlib.h>

enum { PAGE = 1000 };

struct comparing {
	struct model_command *c;
	const char *version; /* the candidate */
	struct manifest *candidate, *active;
	char active_version[MODELS_NAME_BYTES]; /* whose manifest `active` is */
	struct compare *compare;
	double before[MODEL_CLASSES_MAX], after[MODEL_CLASSES_MAX];
	struct buf csv;
	bool several; /* versions have answered */
};

/* NULL when it is built in or not here: then there are no names of classes to go by. */
static struct manifest *find_manifest(struct comparing *comparing, struct str version)
{
	struct manifest *manifest = NULL;

	if (folder_read_manifest(&manifest, comparing->c->config.models_dir, str_of(comparing->c->words[0]), version,
				 NULL) != STATUS_OK)
		return NULL;
	return manifest;
}

static void know_active(struct comparing *comparing, struct str version)
{
	if (str_eq(version, str_of(comparing->active_version)))
		return;
	comparing->several |= comparing->active_version[0] != '\0';
	manifest_free(comparing->active);
	comparing->active = find_manifest(comparing, version);
	snprintf(comparing->active_version, sizeof(comparing->active_version), "%.*s", STR_ARG(version));
}

static bool compare_row(void *arg, const struct shadow_prediction *shadow)
{
	struct comparing *comparing = arg;
	struct compare_row row = {
		.id = shadow->prediction_id, .created_at = shadow->created_at, .features = shadow->features};

	if (!str_eq(shadow->model_name, str_of(comparing->c->words[0])) ||
	    !str_eq(shadow->model_version, str_of(comparing->version)))
		return true;
	know_active(comparing, shadow->active_version);
	const struct compare_answer before = {
		.result = shadow->active_result,
		.label = shadow->active_label,
		.probabilities = comparing->before,
		.probabilities_n = compare_read_probabilities(shadow->active_probabilities, comparing->before,
							      MODEL_CLASSES_MAX),
	};
	const struct compare_answer after = {
		.result = shadow->result,
		.label = shadow->label,
		.probabilities = comparing->after,
		.probabilities_n = compare_read_probabilities(shadow->probabilities, comparing->after,
							      MODEL_CLASSES_MAX),
	};
	compare_values(&row, comparing->active, &before, comparing->candidate, &after);
	compare_add(comparing->compare, &row);
	if (comparing->c->csv)
		report_put_csv_row(&row, &comparing->csv);
	return true;
}

static enum status compare_all(struct comparing *comparing, int64_t since_us, struct err *err)
{
	char position[SHADOWS_POSITION_BYTES];
	enum status status = STATUS_OK;

	shadows_begin(since_us / 1000, position);
	for (int read = PAGE; status == STATUS_OK && read == PAGE;) {
		status = shadows_page(comparing->c->db, position, PAGE, compare_row, comparing, &read, err);
		if (status != STATUS_OK || !comparing->c->csv)
			continue;
		if (comparing->csv.failed || command_print(buf_view(&comparing->csv)) != EXIT_OK)
			status = err_set(err, STATUS_UNAVAILABLE, "the rows could not be printed");
		comparing->csv.n = 0;
	}
	return status;
}

/* The version that is the shadow now, unless one was named. False: said why. */
static bool find_candidate(struct model_command *c, char out[static MODELS_NAME_BYTES])
{
	struct models_route route;
	struct err err;

	if (c->n > 1) {
		snprintf(out, MODELS_NAME_BYTES, "%s", c->words[1]);
		return true;
	}
	enum status status = models_find_route(c->db, str_of(c->words[0]), &route, &err);
	if (status == STATUS_OK && !*route.shadow)
		status = err_set(&err, STATUS_NOT_FOUND, "Model %s has no shadow: name a version that was one.",
				 c->words[0]);
	snprintf(out, MODELS_NAME_BYTES, "%s", status == STATUS_OK ? route.shadow : "");
	return model_finish(status, &err) == EXIT_OK;
}

int model_run_compare(struct model_command *c)
{
	struct comparing *comparing = calloc(1, sizeof(*comparing));
	char candidate[MODELS_NAME_BYTES], since[CLOCK_ISO_BYTES];
	int64_t since_us;
	struct err err = {0};
	int code = EXIT_USAGE;

	if (!comparing)
		return command_fail(EXIT_SYSTEM, "out of memory.");
	comparing->c = c;
	comparing->version = candidate;
	buf_init_heap(&comparing->csv);
	if (model_since(c, "7d", &since_us) && (comparing->compare = model_new_compare(c)) &&
	    find_candidate(c, candidate)) {
		comparing->candidate = find_manifest(comparing, str_of(candidate));
		clock_format_iso(since_us, since);
		if (c->csv)
			report_put_csv_head(&comparing->csv);
		enum status status = compare_all(comparing, since_us, &err);
		const struct report report = {
			.name = c->words[0],
			.from = comparing->several ? "what answered" : comparing->active_version,
			.to = candidate,
			.since = since,
			.what = "scored by the shadow",
		};
		code = status != STATUS_OK ? model_finish(status, &err)
		       : c->csv            ? EXIT_OK
					   : model_print_report(c, &report, comparing->compare);
	}
	manifest_free(comparing->candidate);
	manifest_free(comparing->active);
	compare_free(comparing->compare);
	buf_release(&comparing->csv);
	free(comparing);
	return code;
}
