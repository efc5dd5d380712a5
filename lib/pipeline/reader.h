/* From bytes to records. A source is cut into blocks at borders of records (cut: one thread, in order, fast), and each
 * block is read into records (read: any thread, each with a reader of its own). What is needed to go on in the middle,
 * the position, is small and can be stored.
 *
 * CSV by RFC 4180 and beyond: quotes, doubled quotes, delimiters and line breaks within them, CR LF, LF or CR, a
 * byte order mark, rows that are too short or too long (refused as "ragged", one by one), empty lines skipped. A quote
 * means something at the beginning of a cell only, and what stands between the closing quote and the delimiter belongs
 * to the cell (as Python's csv reads it). An empty cell is missing, with quotes or without.
 *
 * JSON lines: an object on each. JSON: an array of objects, or an object with such an array. Both are streamed. */
#ifndef APPCORE_PIPELINE_READER_H
#define APPCORE_PIPELINE_READER_H

#include "pipeline/cell.h"
#include "pipeline/definition.h"

enum {
	READER_RECORD_MAX = 1 << 20, /* bytes of one record; longer ones are refused and skipped */
	READER_COLUMNS_MAX = 4096,
	READER_BLOCK_BYTES = 256 * 1024,
	READER_SLACK = 64,
	READER_UNPACKED_RATIO = 250, /* gzip: more than that many times its size is no data, past the first 64 MiB */
};

/* Where a source is, between two records. Of a compressed or recoded source the offset counts the bytes as they are
 * read from the file after decompression (going on means reading up to there again). */
struct source_position {
	int64_t offset, line, records; /* line: of the next record, from 1; of PIPELINE_JSON its number */
};

/* What holds for the whole source: found out from its beginning. Lives in the arena of source_open. */
struct source_shape {
	enum pipeline_format format;
	char delimiter;
	char eol;                /* what ends a line: LF (after a CR or not), or CR where there is no LF */
	const struct str *names; /* of the columns; CSV only */
	size_t names_n;
	bool packed, recoded; /* gzip; not UTF-8 */
};

struct source; /* an open file: decompression, recoding to UTF-8, cutting */

/* Opens a file (any path the caller has checked; not followed when a link, regular files only) and finds its shape. A
 * gzip file is known by its first bytes. Errors: STATUS_NOT_FOUND, STATUS_UNAVAILABLE (unreadable), STATUS_INVALID (no
 * header, the same name twice, too many columns, binary, bad encoding …) with a sentence. Caller ends with
 * source_close. Without a header, columns that are given no names either are column_1, column_2, … */
enum status source_open(struct source **out, const char *path, const struct pipeline_source *how, struct err *err)
	__attribute__((nonnull(1, 2, 3), warn_unused_result));
/* The same for bytes that are there (a page of an API, tests); borrowed until source_close. */
enum status source_open_bytes(struct source **out, struct str bytes, const struct pipeline_source *how, struct err *err)
	__attribute__((nonnull(1, 3), warn_unused_result));
void source_close(struct source *source); /* NULL is allowed */

/* Puts the file on the disk, whoever wrote it: what is stored of it must not outlive it. May take long. On a read-only
 * file system it is there. Errors: STATUS_UNAVAILABLE. */
enum status source_sync(struct source *source, struct err *err) __attribute__((nonnull(1), warn_unused_result));

/* Whether "encoding" may be this: "auto", or an encoding that is read. */
bool source_knows_encoding(struct str name);

const struct source_shape *source_shape(const struct source *source) __attribute__((nonnull, returns_nonnull));

/* Goes to a position that source_next gave (of the same bytes); all zero is the beginning. */
enum status source_seek(struct source *source, struct source_position at, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));

/* What identifies the bytes of the file, to notice that it was replaced, truncated or changed: device, inode, size,
 * time of change, hash of the first 64 KiB. As text; at most 200 bytes. And whether `was` (an earlier one) is the same
 * file, perhaps grown. */
void source_identify(struct source *source, char out[static 200]) __attribute__((nonnull));
bool source_is_same(struct source *source, const char *was) __attribute__((nonnull));

/* How many bytes of the file (as stored) have been read, and how many it has: progress. */
void source_progress(struct source *source, int64_t *done, int64_t *total) __attribute__((nonnull));

/* A block of whole records, its bytes on the heap and the caller's: source_block_release. All zero before its first
 * use; its memory is used again by the next source_next. */
struct source_block {
	char *bytes; /* READER_SLACK more than n can be read */
	size_t n, cap;
	struct source_position from, to;
	const char
		*fault; /* the block is one record that is none (a quote that never closes, too long): why, or NULL */
	char detail[160];
};
/* The next block of about READER_BLOCK_BYTES. n of the block is 0 at the end of the source. STATUS_INVALID with a
 * sentence when the rest can't be cut (a damaged gzip, JSON that ends in the middle), STATUS_UNAVAILABLE when the file
 * can't be read or became shorter: what came before was given.
 *
 * What is no record but has an end is cut all the same, and the reader says so: a quote that is not closed within
 * READER_RECORD_MAX bytes ends with its line; a longer record ends with the line it is in after that many bytes. */
enum status source_next(struct source *source, struct source_block *block, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));
void source_block_release(struct source_block *block) __attribute__((nonnull));

/* Other bounds than READER_BLOCK_BYTES and READER_RECORD_MAX (at most the latter); 0 leaves one as it is. Whatever the
 * blocks, records are the same. */
void source_set_bounds(struct source *source, size_t block_bytes, size_t record_max) __attribute__((nonnull));

/* Reads the records of a block one by one; any thread, many blocks at a time. Texts borrow from the block or, where
 * quotes or escapes had to be undone, lie in the arena, as cells do. */
struct reader {
	const struct source_shape *shape;
	const struct source_block *block;
	struct arena *arena;
	size_t at;
	int64_t line;
	/* reader's own */
	size_t base;         /* of the 64 bytes that `marks` are of */
	uint64_t marks, odd; /* delimiters, quotes and ends of lines that were not looked at; bytes not plain ASCII */
	bool seen_odd;
	struct cell *spare; /* of the arena */
	size_t spare_n;
	const struct str *names, *written; /* of the record before: JSON */
	size_t names_n;
};
void reader_init(struct reader *reader, const struct source_shape *shape, const struct source_block *block,
		 struct arena *arena) __attribute__((nonnull));
/* False at the end, or without memory (*failed). A record that is none has its `fault` set, and what cells it has. JSON
 * records with the same members in the same order share `names` within a block. */
bool reader_next(struct reader *reader, struct raw_record *record, bool *failed)
	__attribute__((nonnull, warn_unused_result));

#endif
