/* The kinds "sentiment_batch" and "sentiment".
 *
 * A batch is worked on part by part, and a part in steps: some texts are classified, and their rows and the progress
 * are one transaction, so that nothing is stored twice or lost however often the worker dies. While a step is stored
 * the next one is classified. A step is as large as fits the time that a turn to write should take. A part goes with
 * its last step. */
#include "task/sentiment.h"

#include "base/clock.h"
#include "base/polite.h"
#include "task/functions.h"

#include <math.h>

enum {
	STEP_LEAST = 32,
	STEP_MOST = 2000,
	STEP_FIRST = 200,
	STEP_REMOTE = 500,   /* nobody waits for a turn */
	STEP_US = 1500,      /* of a turn, before its commit, while nobody else wants it */
	STEP_SHORT_US = 400, /* when somebody has wanted it in the last STEPS_SHORT steps */
	STEPS_SHORT = 200,
	TEXTS_AT_ONCE = 32,    /* between two pauses */
	ROWS_AT_ONCE = 16,     /* likewise, when they are stored */
	PART_BYTES = 16 << 20, /* memory for a part, and for a step */
};

/* A step: what its transaction stores. */
struct step {
	struct sentiment_row *rows;
	size_t n;
	int64_t end;    /* texts of the batch that are done with it */
	int64_t part;   /* that ends with it; -1: none */
	bool begun;     /* to be stored */
	double seconds; /* that the model took */
	uint64_t us;    /* that storing took */
	bool wanted;    /* the turn, by somebody else */
};

/* A batch under way. */
struct batch {
	struct task_run *run;
	const struct model_version *version;
	struct arena part_arena, step_arena; /* its texts; what the model needs */
	struct step steps[2];                /* one is stored while the other one is made: */
	int making;
	struct polite polite;
	struct sentiment_row row; /* what all rows have in common */
	char task_id[ID_TEXT_BYTES];
	int64_t done, total;
	bool remote;     /* the database: nobody waits for a turn */
	size_t step;     /* texts in one */
	int short_steps; /* that are still to come */
};

/* The version that was chosen when the task came, if it is still loaded; else the one that the route gives the task. */
static const struct model_version *find_version(const struct task_run *run, struct str version)
{
	struct str name = str_of(run->config->sentiment_model);
	const struct model_version *found = model_set_find(run->models, name, version);
	const struct model_route *route = model_set_find_route(run->models, name);
	uint64_t draw;

	if (!found && route) {
		memcpy(&draw, run->task->id.b + 8, sizeof(draw));
		found = model_route_pick(route, draw);
	}
	return found && sentiment_can(found->model) ? found : NULL;
}

static enum status no_model(const struct task_run *run, struct err *err)
{
	return err_set(err, STATUS_UNAVAILABLE,
		       "No version of the model %s (SENTIMENT_MODEL) that classifies texts is loaded.",
		       run->config->sentiment_model);
}

/* --- storing --- */

static enum status store_step(struct db *db, struct task_run *run, void *arg, struct err *err)
{
	struct step *step = arg;
	size_t most = db_is_remote(db) ? step->n : ROWS_AT_ONCE;
	struct polite polite = {0};
	uint64_t start_ns = clock_mono_ns();
	enum status status = STATUS_OK;

	/* Others may be waiting for the processor rather than for the turn. */
	for (size_t i = 0; status == STATUS_OK && i < step->n; i += most) {
		polite_point(&polite);
		status = sentiments_insert_all(db, step->rows + i, step->n - i < most ? step->n - i : most, err);
	}
	if (status == STATUS_OK && step->part >= 0)
		status = tasks_delete_part(db, &run->task->id, step->part, err);
	step->us = (clock_mono_ns() - start_ns) / 1000;
	step->wanted = db_turn_is_wanted(db);
	return status;
}

static void count(const struct batch *batch, const struct step *step)
{
	const struct model_version *version = batch->version;
	struct shm *shm = batch->run->shm;

	metrics_add(shm, version->success, step->n);
	metrics_add(shm, version->model_success, step->n);
	metrics_observe(shm, version->seconds, step->seconds);
	metrics_observe(shm, version->model_seconds, step->seconds);
}

