/* The kind "pipeline_run": a source is read, applied and stored, batch by batch.
 *
 * The feed's threads read and apply; this one stores. Records, refusals, counts, the position in the source, the
 * lengths of the files that the run writes and the task's progress are one transaction, so that a run that is killed
 * anywhere goes on exactly behind the last batch that was committed. A batch lies within a chunk of the feed: the
 * position is the chunk's beginning and how many of its records are done.
 *
 * What the source is, is looked at before each chunk is stored: one that was replaced or cut ends the run; one that
 * has grown is opened again before its last chunk, so that a line that was half there is read whole. */
#include "pipeline/feed.h"
#include "task/functions.h"
#include "task/ingest.h"
#include "task/pipeline_impl.h"
#include "task/pipeline_metrics.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
	STEP_LEAST = 64,
	STEP_MOST = 10000,   /* records in a transaction, whatever BATCH_SIZE says */
	STEP_US = 1500,      /* of a turn, before its commit, while nobody else wants it */
	STEP_SHORT_US = 400, /* when somebody has wanted it in the last STEPS_SHORT steps */
	STEPS_SHORT = 200,
	STEP_BYTES = 4 << 20,   /* of records in a transaction */
	GROWING_MS = 300,       /* between two looks at a source that grows */
	BATCH_BYTES = 64 << 20, /* of what is mended in a batch */
};

struct work {
	struct task_run *run;
	struct run_row row;
	struct pipeline *pipeline;
	struct source *source;
	struct feed *feed;
	struct api *api;    /* NULL: the source is a file */
	int64_t page_items; /* of the page that is read */
	int64_t before;     /* bytes of the pages before it */
	char path[PIPELINE_PATH_BYTES], identity[200], archived[PIPELINE_PATH_BYTES];
	struct stat was; /* of the source when it was opened */
	struct source_position at;
	int64_t skip; /* records behind `at` that are done */
	struct outputs outputs;
	struct buf position;
	struct pipeline_metrics metrics;
	bool begun; /* the row says that it runs */
	bool reopen;

	size_t limit, step;
	int short_steps;
	struct record_row *records; /* `limit` of these five */
	struct refusal_row *refusals;
	char *outcome;
	bool *wanted;       /* in the run's files */
	bool *assumed;      /* what they have of the batch, if it was written ahead */
	struct arena arena; /* of a batch */

