/* Storing what a run has read: in batches, each of which is one transaction with the position behind it.
 *
 * A batch lies within a chunk of the feed: the position is the chunk's beginning and how many of its records are done.
 * It is filled before its turn, and as large as what one took says that a turn should be. */
#include "task/pipeline_run_impl.h"

#include "base/clock.h"
#include "base/json.h"

#include <stdio.h>

enum {
	STEP_LEAST = 64,
	STEP_US = 1500,      /* of a turn, before its commit, while nobody else wants it */
	STEP_SHORT_US = 400, /* when somebody has wanted it in the last STEPS_SHORT steps */
	STEPS_SHORT = 200,
	STEP_BYTES = 4 << 20 /* of records in a transaction */
};

/* A batch: what its transaction stores. It is filled before the turn; what became of its records is told by each try.
 */
struct batch {
	struct work *work;
	const struct pipeline_row *rows;
	size_t n;
	size_t *of; /* record i comes from rows[of[i]] */
	size_t records, refused;
	struct run_counts filled;
	struct pipeline_counted filled_counted;
	struct source_position at;
	int64_t skip, bytes_done, bytes_total;
	struct run_counts counts;
	int64_t lengths[OUTPUTS];
	size_t lines_at;
	uint64_t us;
	bool page_done; /* it is the last of an API's page */
	bool ahead;     /* the run's files have of it what is assumed */
	bool wanted, stored;
	struct pipeline_counted counted;
};

/* --- the position --- */

void work_put_member(struct buf *out, struct str before, int64_t value)
{
	buf_str(out, before);
	json_put_i64(out, value);
}

bool work_write_position(struct work *work, bool page_done, struct source_position at, int64_t skip,
			 const int64_t lengths[OUTPUTS])
{
	struct buf *out = &work->position;

	out->n = 0;
	work_put_member(out, STR("{\"offset\":"), at.offset);
	work_put_member(out, STR(",\"line\":"), at.line);
	work_put_member(out, STR(",\"records\":"), at.records);
	work_put_member(out, STR(",\"skip\":"), skip);
	work_put_member(out, STR(",\"csv\":"), lengths[OUTPUT_CSV]);
	work_put_member(out, STR(",\"jsonl\":"), lengths[OUTPUT_JSON_LINES]);
	if (work->api) {
		work_put_member(out, STR(",\"before\":"), work->before);
		api_put_position(work->api, page_done, out);
	}
	buf_char(out, '}');
	return !out->failed;
}

static int64_t read_member(struct json_value root, struct str name)
{
	struct json_value value;
	double number;

	if (!json_member(root, name, &value) || value.type != JSON_NUMBER || !json_number(value, &number) ||
	    number < 0 || number > 9e15)
		return 0;
	return (int64_t)number;
}

void work_read_position(struct work *work)
{
	struct json_fault fault;
	struct json_value root;

	if (!json_check(work->row.position, 3, &root, &fault))
		return;
	work->at = (struct source_position){.offset = read_member(root, STR("offset")),
					    .line = read_member(root, STR("line")),
					    .records = read_member(root, STR("records"))};
	work->skip = read_member(root, STR("skip"));
	work->before = read_member(root, STR("before"));
	work->outputs.length[OUTPUT_CSV] = read_member(root, STR("csv"));
	work->outputs.length[OUTPUT_JSON_LINES] = read_member(root, STR("jsonl"));
}

bool work_is_begun(const struct work *work)
{
	return work->at.offset > 0 || work->skip > 0;
}

/* --- storing a batch --- */

/* What both engines take as a text: whatever is no UTF-8, and NUL, becomes U+FFFD. */
static struct str mend(struct work *work, struct str text)
{
	struct buf out;