/* Its texts are counted when they are committed, so each once: also when the task is to end with that, and not when it
 * is run again for its end only. */
static void count_stored(const struct batch *batch, struct step *step)
{
	if (step->begun && batch->run->task->done == step->end)
		count(batch, step);
	step->begun = false;
}

/* The next step takes as long as one should, by what this one took. Fewer commits are faster, but others wait for each.
 */
static void adapt(struct batch *batch, const struct step *step)
{
	size_t next;

	if (batch->remote)
		return;
	batch->short_steps = step->wanted ? STEPS_SHORT : batch->short_steps - (batch->short_steps > 0);
	double us = batch->short_steps > 0 ? STEP_SHORT_US : STEP_US;
	next = (size_t)((double)step->n * us / (double)(step->us > 0 ? step->us : 1));
	if (next > batch->step)
		next = (next + batch->step) / 2;
	batch->step = next < STEP_LEAST ? STEP_LEAST : next > STEP_MOST ? STEP_MOST : next;
}

/* --- a part --- */

static enum status classify_step(struct batch *batch, const struct str *texts, struct step *step, struct err *err)
{
	struct sentiment_row *rows = step->rows;
	size_t n = step->n;
	uint64_t start_ns = clock_mono_ns();

	arena_reset(&batch->step_arena);
	struct sentiment_says *says = arena_alloc(&batch->step_arena, n * sizeof(*says));
	if (!says)
		return err_set(err, STATUS_NO_MEMORY, "no memory for a batch of texts");
	enum status status = STATUS_OK;
	for (size_t i = 0; status == STATUS_OK && i < n; i += TEXTS_AT_ONCE) {
		size_t some = n - i < TEXTS_AT_ONCE ? n - i : TEXTS_AT_ONCE;
		polite_point(&batch->polite);
		status = sentiment_classify(batch->version->model, texts + i, some, &batch->step_arena, says + i, err);
	}
	step->seconds = (double)(clock_mono_ns() - start_ns) / 1e9;
	double seconds = rint(step->seconds * 1e8 / (double)n) / 1e8; /* to 10 ns */
	for (size_t i = 0; status == STATUS_OK && i < n; i++) {
		rows[i] = batch->row;
		rows[i].position = batch->done + (int64_t)i;
		rows[i].id = sentiments_id_in_task(&batch->run->task->id, rows[i].position);
		rows[i].text = texts[i];
		rows[i].sentiment = says[i].sentiment;
		rows[i].confidence = says[i].confidence;
		rows[i].processing_s = seconds;
	}
	return status;
}

/* The texts of a part from the `skip`-th on. */
static enum status read_texts(struct batch *batch, struct str data, int64_t skip, struct str **texts, size_t *n,
			      struct err *err)
{
	struct sentiment_fault fault;
	struct json_fault bad;
	struct json_value list, item;
	struct json_iter iter;
	size_t count = 0;

	*n = 0;
	if (!json_check(data, 2, &list, &bad) || list.type != JSON_ARRAY)
		return err_set(err, STATUS_INVALID, "A part of the texts is damaged.");
	json_iter_init(&iter, list);
	while (json_next(&iter, NULL, &item))
		count++;
	*texts = arena_alloc(&batch->part_arena, (count + 1) * sizeof(**texts));
	if (!*texts)
		return err_set(err, STATUS_NO_MEMORY, "no memory for a batch of texts");
	json_iter_init(&iter, list);
	for (int64_t i = 0; json_next(&iter, NULL, &item); i++) {
		if (i < skip)
			continue;
		if (!sentiment_read_text(item, &batch->part_arena, &(*texts)[*n], &fault))
			return fault.type ? err_set(err, STATUS_INVALID, "A text of the batch is none: %s.", fault.msg)
					  : err_set(err, STATUS_NO_MEMORY, "no memory for a batch of texts");
		++*n;
		polite_point(&batch->polite);
	}
	return STATUS_OK;
}

struct part {
	int64_t number;
	struct arena *arena;
	struct str data;
};

static enum status read_part(struct db *db, struct task_run *run, void *arg, struct err *err)
{
	struct part *part = arg;

	return tasks_read_part(db, &run->task->id, part->number, part->arena, &part->data, err);
}

