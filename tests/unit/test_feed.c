/* Reading and applying by several threads: in order, whole, and over when it is to be. */
#include "unit.h"

#include "pipeline/feed.h"

#include <stdio.h>
#include <stdlib.h>

enum { ROWS = 20000, ARENA_BYTES = 8 << 20 };

static const char DEFINITION[] = "{\"name\":\"p\",\"source\":{\"format\":\"csv\"},\"fields\":["
				 "{\"name\":\"id\",\"type\":\"integer\",\"required\":true},"
				 "{\"name\":\"value\",\"type\":\"number\"}],\"key\":[\"id\"]}";

struct fixture {
	struct arena arena;
	struct pipeline *pipeline;
	struct buf text;
	struct source *source;
};

static struct source *open_bytes(struct fixture *f, struct str bytes)
{
	struct source *source = NULL;
	struct err err = {0};

	if (source_open_bytes(&source, bytes, &f->pipeline->source, &err) != STATUS_OK) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
	source_set_bounds(source, 1000, 0); /* many blocks */
	return source;
}

static void set_up(struct fixture *f)
{
	struct buf problems;
	struct err err = {0};

	*f = (struct fixture){0};
	arena_init(&f->arena, ARENA_BYTES);
	buf_init(&problems, &f->arena);
	if (pipeline_parse(STR(DEFINITION), STR(""), &f->arena, &f->pipeline, &problems, &err) != STATUS_OK) {
		fprintf(stderr, "%s%.*s\n", err.text, (int)problems.n, problems.p);
		abort();
	}
	buf_init_heap(&f->text);
	buf_str(&f->text, STR("id,value\n"));
	for (int i = 0; i < ROWS; i++)
		buf_fmt(&f->text, "%d,%d.5\n", i, i);
	f->source = open_bytes(f, buf_view(&f->text));
}

static void tear_down(struct fixture *f)
{
	source_close(f->source);
	buf_release(&f->text);
	arena_release(&f->arena);
}

static void chunks_come_in_order(void)
{
	for (int threads = 1; threads <= 7; threads += 3) {
		const struct feed_chunk *chunk = NULL;
		struct feed *feed = NULL;
		struct fixture f;
		char key[32];
		int64_t at = 0, chunks = 0, wrong = 0, offset = -1;

		set_up(&f);
		CU_ASSERT_EQUAL(feed_open(&feed, f.source, f.pipeline, NULL, threads, NULL), STATUS_OK);
		while (feed_next(feed, &chunk, NULL) == STATUS_OK && chunk) {
			wrong += offset >= 0 && chunk->from.offset != offset;
			offset = chunk->to.offset;
			chunks++;
			for (size_t i = 0; i < chunk->n; i++, at++) {
				snprintf(key, sizeof(key), "%lld", (long long)at);
				wrong += !str_eq(chunk->rows[i].key, str_of(key)) || chunk->rows[i].line != at + 2 ||
					 chunk->rows[i].refusal != REFUSAL_NONE;
			}
		}
		CU_ASSERT_EQUAL(at, ROWS);
		CU_ASSERT_EQUAL(wrong, 0);
		CU_ASSERT(chunks > 20);
		/* The end stays the end. */
		CU_ASSERT_EQUAL(feed_next(feed, &chunk, NULL), STATUS_OK);
		CU_ASSERT_PTR_NULL(chunk);
		feed_close(feed);
		tear_down(&f);
	}
}

static void whoever_has_enough_closes_it(void)
{
	for (int taken = 0; taken < 8; taken++) {
		const struct feed_chunk *chunk = NULL;
		struct feed *feed = NULL;
		struct fixture f;

		set_up(&f);
		CU_ASSERT_EQUAL(feed_open(&feed, f.source, f.pipeline, NULL, 4, NULL), STATUS_OK);
		for (int i = 0; i < taken; i++) {
			CU_ASSERT_EQUAL(feed_next(feed, &chunk, NULL), STATUS_OK);
			CU_ASSERT_PTR_NOT_NULL(chunk);
		}
		feed_close(feed);
		tear_down(&f);
	}
}

/* JSON that ends in its midst: what came before is given, then why nothing comes after it, as often as one asks. */
static void a_fault_comes_after_what_was_before(void)
{
	static const char definition[] = "{\"name\":\"p\",\"source\":{\"format\":\"json\"},\"fields\":["
					 "{\"name\":\"id\",\"type\":\"integer\",\"required\":true}],\"key\":[\"id\"]}";
	const struct feed_chunk *chunk = NULL;
	struct feed *feed = NULL;
	struct fixture f;
	struct buf problems, text;
	struct source *source;
	struct err err = {0};
	enum status status;
	int64_t rows = 0;

	set_up(&f);
	buf_init(&problems, &f.arena);
	CU_ASSERT_EQUAL(pipeline_parse(STR(definition), STR(""), &f.arena, &f.pipeline, &problems, NULL), STATUS_OK);
	buf_init_heap(&text);
	for (int i = 0; i < 5000; i++)
		buf_fmt(&text, "%c{\"id\":%d}", i ? ',' : '[', i);
	buf_str(&text, STR(",{\"id\":"));
	source = open_bytes(&f, buf_view(&text));
	CU_ASSERT_EQUAL(feed_open(&feed, source, f.pipeline, NULL, 3, NULL), STATUS_OK);
	while ((status = feed_next(feed, &chunk, &err)) == STATUS_OK && chunk)
		rows += (int64_t)chunk->n;
	CU_ASSERT_EQUAL(status, STATUS_INVALID);
	CU_ASSERT(err.text[0] != '\0');
	CU_ASSERT_EQUAL(rows, 5000);
	CU_ASSERT_EQUAL(feed_next(feed, &chunk, NULL), STATUS_INVALID);
	feed_close(feed);
	source_close(source);
	buf_release(&text);
	tear_down(&f);
}

static const struct unit_case CASES[] = {
	{"chunks come in order", chunks_come_in_order},
	{"whoever has enough closes it", whoever_has_enough_closes_it},
	{"a fault comes after what was before", a_fault_comes_after_what_was_before},
};

int main(void)
{
	return UNIT_RUN("feed", CASES);
}
