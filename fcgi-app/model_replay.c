/* appcore model replay: what a candidate would have answered to what was asked.
 *
 * Stored predictions are read by pages, the newest first, each page in a short read of its own, so that the log of a
 * running service is not held up; they are scored in batches, and what is kept of them is bounded (compare.h). */
#include "base/clock.h"
#include "model/rescore.h"
#include "model_impl.h"
#include "model_report.h"
#include "store/predictions.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What is asked for and not taken costs a connection to PostgreSQL when it is much: PAGE_MIN rows are not. */
enum { PAGE_BYTES = 64 << 20, PAGE_MIN = 32, TELL_FIRST_MS = 1000, TELL_TTY_MS = 200, TELL_FILE_MS = 5000 };

/* A row of the page. */
struct replay_row {
	struct str id, created_at;
	double result;
	struct str label, probabilities;
};

struct replay {
	struct model_command *c;
	struct model *from, *to; /* from may be NULL */
	struct rescore *rescore;
	struct compare *compare;
	struct arena arena; /* a page's */
	struct replay_row rows[PREDICTIONS_PAGE_MAX];
	struct rescore_row answers[PREDICTIONS_PAGE_MAX];
	int n;
	int page;  /* rows to ask for: fewer once a page was too large */
	bool full; /* of memory */
	double before[MODEL_CLASSES_MAX];
	struct buf csv;

	int64_t since_us, now_us;
	int64_t left; /* of --limit; negative: no limit */
	int64_t done;
	uint64_t start_ms, told_ms;
	bool tty;
};

/* --- progress --- */

/* Rows come the newest first: how far back it is tells how much is done. */
static void tell_progress(struct replay *replay, struct str created_at)
{
	uint64_t now_ms = clock_mono_ms(), every_ms = replay->tty ? TELL_TTY_MS : TELL_FILE_MS;
	int64_t at_us;

	if (now_ms - replay->start_ms < TELL_FIRST_MS || now_ms - replay->told_ms < every_ms ||
	    !clock_parse_iso(created_at, &at_us))
		return;
	replay->told_ms = now_ms;
	fprintf(stderr, "%s%" PRId64 " predictions, %.0f %% of the time, %.0f/s%s", replay->tty ? "\r" : "",
		replay->done,
		100.0 * (double)(replay->now_us - at_us) / (double)(replay->now_us - replay->since_us + 1),
		1000.0 * (double)replay->done / (double)(now_ms - replay->start_ms), replay->tty ? "   " : "\n");
	fflush(stderr);
}

static void end_progress(const struct replay *replay)
{
	if (replay->tty && replay->told_ms > 0)
		fprintf(stderr, "\r%60s\r", "");
}

/* --- a page --- */

static bool take_row(void *arg, const struct prediction *row)
{
	struct replay *replay = arg;
	struct replay_row *kept = &replay->rows[replay->n];

	if (!str_eq(row->model_name, str_of(replay->c->words[0])))
		return true;
	if (replay->n == replay->left)
		return false;
	struct str features = arena_dup(&replay->arena, row->features);
	*kept = (struct replay_row){
		.id = arena_dup(&replay->arena, row->id),
		.created_at = arena_dup(&replay->arena, row->created_at),
		.result = row->result,
		.label = arena_dup(&replay->arena, row->label),
		.probabilities = arena_dup(&replay->arena, row->probabilities),
	};
	if (!features.p || !kept->id.p || !kept->created_at.p || !kept->label.p || !kept->probabilities.p) {
		replay->full = true;
		return false;
	}
	replay->answers[replay->n] = (struct rescore_row){.features = features};
	replay->n++;
	if (replay->arena.used < PAGE_BYTES)
		return replay->n < PREDICTIONS_PAGE_MAX;
	replay->page = replay->n;
	return false;
}

static void compare_one(struct replay *replay, const struct replay_row *stored, const struct rescore_row *answer)
{
	const struct model *to = replay->to;
	struct compare_row row = {.id = stored->id, .created_at = stored->created_at, .features = answer->features};

	if (answer->status != STATUS_OK) {
		compare_refuse(replay->compare, stored->id, answer->why);
		return;
	}
	const struct compare_answer before = {
		.result = stored->result,
		.label = stored->label,
		.probabilities = replay->before,
		.probabilities_n = compare_read_probabilities(stored->probabilities, replay->before, MODEL_CLASSES_MAX),
	};
	const struct compare_answer after = {
		.result = answer->result,
		.label = to->classes_n > 0 ? model_class(to, answer->label) : (struct str){0},
		.probabilities = answer->probabilities,
		.probabilities_n = to->classes_n,
	};
	compare_values(&row, replay->from ? replay->from->manifest : NULL, &before, to->manifest, &after);
	compare_add(replay->compare, &row);
	if (replay->c->csv)
		report_put_csv_row(&row, &replay->csv);
}

static enum status score_page(struct replay *replay, struct err *err)
{
	enum status status = STATUS_OK;