/* Waits until the step before this one is stored. */
static enum status settle(struct batch *batch, struct err *err)
{
	struct step *before = &batch->steps[batch->making ^ 1];
	enum status status = task_checkpoint_end(batch->run, err);

	if (status == STATUS_OK && before->begun)
		adapt(batch, before);
	count_stored(batch, before);
	return status;
}

/* Classifies texts while the step before is stored, and has them stored. */
static enum status run_step(struct batch *batch, const struct str *texts, size_t n, int64_t part, struct err *err)
{
	struct step *step = &batch->steps[batch->making];

	*step = (struct step){.rows = step->rows, .n = n, .part = part, .end = batch->done + (int64_t)n};
	enum status status = classify_step(batch, texts, step, err);
	if (status == STATUS_OK)
		status = settle(batch, err);
	if (status != STATUS_OK)
		return status;
	step->begun = true;
	batch->making ^= 1;
	status = task_checkpoint_begin(batch->run, step->end, batch->total, store_step, step, err);
	batch->done = status == STATUS_OK ? step->end : batch->done;
	return status;
}

static bool alloc_steps(struct batch *batch, size_t n)
{
	for (int i = 0; i < 2; i++) {
		struct step *step = &batch->steps[i];
		*step = (struct step){0};
		step->rows = arena_alloc(&batch->part_arena, (n < STEP_MOST ? n + 1 : STEP_MOST) * sizeof(*step->rows));
		if (!step->rows)
			return false;
	}
	return true;
}

/* `count` texts, of which the first `skip` are done. */
static enum status run_part(struct batch *batch, int64_t number, int64_t count, int64_t skip, struct err *err)
{
	struct part part = {.number = number, .arena = &batch->part_arena};
	struct str *texts = NULL;
	size_t n = 0;

	arena_reset(&batch->part_arena);
	enum status status = task_read(batch->run, read_part, &part, err);
	if (status == STATUS_NOT_FOUND)
		return err_set(err, STATUS_INVALID, "A part of the texts is gone.");
	if (status == STATUS_OK)
		status = read_texts(batch, part.data, skip, &texts, &n, err);
	if (status != STATUS_OK)
		return status;
	if ((int64_t)n != count - skip)
		return err_set(err, STATUS_INVALID, "A part of the texts is damaged.");
	if (!alloc_steps(batch, n))
		return err_set(err, STATUS_NO_MEMORY, "no memory for a batch of texts");
	for (size_t i = 0; status == STATUS_OK && i < n;) {
		size_t some = n - i < batch->step ? n - i : batch->step;
		status = run_step(batch, texts + i, some, i + some == n ? number : -1, err);
		i += some;
	}
	/* The rows that are being stored are this part's. */
	enum status stored = settle(batch, status == STATUS_OK ? err : NULL);
	return status == STATUS_OK ? stored : status;
}

/* --- the kinds --- */

static void fill_row(struct batch *batch)
{
	const struct task_row *task = batch->run->task;
	struct sentiment_row *row = &batch->row;

	id_format(&task->id, batch->task_id);
	*row = (struct sentiment_row){.user_id = task->user_id, .task_id = str_of(batch->task_id)};
	memcpy(row->created_at, task->created_at, sizeof(row->created_at));
	sentiment_format_version(batch->version->model, row->model_version);
}

/* {"version":…,"counts":[…]} */
static enum status read_payload(const struct task_run *run, struct str *version, struct json_value *counts,
				struct err *err)
{
	struct json_value root, value;
	struct json_fault bad;

	if (!json_check(run->task->payload, 3, &root, &bad) || !json_member(root, STR("version"), &value) ||
	    value.type != JSON_STRING || !json_member(root, STR("counts"), counts) || counts->type != JSON_ARRAY)
		return err_set(err, STATUS_INVALID,
			       "Batches are made by POST /api/v1/sentiment/analyze/batch, which stores their texts.");
	*version = json_string(value, run->arena);
	return version->p ? STATUS_OK : err_set(err, STATUS_NO_MEMORY, "no memory for a batch of texts");
}

static enum status run_parts(struct batch *batch, struct json_value counts, struct err *err)
{
	enum status status = STATUS_OK;
	struct json_value item;
	struct json_iter iter;
	int64_t before = 0;
	double count;

