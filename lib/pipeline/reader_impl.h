/* What the parts of the reader share. */
#ifndef APPCORE_PIPELINE_READER_IMPL_H
#define APPCORE_PIPELINE_READER_IMPL_H

#include "pipeline/reader.h"

#include <iconv.h>
#include <zlib.h>

/* --- bytes as they are in the file or in memory, unpacked, recoded to UTF-8: reader_stream.c --- */

enum { STREAM_RAW_BYTES = 64 * 1024 };

struct stream {
	int fd;              /* -1: bytes */
	struct str bytes;    /* borrowed */
	int64_t raw_at;      /* bytes read of the file */
	int64_t out;         /* bytes given, after unpacking and recoding */
	bool packed, inside; /* gzip; within a member */
	z_stream z;
	const char *damage; /* zlib's words, or NULL */
	int64_t unpacked;
	unsigned char *in; /* of STREAM_RAW_BYTES: what of a packed file was read and not unpacked */
	bool recoded, raw_end;
	iconv_t cd;
	size_t unit;        /* bytes that a faulty sequence takes at least */
	char *raw, *cooked; /* of STREAM_RAW_BYTES each: what was unpacked and not recoded; what was and not given */
	size_t raw_pos, raw_n, cooked_pos, cooked_n;
};

enum status stream_open_file(struct stream *stream, const char *path, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));
enum status stream_open_bytes(struct stream *stream, struct str bytes, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));
void stream_close(struct stream *stream) __attribute__((nonnull));
/* Decides how bytes become UTF-8, from the setting and the first bytes. Once, before the first stream_read. */
enum status stream_set_encoding(struct stream *stream, struct str encoding, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));
/* Up to `n` bytes (more than 0); *got is 0 at the end only. */
enum status stream_read(struct stream *stream, char *to, size_t n, size_t *got, struct err *err)
	__attribute__((nonnull(1, 2, 4), warn_unused_result));
/* To byte `offset` of what stream_read gives. STATUS_INVALID: there are not that many. */
enum status stream_seek(struct stream *stream, int64_t offset, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));

/* For "%.*s" in a sentence: at most `most` bytes of a text, whole characters. */
static inline int text_bytes(struct str text, size_t most)
{
	if (text.n <= most)
		return (int)text.n;
	while (most > 0 && ((unsigned char)text.p[most] & 0xc0) == 0x80)
		most--;
	return (int)most;
}

/* --- cutting: reader_cut.c --- */

struct source {
	struct source_shape shape;
	struct arena arena; /* holds the names */
	struct stream stream;
	char *carry; /* read from the stream and not given: carry[carry_at..carry_n) */
	size_t carry_at, carry_n, carry_cap;
	struct source_position start, at; /* of the first record; of what was not given */
	bool ended;                       /* the stream is */
	bool bare, finished;              /* JSON: the array is the whole document; it ended, or is broken */
	struct err failure;               /* of the stream: what came before is given first */
	size_t block_bytes, record_max;
};

/* Where records end, within bytes that begin with a record. */
struct cut {
	const struct source_shape *shape;
	size_t at;           /* scanned so far */
	size_t border;       /* where the next record begins */
	int64_t lines;       /* of the bytes before the border */
	int64_t records;     /* that end before the border */
	int64_t newer_lines; /* between border and at */
	bool quoted;
	size_t opened, closed; /* where the last quote opened; behind where one closed */
	int64_t opened_lines;  /* newer_lines then */
};
/* Goes on over p[at..n). p has READER_SLACK more bytes. */
void cut_scan(struct cut *cut, const char *p, size_t n) __attribute__((nonnull));
/* At the end of the source what follows the last border is a record, too, if it is anything. */
void cut_finish(struct cut *cut, const char *p, size_t n) __attribute__((nonnull));

/* The same as source_next for a JSON array: reader_json_cut.c. */
enum status source_next_element(struct source *source, struct source_block *block, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));

/* Makes room for `n` bytes and the slack. */
enum status source_block_reserve(struct source_block *block, size_t n, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));
/* Fills the block up to `n` bytes; fewer at the end, or before bytes that can't be read (source->failure). */
enum status source_block_fill(struct source *source, struct source_block *block, size_t n, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));
/* The block keeps its first `n` bytes, what follows is carried to the next. */
enum status source_block_keep(struct source *source, struct source_block *block, size_t n, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));
/* Nothing is left. */
bool source_is_at_end(struct source *source) __attribute__((nonnull, warn_unused_result));

/* --- what a source looks like: reader_shape.c --- */

enum status source_find_shape(struct source *source, const struct pipeline_source *how, struct err *err)
	__attribute__((nonnull(1, 2), warn_unused_result));
/* Passes the beginning of a JSON source, up to behind the array's '[': reader_json_cut.c. */
enum status source_find_array(struct source *source, struct str items, struct err *err)
	__attribute__((nonnull(1), warn_unused_result));

/* --- reading: reader.c --- */

/* One record of a CSV at reader->at into at most `room` cells, without looking at what it holds; *found is how many
 * it has, *end where it ends without its line break; reader->at is behind it. False without memory. */
bool csv_cells(struct reader *reader, struct cell *cells, size_t room, size_t *found, size_t *end)
	__attribute__((nonnull, warn_unused_result));
/* Room for `n` cells in the arena; those that were used are taken. */
struct cell *reader_room(struct reader *reader, size_t n) __attribute__((nonnull, warn_unused_result));
void reader_take_cells(struct reader *reader, size_t n) __attribute__((nonnull));
/* Both false without memory. The second refuses a record whose text is none. */
bool reader_refuse(struct reader *reader, struct raw_record *record, const char *fault, const char *format, ...)
	__attribute__((nonnull(1, 2, 3, 4), format(printf, 4, 5), warn_unused_result));
bool reader_check_text(struct reader *reader, struct raw_record *record) __attribute__((nonnull, warn_unused_result));

/* --- JSON: reader_json.c --- */

/* The same as reader_next of JSON; record->text.p is NULL at the end. False without memory. */
bool reader_next_json(struct reader *reader, struct raw_record *record) __attribute__((nonnull, warn_unused_result));

/* How far a JSON value reaches, by its brackets and quotes. All zero at its beginning. */
struct json_extent {
	unsigned depth;
	bool string, escaped, begun;
};
/* Goes on over p[at..n): behind the value's end, or n with *done false when that was not reached. */
size_t json_extent_scan(struct json_extent *extent, const char *p, size_t at, size_t n, bool *done)
	__attribute__((nonnull, warn_unused_result));

#endif
