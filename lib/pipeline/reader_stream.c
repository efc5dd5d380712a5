/* The bytes of a source: of a file or of memory, unpacked when they are gzip's, recoded when they are not UTF-8. All of
 * it streams: memory is a few buffers of 64 KiB whatever comes.
 *
 * A byte sequence that means nothing in the file's encoding becomes the byte 0xff, which is no UTF-8 either: the record
 * that it stands in is refused, and all others are read. */
#include "pipeline/reader_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { UNPACKED_FREE = 64 * 1024 * 1024 }; /* bytes before READER_UNPACKED_RATIO counts */

/* What "encoding" may say, and what iconv calls it. Not all that iconv knows: some of its converters are old, rarely
 * used and had faults. */
static const struct encoding {
	const char *name, *iconv; /* NULL: UTF-8 */
} ENCODINGS[] = {
	{"utf-8", NULL},
	{"utf8", NULL},
	{"ascii", NULL},
	{"us-ascii", NULL},
	{"utf-16", "UTF-16LE"}, /* without a mark; with one that decides */
	{"utf-16le", "UTF-16LE"},
	{"utf-16be", "UTF-16BE"},
	{"utf-32", "UTF-32LE"},
	{"utf-32le", "UTF-32LE"},
	{"utf-32be", "UTF-32BE"},
	{"latin-1", "ISO-8859-1"},
	{"latin1", "ISO-8859-1"},
	{"iso-8859-1", "ISO-8859-1"},
	{"iso-8859-2", "ISO-8859-2"},
	{"iso-8859-15", "ISO-8859-15"},
	{"windows-1250", "CP1250"},
	{"windows-1251", "CP1251"},
	{"windows-1252", "CP1252"},
	{"cp1250", "CP1250"},
	{"cp1251", "CP1251"},
	{"cp1252", "CP1252"},
	{"cp437", "CP437"},
	{"cp850", "CP850"},
	{"macintosh", "MACINTOSH"},
	{"koi8-r", "KOI8-R"},
	{"shift_jis", "CP932"},
	{"gb18030", "GB18030"},
	{"big5", "BIG5"},
	{"euc-jp", "EUC-JP"},
	{"euc-kr", "EUC-KR"},
};

/* Byte order marks; the longer of two that begin alike first. */
static const struct mark {
	struct str bytes;
	const char *iconv;
} MARKS[] = {
	{STR_INIT("\xef\xbb\xbf"), NULL},       {STR_INIT("\xff\xfe\0\0"), "UTF-32LE"},
	{STR_INIT("\0\0\xfe\xff"), "UTF-32BE"}, {STR_INIT("\xff\xfe"), "UTF-16LE"},
	{STR_INIT("\xfe\xff"), "UTF-16BE"},
};

enum { MARKS_N = sizeof(MARKS) / sizeof(MARKS[0]), ENCODINGS_N = sizeof(ENCODINGS) / sizeof(ENCODINGS[0]) };

bool source_knows_encoding(struct str name)
{
	if (name.n == 0 || str_eq_nocase(name, STR("auto")))
		return true;
	for (size_t i = 0; i < ENCODINGS_N; i++)
		if (str_eq_nocase(name, str_of(ENCODINGS[i].name)))
			return true;
	return false;
}

/* --- as stored --- */

/* At the end of a file: it must not have become shorter than what was read of it. */
static enum status check_end(const struct stream *stream, struct err *err)
{
	struct stat st;

	if (fstat(stream->fd, &st) != 0)
		return err_set(err, STATUS_UNAVAILABLE, "The file can't be read: %s.", strerror(errno));
	if (st.st_size < stream->raw_at)
		return err_set(err, STATUS_UNAVAILABLE, "The file became shorter while it was read.");
	return STATUS_OK;
}