	if (str_is_utf8(text) && (text.n == 0 || !memchr(text.p, '\0', text.n)))
		return text;
	buf_init(&out, &work->arena);
	for (size_t i = 0; i < text.n;) {
		size_t n = text.p[i] ? str_utf8_sequence(text.p + i, text.n - i) : 0;
		if (n > 0)
			buf_put(&out, text.p + i, n);
		else
			buf_str(&out, STR("\xef\xbf\xbd"));
		i += n > 0 ? n : 1;
	}
	return out.failed ? STR("\xef\xbf\xbd") : buf_view(&out);
}

static bool is_selected(const struct work *work, struct batch *batch, int64_t line)
{
	if (!work->lines)
		return true;
	while (batch->lines_at < work->lines_n && work->lines[batch->lines_at] < line)
		batch->lines_at++;
	return batch->lines_at < work->lines_n && work->lines[batch->lines_at] == line;
}

static struct str key_of(struct work *work, const struct batch *batch, const struct pipeline_row *row)
{
	char text[64];

	if (row->key.n > 0)
		return row->key;
	int n = snprintf(text, sizeof(text), "%lld-%lld", (long long)work->row.number,
			 (long long)batch->counts.rows_read);
	return arena_dup(&work->arena, (struct str){text, (size_t)n});
}

static enum record_duplicates duplicates_of(const struct pipeline *pipeline)
{
	switch (pipeline->duplicates) {
	case PIPELINE_SKIP:
		return RECORDS_SKIP;
	case PIPELINE_REPLACE:
		return RECORDS_REPLACE;
	case PIPELINE_REFUSE:
		return RECORDS_TELL;
	}
	return RECORDS_SKIP;
}

static void refuse(struct batch *batch, const struct pipeline_row *row, enum refusal reason, struct str message,
		   size_t *refused)
{
	struct work *work = batch->work;

	batch->counts.refused++;
	batch->counted.refused[reason]++;
	work->refusals[(*refused)++] = (struct refusal_row){
		.run = work->row.number,
		.n = batch->counts.refused,
		.line = row->line,
		.key = mend(work, row->key),
		.field = mend(work, row->field),
		.value = mend(work, row->value),
		.reason = str_of(refusal_name(reason)),
		.message = mend(work, message),
	};
}

/* The batch's records, in its order. */
static bool fill_rows(struct batch *batch, int64_t now_us)
{
	struct work *work = batch->work;
	const struct pipeline *pipeline = work->pipeline;

	for (size_t i = 0; i < batch->n; i++) {
		const struct pipeline_row *row = &batch->rows[i];
		bool bad = row->refusal != REFUSAL_NONE;

		if (!is_selected(work, batch, row->line))
			continue;
		batch->counts.rows_read++;
		if (bad)
			refuse(batch, row, row->refusal, row->message, &batch->refused);
		if (bad && (!pipeline->keep_failed || row->key.n == 0))
			continue;
		batch->of[batch->records] = i;
		struct record_row *record = &work->records[batch->records++];
		*record = (struct record_row){
			.pipeline_id = work->row.pipeline_id,
			.run = work->row.number,
			.key = key_of(work, batch, row),
			.source = pipeline->source.kind,
			.data = row->data,
			.search = bad ? (struct str){0} : row->search,
			.status = bad ? RECORD_FAILED : RECORD_PROCESSED,
			.received_us = now_us,
			.processed_us = now_us,
			.seconds = row->seconds,
		};
		if (bad)
			record->error = mend(work, row->message);
		if (!record->key.p)
			return false;
	}
	return true;
}

/* Only the transaction knows which records are duplicates. So before the turn the run's files get the batch as if there
 * were none, and as a rule nobody waits for their sync. What can't be written is tried again in the transaction, which
 * says why, and waits. */
static void write_ahead(struct batch *batch)
{
	struct work *work = batch->work;
	struct err ignored;

	for (size_t i = 0; i < batch->records; i++)
		work->assumed[i] = work->records[i].status != RECORD_FAILED;
	batch->ahead = outputs_write(&work->outputs, work->records, work->assumed, batch->records, batch->lengths,
				     &ignored) == STATUS_OK;
}