	for (int at = 0; at < replay->n && status == STATUS_OK; at += RESCORE_ROWS_MAX) {
		int n = replay->n - at < RESCORE_ROWS_MAX ? replay->n - at : RESCORE_ROWS_MAX;
		status = rescore_run(replay->rescore, &replay->answers[at], (size_t)n, &replay->arena, err);
		for (int i = at; i < at + n && status == STATUS_OK; i++)
			compare_one(replay, &replay->rows[i], &replay->answers[i]);
	}
	replay->done += replay->n;
	if (replay->n > 0)
		tell_progress(replay, replay->rows[replay->n - 1].created_at);
	if (status == STATUS_OK && replay->c->csv) {
		if (replay->csv.failed || command_print(buf_view(&replay->csv)) != EXIT_OK)
			status = err_set(err, STATUS_UNAVAILABLE, "the rows could not be printed");
		replay->csv.n = 0;
	}
	return status;
}

static int rows_to_ask_for(const struct replay *replay)
{
	int64_t n = replay->left < 0 || replay->left > replay->page ? replay->page : replay->left;

	if (n < PAGE_MIN) /* of other models there may be many */
		n = replay->page < PAGE_MIN ? replay->page : PAGE_MIN;
	return (int)n;
}

/* The version has an index. Other models' rows are left out by take_row: with two filters the store would read far
 * beyond the page. */
static enum status replay_all(struct replay *replay, const char *version, bool *more, struct err *err)
{
	char from[CLOCK_ISO_BYTES], created_at[40] = "", id[40] = "";
	struct predictions_query query = {.model_version = str_of(version)};
	enum status status = STATUS_OK;

	clock_format_iso(replay->since_us, from);
	query.from = str_of(from);
	for (*more = true; status == STATUS_OK && *more && replay->left != 0;) {
		char after_at[40], after_id[40];
		memcpy(after_at, created_at, sizeof(after_at));
		memcpy(after_id, id, sizeof(after_id));
		query.after_created_at = str_of(after_at);
		query.after_id = str_of(after_id);
		query.limit = rows_to_ask_for(replay);
		arena_reset(&replay->arena);
		replay->n = 0;
		status = predictions_list(replay->c->db, &query, take_row, replay, more, created_at, id, err);
		if (status == STATUS_OK && replay->full)
			status = err_set(err, STATUS_NO_MEMORY, "no memory for the predictions");
		if (status == STATUS_OK)
			status = score_page(replay, err);
		replay->left -= replay->left > 0 ? replay->n : 0;
	}
	return status;
}

/* --- the command --- */

static int run(struct replay *replay, const char *from, const char *to)
{
	struct report report = {.name = replay->c->words[0], .from = from, .to = to, .what = "replayed"};
	char since[CLOCK_ISO_BYTES];
	struct err err = {0};
	bool more;

	clock_format_iso(replay->since_us, since);
	report.since = since;
	if (replay->c->csv)
		report_put_csv_head(&replay->csv);
	enum status status = replay_all(replay, from, &more, &err);
	end_progress(replay);
	if (status != STATUS_OK)
		return model_finish(status, &err);
	report.stopped = more;
	return replay->c->csv ? EXIT_OK : model_print_report(replay->c, &report, replay->compare);
}

/* A version that is not there any more has left its predictions all the same. */
static enum status load_former(struct replay *replay, const char *version, struct err *err)
{
	enum status status = model_load_known(replay->c, replay->c->words[0], version, &replay->from, err);

	if (status != STATUS_NOT_FOUND)
		return status;
	fprintf(stderr, "appcore model: version %s is not there any more: its inputs go by their place.\n", version);
	return STATUS_OK;
}

int model_run_replay(struct model_command *c)
{
	struct replay *replay = calloc(1, sizeof(*replay));
	char active[MODELS_NAME_BYTES];
	uint64_t limit = 0;
	struct err err = {0};
	int code = EXIT_USAGE;

	if (!replay)
		return command_fail(EXIT_SYSTEM, "out of memory.");
	replay->c = c;
	replay->tty = isatty(STDERR_FILENO);
	replay->start_ms = clock_mono_ms();
	replay->now_us = clock_wall_us();
	replay->page = PREDICTIONS_PAGE_MAX;
	arena_init(&replay->arena, SIZE_MAX / 4);
	buf_init_heap(&replay->csv);
	if (!c->to)
		code = command_fail(EXIT_USAGE, "replay wants --to, the version that is to answer; see --help.");
	else if (c->limit && !str_to_u64(str_of(c->limit), INT64_MAX, &limit))
		code = command_fail(EXIT_USAGE, "--limit wants a number.");
	else if (model_since(c, "7d", &replay->since_us) && (replay->compare = model_new_compare(c)) &&
		 (c->from || model_find_active(c, c->words[0], active))) {
		const char *from = c->from ? c->from : active;
		replay->left = c->limit ? (int64_t)limit : -1;
		enum status status = model_load_known(c, c->words[0], c->to, &replay->to, &err);
		if (status == STATUS_OK)
			status = load_former(replay, from, &err);
		if (status == STATUS_OK && !(replay->rescore = rescore_new(replay->from, replay->to)))
			status = err_set(&err, STATUS_NO_MEMORY, "out of memory");
		code = status == STATUS_OK ? run(replay, from, c->to) : model_finish(status, &err);
	}
	rescore_free(replay->rescore);
	compare_free(replay->compare);
	model_drop(replay->from);
	model_drop(replay->to);
	arena_release(&replay->arena);
	buf_release(&replay->csv);
	free(replay);
	return code;
}
