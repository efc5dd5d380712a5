/* Cuts a JSON array at its elements, without reading them: brackets and quotes say where one ends. The array is the
 * document, or a member of it: the one that is named, or the first that is an array. A position is behind the comma
 * that follows an element, or at the bracket that closes the array, so that nothing more is needed to go on there. */
#include "pipeline/reader_impl.h"

#include <stdio.h>
#include <stdlib.h>

enum { SHOWN_BYTES = 1024 }; /* of an element that is too long */

#define NOWHERE SIZE_MAX

/* Where elements end, within bytes that begin between two of them. */
struct elements {
	size_t border;
	int64_t records;
	bool closed; /* the array's end is at the border */
	bool bad;    /* no comma behind an element */
};

static size_t skip_blanks(const char *p, size_t at, size_t n)
{
	while (at < n && (p[at] == ' ' || p[at] == '\t' || p[at] == '\r' || p[at] == '\n'))
		at++;
	return at;
}

static void cut_elements(struct elements *cut, const char *p, size_t n)
{
	while (!cut->closed && !cut->bad) {
		struct json_extent extent = {0};
		bool done;
		size_t at = skip_blanks(p, cut->border, n);
		cut->border = at; /* so that an element's length does not depend on them */
		cut->closed = at < n && p[at] == ']';
		if (at == n || cut->closed)
			return;
		size_t end = json_extent_scan(&extent, p, at, n, &done);
		if (!done)
			return;
		size_t next = skip_blanks(p, end, n);
		if (next == n)
			return;
		cut->bad = end == at || (p[next] != ',' && p[next] != ']');
		if (cut->bad)
			return;
		cut->records++;
		cut->border = next + (p[next] == ',');
	}
}

static enum status ends_in_the_middle(const struct source *source, struct err *err)
{
	return err_set(err, STATUS_INVALID, "The JSON ends in the middle, after %lld items.",
		       (long long)source->at.records);
}

/* Behind the array that is the whole document there is nothing. */
static enum status check_end(struct source *source, struct source_block *block, struct err *err)
{
	size_t from = 1; /* the bracket */

	while (source->bare && block->n > 0) {
		if (skip_blanks(block->bytes, from, block->n) < block->n)
			return err_set(err, STATUS_INVALID, "Something follows the end of the JSON array.");
		from = block->n = 0;
		enum status status = source_block_fill(source, block, READER_BLOCK_BYTES, err);
		if (status != STATUS_OK)
			return status;
	}
	return STATUS_OK;
}

/* Bytes that can't be read, or the end where it should not be. */
static enum status nothing_more(const struct source *source, struct err *err)
{
	if (source->failure.status != STATUS_OK)
		return err_set(err, source->failure.status, "%s", source->failure.text);
	return ends_in_the_middle(source, err);
}

/* The element that is all of the block and more becomes the block of that one; the comma behind it is passed. */
static enum status refuse(struct source *source, struct source_block *block, struct err *err)
{
	struct json_extent extent = {0};
	const size_t shown = block->n < SHOWN_BYTES ? block->n : SHOWN_BYTES;
	int64_t before = 0; /* bytes of the source that are not in the block any more */
	enum status status = STATUS_OK;
	bool done;
	size_t at = json_extent_scan(&extent, block->bytes, skip_blanks(block->bytes, 0, block->n), block->n, &done);

	for (;;) { /* what is behind `at` was not looked at */
		if (done)
			at = skip_blanks(block->bytes, at, block->n);
		if (at < block->n)
			break;
		before += (int64_t)(block->n - shown);
		block->n = at = shown;
		status = source_block_fill(source, block, shown + READER_BLOCK_BYTES, err);
		if (status != STATUS_OK)
			return status;
		if (block->n == shown)
			return nothing_more(source, err);
		if (!done)
			at = json_extent_scan(&extent, block->bytes, at, block->n, &done);
	}
	if (block->bytes[at] != ',' && block->bytes[at] != ']')
		return err_set(err, STATUS_INVALID, "Item %lld is not followed by a comma.",
			       (long long)source->at.line);
	at += block->bytes[at] == ',';
	status = source_block_keep(source, block, at, err);
	block->n = shown;
	block->fault = "syntax";
	snprintf(block->detail, sizeof(block->detail), "The item is longer than %zu bytes.", source->record_max);
	block->to.offset += before + (int64_t)at;
	block->to.line++;
	block->to.records++;
	source->at = block->to;
	return status;
}

/* Nothing is cut: the array's end, or why that can't be reached, which is what is said from now on. */
static enum status finish(struct source *source, struct source_block *block, const struct elements *cut)
{
	struct err err = {0};
	enum status status;

