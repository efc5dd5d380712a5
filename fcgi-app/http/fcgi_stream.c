/* Records are made when bytes are queued, so that what waits is what will be sent. */
#include "http/fcgi_stream.h"

#include <errno.h>
#include <sys/socket.h>

enum { HEADER_BYTES = 8, VERSION = 1, TYPE_ABORT = 2, TYPE_END = 3, TYPE_STDOUT = 6 };
enum { CONTENT_MAX = 65528, END_BODY_BYTES = 8 };

void fcgi_stream_init(struct fcgi_stream *stream, int fd, unsigned id)
{
	*stream = (struct fcgi_stream){.fd = fd, .id = id};
	buf_init_heap(&stream->out);
}

void fcgi_stream_release(struct fcgi_stream *stream)
{
	buf_release(&stream->out);
	buf_init_heap(&stream->out);
	stream->sent = 0;
}

static void put_record(struct fcgi_stream *stream, unsigned type, const void *content, size_t n)
{
	const uint8_t header[HEADER_BYTES] = {
		VERSION, (uint8_t)type, (uint8_t)(stream->id >> 8), (uint8_t)stream->id, (uint8_t)(n >> 8), (uint8_t)n};

	buf_put(&stream->out, header, sizeof(header));
	if (n > 0)
		buf_put(&stream->out, content, n);
	stream->lost |= stream->out.failed;
}

void fcgi_stream_put(struct fcgi_stream *stream, struct str bytes)
{
	if (!stream->lost && stream->out.n - stream->sent + bytes.n > FCGI_STREAM_WAITING)
		stream->lost = stream->slow = true;
	while (bytes.n > 0 && !stream->lost) {
		size_t n = bytes.n < CONTENT_MAX ? bytes.n : CONTENT_MAX;
		put_record(stream, TYPE_STDOUT, bytes.p, n);
		bytes.p += n;
		bytes.n -= n;
	}
}

bool fcgi_stream_is_full(const struct fcgi_stream *stream)
{
	return stream->out.n - stream->sent > FCGI_STREAM_FULL;
}

void fcgi_stream_end(struct fcgi_stream *stream)
{
	static const uint8_t complete[END_BODY_BYTES];

	put_record(stream, TYPE_STDOUT, NULL, 0);
	put_record(stream, TYPE_END, complete, sizeof(complete));
}

bool fcgi_stream_flush(struct fcgi_stream *stream)
{
	while (stream->sent < stream->out.n && !stream->lost) {
		ssize_t n = send(stream->fd, stream->out.p + stream->sent, stream->out.n - stream->sent,
				 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0) {
			stream->sent += (size_t)n;
			stream->moved = true;
		} else if (n < 0 && errno == EAGAIN) {
			break;
		} else if (!(n < 0 && errno == EINTR)) {
			stream->lost = true;
		}
	}
	bool done = stream->sent == stream->out.n || stream->lost;
	if (done) {
		fcgi_stream_release(stream);
	} else if (stream->sent > stream->out.n / 2) {
		stream->out.n -= stream->sent;
		memmove(stream->out.p, stream->out.p + stream->sent, stream->out.n);
		stream->sent = 0;
	}
	return done;
}

/* While an answer is on its way nothing comes but the wish to end it, which is a record without content. */
enum fcgi_stream_peer fcgi_stream_read(struct fcgi_stream *stream)
{
	uint8_t bytes[HEADER_BYTES];
	ssize_t n = recv(stream->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return FCGI_STREAM_QUIET;
	bool aborts = n == HEADER_BYTES && bytes[0] == VERSION && bytes[1] == TYPE_ABORT &&
		      ((unsigned)bytes[2] << 8 | bytes[3]) == stream->id && bytes[4] == 0 && bytes[5] == 0 &&
		      bytes[6] == 0;
	return aborts ? FCGI_STREAM_ABORTS : FCGI_STREAM_IS_GONE;
}
