/* Sources: opening, positions, and what identifies the bytes behind them. */
#include "pipeline/reader_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	NAMES_BYTES = 4 * READER_RECORD_MAX,
	HASHED_BYTES = 64 * 1024,
};

static struct source *make(struct err *err)
{
	struct source *source = calloc(1, sizeof(*source));

	if (source)
		source->carry = malloc(STREAM_RAW_BYTES);
	if (!source || !source->carry) {
		free(source);
		err_set(err, STATUS_NO_MEMORY, "There is no memory to read a file.");
		return NULL;
	}
	source->carry_cap = STREAM_RAW_BYTES;
	source->block_bytes = READER_BLOCK_BYTES;
	source->record_max = READER_RECORD_MAX;
	source->stream.fd = -1;
	arena_init(&source->arena, NAMES_BYTES);
	return source;
}

static enum status find_shape(struct source *source, const struct pipeline_source *how, struct err *err)
{
	enum status status = stream_set_encoding(&source->stream, how->encoding, err);

	if (status == STATUS_OK)
		status = source_find_shape(source, how, err);
	source->start = source->at;
	source->shape.packed = source->stream.packed;
	source->shape.recoded = source->stream.recoded;
	return status;
}

enum status source_open(struct source **out, const char *path, const struct pipeline_source *how, struct err *err)
{
	struct source *source = make(err);

	*out = NULL;
	if (!source)
		return STATUS_NO_MEMORY;
	enum status status = stream_open_file(&source->stream, path, err);
	if (status == STATUS_OK)
		status = find_shape(source, how, err);
	if (status == STATUS_OK)
		*out = source;
	else
		source_close(source);
	return status;
}

enum status source_open_bytes(struct source **out, struct str bytes, const struct pipeline_source *how, struct err *err)
{
	struct source *source = make(err);

	*out = NULL;
	if (!source)
		return STATUS_NO_MEMORY;
	enum status status = stream_open_bytes(&source->stream, bytes, err);
	if (status == STATUS_OK)
		status = find_shape(source, how, err);
	if (status == STATUS_OK)
		*out = source;
	else
		source_close(source);
	return status;
}

void source_close(struct source *source)
{
	if (!source)
		return;
	stream_close(&source->stream);
	arena_release(&source->arena);
	free(source->carry);
	free(source);
}

enum status source_sync(struct source *source, struct err *err)
{
	if (source->stream.fd < 0 || fdatasync(source->stream.fd) == 0 || errno == EROFS || errno == EINVAL)
		return STATUS_OK;
	return err_set(err, STATUS_UNAVAILABLE, "The source could not be put on the disk: %s.", strerror(errno));
}

const struct source_shape *source_shape(const struct source *source)
{
	return &source->shape;
}

void source_set_bounds(struct source *source, size_t block_bytes, size_t record_max)
{
	if (block_bytes > 0)
		source->block_bytes = block_bytes;
	if (record_max > 0 && record_max <= READER_RECORD_MAX)
		source->record_max = record_max;
}

enum status source_seek(struct source *source, struct source_position at, struct err *err)
{
	if (at.offset <= source->start.offset)
		at = source->start;
	source->carry_at = source->carry_n = 0;
	source->ended = source->finished = false;
	source->failure = (struct err){0};
	source->at = at;
	return stream_seek(&source->stream, at.offset, err);
}

void source_block_release(struct source_block *block)
{
	free(block->bytes);
	*block = (struct source_block){0};
}

/* --- identity --- */

struct identity {
	uint64_t device, inode;
	int64_t size, changed; /* bytes; nanoseconds */
	char hash[33];         /* of the first and of the last HASHED_BYTES */
};

static bool hash_part(crypto_generichash_state *state, int fd, int64_t from, int64_t n)
{
	char bytes[16 * 1024];

	while (n > 0) {
		size_t some = n < (int64_t)sizeof(bytes) ? (size_t)n : sizeof(bytes);
		ssize_t got = pread(fd, bytes, some, from);
		if (got <= 0)
			return false;
		crypto_generichash_update(state, (const unsigned char *)bytes, (size_t)got);
		from += got;
		n -= got;
	}
	return true;
}

/* Of the first `size` bytes of the file: their beginning and their end. */
static void hash_file(int fd, int64_t size, char hex[static 33])
{
	crypto_generichash_state state;
	unsigned char hash[16];
	int64_t part = size < HASHED_BYTES ? size : HASHED_BYTES;

	crypto_generichash_init(&state, NULL, 0, sizeof(hash));
	bool read = hash_part(&state, fd, 0, part) && hash_part(&state, fd, size - part, part);
	crypto_generichash_final(&state, hash, sizeof(hash));
	if (read)
		sodium_bin2hex(hex, 33, hash, sizeof(hash));
	else
		snprintf(hex, 33, "-");
}

static bool identify(int fd, int64_t hashed, struct identity *out)
{
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0)
		return false;
	*out = (struct identity){.device = (uint64_t)st.st_dev,
				 .inode = (uint64_t)st.st_ino,
				 .size = (int64_t)st.st_size,
				 .changed = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec};
	if (hashed < 0 || hashed > out->size)
		hashed = out->size;
	hash_file(fd, hashed, out->hash);
	return true;
}

void source_identify(struct source *source, char out[static 200])
{
	struct identity id;

	out[0] = '\0';
	if (identify(source->stream.fd, -1, &id))
		snprintf(out, 200, "%" PRIu64 ":%" PRIu64 ":%" PRId64 ":%" PRId64 ":%s", id.device, id.inode, id.size,
			 id.changed, id.hash);
}

bool source_is_same(struct source *source, const char *was)
{
	struct identity then = {0}, now;

	if (source->stream.fd < 0)
		return was[0] == '\0';
	if (sscanf(was, "%" SCNu64 ":%" SCNu64 ":%" SCNd64 ":%" SCNd64 ":%32s", &then.device, &then.inode, &then.size,
		   &then.changed, then.hash) != 5)
		return false;
	if (then.size < 0 || !identify(source->stream.fd, then.size, &now))
		return false;
	/* Devices may be numbered anew at each boot. */
	return now.inode == then.inode && now.size >= then.size &&
	       (now.size > then.size || now.changed == then.changed) && strcmp(now.hash, then.hash) == 0;
}

void source_progress(struct source *source, int64_t *done, int64_t *total)
{
	struct stat st;

	*total = (int64_t)source->stream.bytes.n;
	if (source->stream.fd >= 0 && fstat(source->stream.fd, &st) == 0)
		*total = (int64_t)st.st_size;
	*done = source->stream.raw_at;
	if (!source->shape.packed && !source->shape.recoded)
		*done = source->at.offset;
}
