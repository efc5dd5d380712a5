/* Cuts a source into blocks of whole records. One thread does this for all who read, so it looks at ends of lines and
 * quotes only: whether a line break is one depends on whether a quote is open, and that on all that came before. What
 * is not given yet waits in `carry` until the next call.
 *
 * Whatever the size of the blocks, the same bytes make the same records: a decision depends on the bytes of its record
 * (and, for one that has no end, on the record_max bytes from its beginning) and on nothing else. */
#include "pipeline/reader_impl.h"

#include "pipeline/reader_scan.h"

#include <stdio.h>
#include <stdlib.h>

enum { SHOWN_BYTES = 1024 }; /* of a record that is none */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* A line without anything is no record. */
static bool is_empty(const struct source_shape *shape, const char *p, size_t n)
{
	if (shape->format == PIPELINE_CSV)
		return n == 0 || (n == 1 && p[0] == '\r' && shape->eol == '\n');
	while (n > 0 && is_blank(p[n - 1]))
		n--;
	return n == 0;
}

/* Whether a cell begins at p[at]. Outside quotes, so that the line's beginning is the border. */
static bool begins_cell(const struct cut *cut, const char *p, size_t at)
{
	return at == cut->border || p[at - 1] == cut->shape->delimiter;
}

static void see_quote(struct cut *cut, const char *p, size_t at)
{
	if (cut->quoted) {
		cut->quoted = false;
		cut->closed = at + 1;
	} else if (at == cut->closed) {
		cut->quoted = true; /* a doubled quote */
	} else if (begins_cell(cut, p, at)) {
		cut->quoted = true;
		cut->opened = at;
		cut->opened_lines = cut->newer_lines;
	}
}

static void see_record(struct cut *cut, const char *p, size_t end, size_t border)
{
	cut->records += !is_empty(cut->shape, p + cut->border, end - cut->border);
	cut->border = border;
	cut->lines += cut->newer_lines;
	cut->newer_lines = 0;
}

void cut_scan(struct cut *cut, const char *p, size_t n)
{
	const char eol = cut->shape->eol;
	const struct scan_three look = {eol, eol, cut->shape->format == PIPELINE_CSV ? '"' : eol};

	for (; cut->at < n; cut->at += n - cut->at < SCAN_BYTES ? n - cut->at : SCAN_BYTES) {
		uint64_t marks = scan_three(p + cut->at, look) & scan_first(n - cut->at);
		for (; marks; marks &= marks - 1) {
			size_t at = cut->at + (size_t)__builtin_ctzll(marks);
			if (p[at] != eol) {
				see_quote(cut, p, at);
				continue;
			}
			cut->newer_lines++;
			if (!cut->quoted)
				see_record(cut, p, at, at + 1);
		}
	}
}

void cut_finish(struct cut *cut, const char *p, size_t n)
{
	if (!cut->quoted)
		see_record(cut, p, n, n);
}

enum status source_block_reserve(struct source_block *block, size_t n, struct err *err)
{
	if (n + READER_SLACK <= block->cap)
		return STATUS_OK;
	char *bytes = realloc(block->bytes, n + READER_SLACK);
	if (!bytes)
		return err_set(err, STATUS_NO_MEMORY, "There is no memory for a block of %zu bytes.", n);
	block->bytes = bytes;
	block->cap = n + READER_SLACK;
	return STATUS_OK;
}

/* Fills the block up to `n` bytes, from carry and then from the stream; fewer at the end, or before bytes that can't be
 * read (source->failure). */
enum status source_block_fill(struct source *source, struct source_block *block, size_t n, struct err *err)
{
	enum status status = source_block_reserve(block, n, err);

	while (status == STATUS_OK && block->n < n) {
		char *to = block->bytes + block->n;
		size_t want = n - block->n, got = source->carry_n - source->carry_at;
		if (got > 0) {
			got = got < want ? got : want;
			memcpy(to, source->carry + source->carry_at, got);
			source->carry_at += got;
		} else if (source->ended || source->failure.status != STATUS_OK ||
			   stream_read(&source->stream, to, want, &got, &source->failure) != STATUS_OK) {
			break;
		}
		source->ended = got == 0;
		block->n += got;
	}
	return status;
}

bool source_is_at_end(struct source *source)
{
	size_t got = 0;

	if (source->carry_at < source->carry_n || source->failure.status != STATUS_OK)
		return false;
	if (source->ended)
		return true;
	if (stream_read(&source->stream, source->carry, 1, &got, &source->failure) != STATUS_OK)
		return false;
	source->carry_at = 0;
	source->carry_n = got;
	source->ended = got == 0;
	return source->ended;
}

/* The block keeps its first `n` bytes, what follows is carried to the next. */
enum status source_block_keep(struct source *source, struct source_block *block, size_t n, struct err *err)
{
	size_t rest = block->n - n;