	int64_t *lines; /* of a run that repeats what was refused: which, in order */
	size_t lines_n, lines_at;
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

static enum status no_memory(struct err *err)
{
	return err_set(err, STATUS_NO_MEMORY, "no memory for a run of a pipeline");
}

/* --- the position --- */

static void put_member(struct buf *out, struct str before, int64_t value)
{
	buf_str(out, before);
	json_put_i64(out, value);
}

static bool write_position(struct work *work, bool page_done, struct source_position at, int64_t skip,
			   const int64_t lengths[OUTPUTS])
{
	struct buf *out = &work->position;

	out->n = 0;
	put_member(out, STR("{\"offset\":"), at.offset);
	put_member(out, STR(",\"line\":"), at.line);
	put_member(out, STR(",\"records\":"), at.records);
	put_member(out, STR(",\"skip\":"), skip);
	put_member(out, STR(",\"csv\":"), lengths[OUTPUT_CSV]);
	put_member(out, STR(",\"jsonl\":"), lengths[OUTPUT_JSON_LINES]);
	if (work->api) {
		put_member(out, STR(",\"before\":"), work->before);
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

static void read_position(struct work *work)
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

static bool is_begun(const struct work *work)
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
		return no_memory(err);
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

	if (!write_position(work, batch->page_done, batch->at, batch->skip, batch->lengths))
		return no_memory(err);
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
static enum status store_chunk(struct work *work, const struct feed_chunk *chunk, struct err *err)
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

/* --- reading --- */

/* Somebody else puts files into DATA_DIR/raw, perhaps piece by piece. */
static bool is_being_written(const struct work *work, const struct stat *st)
{
	int64_t age_us = clock_wall_us() - st->st_mtim.tv_sec * INT64_C(1000000) - st->st_mtim.tv_nsec / 1000;

	return str_starts(work->row.path, STR("raw/")) && age_us >= 0 && age_us < PIPELINE_QUIET_US;
}

/* Whether the file at the run's path is the one that is being read, and as it was. */
static enum status look_at_source(struct work *work, const struct feed_chunk *chunk, struct err *err)
{
	struct stat st;

	if (stat(work->path, &st) != 0 || st.st_ino != work->was.st_ino || st.st_dev != work->was.st_dev)
		return STATUS_OK; /* moved away, or another one in its place: what is open stays as it is */
	bool last = chunk == NULL || chunk->bytes_done >= chunk->bytes_total;
	bool same = st.st_size == work->was.st_size && st.st_mtim.tv_sec == work->was.st_mtim.tv_sec &&
		    st.st_mtim.tv_nsec == work->was.st_mtim.tv_nsec;
	if (!same && (st.st_size < work->was.st_size || !source_is_same(work->source, work->identity)))
		return err_set(
			err, STATUS_INVALID,
			"The source was changed while it was read (behind line %lld): what came before is stored.",
			(long long)work->at.line);
	work->reopen = last && (!same || is_being_written(work, &st));
	return STATUS_OK;
}

/* Until there is nothing more, or the source is to be opened again. */
static enum status read_feed(struct work *work, struct err *err)
{
	const struct feed_chunk *chunk;

	for (;;) {
		enum status status = feed_next(work->feed, &chunk, err);
		if (status == STATUS_OK)
			status = look_at_source(work, chunk, err);
		if (status != STATUS_OK || !chunk || work->reopen)
			return status;
		status = store_chunk(work, chunk, err);
		if (status != STATUS_OK)
			return status;
	}
}

static void close_source(struct work *work)
{
	feed_close(work->feed);
	source_close(work->source);
	work->feed = NULL;
	work->source = NULL;
}

/* A file that is gone may be in the archive already: then all but the last word was said. */
static enum status find_file(struct work *work, struct err *err)
{
	struct str path = work->row.path;

	if (!pipeline_path(work->run->config, path, work->path))
		return err_set(err, STATUS_INVALID, "The path of the source is too long.");
	if (lstat(work->path, &work->was) == 0)
		return STATUS_OK;
	if (is_begun(work) && pipeline_find_archived(work->run->config, &work->row, work->archived) &&
	    pipeline_path(work->run->config, str_of(work->archived), work->path) &&
	    lstat(work->path, &work->was) == 0) {
		work->row.path = str_of(work->archived);
		return STATUS_OK;
	}
	return err_set(err, STATUS_INVALID, "The source is gone: %.*s.", STR_ARG(path));
}

static enum status open_source(struct work *work, struct err *err)
{
	enum status status = find_file(work, err);

	if (status == STATUS_OK)
		status = source_open(&work->source, work->path, &work->pipeline->source, err);
	if (status == STATUS_NOT_FOUND)
		status = err_set(err, STATUS_INVALID, "The source is gone: %.*s.", STR_ARG(work->row.path));
	if (status != STATUS_OK)
		return status;
	if (work->row.identity.n > 0 && is_begun(work)) {
		char was[sizeof(work->identity)];
		snprintf(was, sizeof(was), "%.*s", STR_ARG(work->row.identity));
		if (!source_is_same(work->source, was))
			return err_set(
				err, STATUS_INVALID,
				"The source is not the file whose first %lld lines are stored: it was changed or "
				"replaced.",
				(long long)work->at.line);
	}
	source_identify(work->source, work->identity);
	work->row.identity = str_of(work->identity);
	if (is_begun(work))
		status = source_seek(work->source, work->at, err);
	if (status == STATUS_OK && !outputs_are_wanted(&work->outputs))
		status = outputs_open(&work->outputs, work->run->config, work->pipeline, source_shape(work->source),
				      work->row.source, &work->row.id, work->run->arena, err);
	return status;
}

/* --- reading an API --- */

/* A page without items, or that nothing came of: the same as its last batch would do. */
static enum status store_page_end(struct work *work, struct err *err)
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

static enum status open_page(struct work *work, struct str array, bool same, struct err *err)
{
	struct pipeline_source how = work->pipeline->source;

	how.items = STR("");
	if (!same) {
		work->at = (struct source_position){0};
		work->skip = 0;
	}
	enum status status = source_open_bytes(&work->source, array, &how, err);
	if (status == STATUS_OK && work->at.offset > 0)
		status = source_seek(work->source, work->at, err);
	if (status == STATUS_OK && !outputs_are_wanted(&work->outputs))
		status = outputs_open(&work->outputs, work->run->config, work->pipeline, source_shape(work->source),
				      work->row.source, &work->row.id, work->run->arena, err);
	if (status == STATUS_OK)
		status = feed_open(&work->feed, work->source, work->pipeline, work->run->models,
				   (int)work->run->config->max_workers, err);
	return status;
}

static enum status read_page(struct work *work, struct str array, bool same, struct err *err)
{
	const struct feed_chunk *chunk = NULL;
	int64_t pages = api_pages(work->api);
	enum status status = open_page(work, array, same, err);

	while (status == STATUS_OK && api_pages(work->api) == pages) {
		status = feed_next(work->feed, &chunk, err);
		if (status != STATUS_OK || !chunk)
			break;
		status = store_chunk(work, chunk, err);
	}
	close_source(work);
	return status == STATUS_OK && api_pages(work->api) == pages ? store_page_end(work, err) : status;
}

static enum status read_api(struct work *work, struct err *err)
{
	struct str array;
	bool same;

	enum status status = api_open(&work->api, work->run, &work->row, work->pipeline, err);
	while (status == STATUS_OK) {
		int64_t pages = api_pages(work->api);
		status = api_fetch(work->api, &array, &work->page_items, &same, err);
		if (status != STATUS_OK)
			break;
		if (!array.p)
			return pages == 0 ? store_page_end(work, err) : STATUS_OK;
		status = work->page_items > 0 ? read_page(work, array, same, err) : store_page_end(work, err);
	}
	return status;
}

static enum status read_source(struct work *work, struct err *err)
{
	static const struct timespec nap = {.tv_nsec = GROWING_MS * 1000000L};
	enum status status;

	do {
		work->reopen = false;
		status = open_source(work, err);
		if (status == STATUS_OK)
			status = feed_open(&work->feed, work->source, work->pipeline, work->run->models,
					   (int)work->run->config->max_workers, err);
		if (status == STATUS_OK)
			status = read_feed(work, err);
		close_source(work);
		if (status == STATUS_OK && work->reopen) {
			nanosleep(&nap, NULL);
			status = task_checkpoint(work->run, work->row.counts.bytes_read, work->row.counts.bytes_total,
						 NULL, NULL, err);
		}
	} while (status == STATUS_OK && work->reopen);
	return status;
}

/* --- the end --- */

struct end {
	struct run_row row;
	bool park; /* its file stays where it is, and must not be read again unless it is changed */
};

static enum status store_end(struct db *db, struct task_run *run, void *arg, struct err *err)
{
	struct end *end = arg;

	(void)run;
	enum status status = runs_update(db, &end->row, err);
	return status == STATUS_OK && end->park ? runs_park(db, &end->row.id, err) : status;
}

static enum status end_run(struct work *work, enum run_state state, struct str error, bool park, struct err *err)
{
	struct end end = {.row = work->row, .park = park};
	const struct run_counts *counts = &work->row.counts;

	if (!write_position(work, false, work->at, work->skip, work->outputs.length))
		return no_memory(err);
	end.row.position = buf_view(&work->position);
	end.row.state = state;
	end.row.error = error;
	end.row.ended_us = clock_wall_us();
	end.row.busy_key = (struct str){0};
	enum status status = task_checkpoint(work->run, counts->bytes_read, counts->bytes_total, store_end, &end, err);
	if (status == STATUS_OK)
		pipeline_metrics_end(&work->metrics, state);
	return status;
}

static bool lies_in_data_dir(const struct run_row *row)
{
	return row->path.n > 0 && row->path.p[0] != '/' && !str_starts(row->path, STR("archive/")) &&
	       !str_starts(row->path, STR(PIPELINE_API_PATH));
}

static enum status complete(struct work *work, struct err *err)
{
	bool moved = true;

	if (lies_in_data_dir(&work->row)) {
		moved = pipeline_archive(work->run->config, &work->row, &work->was, work->archived);
		work->row.path = str_of(work->archived);
	}
	return end_run(work, RUN_COMPLETED, STR(""), !moved, err);
}

struct ending {
	struct work *work;
	bool cancelled;
};

/* The task was cancelled by somebody who said nothing to the run. */
static enum status note_cancelled(struct db *db, void *arg, struct err *err)
{
	struct ending *ending = arg;
	const struct id *id = &ending->work->row.id;
	struct task_row task;
	struct run_row now;

	ending->cancelled = false;
	arena_reset(&ending->work->arena);
	enum status status = tasks_find(db, id, -1, &ending->work->arena, &task, err);
	if (status == STATUS_OK)
		status = runs_find(db, id, &ending->work->arena, &now, err);
	if (status != STATUS_OK || !task.cancel || (now.state != RUN_RUNNING && now.state != RUN_PENDING))
		return status;
	ending->cancelled = true;
	status = runs_set_state(db, id, RUN_CANCELLED, STR("Its task was cancelled."), clock_wall_us(), err);
	return status == STATUS_OK ? runs_park(db, id, err) : status;
}

static enum status finish(struct work *work, enum status status, struct err *err)
{
	struct ending ending = {.work = work};
	struct err other, why = *err;

	switch (status) {
	case STATUS_OK:
		return complete(work, err);
	case STATUS_CANCELLED:
		/* Whatever comes of this, what looks after runs whose task is over will find it. */
		if (db_transact(work->run->db, 1000, note_cancelled, &ending, &other) == STATUS_OK && ending.cancelled)
			pipeline_metrics_end(&work->metrics, RUN_CANCELLED);
		return status;
	case STATUS_INVALID:
	case STATUS_TOO_LARGE:
		status = end_run(work, RUN_FAILED, str_of(why.text), lies_in_data_dir(&work->row), err);
		if (status != STATUS_OK)
			return status;
		log_event(LOG_LEVEL_WARNING, "run of the pipeline %.*s failed: %s", STR_ARG(work->row.pipeline),
			  why.text);
		*err = why;
		return err->status = STATUS_INVALID;
	default:
		return status;
	}
}

/* --- the beginning --- */

struct lines {
	struct work *work;
	size_t cap;
	int64_t after;
	bool failed;
};

static bool note_line(void *arg, const struct refusal_row *row)
{
	struct lines *lines = arg;
	struct work *work = lines->work;

	if (work->lines_n == lines->cap) {
		size_t cap = lines->cap ? lines->cap * 2 : 256;
		int64_t *grown = realloc(work->lines, cap * sizeof(*grown));
		lines->failed = !grown;
		if (!grown)
			return false;
		work->lines = grown;
		lines->cap = cap;
	}
	work->lines[work->lines_n++] = row->line;
	lines->after = row->n;
	return true;
}

static int by_line(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* Which lines the run is to read that repeats what another refused. */
static enum status find_lines(struct work *work, struct err *err)
{
	enum { PIECE = 5000 };
	struct lines lines = {.work = work};
	enum status status = STATUS_OK;
	size_t before;

	if (work->row.retry_of == 0)
		return STATUS_OK;
	do {
		before = work->lines_n;
		status = runs_list_refusals(work->run->db, work->row.retry_of, lines.after, PIECE, note_line, &lines,
					    err);
	} while (status == STATUS_OK && !lines.failed && work->lines_n - before == PIECE);
	if (status == STATUS_OK && lines.failed)
		status = no_memory(err);
	if (status == STATUS_OK && work->lines_n > 0)
		qsort(work->lines, work->lines_n, sizeof(*work->lines), by_line);
	if (status == STATUS_OK && !work->lines && !(work->lines = calloc(1, sizeof(*work->lines))))
		status = no_memory(err);
	return status;
}

static enum status begin(struct work *work, struct err *err)
{
	struct task_run *run = work->run;
	struct buf problems;

	enum status status = runs_find(run->db, &run->task->id, run->arena, &work->row, err);
	if (status == STATUS_NOT_FOUND)
		return err_set(err, STATUS_INVALID, "Runs are made by POST /api/v1/data/runs or appcore ingest.");
	if (status != STATUS_OK)
		return status;
	if (work->row.path.n == 0)
		return err_set(err, STATUS_INVALID, "The run has no file to read.");
	buf_init(&problems, run->arena);
	status = pipeline_parse(work->row.definition, work->row.pipeline, run->arena, &work->pipeline, &problems, err);
	if (status == STATUS_INVALID && problems.n > 0)
		status = err_set(err, STATUS_INVALID, "The pipeline's definition is wrong: %.*s",
				 problems.n < 180 ? (int)problems.n : 180, problems.p);
	if (status != STATUS_OK)
		return status;
	if (str_starts(work->row.path, STR(PIPELINE_API_PATH)) && !work->pipeline->source.api)
		return err_set(err, STATUS_INVALID, "The run has no file to read.");
	read_position(work);
	if (work->row.started_us == 0)
		work->row.started_us = clock_wall_us();
	work->row.error = STR("");
	int64_t limit = work->pipeline->batch_size > 0 ? work->pipeline->batch_size : run->config->batch_size;
	work->limit = limit < 1 ? 1 : limit > STEP_MOST ? STEP_MOST : (size_t)limit;
	work->step = work->limit;
	work->records = calloc(work->limit, sizeof(*work->records));
	work->refusals = calloc(work->limit, sizeof(*work->refusals));
	work->outcome = calloc(work->limit + 1, 1);
	work->wanted = calloc(work->limit, sizeof(*work->wanted));
	work->assumed = calloc(work->limit, sizeof(*work->assumed));
	if (!work->records || !work->refusals || !work->outcome || !work->wanted || !work->assumed)
		return no_memory(err);
	pipeline_metrics_init(&work->metrics, run->shm, work->pipeline);
	return find_lines(work, err);
}

static enum status store_begin(struct db *db, struct task_run *run, void *arg, struct err *err)
{
	(void)run;
	return runs_update(db, arg, err);
}

/* From now on the row says that it runs. */
static enum status tell_begin(struct work *work, struct err *err)
{
	struct run_row row = work->row;

	row.state = RUN_RUNNING;
	return task_checkpoint(work->run, work->row.counts.bytes_read, work->row.counts.bytes_total, store_begin, &row,
			       err);
}

/* Before the first records come in it costs nothing. One that can't be made is no reason not to run. */
static void make_indexes(struct work *work)
{
	const struct pipeline *pipeline = work->pipeline;
	struct err err = {0};

	for (int i = 0; i < pipeline->fields_n; i++) {
		const struct pipeline_field *field = &pipeline->fields[i];
		bool is_number = pipeline_type_is_number(field->type);
		if (!field->index || !(pipeline->to & PIPELINE_TO_RECORDS) ||
		    records_index_field(work->run->db, work->row.pipeline_id, field->name, is_number, &err) ==
			    STATUS_OK)
			continue;
		log_event(LOG_LEVEL_WARNING,
			  "the field \"%.*s\" of the pipeline %s gets no index now: %s; appcore pipeline index %s "
			  "makes it",
			  STR_ARG(field->name), pipeline->name, err.text, pipeline->name);
	}
}

static void put_result(struct work *work)
{
	const struct run_counts *counts = &work->row.counts;
	struct buf out;

	buf_init(&out, work->run->arena);
	put_member(&out, STR("{\"rows_read\":"), counts->rows_read);
	put_member(&out, STR(",\"stored\":"), counts->stored);
	put_member(&out, STR(",\"replaced\":"), counts->replaced);
	put_member(&out, STR(",\"skipped\":"), counts->skipped);
	put_member(&out, STR(",\"refused\":"), counts->refused);
	if (work->api)
		put_member(&out, STR(",\"pages\":"), api_pages(work->api));
	buf_char(&out, '}');
	work->run->result = out.failed ? STR("{}") : buf_view(&out);
}

static void release(struct work *work)
{
	close_source(work);
	api_close(work->api);
	outputs_close(&work->outputs);
	arena_release(&work->arena);
	buf_release(&work->position);
	free(work->records);
	free(work->refusals);
	free(work->outcome);
	free(work->wanted);
	free(work->assumed);
	free(work->lines);
	free(work);
}

enum status task_pipeline_run(struct task_run *run, struct err *err)
{
	struct work *work = calloc(1, sizeof(*work));

	if (!work)
		return no_memory(err);
	work->run = run;
	outputs_init(&work->outputs);
	buf_init_heap(&work->position);
	arena_init(&work->arena, BATCH_BYTES);
	enum status status = begin(work, err);
	bool known = work->pipeline != NULL;
	if (status == STATUS_OK && known && work->row.state != RUN_COMPLETED) {
		status = pipeline_make_folders(run->config, err);
		if (status == STATUS_OK)
			status = tell_begin(work, err);
		if (status == STATUS_OK && known)
			make_indexes(work);
		if (status == STATUS_OK)
			status = str_starts(work->row.path, STR(PIPELINE_API_PATH)) ? read_api(work, err)
										    : read_source(work, err);
		status = finish(work, status, err);
	} else if (status == STATUS_INVALID && work->row.number > 0) {
		status = finish(work, status, err);
	}
	if (status == STATUS_OK)
		put_result(work);
	if (known)
		pipeline_metrics_stop(&work->metrics);
	release(work);
	return status;
}