static enum status read_stored(struct stream *stream, char *to, size_t n, size_t *got, struct err *err)
{
	if (stream->fd < 0) {
		size_t at = (size_t)stream->raw_at, left = stream->bytes.n - at;
		*got = left < n ? left : n;
		if (*got)
			memcpy(to, stream->bytes.p + at, *got);
	} else {
		ssize_t some;
		do
			some = pread(stream->fd, to, n, stream->raw_at);
		while (some < 0 && errno == EINTR);
		if (some < 0)
			return err_set(err, STATUS_UNAVAILABLE, "The file can't be read: %s.", strerror(errno));
		*got = (size_t)some;
	}
	stream->raw_at += (int64_t)*got;
	return *got || stream->fd < 0 ? STATUS_OK : check_end(stream, err);
}

/* --- unpacked --- */

static enum status read_packed(struct stream *stream, struct err *err)
{
	size_t got = 0;
	enum status status = read_stored(stream, (char *)stream->in, STREAM_RAW_BYTES, &got, err);

	stream->z.next_in = stream->in;
	stream->z.avail_in = (uInt)got;
	return status;
}

/* Behind a member: another one, nothing, or zeros that fill a block of a tape. */
static enum status begin_member(struct stream *stream, bool *end, struct err *err)
{
	*end = false;
	for (;;) {
		if (stream->z.avail_in == 0) {
			enum status status = read_packed(stream, err);
			if (status != STATUS_OK)
				return status;
			if (stream->z.avail_in == 0) {
				*end = true;
				return STATUS_OK;
			}
		}
		if (*stream->z.next_in != 0)
			break;
		stream->z.next_in++;
		stream->z.avail_in--;
	}
	if (inflateReset(&stream->z) != Z_OK)
		return err_set(err, STATUS_INTERNAL, "zlib can't begin.");
	stream->inside = true;
	return STATUS_OK;
}

static enum status read_unpacked(struct stream *stream, char *to, size_t n, size_t *got, struct err *err)
{
	enum status status;
	bool end;

	if (!stream->packed)
		return read_stored(stream, to, n, got, err);
	*got = 0;
	stream->z.next_out = (unsigned char *)to;
	stream->z.avail_out = n < INT32_MAX ? (uInt)n : INT32_MAX;
	const uInt room = stream->z.avail_out;
	while (stream->z.avail_out == room) {
		if (stream->damage)
			return err_set(err, STATUS_INVALID, "The gzip file is damaged (%s).", stream->damage);
		if (!stream->inside) {
			status = begin_member(stream, &end, err);
			if (status != STATUS_OK || end)
				return status;
		}
		if (stream->z.avail_in == 0 && (status = read_packed(stream, err)) != STATUS_OK)
			return status;
		switch (inflate(&stream->z, Z_NO_FLUSH)) {
		case Z_OK:
			break;
		case Z_STREAM_END:
			stream->inside = false;
			break;
		case Z_BUF_ERROR: /* nothing to read, and nothing left of what was read */
			return err_set(err, STATUS_INVALID, "The gzip file ends in the middle; what it had was read.");
		case Z_MEM_ERROR:
			return err_set(err, STATUS_NO_MEMORY, "There is no memory to unpack the file.");
		default: /* told when all that came before is given, however little was asked for at a time */
			stream->damage = stream->z.msg ? stream->z.msg : "it can't be unpacked";
		}
	}
	*got = room - stream->z.avail_out;
	stream->unpacked += (int64_t)*got;
	if (stream->unpacked > UNPACKED_FREE && stream->unpacked / READER_UNPACKED_RATIO > stream->raw_at)
		return err_set(
			err, STATUS_INVALID,
			"The gzip file unpacks to more than %d times its size; unpack it first if that is meant.",
			READER_UNPACKED_RATIO);
	return STATUS_OK;
}

/* --- recoded --- */

static enum status fill_raw(struct stream *stream, struct err *err)
{
	size_t left = stream->raw_n - stream->raw_pos, got;

	memmove(stream->raw, stream->raw + stream->raw_pos, left);
	stream->raw_pos = 0;
	stream->raw_n = left;
	enum status status = read_unpacked(stream, stream->raw + left, STREAM_RAW_BYTES - left, &got, err);
	if (status != STATUS_OK)
		return status;
	stream->raw_n += got;
	stream->raw_end = got == 0;
	return STATUS_OK;
}

