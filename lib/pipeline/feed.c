/* Reading and applying with several threads, in order.
 *
 * Chunks have numbers and lie in a ring of slots. A thread takes the lock for cutting, waits for the next number's slot
 * to be free, cuts a block into it, gives the lock to the next thread and works on its block; nothing is handed from
 * one thread to another but the finished chunk to the caller, so few threads switch. What goes wrong is in the slot
 * where it went wrong: the caller meets it after all chunks before it. */
#include "pipeline/feed.h"

#include "base/polite.h"

#include <pthread.h>
#include <stdlib.h>

enum {
	THREADS_MAX = 64,
	SLOTS_MORE = 2,         /* that are cut ahead of the threads */
	STEP = 128,             /* records that are read and then applied: they stay in the processor's cache */
	CHUNK_BYTES = 96 << 20, /* memory of one chunk's arena: a block of records of READER_RECORD_MAX, as JSON */
	CHUNK_KEEP = 3 << 20,   /* what of it stays for the next one */
};

enum slot_state { SLOT_FREE, SLOT_TAKEN, SLOT_DONE };

struct slot {
	struct feed_chunk chunk;
	size_t cap;    /* of chunk.rows */
	size_t before; /* rows of its last chunk */
	enum slot_state state;
	enum status status;
	struct err err;
	bool last; /* nothing comes after it, and it holds nothing */
};

struct worker {
	struct feed *feed;
	pthread_t thread;
	struct pipeline_applier *applier;
	bool started;
	struct polite polite;
};

struct feed {
	struct source *source;
	const struct source_shape *shape;
	pthread_mutex_t cut;  /* held while a block is cut; taken before `lock` */
	pthread_mutex_t lock; /* guards all below and the slots' states */
	pthread_cond_t freed, done;
	uint64_t next_cut, next_taken;
	bool over;    /* nothing is left to cut, or it can't be */
	bool closing; /* the caller wants no more */
	bool holds;   /* the caller has the chunk before next_taken */
	struct slot *slots;
	size_t slots_n;
	struct worker *workers;
	int workers_n;
};

static struct slot *slot_of(struct feed *feed, uint64_t number)
{
	return &feed->slots[number % feed->slots_n];
}

/* --- the threads --- */

/* In the chunk's arena, like what they hold. A slot's chunks are of about one size. */
static bool make_room(struct slot *slot, size_t more)
{
	struct feed_chunk *chunk = &slot->chunk;
	size_t cap = slot->cap ? slot->cap : slot->before + slot->before / 8 + 256;

	if (chunk->n + more <= slot->cap)
		return true;
	while (cap < chunk->n + more)
		cap *= 2;
	struct pipeline_row *rows = arena_alloc(&chunk->arena, cap * sizeof(*rows));
	if (!rows)
		return false;
	if (chunk->n > 0)
		memcpy(rows, chunk->rows, chunk->n * sizeof(*rows));
	chunk->rows = rows;
	slot->cap = cap;
	return true;
}

static enum status no_memory(struct err *err)
{
	return err_set(err, STATUS_NO_MEMORY, "no memory for a block of records");
}

/* Reads the slot's block and applies the pipeline to its records. */
static enum status work_on(struct worker *worker, struct slot *slot, struct err *err)
{
	struct feed_chunk *chunk = &slot->chunk;
	struct raw_record records[STEP];
	struct reader reader;
	bool failed = false;
	size_t n = STEP;

	reader_init(&reader, worker->feed->shape, &chunk->block, &chunk->arena);
	while (n == STEP) {
		for (n = 0; n < STEP && reader_next(&reader, &records[n], &failed);)
			n++;
		if (failed || !make_room(slot, n))
			return no_memory(err);
		enum status status = n > 0 ? pipeline_apply(worker->applier, records, n, &chunk->arena,
							    chunk->rows + chunk->n, err)
					   : STATUS_OK;
		if (status != STATUS_OK)
			return status;
		chunk->n += n;
		polite_point(&worker->polite);
	}
	return STATUS_OK;
}

/* The next slot with a block in it; NULL: there is nothing to do any more. */
static struct slot *cut(struct feed *feed)
{
	struct slot *slot = NULL;

	pthread_mutex_lock(&feed->cut);
	pthread_mutex_lock(&feed->lock);
	while (!feed->closing && !feed->over && slot_of(feed, feed->next_cut)->state != SLOT_FREE)
		pthread_cond_wait(&feed->freed, &feed->lock);
	if (!feed->closing && !feed->over) {
		slot = slot_of(feed, feed->next_cut);
		slot->state = SLOT_TAKEN;
	}
	pthread_mutex_unlock(&feed->lock);
	if (slot) {
		struct feed_chunk *chunk = &slot->chunk;
		slot->status = source_next(feed->source, &chunk->block, &slot->err);
		slot->last = slot->status == STATUS_OK && chunk->block.n == 0;
		chunk->from = chunk->block.from;
		chunk->to = chunk->block.to;
		slot->before = chunk->n;
		slot->cap = chunk->n = 0;
		chunk->rows = NULL;
		source_progress(feed->source, &chunk->bytes_done, &chunk->bytes_total);
		pthread_mutex_lock(&feed->lock);
		feed->next_cut++;
		feed->over = slot->status != STATUS_OK || slot->last;
		pthread_mutex_unlock(&feed->lock);
	}
	pthread_mutex_unlock(&feed->cut);
	return slot;
}