/* In the transaction: what was assumed may be wrong. */
static enum status write_files(struct batch *batch, struct err *err)
{
	struct work *work = batch->work;
	size_t n = batch->records;

	if (batch->ahead && (n == 0 || memcmp(work->wanted, work->assumed, n * sizeof(*work->wanted)) == 0))
		return STATUS_OK;
	enum status status = outputs_write(&work->outputs, work->records, work->wanted, n, batch->lengths, err);
	batch->ahead = status == STATUS_OK;
	if (batch->ahead)
		memcpy(work->assumed, work->wanted, n * sizeof(*work->wanted));
	return status;
}

static enum status fill(struct batch *batch, struct err *err)
{
	struct work *work = batch->work;

	arena_reset(&work->arena);
	batch->counts = work->row.counts;
	batch->lines_at = work->lines_at;
	batch->of = arena_alloc(&work->arena, (batch->n + 1) * sizeof(*batch->of));
	if (!batch->of || !fill_rows(batch, clock_wall_us()))
		return work_no_memory(err);
	batch->filled = batch->counts;
	batch->filled_counted = batch->counted;
	write_ahead(batch);
	return STATUS_OK;
}

/* Counts what became of the records; of those that are no more than told, refusals are made. */
static void count(struct batch *batch, size_t *refused)
{
	struct work *work = batch->work;
	bool tells = work->pipeline->duplicates == PIPELINE_REFUSE;

	for (size_t i = 0; i < batch->records; i++) {
		bool failed = work->records[i].status == RECORD_FAILED;
		char outcome = work->outcome[i];

		work->wanted[i] = !failed && outcome != 's';
		if (failed)
			continue;
		batch->counts.stored += outcome == 'n';
		batch->counts.replaced += outcome == 'r';
		batch->counts.skipped += outcome == 's' && !tells;
		if (outcome == 's' && tells)
			refuse(batch, &batch->rows[batch->of[i]], REFUSAL_DUPLICATE,
			       STR("A record with this key is there already."), refused);
	}
}

static enum status store_row(struct db *db, struct batch *batch, struct err *err)
{
	struct work *work = batch->work;
	struct run_row row = work->row;

	if (!work_write_position(work, batch->page_done, batch->at, batch->skip, batch->lengths))
		return work_no_memory(err);
	row.state = RUN_RUNNING;
	row.position = buf_view(&work->position);
	row.counts = batch->counts;
	row.counts.bytes_read = batch->bytes_done;
	row.counts.bytes_total = batch->bytes_total;
	batch->counts = row.counts;
	return runs_update(db, &row, err);
}

static enum status store_batch(struct db *db, struct task_run *run, void *arg, struct err *err)
{
	struct batch *batch = arg;
	struct work *work = batch->work;
	size_t records = batch->records, refused = batch->refused;
	uint64_t start_ns = clock_mono_ns();
	enum status status = STATUS_OK;

	(void)run;
	batch->stored = false;
	batch->counts = batch->filled;
	batch->counted = batch->filled_counted;
	memset(work->outcome, 'n', records);
	if (records > 0 && work->pipeline->to & PIPELINE_TO_RECORDS)
		status = records_insert(db, work->records, records, duplicates_of(work->pipeline), work->outcome, err);
	if (status == STATUS_OK) {
		count(batch, &refused);
		status = runs_insert_refusals(db, work->refusals, refused, err);
	}
	if (status == STATUS_OK)
		status = write_files(batch, err);
	if (status == STATUS_OK)
		status = store_row(db, batch, err);
	if (status == STATUS_OK && batch->page_done)
		status = api_store(db, work->api, err);
	batch->us = (clock_mono_ns() - start_ns) / 1000;
	batch->wanted = db_turn_is_wanted(db);
	batch->stored = status == STATUS_OK;
	return status;
}