/* What waits in `raw`, into `cooked`; *starved: more must be read first. */
static void recode(struct stream *stream, bool *starved)
{
	char *to = stream->cooked;
	size_t room = STREAM_RAW_BYTES;

	*starved = false;
	while (stream->raw_pos < stream->raw_n && room > 0) {
		char *from = stream->raw + stream->raw_pos;
		size_t left = stream->raw_n - stream->raw_pos;
		size_t done = iconv(stream->cd, &from, &left, &to, &room);
		int error = errno;
		stream->raw_pos = stream->raw_n - left;
		if (done != (size_t)-1)
			continue;
		if (error == E2BIG || room == 0)
			break;
		if (error == EINVAL && !stream->raw_end) {
			*starved = true;
			break;
		}
		*to++ = '\xff';
		room--;
		stream->raw_pos += stream->unit < left ? stream->unit : left;
	}
	stream->cooked_pos = 0;
	stream->cooked_n = STREAM_RAW_BYTES - room;
}

static enum status fill_cooked(struct stream *stream, struct err *err)
{
	bool starved = false;

	stream->cooked_pos = stream->cooked_n = 0;
	while (stream->cooked_n == 0) {
		if ((stream->raw_pos == stream->raw_n || starved) && !stream->raw_end) {
			enum status status = fill_raw(stream, err);
			if (status != STATUS_OK)
				return status;
		}
		if (stream->raw_pos == stream->raw_n)
			return STATUS_OK;
		recode(stream, &starved);
	}
	return STATUS_OK;
}

/* Of p[*pos..end) into `to`. */
static size_t take(const char *p, size_t *pos, size_t end, char *to, size_t n)
{
	size_t some = end - *pos < n ? end - *pos : n;

	memcpy(to, p + *pos, some);
	*pos += some;
	return some;
}

enum status stream_read(struct stream *stream, char *to, size_t n, size_t *got, struct err *err)
{
	enum status status = STATUS_OK;

	*got = 0;
	if (stream->recoded) {
		if (stream->cooked_pos == stream->cooked_n)
			status = fill_cooked(stream, err);
		if (status == STATUS_OK)
			*got = take(stream->cooked, &stream->cooked_pos, stream->cooked_n, to, n);
	} else if (stream->raw_pos < stream->raw_n) {
		*got = take(stream->raw, &stream->raw_pos, stream->raw_n, to, n);
	} else {
		status = read_unpacked(stream, to, n, got, err);
	}
	stream->out += (int64_t)*got;
	return status;
}

/* --- opening --- */

/* The whole of `raw`, for the first look at the bytes. */
static enum status read_beginning(struct stream *stream, struct err *err)
{
	enum status status = STATUS_OK;

	stream->raw_end = false;
	while (status == STATUS_OK && stream->raw_n < STREAM_RAW_BYTES && !stream->raw_end)
		status = fill_raw(stream, err);
	/* What is damaged further on is found again when it is reached. */
	return stream->raw_n > 0 ? STATUS_OK : status;
}

static enum status open_rest(struct stream *stream, struct err *err)
{
	char magic[3] = {0};
	size_t got;

	stream->raw = malloc(STREAM_RAW_BYTES);
	if (!stream->raw)
		return err_set(err, STATUS_NO_MEMORY, "There is no memory to read the file.");
	enum status status = read_stored(stream, magic, sizeof(magic), &got, err);
	stream->raw_at = 0;
	if (status != STATUS_OK || got < sizeof(magic) || memcmp(magic, "\x1f\x8b\x08", sizeof(magic)) != 0)
		return status;
	stream->in = malloc(STREAM_RAW_BYTES);
	if (!stream->in || inflateInit2(&stream->z, 16 + MAX_WBITS) != Z_OK)
		return err_set(err, STATUS_NO_MEMORY, "There is no memory to unpack the file.");
	stream->packed = true;
	return STATUS_OK;
}

enum status stream_open_file(struct stream *stream, const char *path, struct err *err)
{
	struct stat st;

