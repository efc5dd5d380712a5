/* appcore model drift: what a version is asked, against what it was trained on. */
#include "base/clock.h"
#include "base/json.h"
#include "model/drift.h"
#include "model_impl.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

enum { ROWS = 50000 };

static double part_of_psi(const struct drift_input *input, int bin)
{
	return drift_psi(&input->actual[bin], &input->expected[bin], 1);
}

static void put_bins(const struct drift_input *input, struct buf *out)
{
	char name[64];

	buf_fmt(out, "\n%.*s, bin by bin\n%-32s  %10s  %10s  %10s\n", STR_ARG(input->input->name), "bin", "training",
		"now", "adds");
	for (int i = 0; i < input->bins; i++) {
		if (i >= input->input->bins && input->counts[i] == 0 && input->expected[i] == 0)
			continue;
		drift_bin_name(input, i, name);
		buf_fmt(out, "%-32s  %8.2f %%  %8.2f %%  %10.4f\n", name, 100 * input->expected[i],
			100 * input->actual[i], part_of_psi(input, i));
	}
}

static void put_text(const struct drift *drift, const char *since, struct buf *out)
{
	const struct model *model = drift->model;

	buf_fmt(out, "%s %s: %" PRId64 " predictions since %.19sZ%s\n", model->name, model->version, drift->rows, since,
		drift->sampled ? ", a sample of them" : "");
	if (drift->skipped > 0)
		buf_fmt(out, "%" PRId64 " could not be read and were left out\n", drift->skipped);
	if (drift->rows == 0)
		return;
	buf_fmt(out, "\n%-32s  %10s  %s\n", "input", "PSI", "reading");
	for (int i = 0; i < drift->inputs_n; i++) {
		const struct drift_input *input = &drift->inputs[i];
		int n = (int)(input->input->name.n < 32 ? input->input->name.n : 32);
		buf_fmt(out, "%-32.*s  %10.4f  %s\n", n, input->input->name.p, input->psi, drift_reading(input->psi));
	}
	buf_fmt(out, "(below %g stable, to %g moving, above shifted)\n", DRIFT_MOVING, DRIFT_SHIFTED);
	put_bins(&drift->inputs[0], out);
}

static void put_json_input(const struct drift_input *input, struct buf *out)
{
	char name[64];

	buf_str(out, STR("{\"input\":"));
	json_put_string(out, input->input->name);
	buf_str(out, STR(",\"psi\":"));
	json_put_double(out, input->psi);
	buf_fmt(out, ",\"reading\":\"%s\",\"bins\":[", drift_reading(input->psi));
	for (int i = 0; i < input->bins; i++) {
		drift_bin_name(input, i, name);
		buf_str(out, i > 0 ? STR(",{\"bin\":") : STR("{\"bin\":"));
		json_put_string(out, str_of(name));
		buf_str(out, STR(",\"training\":"));
		json_put_double(out, input->expected[i]);
		buf_str(out, STR(",\"now\":"));
		json_put_double(out, input->actual[i]);
		buf_str(out, STR(",\"rows\":"));
		json_put_i64(out, input->counts[i]);
		buf_char(out, '}');
	}
	buf_str(out, STR("]}"));
}

static void put_json(const struct drift *drift, const char *since, struct buf *out)
{
	buf_fmt(out,
		"{\"model\":\"%s\",\"version\":\"%s\",\"since\":\"%s\",\"rows\":%" PRId64 ",\"skipped\":%" PRId64
		",\"sampled\":%s,\"inputs\":[",
		drift->model->name, drift->model->version, since, drift->rows, drift->skipped,
		drift->sampled ? "true" : "false");
	for (int i = 0; i < drift->inputs_n; i++) {
		if (i > 0)
			buf_char(out, ',');
		put_json_input(&drift->inputs[i], out);
	}
	buf_str(out, STR("]}\n"));
}

static int print(const struct model_command *c, const struct drift *drift, int64_t since_us)
{
	char since[CLOCK_ISO_BYTES];
	struct buf out;

	clock_format_iso(since_us, since);
	buf_init_heap(&out);
	if (c->json)
		put_json(drift, since, &out);
	else
		put_text(drift, since, &out);
	int code = out.failed ? command_fail(EXIT_SYSTEM, "out of memory.") : command_print(buf_view(&out));
	buf_release(&out);
	return code;
}

int model_run_drift(struct model_command *c)
{
	char active[MODELS_NAME_BYTES];
	const char *version = c->n > 1 ? c->words[1] : active;
	struct drift *drift = NULL;
	struct model *model = NULL;
	int64_t since_us, now_us = clock_wall_us();
	struct err err = {0};

	if (!model_since(c, c->config.model_drift_window, &since_us) ||
	    (c->n < 2 && !model_find_active(c, c->words[0], active)))
		return EXIT_USAGE;
	enum status status = model_load_known(c, c->words[0], version, &model, &err);
	if (status == STATUS_OK)
		drift = drift_new(model);
	if (status == STATUS_OK && !drift)
		status = err_set(&err, STATUS_NO_MEMORY, "out of memory");
	else if (drift && drift->inputs_n == 0)
		status = err_set(&err, STATUS_NOT_FOUND,
				 "The manifest of %s %s says nothing of the distribution of its inputs.", model->name,
				 model->version);
	else if (drift)
		status = drift_sample(drift, c->db, now_us, now_us - since_us, ROWS, &err);
	if (status == STATUS_OK && drift)
		drift_finish(drift);
	int code = status == STATUS_OK && drift ? print(c, drift, since_us) : model_finish(status, &err);
	drift_free(drift);
	model_drop(model);
	return code;
}