/* The next batch takes as long as one should, by what this one took. */
static void adapt(struct work *work, const struct batch *batch)
{
	if (db_is_remote(work->run->db) || batch->n == 0)
		return;
	work->short_steps = batch->wanted ? STEPS_SHORT : work->short_steps - (work->short_steps > 0);
	double us = work->short_steps > 0 ? STEP_SHORT_US : STEP_US;
	size_t next = (size_t)((double)batch->n * us / (double)(batch->us > 0 ? batch->us : 1));
	if (next > work->step)
		next = (next + work->step) / 2;
	work->step = next < STEP_LEAST ? STEP_LEAST : next;
	if (work->step > work->limit)
		work->step = work->limit;
}

/* So many of the rows go into one transaction. */
static size_t size_of_batch(const struct work *work, const struct pipeline_row *rows, size_t n)
{
	size_t bytes = 0, most = n < work->step ? n : work->step;

	/* Evenly, rather than a full one and a small one. */
	if (n > work->step)
		most = (n + (n + work->step - 1) / work->step - 1) / ((n + work->step - 1) / work->step);
	for (size_t i = 0; i < most; i++) {
		bytes += rows[i].data.n + rows[i].key.n + rows[i].search.n + rows[i].value.n + rows[i].message.n;
		if (bytes > STEP_BYTES && i > 0)
			return i;
	}
	return most;
}

static void take_over(struct work *work, struct batch *batch)
{
	pipeline_metrics_count(&work->metrics, &work->row.counts, &batch->counts, &batch->counted, batch->rows,
			       batch->n);
	work->row.counts = batch->counts;
	work->at = batch->at;
	work->skip = batch->skip;
	work->lines_at = batch->lines_at;
	for (int i = 0; i < OUTPUTS; i++)
		work->outputs.length[i] = batch->lengths[i];
	if (batch->page_done) {
		work->before = batch->bytes_done;
		api_advance(work->api);
	}
	adapt(work, batch);
}

/* Stores a chunk but for its first records, which are stored. */
enum status work_store_chunk(struct work *work, const struct feed_chunk *chunk, struct err *err)
{
	enum status status = STATUS_OK;
	size_t at = (size_t)work->skip < chunk->n ? (size_t)work->skip : chunk->n;
	int64_t from = work->row.counts.bytes_read, done = work->before + chunk->bytes_done, bytes = done - from;
	int64_t total = work->before + chunk->bytes_total;
	bool page_ends = work->api && chunk->to.records == work->page_items;

	while (status == STATUS_OK && at < chunk->n) {
		struct batch batch = {.work = work, .rows = chunk->rows + at, .bytes_total = total};
		batch.n = size_of_batch(work, batch.rows, chunk->n - at);
		bool last = at + batch.n == chunk->n;
		batch.page_done = last && page_ends;
		batch.at = batch.page_done ? (struct source_position){0} : last ? chunk->to : chunk->from;
		batch.skip = last ? 0 : (int64_t)(at + batch.n);
		batch.bytes_done = batch.page_done ? total
				   : last          ? done
						   : from + bytes * (int64_t)(at + batch.n) / (int64_t)chunk->n;
		status = fill(&batch, err);
		if (status == STATUS_OK)
			status = task_checkpoint(work->run, batch.bytes_done, batch.bytes_total, store_batch, &batch,
						 err);
		if (status == STATUS_OK || (status == STATUS_CANCELLED && batch.stored))
			take_over(work, &batch);
		else if (status == STATUS_CANCELLED)
			outputs_cut(&work->outputs);
		at += batch.n;
	}
	return status;
}

enum status work_store_page_end(struct work *work, struct err *err)
{
	struct batch batch = {.work = work, .page_done = true, .bytes_done = work->row.counts.bytes_read};

	batch.bytes_total = batch.bytes_done;
	enum status status = fill(&batch, err);
	if (status == STATUS_OK)
		status = task_checkpoint(work->run, batch.bytes_done, batch.bytes_total, store_batch, &batch, err);
	if (status == STATUS_OK || (status == STATUS_CANCELLED && batch.stored))
		take_over(work, &batch);
	return status;
}