	json_iter_init(&iter, counts);
	for (int64_t number = 0; status == STATUS_OK && json_next(&iter, NULL, &item); number++) {
		if (!json_number(item, &count) || count < 1 || count > SENTIMENT_BATCH_MAX)
			return err_set(err, STATUS_INVALID, "The batch's payload is damaged.");
		if (batch->done < before + (int64_t)count)
			status = run_part(batch, number, (int64_t)count, batch->done - before, err);
		before += (int64_t)count;
	}
	return status;
}

static enum status put_result(struct task_run *run, const struct buf *text, struct err *err)
{
	if (text->failed)
		return err_set(err, STATUS_NO_MEMORY, "no memory for a result");
	run->result = buf_view(text);
	return STATUS_OK;
}

enum status task_sentiment_batch(struct task_run *run, struct err *err)
{
	struct batch batch = {.run = run, .done = run->task->done, .total = run->task->total, .step = STEP_FIRST};
	struct json_value counts = {0};
	struct str version = {0};
	struct buf result;

	enum status status = read_payload(run, &version, &counts, err);
	if (status != STATUS_OK)
		return status;
	if (!(batch.version = find_version(run, version)))
		return no_model(run, err);
	batch.remote = db_is_remote(run->db);
	if (batch.remote)
		batch.step = STEP_REMOTE;
	fill_row(&batch);
	arena_init(&batch.part_arena, PART_BYTES);
	arena_init(&batch.step_arena, PART_BYTES);
	status = run_parts(&batch, counts, err);
	arena_release(&batch.part_arena);
	arena_release(&batch.step_arena);
	if (status != STATUS_OK)
		return status;
	buf_init(&result, run->arena);
	buf_str(&result, STR("{\"texts\":"));
	json_put_i64(&result, batch.total);
	buf_char(&result, '}');
	return put_result(run, &result, err);
}

/* {"text":…}. False: *msg says why not, `field` is what is wrong; both NULL: out of memory. */
static bool read_one(struct str payload, struct arena *arena, struct str *text, const char **field, const char **msg)
{
	struct sentiment_fault fault;
	struct json_value root, value;
	struct json_fault bad;

	*field = "text";
	*msg = "Field required";
	if (!json_check(payload, JSON_MAX_DEPTH, &root, &bad) || !json_member(root, STR("text"), &value))
		return false;
	if (sentiment_read_text(value, arena, text, &fault))
		return true;
	*msg = fault.msg;
	return false;
}

const char *task_sentiment_check(struct str payload, const char **field)
{
	struct arena arena;
	struct str text;
	const char *msg;

	arena_init(&arena, 1 << 20);
	bool good = read_one(payload, &arena, &text, field, &msg);
	arena_release(&arena);
	return good ? NULL : msg ? msg : "Out of memory";
}

enum status task_sentiment(struct task_run *run, struct err *err)
{
	struct batch batch = {.run = run, .done = 0, .total = 1};
	struct sentiment_row row;
	const char *field, *msg;
	struct buf result;
	struct str text;

	if (!read_one(run->task->payload, run->arena, &text, &field, &msg))
		return msg ? err_set(err, STATUS_INVALID, "%s: %s", field, msg)
			   : err_set(err, STATUS_NO_MEMORY, "no memory for a text");
	if (!(batch.version = find_version(run, STR(""))))
		return no_model(run, err);
	fill_row(&batch);
	arena_init(&batch.step_arena, PART_BYTES);
	struct step step = {.rows = &row, .n = 1, .part = -1, .end = 1};
	enum status status = classify_step(&batch, &text, &step, err);
	arena_release(&batch.step_arena);
	if (status == STATUS_OK) {
		step.begun = run->task->done < step.end;
		status = task_checkpoint(run, step.end, 1, store_step, &step, err);
		count_stored(&batch, &step);
	}
	if (status != STATUS_OK)
		return status;
	buf_init(&result, run->arena);
	buf_str(&result, STR("{\"text\":"));
	json_put_string(&result, row.text);
	buf_str(&result, STR(",\"sentiment\":"));
	json_put_string(&result, row.sentiment);
	buf_str(&result, STR(",\"confidence\":"));
	json_put_double(&result, row.confidence);
	buf_char(&result, '}');
	return put_result(run, &result, err);
}