	if (cut->bad)
		status = err_set(&err, STATUS_INVALID, "Item %lld is none, or is not followed by a comma.",
				 (long long)source->at.line);
	else
		status = cut->closed ? check_end(source, block, &err) : nothing_more(source, &err);
	source->finished = true;
	source->failure = err;
	return status;
}

enum status source_next_element(struct source *source, struct source_block *block, struct err *err)
{
	size_t want = source->block_bytes < source->record_max ? source->block_bytes : source->record_max;
	struct elements cut = {0};
	enum status status;

	if (source->finished)
		return source->failure.status == STATUS_OK
			       ? STATUS_OK
			       : err_set(err, source->failure.status, "%s", source->failure.text);
	for (;;) {
		status = source_block_fill(source, block, want, err);
		if (status != STATUS_OK)
			return status;
		cut_elements(&cut, block->bytes, block->n);
		if (cut.border > 0 || cut.closed || cut.bad || block->n < want || want == source->record_max)
			break;
		want = want < source->record_max / 2 ? want * 2 : source->record_max;
	}
	if (cut.border == 0 && !cut.closed && !cut.bad && block->n == want)
		return refuse(source, block, err);
	if (cut.border == 0) {
		status = finish(source, block, &cut);
		block->n = 0;
		return status == STATUS_OK ? status : err_set(err, status, "%s", source->failure.text);
	}
	block->to.offset += (int64_t)cut.border;
	block->to.line += cut.records;
	block->to.records += cut.records;
	status = source_block_keep(source, block, cut.border, err);
	source->at = block->to;
	return status;
}

/* --- the beginning --- */

/* A key at p[at] with its colon: *key gets what is between the quotes. Where the value begins, or n. */
static size_t read_key(const char *p, size_t at, size_t n, struct str *key)
{
	struct json_extent extent = {0};
	bool done = false;
	size_t end = at < n && p[at] == '"' ? json_extent_scan(&extent, p, at, n, &done) : n;

	if (!done)
		return n;
	*key = (struct str){p + at + 1, end - at - 2};
	at = skip_blanks(p, end, n);
	return at < n && p[at] == ':' ? skip_blanks(p, at + 1, n) : n;
}

/* Behind the '[' of the array within the object at p[at]; NOWHERE when there is none within these bytes. */
static size_t find_member(const char *p, size_t at, size_t n, struct str items)
{
	struct str key, name = str_cut(&items, '.');

	while (at < n && (p[at] == '{' || p[at] == ',')) {
		struct json_extent extent = {0};
		bool done;
		at = read_key(p, skip_blanks(p, at + 1, n), n, &key);
		if (at == n)
			return NOWHERE;
		if (name.n == 0 && p[at] == '[')
			return at + 1;
		if (name.n > 0 && str_eq(key, name)) {
			if (!items.p)
				return p[at] == '[' ? at + 1 : NOWHERE;
			name = str_cut(&items, '.');
			if (p[at] != '{')
				return NOWHERE;
			continue;
		}
		at = skip_blanks(p, json_extent_scan(&extent, p, at, n, &done), n);
	}
	return NOWHERE;
}

enum status source_find_array(struct source *source, struct str items, struct err *err)
{
	struct source_block block = {0};
	enum status status = source_block_fill(source, &block, source->record_max, err);
	size_t at = str_starts((struct str){block.bytes, block.n}, STR("\xef\xbb\xbf")) ? 3 : 0;

	if (status != STATUS_OK)
		goto out;
	at = skip_blanks(block.bytes, at, block.n);
	source->bare = at < block.n && block.bytes[at] == '[';
	if (block.n == 0 && source->failure.status != STATUS_OK)
		status = err_set(err, source->failure.status, "%s", source->failure.text);
	else if (source->bare && items.n > 0)
		status = err_set(err, STATUS_INVALID, "The JSON is an array; \"items\" names a member of an object.");
	else
		at = source->bare ? at + 1 : find_member(block.bytes, at, block.n, items);
	if (status == STATUS_OK && at == NOWHERE)
		status = items.n > 0 ? err_set(err, STATUS_INVALID, "The JSON has no array \"%.*s\".",
					       text_bytes(items, 80), items.p)
				     : err_set(err, STATUS_INVALID, "The JSON is no array, nor an object with one.");
	if (status == STATUS_OK)
		status = source_block_keep(source, &block, at, err);
	source->at = (struct source_position){(int64_t)at, 1, 0};
out:
	source_block_release(&block);
	return status;
}