/* Reads the source, writes the slots that it takes; ends when there is nothing left, or the feed is closed. */
static void *worker_main(void *arg)
{
	struct worker *worker = arg;
	struct feed *feed = worker->feed;
	struct slot *slot;

	pthread_setname_np(pthread_self(), "feed");
	polite_become(); /* requests come first */
	while ((slot = cut(feed))) {
		if (slot->status == STATUS_OK && !slot->last)
			slot->status = work_on(worker, slot, &slot->err);
		pthread_mutex_lock(&feed->lock);
		slot->state = SLOT_DONE;
		feed->over |= slot->status != STATUS_OK;
		pthread_cond_signal(&feed->done);
		pthread_mutex_unlock(&feed->lock);
	}
	return NULL;
}

/* --- the caller --- */

static enum status start_threads(struct feed *feed, const struct pipeline *pipeline, struct model_set *models,
				 struct err *err)
{
	if (!feed->workers)
		return no_memory(err);
	for (int i = 0; i < feed->workers_n; i++) {
		struct worker *worker = &feed->workers[i];
		worker->feed = feed;
		if (!(worker->applier = pipeline_applier_new(pipeline, models)))
			return no_memory(err);
	}
	for (int i = 0; i < feed->workers_n; i++) {
		struct worker *worker = &feed->workers[i];
		worker->started = pthread_create(&worker->thread, NULL, worker_main, worker) == 0;
		if (!worker->started && i == 0)
			return err_set(err, STATUS_UNAVAILABLE, "no thread for reading a source");
	}
	return STATUS_OK;
}

enum status feed_open(struct feed **out, struct source *source, const struct pipeline *pipeline,
		      struct model_set *models, int threads, struct err *err)
{
	struct feed *feed = calloc(1, sizeof(*feed));

	*out = NULL;
	if (!feed)
		return no_memory(err);
	threads = threads < 1 ? 1 : threads > THREADS_MAX ? THREADS_MAX : threads;
	feed->source = source;
	feed->shape = source_shape(source);
	pthread_mutex_init(&feed->cut, NULL);
	pthread_mutex_init(&feed->lock, NULL);
	pthread_cond_init(&feed->freed, NULL);
	pthread_cond_init(&feed->done, NULL);
	feed->workers = calloc((size_t)threads, sizeof(*feed->workers));
	feed->slots = calloc((size_t)threads + SLOTS_MORE, sizeof(*feed->slots));
	if (feed->workers && feed->slots) {
		feed->workers_n = threads;
		feed->slots_n = (size_t)threads + SLOTS_MORE;
	}
	for (size_t i = 0; feed->slots && i < feed->slots_n; i++) {
		arena_init(&feed->slots[i].chunk.arena, CHUNK_BYTES);
		arena_keep(&feed->slots[i].chunk.arena, CHUNK_KEEP);
	}
	enum status status = feed->workers_n > 0 ? start_threads(feed, pipeline, models, err) : no_memory(err);
	if (status != STATUS_OK) {
		feed_close(feed);
		return status;
	}
	*out = feed;
	return STATUS_OK;
}

/* The chunk that the caller has had goes back. Under the lock. */
static void give_back(struct feed *feed)
{
	struct slot *slot = slot_of(feed, feed->next_taken - 1);

	if (!feed->holds)
		return;
	feed->holds = false;
	arena_reset(&slot->chunk.arena); /* its memory, and the block's, are for the next chunk */
	slot->state = SLOT_FREE;
	pthread_cond_broadcast(&feed->freed);
}

enum status feed_next(struct feed *feed, const struct feed_chunk **chunk, struct err *err)
{
	enum status status;

	*chunk = NULL;
	pthread_mutex_lock(&feed->lock);
	give_back(feed);
	struct slot *slot = slot_of(feed, feed->next_taken);
	while (slot->state != SLOT_DONE)
		pthread_cond_wait(&feed->done, &feed->lock);
	/* The end, or what went wrong, stays where it is: whoever asks again gets it again. */
	status = slot->status;
	if (status == STATUS_OK && !slot->last) {
		feed->next_taken++;
		feed->holds = true;
		*chunk = &slot->chunk;
	}
	pthread_mutex_unlock(&feed->lock);
	return status == STATUS_OK ? status : err_set(err, status, "%s", slot->err.text);
}

void feed_close(struct feed *feed)
{
	if (!feed)
		return;
	pthread_mutex_lock(&feed->lock);
	feed->closing = true;
	pthread_cond_broadcast(&feed->freed);
	pthread_mutex_unlock(&feed->lock);
	for (int i = 0; i < feed->workers_n; i++) {
		if (feed->workers[i].started)
			pthread_join(feed->workers[i].thread, NULL);
		pipeline_applier_free(feed->workers[i].applier);
	}
	for (size_t i = 0; i < feed->slots_n; i++) {
		struct slot *slot = &feed->slots[i];
		source_block_release(&slot->chunk.block);
		arena_release(&slot->chunk.arena);
	}
	free(feed->slots);
	free(feed->workers);
	pthread_cond_destroy(&feed->done);
	pthread_cond_destroy(&feed->freed);
	pthread_mutex_destroy(&feed->lock);
	pthread_mutex_destroy(&feed->cut);
	free(feed);
}