	block->n = n;
	if (rest == 0)
		return STATUS_OK;
	if (source->carry_at < source->carry_n && source->carry_at >= rest) {
		source->carry_at -= rest; /* they are still there */
		return STATUS_OK;
	}
	size_t left = source->carry_n - source->carry_at;
	if (rest + left > source->carry_cap) {
		char *bytes = realloc(source->carry, rest + left);
		if (!bytes)
			return err_set(err, STATUS_NO_MEMORY, "There is no memory for a block of %zu bytes.", rest);
		source->carry = bytes;
		source->carry_cap = rest + left;
	}
	memmove(source->carry + rest, source->carry + source->carry_at, left);
	memcpy(source->carry, block->bytes + n, rest);
	source->carry_at = 0;
	source->carry_n = rest + left;
	return STATUS_OK;
}

/* Passes what belongs to the record at the block's beginning, which is all of the block and more: to behind the next
 * end of a line. The block keeps its beginning. */
static enum status skip_line(struct source *source, struct source_block *block, int64_t *passed, int64_t *lines,
			     struct err *err)
{
	const char *eol = NULL;
	size_t shown = block->n < SHOWN_BYTES ? block->n : SHOWN_BYTES;

	*passed = (int64_t)block->n;
	while (!eol) {
		block->n = shown;
		enum status status = source_block_fill(source, block, shown + READER_BLOCK_BYTES, err);
		if (status != STATUS_OK)
			return status;
		if (block->n == shown)
			break;
		eol = memchr(block->bytes + shown, source->shape.eol, block->n - shown);
		size_t end = eol ? (size_t)(eol - block->bytes) + 1 : block->n;
		*passed += (int64_t)(end - shown);
		if (eol && (status = source_block_keep(source, block, end, err)) != STATUS_OK)
			return status;
	}
	*lines += eol != NULL;
	block->n = shown;
	return STATUS_OK;
}

/* The block begins with a record that has no end: it becomes the block of that one. */
static enum status refuse(struct source *source, struct source_block *block, const struct cut *cut, struct err *err)
{
	const char *eol = NULL;
	enum status status;
	int64_t passed = (int64_t)block->n, lines = cut->newer_lines;

	block->fault = "syntax";
	if (cut->quoted) {
		long long line = source->at.line + cut->opened_lines;
		if (block->n < source->record_max)
			snprintf(block->detail, sizeof(block->detail),
				 "The quote that opens in line %lld is never closed.", line);
		else
			snprintf(block->detail, sizeof(block->detail),
				 "The quote that opens in line %lld is not closed within %zu bytes.", line,
				 source->record_max);
		eol = memchr(block->bytes + cut->opened, source->shape.eol, block->n - cut->opened);
	} else {
		snprintf(block->detail, sizeof(block->detail), "The record is longer than %zu bytes.",
			 source->record_max);
	}
	if (eol) {
		lines = cut->opened_lines + 1;
		passed = eol - block->bytes + 1;
		status = source_block_keep(source, block, (size_t)passed, err);
	} else {
		status = skip_line(source, block, &passed, &lines, err);
	}
	if (block->n > SHOWN_BYTES)
		block->n = SHOWN_BYTES;
	block->to = (struct source_position){source->at.offset + passed, source->at.line + lines,
					     source->at.records + 1};
	return status;
}

enum status source_next(struct source *source, struct source_block *block, struct err *err)
{
	struct cut cut = {.shape = &source->shape, .closed = SIZE_MAX};
	size_t want = source->block_bytes < source->record_max ? source->block_bytes : source->record_max;
	enum status status;
	bool end;

	block->n = 0;
	block->fault = NULL;
	block->from = block->to = source->at;
	if (source->shape.format == PIPELINE_JSON)
		return source_next_element(source, block, err);
	for (;;) {
		status = source_block_fill(source, block, want, err);
		if (status != STATUS_OK)
			return status;
		cut_scan(&cut, block->bytes, block->n);
		if (cut.border > 0 && block->n == want)
			break;
		end = source_is_at_end(source);
		if (end)
			cut_finish(&cut, block->bytes, block->n);
		/* Fewer bytes than asked for: the next can't be read. */
		if (cut.border > 0 || end || block->n < want || want == source->record_max)
			break;
		want = want < source->record_max / 2 ? want * 2 : source->record_max;
	}
	if (cut.border == 0 && block->n < want && source->failure.status != STATUS_OK)
		return block->n = 0, err_set(err, source->failure.status, "%s", source->failure.text);
	if (block->n == 0)
		return STATUS_OK;
	if (cut.border == 0) {
		status = refuse(source, block, &cut, err);
	} else {
		block->to.offset += (int64_t)cut.border;
		block->to.line += cut.lines;
		block->to.records += cut.records;
		status = source_block_keep(source, block, cut.border, err);
	}
	source->at = block->to;
	return status;
}