	*stream = (struct stream){.fd = -1};
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (fd < 0) {
		enum status status = errno == ENOENT || errno == ENOTDIR ? STATUS_NOT_FOUND : STATUS_UNAVAILABLE;
		return err_set(err, status, "The file can't be opened: %s.",
			       errno == ELOOP ? "it is a link" : strerror(errno));
	}
	stream->fd = fd;
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return err_set(err, STATUS_UNAVAILABLE, "It is not a regular file.");
	posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	return open_rest(stream, err);
}

enum status stream_open_bytes(struct stream *stream, struct str bytes, struct err *err)
{
	*stream = (struct stream){.fd = -1, .bytes = bytes};
	return open_rest(stream, err);
}

static enum status begin_recoding(struct stream *stream, const char *from, struct err *err)
{
	if (!from)
		return STATUS_OK;
	stream->cd = iconv_open("UTF-8", from);
	if ((intptr_t)stream->cd == -1)
		return err_set(err, STATUS_INVALID, "encoding: this machine's C library can't read %s.", from);
	stream->recoded = true;
	stream->cooked = malloc(STREAM_RAW_BYTES);
	if (!stream->cooked)
		return err_set(err, STATUS_NO_MEMORY, "There is no memory to recode the file.");
	stream->unit = strstr(from, "UTF-32") ? 4 : strstr(from, "UTF-16") ? 2 : 1;
	return STATUS_OK;
}

enum status stream_set_encoding(struct stream *stream, struct str encoding, struct err *err)
{
	enum status status = read_beginning(stream, err);

	if (status != STATUS_OK)
		return status;
	for (size_t i = 0; i < MARKS_N; i++)
		if (str_starts((struct str){stream->raw, stream->raw_n}, MARKS[i].bytes))
			return begin_recoding(stream, MARKS[i].iconv, err);
	if (encoding.n == 0 || str_eq_nocase(encoding, STR("auto")))
		return STATUS_OK;
	for (size_t i = 0; i < ENCODINGS_N; i++)
		if (str_eq_nocase(encoding, str_of(ENCODINGS[i].name)))
			return begin_recoding(stream, ENCODINGS[i].iconv, err);
	return err_set(err, STATUS_INVALID,
		       "encoding: \"%.*s\" is not known; utf-8, utf-16, latin-1 and windows-1252 are.",
		       text_bytes(encoding, 40), encoding.p);
}

enum status stream_seek(struct stream *stream, int64_t offset, struct err *err)
{
	char bytes[16 * 1024];
	struct stat st;

	stream->raw_pos = stream->raw_n = stream->cooked_pos = stream->cooked_n = 0;
	stream->raw_end = false;
	if (!stream->packed && !stream->recoded) {
		int64_t size = (int64_t)stream->bytes.n;
		if (stream->fd >= 0 && fstat(stream->fd, &st) == 0)
			size = st.st_size;
		if (offset > size)
			return err_set(err, STATUS_INVALID, "The file is shorter than what was read of it.");
		stream->raw_at = stream->out = offset;
		return STATUS_OK;
	}
	stream->raw_at = stream->out = stream->unpacked = 0;
	stream->inside = false;
	stream->damage = NULL;
	stream->z.avail_in = 0;
	if (stream->recoded)
		iconv(stream->cd, NULL, NULL, NULL, NULL);
	while (stream->out < offset) {
		size_t n = sizeof(bytes), got;
		if (offset - stream->out < (int64_t)n)
			n = (size_t)(offset - stream->out);
		enum status status = stream_read(stream, bytes, n, &got, err);
		if (status != STATUS_OK)
			return status;
		if (got == 0)
			return err_set(err, STATUS_INVALID, "The file is shorter than what was read of it.");
	}
	return STATUS_OK;
}

void stream_close(struct stream *stream)
{
	if (stream->packed)
		inflateEnd(&stream->z);
	if (stream->recoded)
		iconv_close(stream->cd);
	if (stream->fd >= 0)
		close(stream->fd);
	free(stream->in);
	free(stream->raw);
	free(stream->cooked);
	*stream = (struct stream){.fd = -1};
}
